//! How long a client may take for the head of a request, from the first byte to the last. Pingora
//! limits each wait for more, so a byte now and then would hold a connection for ever.
//!
//! Heads that come in one piece cost no timer. HTTP/2 has its own limits and is left alone.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

/// What the bytes of a connection are now.
const ANYTHING: u8 = 0;
/// The next byte begins a head.
const AWAITED: u8 = 1;
/// They belong to a head.
const BEGUN: u8 = 2;

/// How HTTP/2 begins without TLS.
const HTTP_2: &[u8] = b"PRI ";

/// Where one connection stands; its socket and its requests share it.
#[derive(Debug)]
pub struct Head {
    state: AtomicU8,
    limit: Duration,
}

tokio::task_local! {
    /// That of the connection this task serves.
    static OWN: Arc<Head>;
}

impl Head {
    #[must_use]
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(ANYTHING), limit })
    }

    /// Serves a connection on which heads are awaited.
    pub async fn watching<T>(self: Arc<Self>, serving: impl Future<Output = T>) -> T {
        self.state.store(AWAITED, Ordering::Relaxed);
        OWN.scope(self, serving).await
    }
}

/// The request's head is there.
pub fn complete() {
    let _ = OWN.try_with(|head| head.state.store(ANYTHING, Ordering::Relaxed));
}

/// The request is over; another one may follow.
pub fn awaited() {
    let _ = OWN.try_with(|head| head.state.store(AWAITED, Ordering::Relaxed));
}

/// What a socket adds to its reads.
#[derive(Debug)]
pub struct Watch {
    head: Arc<Head>,
    /// There while the rest of a head is waited for.
    end: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub fn new(head: Arc<Head>) -> Self {
        Self { head, end: None }
    }

    /// Looks at the outcome of a read, and what it has brought.
    pub fn look(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        fresh: &[u8],
    ) -> Poll<io::Result<()>> {
        match self.head.state.load(Ordering::Relaxed) {
            AWAITED if !fresh.is_empty() => {
                let state = if fresh.starts_with(HTTP_2) { ANYTHING } else { BEGUN };
                self.head.state.store(state, Ordering::Relaxed);
                self.end = None;
            }
            BEGUN if read.is_pending() => {
                let limit = self.head.limit;
                let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(end.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        read
    }
}
