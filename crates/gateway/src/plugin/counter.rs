//! Exact request counters by key.

use serde::Deserialize;

use super::keyed::{Bucket, Entry, Keyed};

/// All counters of a gateway.
pub type Counters = Keyed<Count>;

/// A number of requests per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub count: u64,
    pub window_ms: u64,
    pub kind: Window,
}

/// How windows follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// Starts with the first request of a key.
    Fixed,
    /// Aligned to the clock, and the previous window counts by the share still in view.
    Sliding,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub admitted: bool,
    pub remaining: u64,
    /// Milliseconds until the window ends.
    pub reset_ms: u64,
}

/// Times are milliseconds of the Unix clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    /// When the current window ends.
    ends: u64,
    used: u64,
    /// Requests of the window before, for sliding windows.
    previous: u64,
    /// From when on this says nothing any more.
    expires: u64,
}

impl Counters {
    /// Counts one request of `key` against its quota.
    pub fn take(&self, bucket: Bucket, key: &str, quota: Quota, now_ms: u64) -> Verdict {
        self.with(bucket, key, now_ms, |count| count.take(quota, now_ms))
    }
}

impl Entry for Count {
    fn expires(&self) -> u64 {
        self.expires
    }
}

impl Count {
    fn take(&mut self, quota: Quota, now_ms: u64) -> Verdict {
        match quota.kind {
            Window::Fixed => self.take_fixed(quota, now_ms),
            Window::Sliding => self.take_sliding(quota, now_ms),
        }
    }

    fn take_fixed(&mut self, quota: Quota, now_ms: u64) -> Verdict {
        if self.ends <= now_ms {
            *self = Self {
                ends: now_ms.saturating_add(quota.window_ms),
                used: 0,
                previous: 0,
                expires: now_ms.saturating_add(quota.window_ms),
            };
        }
        let admitted = self.used < quota.count;
        self.used += u64::from(admitted);
        Verdict {
            admitted,
            remaining: quota.count.saturating_sub(self.used),
            reset_ms: self.ends - now_ms,
        }
    }

    fn take_sliding(&mut self, quota: Quota, now_ms: u64) -> Verdict {
        let window = quota.window_ms.max(1);
        let ends = (now_ms / window + 1).saturating_mul(window);
        if self.ends != ends {
            let adjacent = self.ends.saturating_add(window) == ends;
            let previous = if adjacent { self.used } else { 0 };
            *self = Self { ends, used: 0, previous, expires: ends.saturating_add(window) };
        }
        let left = ends - now_ms;
        let before = in_view(self.previous, left, window);
        let room = quota.count.saturating_sub(before).saturating_sub(self.used);
        let admitted = room > 0;
        self.used += u64::from(admitted);
        Verdict { admitted, remaining: room.saturating_sub(1), reset_ms: left }
    }
}

/// What a window that is over still counts for, of which `left` of `window` is in view. Rounded up,
/// so that a request is admitted only if the whole estimate has room.
pub fn in_view(used: u64, left: u64, window: u64) -> u64 {
    let weighted = u128::from(used) * u128::from(left);
    u64::try_from(weighted.div_ceil(u128::from(window.max(1)))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Quota = Quota { count: 2, window_ms: 10_000, kind: Window::Fixed };
    const SLIDING: Quota = Quota { count: 10, window_ms: 10_000, kind: Window::Sliding };

    fn verdict(admitted: bool, remaining: u64, reset_ms: u64) -> Verdict {
        Verdict { admitted, remaining, reset_ms }
    }

    #[test]
    fn a_fixed_window_starts_with_its_first_request() {
        let counters = Counters::default();
        let take = |now| counters.take(1, "k", FIXED, now);
        assert_eq!(take(5_000), verdict(true, 1, 10_000));
        assert_eq!(take(7_500), verdict(true, 0, 7_500));
        assert_eq!(take(14_999), verdict(false, 0, 1));
        assert_eq!(take(15_000), verdict(true, 1, 10_000));
    }

    #[test]
    fn keys_and_buckets_count_apart() {
        let counters = Counters::default();
        for (bucket, key) in [(1, "a"), (1, "b"), (2, "a")] {
            assert_eq!(counters.take(bucket, key, FIXED, 0).remaining, 1);
        }
        assert_eq!(counters.len(), 3);
    }

    #[test]
    fn a_sliding_window_remembers_the_one_before() {
        let counters = Counters::default();
        let take = |now| counters.take(1, "k", SLIDING, now);
        for remaining in (0..10).rev() {
            assert_eq!(take(9_000), verdict(true, remaining, 1_000));
        }
        assert_eq!(take(9_999), verdict(false, 0, 1));
        // At a quarter of the next window three quarters of the ten are still in view.
        assert_eq!(take(12_500), verdict(true, 1, 7_500));
        assert_eq!(take(12_500), verdict(true, 0, 7_500));
        assert_eq!(take(12_500), verdict(false, 0, 7_500));
        // Two windows later nothing is.
        assert_eq!(take(30_000), verdict(true, 9, 10_000));
    }

    #[test]
    fn expired_keys_make_room_for_new_ones() {
        let counters = Counters::default();
        for round in 0..200 {
            for key in 0..100 {
                counters.take(1, &format!("{round}-{key}"), FIXED, round * 20_000);
            }
        }
        assert!(counters.len() <= 64 * 64, "{}", counters.len());
    }

    #[test]
    fn memory_is_bounded_even_if_nothing_expires() {
        let counters = Counters::with_room(64 * 100);
        for key in 0..50_000_u64 {
            counters.take(1, &key.to_string(), FIXED, key / 10);
        }
        assert!(counters.len() <= 64 * 100, "{}", counters.len());
        let last = counters.take(1, "49999", FIXED, 5_000);
        assert_eq!(last.remaining, 0, "the newest keys are kept");
    }

    #[test]
    fn threads_together_get_exactly_the_quota() {
        let counters = Counters::default();
        let quota = Quota { count: 1_000, ..FIXED };
        let admitted: usize = std::thread::scope(|scope| {
            let work = || (0..500).filter(|_| counters.take(1, "k", quota, 0).admitted).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1_000);
    }
}
