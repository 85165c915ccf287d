//! The least HTTP/1.1 client that can load a proxy: one connection, one request after the other.

use std::borrow::Cow;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that stays open, and is opened again when the other side closed it.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back; the bytes stay in the connection until the next request.
pub struct Answer<'a> {
    pub status: u16,
    head: &'a [u8],
    /// As sent: with its chunks, if it came in chunks.
    raw: &'a [u8],
}

impl Answer<'_> {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// The body, put together if it came in chunks.
    pub fn body(&self) -> Cow<'_, [u8]> {
        match self.header("transfer-encoding") {
            Some(_) => Cow::Owned(joined(self.raw)),
            None => Cow::Borrowed(self.raw),
        }
    }
}

/// Chunks without their sizes; what is malformed ends it.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = find(chunks, b"\r\n") {
        let line = std::str::from_utf8(chunks.get(..end).unwrap_or_default()).unwrap_or_default();
        let size = usize::from_str_radix(line, 16).unwrap_or(0);
        let Some(chunk) = chunks.get(end + 2..end + 2 + size).filter(|chunk| !chunk.is_empty())
        else {
            break;
        };
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        Ok(Self { address, stream: connect(address).await?, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a complete request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Error> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let (status, end, close) = {
            let lines = self.buffer.get(..head).unwrap_or_default();
            let close =
                header(lines, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
            (status(lines)?, end(lines, head), close)
        };
        match end {
            End::Length(total) => {
                while self.buffer.len() < total {
                    self.read().await?;
                }
            }
            End::Chunks => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.read().await?;
                }
            }
        }
        if close {
            self.stream = connect(self.address).await?;
        }
        let (head, raw) = self.buffer.split_at(head);
        Ok(Answer { status, head, raw })
    }

    async fn read(&mut self) -> Result<(), Error> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

enum End {
    /// Bytes of head and body together.
    Length(usize),
    Chunks,
}

fn end(head: &[u8], length: usize) -> End {
    if header(head, "transfer-encoding").is_some() {
        return End::Chunks;
    }
    let body = header(head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    End::Length(length + body)
}

fn status(head: &[u8]) -> Result<u16, Error> {
    let text = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let invalid = || Error::new(ErrorKind::InvalidData, "the answer has no status");
    text.and_then(|digits| digits.parse().ok()).ok_or_else(invalid)
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_end_by_length_or_by_chunks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi",
                "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            ] {
                let _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let client = async {
            let mut connection = Connection::open(address).await.unwrap();
            let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((answer.status, &*answer.body()), (200, &b"hi"[..]));
            assert_eq!(answer.header("x-a"), Some("b"));
            let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((answer.status, &*answer.body()), (404, &b"abc"[..]));
        };
        tokio::join!(server, client);
    }
}
