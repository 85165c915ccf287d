//! New ids: 63 bits of milliseconds since 2024 (41), machine (10) and a sequence (12).

use std::sync::atomic::{AtomicI64, Ordering};

use gantry_model::{Id, Timestamp};

/// 2024-01-01T00:00:00Z in milliseconds since 1970.
const EPOCH_MS: i64 = 1_704_067_200_000;
const MACHINE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;

/// Hands out ids that rise and never repeat, also when the clock stands or runs back.
pub(crate) struct IdSource {
    machine: i64,
    /// Milliseconds since the epoch and sequence of the last id.
    last: AtomicI64,
}

impl IdSource {
    /// `machine` tells servers on one database apart; its low ten bits count.
    pub(crate) fn new(machine: u16) -> Self {
        Self { machine: i64::from(machine) & ((1 << MACHINE_BITS) - 1), last: AtomicI64::new(0) }
    }

    pub(crate) fn next(&self, now: Timestamp) -> Id {
        let ms = (now.micros() / 1000 - EPOCH_MS).max(1);
        let earliest = ms << SEQUENCE_BITS;
        let step = |last: i64| (last + 1).max(earliest);
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |l| Some(step(l)));
        let tick = step(last.unwrap_or_default());
        let (ms, sequence) = (tick >> SEQUENCE_BITS, tick & ((1 << SEQUENCE_BITS) - 1));
        let number =
            (ms << (MACHINE_BITS + SEQUENCE_BITS)) | (self.machine << SEQUENCE_BITS) | sequence;
        Id::new(number).expect("a time after 2024 makes a positive id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_while_the_clock_stands_or_runs_back() {
        let ids = IdSource::new(7);
        let now = Timestamp::from_seconds(1_800_000_000);
        let mut last = ids.next(now);
        for step in 0..10_000 {
            let next = ids.next(now.plus_seconds(-(step % 3)));
            assert!(next > last);
            last = next;
        }
    }
}
