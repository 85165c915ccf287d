//! A socket whose small writes leave together.
//!
//! Pingora buffers what its own listeners accept, and flushes at the end of each message. Ours need the
//! same, or the head and the body of every response are two packets and two calls of the kernel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use pingora::protocols::l4::{
    stream::Stream,
    virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf},
    net::TcpStream,
};

/// A head and a small body fit; what is larger is written as it is.
const BYTES: usize = 4096;

#[derive(Debug)]
struct Gathered(BufWriter<TcpStream>);

/// The socket as Pingora wants to see it.
pub fn stream(socket: TcpStream) -> Stream {
    let gathered = Gathered(BufWriter::with_capacity(BYTES, socket));
    Stream::from(VirtualSocketStream::new(Box::new(gathered)))
}

impl VirtualSocket for Gathered {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.0.get_ref().set_nodelay(true),
            other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{other:?}"))),
        }
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
