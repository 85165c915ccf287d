//! The backend: the same bytes for everybody, as fast as it goes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;

/// Bytes of the body.
const BODY: usize = 1024;

/// A running backend, on a thread of its own; it ends with the process.
pub struct Origin {
    pub address: SocketAddr,
}

impl Origin {
    pub fn start() -> Outcome<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serve(listener)));
        Ok(Self { address })
    }

    pub fn body() -> Vec<u8> {
        b"benchmark ".iter().copied().cycle().take(BODY).collect()
    }
}

async fn serve(listener: std::net::TcpListener) {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n");
    let answer: &'static [u8] = [head.into_bytes(), Origin::body()].concat().leak();
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, answer));
    }
}

/// Answers each request; proxies send theirs whole and without a body.
async fn connection(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(4 << 10);
    while stream.read_buf(&mut request).await? > 0 {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            stream.write_all(answer).await?;
        }
    }
    Ok(())
}
