//! How many idle connections an upstream keeps, and how many requests each of them serves:
//! `keepalive_pool`.
//!
//! Pingora's pool has one bound for all upstreams and does not ask when it takes a connection back. So the
//! connections of an upstream that has bounds know how they are used, and the one that is too much is shut
//! down; the pool finds it closed and drops it. As in nginx, every thread counts for itself.

use std::{
    collections::HashMap,
    fmt, io,
    net::{Shutdown, TcpStream as Twin},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    http::ResponseHeader,
    protocols::{
        Digest, GetProxyDigest,
        l4::{socket::SocketAddr, stream::Stream},
        raw_connect::ProxyDigest,
    },
};
use tokio::net::TcpStream;

/// What an upstream allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Idle connections to one node.
    pub size: usize,
    /// Requests of one connection.
    pub requests: u32,
}

/// What makes connections.
pub type Dialer = Arc<dyn L4Connect + Send + Sync>;

/// Makes connections, and counts those that are idle. There is one for each thread; the counts go by
/// Pingora's key of their peers.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<HashMap<u64, usize>>>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Kept {
    /// Whether there is room for one more; it is counted then.
    fn admits(&self, key: u64, size: usize) -> bool {
        let mut counts = lock(&self.0);
        let count = counts.entry(key).or_default();
        let admits = *count < size;
        *count += usize::from(admits);
        if *count == 0 {
            counts.remove(&key);
        }
        admits
    }

    fn forget(&self, key: u64) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

#[async_trait]
impl L4Connect for Kept {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "a node", error)
        };
        let address = address.as_inet().ok_or_else(|| Error::new(ErrorType::ConnectError))?;
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        let twin = stream.as_fd().try_clone_to_owned().map_err(failed)?.into();
        let connection = Connection { kept: self.clone(), twin, state: Mutex::default() };
        // The one place where a connection carries something of somebody else's.
        let digest = ProxyDigest::new(
            Box::new(ResponseHeader::build(200, None)?),
            Some(Box::new(connection)),
        );
        let mut stream = Stream::from(stream);
        stream.set_proxy_digest(digest);
        Ok(stream)
    }
}

/// A connection that is counted, as long as there is one.
struct Connection {
    kept: Kept,
    /// A second handle of the socket, to shut it down by.
    twin: Twin,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests so far.
    served: u32,
    /// What it is counted as, while it is idle.
    idle: Option<u64>,
    /// It was shut down.
    is_spent: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = lock(&self.state).idle {
            self.kept.forget(key);
        }
    }
}

/// A request's use of a connection.
pub struct Use {
    digest: Arc<ProxyDigest>,
    key: u64,
    /// Which of the connection's requests it is.
    turn: u32,
}

impl Use {
    /// A request gets a connection. None if nobody has bounds for it; an error if it was shut down.
    pub fn begin(digest: &Digest, key: impl FnOnce() -> u64) -> Result<Option<Self>, Spent> {
        let Some(digest) = digest.proxy_digest.clone() else { return Ok(None) };
        let Some(connection) = connection(&digest) else { return Ok(None) };
        let mut state = lock(&connection.state);
        if state.is_spent {
            return Err(Spent);
        }
        if let Some(key) = state.idle.take() {
            connection.kept.forget(key);
        }
        state.served += 1;
        let turn = state.served;
        drop(state);
        Ok(Some(Self { digest, key: key(), turn }))
    }

    /// The request is over, and the connection in the pool if it can be used again: it stays there if
    /// the bounds allow that.
    pub fn end(self, bounds: Bounds) {
        // Where nobody else has it, it is closed already.
        let is_pooled = Arc::strong_count(&self.digest) > 1;
        let Some(connection) = connection(&self.digest).filter(|_| is_pooled) else { return };
        let mut state = lock(&connection.state);
        if state.served != self.turn {
            return;
        }
        if self.turn < bounds.requests && connection.kept.admits(self.key, bounds.size) {
            state.idle = Some(self.key);
        } else {
            state.is_spent = true;
            // An error means that it is closed.
            let _ = connection.twin.shutdown(Shutdown::Both);
        }
    }
}

/// A connection was in the pool that is closed by now.
#[derive(Debug)]
pub struct Spent;

fn connection(digest: &ProxyDigest) -> Option<&Connection> {
    digest.user_data.as_ref()?.downcast_ref()
}

/// Numbers are whole at every moment, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    const KEY: u64 = 7;
    const BOUNDS: Bounds = Bounds { size: 1, requests: 3 };

    fn begin(stream: &Stream) -> Result<Use, Spent> {
        let digest = Digest { proxy_digest: stream.get_proxy_digest(), ..Digest::default() };
        Use::begin(&digest, || KEY).map(Option::unwrap)
    }

    fn counted(kept: &Kept) -> usize {
        lock(&kept.0).get(&KEY).copied().unwrap_or(0)
    }

    #[tokio::test]
    async fn connections_are_counted_while_they_are_idle() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::Inet(listener.local_addr().unwrap());
        let kept = Kept::default();
        let (first, mut second) =
            (kept.connect(&address).await.unwrap(), kept.connect(&address).await.unwrap());
        let uses = [begin(&first).unwrap(), begin(&second).unwrap()];
        assert_eq!(counted(&kept), 0, "those at work are not counted");
        uses.into_iter().for_each(|one| one.end(BOUNDS));
        assert_eq!(counted(&kept), 1);
        assert!(begin(&second).is_err(), "there was no room for it");
        assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "so that the pool drops it");
        // Whoever was there before has no say any more.
        let (before, now) = (begin(&first).unwrap(), begin(&first).unwrap());
        before.end(Bounds { size: 0, ..BOUNDS });
        assert_eq!(counted(&kept), 0);
        now.end(BOUNDS);
        assert!(begin(&first).is_err(), "that was its last request");
        assert!(lock(&kept.0).is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_counted_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::Inet(listener.local_addr().unwrap());
        let kept = Kept::default();
        let stream = kept.connect(&address).await.unwrap();
        begin(&stream).unwrap().end(BOUNDS);
        assert_eq!(counted(&kept), 1);
        drop(stream);
        assert_eq!(counted(&kept), 0);
        let stream = kept.connect(&address).await.unwrap();
        let last = begin(&stream).unwrap();
        drop(stream);
        last.end(BOUNDS);
        assert_eq!(counted(&kept), 0, "it never came into the pool");
    }
}
