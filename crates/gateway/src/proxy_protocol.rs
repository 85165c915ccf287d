//! The PROXY protocol: a load balancer in front says who the client is before the client speaks.
//! Version 1 is a line of text, version 2 is binary.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What begins version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// No sensible load balancer sends more additions than this.
const BLOCK_BYTES_MAX: usize = 4096;

/// Who has connected to whom, as the load balancer saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Reads the header and nothing behind it. None if the load balancer speaks for itself, as it does
/// to see whether we live. Anything else than a header is an error.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Way>> {
    // The shortest header of either version is longer.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return read_block(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(broken());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(broken());
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| broken())?;
    text(line).ok_or_else(broken)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there is no header of the PROXY protocol")
}

/// A line such as `PROXY TCP4 192.0.2.1 192.0.2.2 40000 443`.
fn text(line: &str) -> Option<Option<Way>> {
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family, client, server, client_port, server_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                let fits = ip.is_ipv4() == (family == "TCP4");
                let known = matches!(family, "TCP4" | "TCP6");
                (fits && known).then_some(SocketAddr::new(ip, port.parse().ok()?))
            };
            let (client, server) = (address(client, client_port)?, address(server, server_port)?);
            Some(Some(Way { client, server }))
        }
        _ => None,
    }
}

async fn read_block(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Way>> {
    let [command, family] = [stream.read_u8().await?, stream.read_u8().await?];
    let length = usize::from(stream.read_u16().await?);
    if length > BLOCK_BYTES_MAX {
        return Err(broken());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    let mut block = block.as_slice();
    match (command, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let (client, server) =
                (Ipv4Addr::from(block.read_u32().await?), Ipv4Addr::from(block.read_u32().await?));
            way(block, client.into(), server.into()).await.map(Some)
        }
        (0x21, 0x21) => {
            let (client, server) = (
                Ipv6Addr::from(block.read_u128().await?),
                Ipv6Addr::from(block.read_u128().await?),
            );
            way(block, client.into(), server.into()).await.map(Some)
        }
        // Families that have no addresses for us.
        (0x21, _) => Ok(None),
        _ => Err(broken()),
    }
}

async fn way(mut ports: &[u8], client: IpAddr, server: IpAddr) -> io::Result<Way> {
    let (client_port, server_port) = (ports.read_u16().await?, ports.read_u16().await?);
    Ok(Way {
        client: SocketAddr::new(client, client_port),
        server: SocketAddr::new(server, server_port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(bytes: &[u8]) -> Option<Option<Way>> {
        let mut stream = [bytes, b"GET /"].concat();
        let mut rest = stream.as_mut_slice() as &[u8];
        let outcome = read(&mut rest).await.ok();
        assert!(outcome.is_none() || rest == b"GET /", "nothing is taken of what follows");
        outcome
    }

    fn ways(client: &str, server: &str) -> Option<Option<Way>> {
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        Some(Some(Way { client, server }))
    }

    #[tokio::test]
    async fn lines_are_read() {
        let v4 = parsed(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n").await;
        assert_eq!(v4, ways("192.0.2.1:40000", "192.0.2.2:443"));
        let v6 = parsed(b"PROXY TCP6 2001:db8::1 ::2 40000 443\r\n").await;
        assert_eq!(v6, ways("[2001:db8::1]:40000", "[::2]:443"));
        assert_eq!(parsed(b"PROXY UNKNOWN\r\n").await, Some(None));
        for line in [
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 70000\r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(parsed(line.as_bytes()).await, None, "{line}");
        }
        assert_eq!(parsed(&[b"PROXY ", [b'x'; 200].as_slice()].concat()).await, None);
    }

    #[tokio::test]
    async fn blocks_are_read() {
        let block = |command: u8, family: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [SIGNATURE.as_slice(), &[command, family], &length, body].concat()
        };
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 1, 0xbb];
        let more = [addresses.as_slice(), &[4, 0, 1, 0]].concat();
        for body in [addresses.as_slice(), &more] {
            let found = parsed(&block(0x21, 0x11, body)).await;
            assert_eq!(found, ways("192.0.2.1:40000", "192.0.2.2:443"));
        }
        let v6 = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        assert_eq!(parsed(&block(0x21, 0x21, &v6)).await, ways("[::1]:1", "[::2]:2"));
        assert_eq!(parsed(&block(0x20, 0, &[])).await, Some(None));
        assert_eq!(parsed(&block(0x21, 0x31, &[0; 216])).await, Some(None));
        assert_eq!(parsed(&block(0x21, 0x11, &addresses[..8])).await, None);
        assert_eq!(parsed(&block(0x31, 0x11, &addresses)).await, None);
        assert_eq!(parsed(&block(0x21, 0x11, &[0; 5000])).await, None);
    }
}
