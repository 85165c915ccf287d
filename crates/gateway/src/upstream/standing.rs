//! What is known about one node beyond its configuration: whether it is well, how busy and how fast
//! it is. All of it atomics, because every request reads it.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What somebody saw of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Success,
    /// It answered with a bad status.
    HttpFailure,
    /// It could not be reached, or hung up.
    TcpFailure,
    Timeout,
}

/// The state of one node; outlives changes of the configuration that keep the node.
#[derive(Default)]
pub struct Standing {
    /// Bit 32 is set if the node is down; below it one byte for each kind of report.
    health: AtomicU64,
    /// Requests in flight.
    busy: AtomicUsize,
    speed: Speed,
}

const DOWN: u64 = 1 << 32;
const SUCCESSES: u64 = 0xff;
const FAILURES: u64 = 0xffff_ff00;

impl Report {
    fn shift(self) -> u32 {
        match self {
            Self::Success => 0,
            Self::HttpFailure => 8,
            Self::TcpFailure => 16,
            Self::Timeout => 24,
        }
    }
}

impl Standing {
    /// Whether requests should go there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.health.load(Ordering::Relaxed) & DOWN == 0
    }

    /// Counts a report; `limit` reports of one kind in a row change the state, zero never. Answers
    /// the new state if it has changed.
    pub fn report(&self, report: Report, limit: u8) -> Option<bool> {
        let step = |health| judged(health, report, limit);
        let before = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok()?;
        let after = step(before)?;
        ((before ^ after) & DOWN != 0).then_some(after & DOWN == 0)
    }

    /// Requests that are with this node now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// The decayed time of its answers in milliseconds; zero if there were none lately.
    #[must_use]
    pub fn slowness(&self) -> f32 {
        self.speed.at(Speed::now())
    }
}

/// The state after a report; None if it stays as it is.
fn judged(health: u64, report: Report, limit: u8) -> Option<u64> {
    let good = report == Report::Success;
    let down = health & DOWN != 0;
    // Nobody counts the good news of the well, or the bad news of the ill.
    let expected =
        if down { !good && health & SUCCESSES == 0 } else { good && health & FAILURES == 0 };
    if limit == 0 || expected {
        return None;
    }
    let kept = health & DOWN | health & if good { SUCCESSES } else { FAILURES };
    let count = (kept >> report.shift()) & 0xff;
    Some(if count + 1 < u64::from(limit) {
        kept + (1 << report.shift())
    } else if good {
        0
    } else {
        DOWN
    })
}

/// A mean of durations in which the past counts less and less.
#[derive(Default)]
struct Speed {
    /// Milliseconds as a 32 bit float above, the time of the last answer below.
    packed: AtomicU64,
}

/// What a failure counts for at least.
const PENALTY: Duration = Duration::from_secs(5);
/// After this time a duration counts for a third.
const DECAY: f32 = 10_000.0;

impl Speed {
    /// Milliseconds since the process began; wraps after weeks, which costs one stale comparison.
    fn now() -> u32 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed().as_millis() as u32
    }

    fn at(&self, now: u32) -> f32 {
        let packed = self.packed.load(Ordering::Relaxed);
        f32::from_bits((packed >> 32) as u32) * Self::weight(now.wrapping_sub(packed as u32))
    }

    fn weight(age: u32) -> f32 {
        (-(age as f32) / DECAY).exp()
    }

    /// Two answers at once may lose one of them.
    fn observe(&self, took: Duration, now: u32) {
        let packed = self.packed.load(Ordering::Relaxed);
        // The first answer says it all.
        let weight = if packed == 0 { 0.0 } else { Self::weight(now.wrapping_sub(packed as u32)) };
        let before = f32::from_bits((packed >> 32) as u32);
        let mean = before * weight + took.as_secs_f32() * 1000.0 * (1.0 - weight);
        let packed = u64::from(mean.to_bits()) << 32 | u64::from(now);
        self.packed.store(packed, Ordering::Relaxed);
    }
}

/// Counts a request as in flight on its node until dropped.
pub struct Lease {
    standing: Arc<Standing>,
    began: Instant,
}

impl Lease {
    #[must_use]
    pub fn new(standing: &Arc<Standing>) -> Self {
        standing.busy.fetch_add(1, Ordering::Relaxed);
        Self { standing: Arc::clone(standing), began: Instant::now() }
    }

    /// The node has answered: it took the time since the lease began. A node that fails is not fast,
    /// and how long the client takes for the rest is not the node's doing.
    pub fn answered(&self) {
        self.standing.speed.observe(self.began.elapsed(), Speed::now());
    }

    /// The node has failed: however fast it was about that, it counts as slow.
    pub fn failed(&self) {
        self.standing.speed.observe(self.began.elapsed().max(PENALTY), Speed::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.standing.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(standing: &Standing, reports: &[Report]) -> Vec<Option<bool>> {
        reports.iter().map(|report| standing.report(*report, 2)).collect()
    }

    #[test]
    fn a_limit_of_reports_in_a_row_changes_the_state() {
        use Report::{HttpFailure, Success, TcpFailure, Timeout};
        let standing = Standing::default();
        assert_eq!(reports(&standing, &[HttpFailure, Success, HttpFailure]), [None; 3]);
        assert_eq!(reports(&standing, &[TcpFailure, Timeout]), [None; 2], "each kind for itself");
        assert!(standing.is_up());
        assert_eq!(reports(&standing, &[HttpFailure]), [Some(false)]);
        assert!(!standing.is_up());
        assert_eq!(reports(&standing, &[Success, TcpFailure, Success]), [None; 3]);
        assert_eq!(reports(&standing, &[Success]), [Some(true)]);
        assert!(standing.is_up());
        assert_eq!(reports(&standing, &[TcpFailure]), [None], "counts start anew");
    }

    #[test]
    fn a_limit_of_zero_counts_nothing() {
        let standing = Standing::default();
        for _ in 0..300 {
            assert_eq!(standing.report(Report::Timeout, 0), None);
        }
        assert_eq!(standing.health.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_node_that_fails_is_not_fast() {
        let standing = Arc::new(Standing::default());
        drop(Lease::new(&standing));
        assert_eq!(standing.speed.packed.load(Ordering::Relaxed), 0);
        let lease = Lease::new(&standing);
        lease.answered();
        let known = standing.speed.packed.load(Ordering::Relaxed);
        assert_ne!(known, 0);
        drop((lease, Lease::new(&standing)));
        assert_eq!(standing.speed.packed.load(Ordering::Relaxed), known);
        assert_eq!(standing.busy(), 0);
        let other = Arc::new(Standing::default());
        Lease::new(&other).failed();
        assert!(other.slowness() > standing.slowness(), "failing at once is no speed");
    }

    #[test]
    fn old_durations_fade() {
        let speed = Speed::default();
        speed.observe(Duration::from_millis(100), 20_000);
        let fresh = speed.at(20_000);
        assert!((80.0..=100.0).contains(&fresh), "{fresh}");
        assert!(speed.at(30_000) < fresh * 0.4);
        speed.observe(Duration::from_millis(1), 60_000);
        assert!(speed.at(60_000) < 5.0);
    }
}
