//! A socket whose small writes leave together.
//!
//! Pingora buffers what its own listeners accept, and flushes at the end of each message. Ours need the
//! same, or the head and the body of every response are two packets and two calls of the kernel.

use std::{
    io,
    pin::Pin,
    sync::Arc,
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

use crate::head::{Head, Watch};

/// A head and a small body fit; what is larger is written as it is.
const BYTES: usize = 4096;

#[derive(Debug)]
struct Gathered {
    socket: BufWriter<TcpStream>,
    watch: Watch,
}

/// The socket as Pingora wants to see it. Heads of requests may not take for ever.
pub fn stream(socket: TcpStream, head: Arc<Head>) -> Stream {
    let socket = BufWriter::with_capacity(BYTES, socket);
    let gathered = Gathered { socket, watch: Watch::new(head) };
    Stream::from(VirtualSocketStream::new(Box::new(gathered)))
}

impl VirtualSocket for Gathered {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.get_ref().set_nodelay(true),
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
        let before = buffer.filled().len();
        let read = Pin::new(self.socket.get_mut()).poll_read(cx, buffer);
        self.watch.look(cx, read, buffer.filled().get(before..).unwrap_or_default())
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
