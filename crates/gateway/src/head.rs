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

/// How HTTP/2 begins without TLS (RFC 9113, 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is asked of heads.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub time: Duration,
    /// Whether clients may speak HTTP/2 without TLS.
    pub h2c: bool,
}

/// Where one connection stands; its socket and its requests share it.
#[derive(Debug)]
pub struct Head {
    state: AtomicU8,
    /// None: nothing is watched.
    limits: Option<Limits>,
}

tokio::task_local! {
    /// That of the connection this task serves.
    static OWN: Arc<Head>;
}

impl Head {
    #[must_use]
    pub fn new(limits: Option<Limits>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(ANYTHING), limits })
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
    /// How much of [`HTTP_2`] has come; None if it is something else.
    preface: Option<usize>,
}

impl Watch {
    pub fn new(head: Arc<Head>) -> Self {
        Self { head, end: None, preface: None }
    }

    /// Looks at the outcome of a read, and what it has brought.
    pub fn look(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        fresh: &[u8],
    ) -> Poll<io::Result<()>> {
        let Some(limits) = self.head.limits else { return read };
        let mut state = self.head.state.load(Ordering::Relaxed);
        if state == AWAITED && !fresh.is_empty() {
            state = BEGUN;
            (self.end, self.preface) = (None, limits.h2c.then_some(0));
        }
        if state == BEGUN && self.is_http_2(fresh) {
            state = ANYTHING;
        }
        if state == BEGUN && read.is_pending() {
            let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(limits.time)));
            ready!(end.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.head.state.store(state, Ordering::Relaxed);
        read
    }

    /// Whether the beginning of HTTP/2 is complete.
    fn is_http_2(&mut self, fresh: &[u8]) -> bool {
        let Some(expected) = self.preface.and_then(|come| HTTP_2.get(come..)) else { return false };
        let both = fresh.iter().zip(expected);
        let come = both.clone().take_while(|(one, other)| one == other).count();
        self.preface = self.preface.filter(|_| come == both.len()).map(|before| before + come);
        self.preface == Some(HTTP_2.len())
    }
}
