//! The Unix clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970; zero before it.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// The same in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
