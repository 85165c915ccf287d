//! Slows down guessing and flooding: failed sign-ins per e-mail and per address, and whatever else
//! may happen only so often, counted in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gantry_model::{Error, ErrorCode, Result, Timestamp};

/// Failures allowed within one window.
const FAILURES_MAX: u32 = 10;
const WINDOW_S: i64 = 300;
/// Names remembered at once; beyond it, those whose window is over are forgotten.
const NAMES_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Throttle {
    /// Refuses when one of `names` failed too often lately.
    pub(crate) fn check(&self, names: &[&str], now: Timestamp) -> Result<()> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = names.iter().any(|name| {
            failures.get(*name).is_some_and(|(count, since)| {
                *count >= FAILURES_MAX && since.plus_seconds(WINDOW_S) > now
            })
        });
        if refused {
            return Err(Error::new(
                ErrorCode::TooManyRequests,
                format!("too many failed sign-ins: try again in {} minutes", WINDOW_S / 60),
            ));
        }
        Ok(())
    }

    pub(crate) fn failed(&self, names: &[&str], now: Timestamp) {
        for name in names {
            self.count(name, now);
        }
    }

    /// Counts one more of what may happen `max` times within one window, and answers whether it may.
    pub(crate) fn take(&self, name: &str, max: u32, now: Timestamp) -> bool {
        self.count(name, now) <= max
    }

    /// How often `name` was counted in its present window, this time included.
    fn count(&self, name: &str, now: Timestamp) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= NAMES_MAX {
            counts.retain(|_, (_, since)| since.plus_seconds(WINDOW_S) > now);
        }
        let (count, since) = counts.entry(name.to_owned()).or_insert((0, now));
        if since.plus_seconds(WINDOW_S) <= now {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count
    }

    pub(crate) fn succeeded(&self, names: &[&str]) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            failures.remove(*name);
        }
    }
}
