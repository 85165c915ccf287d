//! Slows down guessing: failed sign-ins per e-mail and per address, in memory.

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
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= NAMES_MAX {
            failures.retain(|_, (_, since)| since.plus_seconds(WINDOW_S) > now);
        }
        for name in names {
            let (count, since) = failures.entry((*name).to_owned()).or_insert((0, now));
            if since.plus_seconds(WINDOW_S) <= now {
                (*count, *since) = (0, now);
            }
            *count += 1;
        }
    }

    pub(crate) fn succeeded(&self, names: &[&str]) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            failures.remove(*name);
        }
    }
}
