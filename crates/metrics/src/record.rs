//! Entries of the log, as bytes. They say what was decided, not what arrived: reading them again
//! decides nothing.

use crate::codec::{
    put_bytes, put_number, put_signed, put_value, take, take_bytes, take_number, take_signed,
    take_value,
};
use crate::key::Key;

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Report(Entry),
    Carry(Carry),
}

/// An accepted report.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub instance: String,
    pub state: Instance,
    /// Series that had no number yet; they get the next ones.
    pub added: Vec<Key>,
    /// Numbers, times and values; in order of number, then of time.
    pub samples: Vec<(u32, i64, f64)>,
}

/// What is known of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Fingerprint of its run.
    pub run: u64,
    pub round: Option<u64>,
    /// When its newest report arrived.
    pub time: i64,
    /// When the one before arrived.
    pub previous: Option<i64>,
    /// Something of this run was left out, so that a series that is new here may be an old one.
    pub has_gaps: bool,
}

/// What a new log takes over from the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carry {
    pub instances: Vec<(String, Instance)>,
    pub series: Vec<Carried>,
}

/// A series with its run and the time of its newest sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    pub key: Key,
    pub run: u64,
    pub last: i64,
}

const REPORT: u8 = 1;
const CARRY: u8 = 2;

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Report(entry) => {
                out.push(REPORT);
                entry.encode(&mut out);
            }
            Self::Carry(Carry { instances, series }) => {
                out.push(CARRY);
                put_number(&mut out, instances.len() as u64);
                for (name, state) in instances {
                    put_instance(&mut out, name, state);
                }
                put_number(&mut out, series.len() as u64);
                for Carried { key, run, last } in series {
                    put_bytes(&mut out, key.bytes());
                    out.extend_from_slice(&run.to_le_bytes());
                    put_signed(&mut out, *last);
                }
            }
        }
        out
    }

    /// `None` for bytes that no version has written.
    pub fn decode(mut input: &[u8]) -> Option<Self> {
        let input = &mut input;
        let record = match take(input, 1)? {
            [REPORT] => Self::Report(Entry::decode(input)?),
            [CARRY] => {
                let mut carry = Carry::default();
                for _ in 0..take_number(input)? {
                    carry.instances.push(take_instance(input)?);
                }
                for _ in 0..take_number(input)? {
                    let key = Key::from_bytes(take_bytes(input)?);
                    let run = take_fixed(input)?;
                    carry.series.push(Carried { key, run, last: take_signed(input)? });
                }
                Self::Carry(carry)
            }
            _ => return None,
        };
        input.is_empty().then_some(record)
    }
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { instance, state, added, samples } = self;
        put_instance(out, instance, state);
        put_number(out, added.len() as u64);
        for key in added {
            put_bytes(out, key.bytes());
        }
        put_number(out, samples.len() as u64);
        let mut before = 0;
        for (series, time, value) in samples {
            put_number(out, u64::from(series.wrapping_sub(before)));
            put_signed(out, time.wrapping_sub(state.time));
            put_value(out, *value);
            before = *series;
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let (instance, state) = take_instance(input)?;
        let mut entry = Self { instance, state, added: Vec::new(), samples: Vec::new() };
        for _ in 0..take_number(input)? {
            entry.added.push(Key::from_bytes(take_bytes(input)?));
        }
        let mut before: u32 = 0;
        for _ in 0..take_number(input)? {
            before = before.wrapping_add(u32::try_from(take_number(input)?).ok()?);
            let time = state.time.wrapping_add(take_signed(input)?);
            entry.samples.push((before, time, take_value(input)?));
        }
        Some(entry)
    }
}

fn put_instance(out: &mut Vec<u8>, name: &str, state: &Instance) {
    let Instance { run, round, time, previous, has_gaps } = *state;
    put_bytes(out, name.as_bytes());
    out.extend_from_slice(&run.to_le_bytes());
    put_signed(out, time);
    out.push(
        u8::from(round.is_some()) | u8::from(previous.is_some()) << 1 | u8::from(has_gaps) << 2,
    );
    if let Some(round) = round {
        put_number(out, round);
    }
    if let Some(previous) = previous {
        put_signed(out, previous);
    }
}

fn take_instance(input: &mut &[u8]) -> Option<(String, Instance)> {
    let name = String::from_utf8(take_bytes(input)?.to_vec()).ok()?;
    let run = take_fixed(input)?;
    let time = take_signed(input)?;
    let flags = take(input, 1)?.first().copied()?;
    let round = if flags & 1 == 0 { None } else { Some(take_number(input)?) };
    let previous = if flags & 2 == 0 { None } else { Some(take_signed(input)?) };
    Some((name, Instance { run, round, time, previous, has_gaps: flags & 4 != 0 }))
}

fn take_fixed(input: &mut &[u8]) -> Option<u64> {
    take(input, 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_every_shorter_one_is_refused() {
        let state = Instance { run: 7, round: Some(3), time: 90, previous: None, has_gaps: true };
        let key = Key::new(&mut [("a", "b")]);
        let samples = vec![(0, 80, 0.0), (0, 90, 1.5), (7, 90, 12.0)];
        let entry = Entry { instance: "gw".into(), state, added: vec![key.clone()], samples };
        let series = vec![Carried { key, run: 1, last: -5 }];
        let state = Instance { round: None, previous: Some(60), ..state };
        let carry = Carry { instances: vec![("gw".into(), state)], series };
        for record in [Record::Report(entry), Record::Carry(carry)] {
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Some(record));
            for length in 0..bytes.len() {
                assert_eq!(Record::decode(&bytes[..length]), None);
            }
        }
    }
}
