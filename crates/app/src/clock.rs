//! What time it is: the system's clock, or one that tests turn by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gantry_model::Timestamp;

/// A clock; clones of a fixed one show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `time` until it is turned.
    #[must_use]
    pub fn fixed(time: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(time.micros()))))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(match &self.0 {
            Some(micros) => micros.load(Ordering::SeqCst),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            }
        })
    }

    /// Moves a fixed clock forward; the system's clock does not listen.
    pub fn turn(&self, seconds: i64) {
        if let Some(micros) = &self.0 {
            micros.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        }
    }
}
