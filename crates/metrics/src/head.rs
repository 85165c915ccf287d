//! The newest samples, in memory: which series there are, and what a report adds to them.

use std::collections::{HashMap, HashSet};

use crate::cluster::Outcome;
use crate::codec::Chunk;
use crate::key::{self, INSTANCE, Key, NAME};
use crate::record::{Carried, Carry, Entry, Instance, Record};
use crate::report::{Report, Sample};

/// Reports without a round that come closer than this, in milliseconds, are parts of one.
const PARTS: i64 = 1_000;

#[derive(Default)]
pub struct Head {
    series: Vec<Series>,
    numbers: HashMap<Key, u32>,
    instances: HashMap<String, Instance>,
    /// Times of the first and the newest report.
    pub opened: Option<i64>,
    pub newest: i64,
}

struct Series {
    key: Key,
    chunk: Chunk,
    /// Time of the newest sample, also when that is in a block already.
    last: i64,
    /// The run that its newest sample is from.
    run: u64,
}

impl Head {
    /// Decides what of a report is kept. Nothing is changed until [`Head::apply`].
    pub fn plan(&self, report: &Report<'_>, series_max: usize) -> (Entry, Outcome) {
        let mut outcome = Outcome::default();
        let mut state = self.next_state(report);
        let (mut chosen, added) = self.choose(report, series_max, &mut outcome);
        state.has_gaps |= outcome.over_limit > 0;
        chosen.sort_by_key(|(number, _)| *number);
        let whole = chosen.len();
        chosen.dedup_by_key(|(number, _)| *number);
        outcome.repeated = whole - chosen.len();
        let mut samples = Vec::with_capacity(chosen.len());
        for (number, sample) in chosen {
            let series = self.series.get(number as usize);
            let last = series.map(|series| series.last);
            if last.is_some_and(|last| last >= state.time) {
                outcome.repeated += 1;
                continue;
            }
            let is_new_in_run = series.is_none_or(|series| series.run != state.run);
            if sample.is_counter && is_new_in_run {
                samples.extend(zero(&state, last).map(|time| (number, time, 0.0)));
            }
            samples.push((number, state.time, sample.value));
            outcome.stored += 1;
        }
        (Entry { instance: report.instance.to_owned(), state, added, samples }, outcome)
    }

    fn next_state(&self, report: &Report<'_>) -> Instance {
        let run = fingerprint(report.run);
        let known = self.instances.get(report.instance);
        let same_run = known.filter(|known| known.run == run);
        let has_gaps = report.truncated || same_run.is_some_and(|known| known.has_gaps);
        let part_of = same_run.filter(|known| match (report.round, known.round) {
            (Some(round), Some(before)) => round == before,
            (None, None) => (0..PARTS).contains(&report.time.saturating_sub(known.time)),
            _ => false,
        });
        match part_of {
            Some(known) => Instance { has_gaps, ..*known },
            None => Instance {
                run,
                round: report.round,
                time: report.time,
                previous: known.map(|known| known.time),
                has_gaps,
            },
        }
    }

    /// Numbers of the series in a report, with new ones for new series while there is room.
    fn choose<'r, 'a>(
        &self,
        report: &'r Report<'a>,
        series_max: usize,
        outcome: &mut Outcome,
    ) -> (Vec<(u32, &'r Sample<'a>)>, Vec<Key>) {
        let mut chosen = Vec::with_capacity(report.samples.len());
        let mut added: HashMap<Key, u32> = HashMap::new();
        let mut keys = Vec::new();
        let mut bytes = Vec::new();
        for sample in &report.samples {
            let mut labels = vec![(NAME, sample.name), (INSTANCE, report.instance)];
            labels.extend(sample.labels.iter().map(|(name, value)| (*name, value.as_ref())));
            key::write(&mut labels, &mut bytes);
            let known = self.numbers.get(bytes.as_slice()).or_else(|| added.get(bytes.as_slice()));
            if let Some(number) = known {
                chosen.push((*number, sample));
                continue;
            }
            let next = self.series.len() + keys.len();
            let number = u32::try_from(next).ok().filter(|_| next < series_max);
            let Some(number) = number else {
                outcome.over_limit += 1;
                continue;
            };
            let key = Key::from_bytes(&bytes);
            added.insert(key.clone(), number);
            keys.push(key);
            chosen.push((number, sample));
        }
        (chosen, keys)
    }

    /// The series of a number.
    pub fn key(&self, number: u32) -> Option<&Key> {
        self.series.get(number as usize).map(|series| &series.key)
    }

    /// Takes over what a record says.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Report(Entry { instance, state, added, samples }) => {
                for key in added {
                    self.add(key, i64::MIN, state.run);
                }
                for (number, time, value) in samples {
                    // A record that passed its checksum fits; if not, it must not stop the start.
                    let Some(series) = self.series.get_mut(number as usize) else { continue };
                    if time > series.last {
                        series.chunk.push(time, value);
                        (series.last, series.run) = (time, state.run);
                    }
                }
                self.opened.get_or_insert(state.time);
                self.newest = self.newest.max(state.time);
                self.instances.insert(instance, state);
            }
            Record::Carry(Carry { instances, series }) => {
                self.instances.extend(instances);
                for Carried { key, run, last } in series {
                    self.add(key, last, run);
                }
            }
        }
    }

    fn add(&mut self, key: Key, last: i64, run: u64) {
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        self.numbers.insert(key.clone(), number);
        self.series.push(Series { key, chunk: Chunk::default(), last, run });
    }

    /// What the next head must know: series and gateways that were heard of since `oldest`.
    pub fn carry(&self, oldest: i64) -> Carry {
        let (kept, gone): (Vec<&Series>, Vec<&Series>) =
            self.series.iter().partition(|series| series.last >= oldest);
        // Should a forgotten series come back in the same run, it is not a new one.
        let gaps: HashSet<u64> = gone.iter().map(|series| series.run).collect();
        let recent = self.instances.iter().filter(|(_, state)| state.time >= oldest);
        let instance = |(name, state): (&String, &Instance)| {
            let has_gaps = state.has_gaps || gaps.contains(&state.run);
            (name.clone(), Instance { has_gaps, ..*state })
        };
        let carried = |one: &Series| Carried { key: one.key.clone(), run: one.run, last: one.last };
        Carry {
            instances: recent.map(instance).collect(),
            series: kept.into_iter().map(carried).collect(),
        }
    }

    /// Time of the newest sample.
    pub fn last(&self) -> Option<i64> {
        self.chunks().map(|(_, chunk)| chunk.last()).max()
    }

    /// Series with samples, in order of their keys.
    pub fn sorted(&self) -> Vec<(&Key, &Chunk)> {
        let mut all: Vec<_> = self.chunks().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    pub fn chunks(&self) -> impl Iterator<Item = (&Key, &Chunk)> {
        let all = self.series.iter().map(|series| (&series.key, &series.chunk));
        all.filter(|(_, chunk)| chunk.count > 0)
    }
}

/// When a counter that this run has not reported yet was zero: no later than the report before, which
/// did not have it. Without this its first value would count for nothing, as the increase of a
/// counter begins with its second sample; and a restart that soon counts further than the run before
/// would not look like one.
fn zero(state: &Instance, last: Option<i64>) -> Option<i64> {
    let previous = state.previous.filter(|_| !state.has_gaps)?;
    let after_last = last.map_or(i64::MIN, |last| last.saturating_add(1));
    Some(previous.max(after_last)).filter(|time| *time < state.time)
}

/// FNV-1a: the same in every version, which a log relies on.
fn fingerprint(run: &str) -> u64 {
    run.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
