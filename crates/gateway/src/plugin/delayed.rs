//! Counters that are decided on here and told to a Redis every interval (`sync_interval` of
//! limit-count). No request waits for the Redis; between two intervals gateways do not know of each
//! other, so together they may admit more than the quota. What was admitted within the last interval
//! of a fixed window, or before a gateway ends, is not told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};

use super::{
    Shared,
    counter::{Quota, Verdict, Window, in_view},
    keyed::{Bucket, Entry, Keyed},
    limit::Inapplicable,
    redis::Store,
    remote_counter,
};
use crate::clock;

/// Keys that one limit tells about at the same time.
const TELLING_MAX: usize = 32;

/// What a gateway knows of all keys.
pub type Estimates = Keyed<Estimate>;

/// Requests of one key and window, as far as this gateway knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    /// What the Redis has said last.
    known: u64,
    /// Admitted here, and on the way to the Redis.
    telling: u64,
    /// Admitted here since.
    untold: u64,
}

/// Times are milliseconds of the Unix clock.
#[derive(Debug, Default)]
pub struct Estimate {
    /// When the current window ends.
    ends: u64,
    current: Tally,
    /// The window before, for sliding windows.
    previous: Tally,
    expires: u64,
    /// Whether somebody will tell the Redis.
    is_due: bool,
}

/// What a Redis is to be told of one key, and of which window.
#[derive(Debug, PartialEq, Eq)]
struct News {
    ends: u64,
    current: u64,
    previous: u64,
}

/// What it answers.
struct Told {
    current: u64,
    previous: u64,
    /// When its window ends, if that is not a matter of the clock.
    ends: Option<u64>,
}

/// The counters of one limit.
pub struct Delayed {
    shared: Arc<Shared>,
    store: Arc<Store>,
    interval: Duration,
    due: Mutex<Due>,
}

/// Keys with something to tell.
#[derive(Default)]
struct Due {
    keys: Vec<Key>,
    /// Whether a task looks after them.
    is_looked_after: bool,
}

struct Key {
    bucket: Bucket,
    text: String,
    quota: Quota,
}

impl Tally {
    fn total(self) -> u64 {
        self.known.saturating_add(self.telling).saturating_add(self.untold)
    }

    fn begin(&mut self) -> u64 {
        self.telling = std::mem::take(&mut self.untold);
        self.telling
    }

    /// Without an answer it is told again; a Redis that had heard it counts it twice.
    fn end(&mut self, answer: Option<u64>) {
        match answer {
            Some(count) => self.known = count,
            None => self.untold = self.untold.saturating_add(self.telling),
        }
        self.telling = 0;
    }
}

impl Entry for Estimate {
    fn expires(&self) -> u64 {
        self.expires
    }
}

impl Estimate {
    fn take(&mut self, quota: Quota, now_ms: u64) -> Verdict {
        self.turn(quota, now_ms);
        let left = self.ends.saturating_sub(now_ms);
        let before = match quota.kind {
            Window::Fixed => 0,
            Window::Sliding => in_view(self.previous.total(), left, quota.window_ms),
        };
        let used = before.saturating_add(self.current.total());
        let room = quota.count.saturating_sub(used);
        let admitted = room > 0;
        self.current.untold += u64::from(admitted);
        Verdict { admitted, remaining: room.saturating_sub(1), reset_ms: left }
    }

    /// Goes on to the window that `now_ms` is in.
    fn turn(&mut self, quota: Quota, now_ms: u64) {
        let window = quota.window_ms.max(1);
        let ends = match quota.kind {
            Window::Fixed if self.ends > now_ms => return,
            Window::Fixed => now_ms.saturating_add(window),
            Window::Sliding => (now_ms / window + 1).saturating_mul(window),
        };
        if self.ends == ends {
            return;
        }
        let is_next = quota.kind == Window::Sliding && self.ends.saturating_add(window) == ends;
        let previous = if is_next { self.current } else { Tally::default() };
        let expires = match quota.kind {
            Window::Fixed => ends,
            Window::Sliding => ends.saturating_add(window),
        };
        let current = Tally::default();
        *self = Self { ends, current, previous, expires, is_due: self.is_due };
    }

    /// None if there is nothing to tell; then nobody looks after the key any more.
    fn begin(&mut self, quota: Quota, now_ms: u64) -> Option<News> {
        self.turn(quota, now_ms);
        self.is_due = self.current.untold > 0 || self.previous.untold > 0;
        self.is_due.then(|| News {
            ends: self.ends,
            current: self.current.begin(),
            previous: self.previous.begin(),
        })
    }

    /// Notes what became of news. Answers whether there are others.
    fn end(&mut self, news: &News, told: Option<&Told>, window_ms: u64) -> bool {
        let current = told.map(|told| told.current);
        if self.ends == news.ends {
            self.current.end(current);
            self.previous.end(told.map(|told| told.previous));
            if let Some(ends) = told.and_then(|told| told.ends) {
                (self.ends, self.expires) = (ends, ends);
            }
        } else if self.ends == news.ends.saturating_add(window_ms) {
            // A sliding window has turned in between.
            self.previous.end(current);
        }
        self.is_due = self.current.untold > 0 || self.previous.untold > 0;
        self.is_due
    }
}

impl Delayed {
    pub fn new(shared: &Arc<Shared>, store: Arc<Store>, interval: Duration) -> Self {
        Self { shared: Arc::clone(shared), store, interval, due: Mutex::default() }
    }

    /// Counts one request of `key` against its quota, and sees to it that the Redis gets to know.
    pub fn take(self: &Arc<Self>, bucket: Bucket, key: &str, quota: Quota, now_ms: u64) -> Verdict {
        let (verdict, is_new) = self.shared.estimates.with(bucket, key, now_ms, |estimate| {
            let verdict = estimate.take(quota, now_ms);
            let is_new = verdict.admitted && !std::mem::replace(&mut estimate.is_due, true);
            (verdict, is_new)
        });
        if is_new {
            self.note(Key { bucket, text: key.to_owned(), quota });
        }
        verdict
    }

    fn note(self: &Arc<Self>, key: Key) {
        let mut due = self.due();
        due.keys.push(key);
        if !std::mem::replace(&mut due.is_looked_after, true) {
            self.shared.background.spawn(Arc::clone(self).look_after());
        }
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the Redis every interval, until there is nothing to tell.
    async fn look_after(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.interval).await;
            let keys = {
                let mut due = self.due();
                due.is_looked_after = !due.keys.is_empty();
                std::mem::take(&mut due.keys)
            };
            if keys.is_empty() {
                return;
            }
            stream::iter(keys).for_each_concurrent(TELLING_MAX, |key| self.tell(key)).await;
        }
    }

    async fn tell(&self, key: Key) {
        let now_ms = clock::now_ms();
        let begin = |estimate: &mut Estimate| estimate.begin(key.quota, now_ms);
        // A key may have been forgotten for want of room.
        let news = self.shared.estimates.with_known(key.bucket, &key.text, begin).flatten();
        let Some(news) = news else { return };
        let told = told(&self.store, &key, &news).await.ok();
        let end = |estimate: &mut Estimate| estimate.end(&news, told.as_ref(), key.quota.window_ms);
        if self.shared.estimates.with_known(key.bucket, &key.text, end) == Some(true) {
            self.due().keys.push(key);
        }
    }
}

async fn told(store: &Store, key: &Key, news: &News) -> Result<Told, Inapplicable> {
    let window_ms = key.quota.window_ms.max(1);
    match key.quota.kind {
        Window::Fixed => {
            let (current, left) =
                remote_counter::add_fixed(store, &key.text, news.current, window_ms).await?;
            Ok(Told { current, previous: 0, ends: Some(clock::now_ms().saturating_add(left)) })
        }
        Window::Sliding => {
            let number = (news.ends / window_ms).saturating_sub(1);
            let add = |number, more| {
                remote_counter::add_sliding(store, &key.text, number, more, window_ms)
            };
            let previous = add(number.saturating_sub(1), news.previous).await?;
            let current = add(number, news.current).await?;
            Ok(Told { current, previous, ends: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Quota = Quota { count: 5, window_ms: 10_000, kind: Window::Fixed };
    const SLIDING: Quota = Quota { count: 10, window_ms: 10_000, kind: Window::Sliding };

    fn admitted(estimate: &mut Estimate, quota: Quota, now: u64) -> usize {
        (0..20).filter(|_| estimate.take(quota, now).admitted).count()
    }

    #[test]
    fn what_others_have_used_is_known_once_the_redis_was_told() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.take(FIXED, 1_000).remaining, 4);
        let news = estimate.begin(FIXED, 1_500).unwrap();
        assert_eq!(news, News { ends: 11_000, current: 1, previous: 0 });
        assert_eq!(estimate.take(FIXED, 1_600).remaining, 3, "on the way it counts too");
        let told = Told { current: 3, previous: 0, ends: Some(4_000) };
        assert!(estimate.end(&news, Some(&told), 10_000), "one request came in between");
        let verdict = estimate.take(FIXED, 2_000);
        assert_eq!((verdict.remaining, verdict.reset_ms), (0, 2_000), "three, and one, and this");
        assert!(!estimate.take(FIXED, 3_999).admitted);
        assert!(estimate.take(FIXED, 4_000).admitted, "a new window");
        assert_eq!(estimate.begin(FIXED, 4_000).unwrap().current, 1, "the old one is over");
    }

    #[test]
    fn what_did_not_arrive_is_told_again() {
        let mut estimate = Estimate::default();
        assert_eq!(admitted(&mut estimate, FIXED, 0), 5);
        let news = estimate.begin(FIXED, 100).unwrap();
        assert!(estimate.end(&news, None, 10_000));
        assert!(!estimate.take(FIXED, 200).admitted);
        assert_eq!(estimate.begin(FIXED, 300).unwrap(), news);
        let told = Told { current: 5, previous: 0, ends: None };
        assert!(!estimate.end(&news, Some(&told), 10_000));
        assert_eq!(estimate.begin(FIXED, 400), None);
    }

    #[test]
    fn an_answer_for_a_window_that_has_turned_is_about_the_one_before() {
        let mut estimate = Estimate::default();
        assert_eq!(admitted(&mut estimate, SLIDING, 9_000), 10);
        let news = estimate.begin(SLIDING, 9_900).unwrap();
        assert_eq!(news, News { ends: 10_000, current: 10, previous: 0 });
        // Half of the ten are still in view.
        assert_eq!(admitted(&mut estimate, SLIDING, 15_000), 5);
        let told = Told { current: 16, previous: 0, ends: None };
        assert!(estimate.end(&news, Some(&told), 10_000));
        assert_eq!(estimate.previous, Tally { known: 16, ..Tally::default() });
        assert!(!estimate.take(SLIDING, 15_000).admitted);
        // A quarter of sixteen, and the five.
        assert_eq!(admitted(&mut estimate, SLIDING, 17_500), 1);
    }

    #[test]
    fn what_a_sliding_window_was_not_told_in_time_is_told_of_the_window_before() {
        let mut estimate = Estimate::default();
        estimate.take(SLIDING, 9_999);
        let news = estimate.begin(SLIDING, 10_001).unwrap();
        assert_eq!(news, News { ends: 20_000, current: 0, previous: 1 });
    }
}
