//! Series that are spread over several blocks, brought together again.

use std::collections::BTreeMap;
use std::io;

use crate::block::{Block, Place, Reader};
use crate::codec::Samples;
use crate::key::{Key, Matcher};

/// Where the chunks of a series are: the position of a block, and the place in it.
pub type Places = Vec<(usize, Place)>;

/// Blocks that are being read.
pub struct Gather {
    readers: Vec<Reader>,
    /// Samples in the chunks that were found.
    pub count: u64,
}

/// Which block could not be read, and why.
#[derive(Debug)]
pub struct Failed {
    pub position: usize,
    pub error: io::Error,
}

impl Gather {
    /// Finds the series that fit and have samples after `start` and up to `end`. It stops when it
    /// has found more than `samples_max` samples: [`Gather::count`] tells.
    pub fn open(
        blocks: &[Block],
        matcher: &Matcher,
        (start, end): (i64, i64),
        samples_max: u64,
    ) -> Result<(Self, BTreeMap<Key, Places>), Failed> {
        let mut gather = Self { readers: Vec::new(), count: 0 };
        let mut series = BTreeMap::<Key, Places>::new();
        for (position, block) in blocks.iter().enumerate() {
            let count = &mut gather.count;
            let found = |key: &[u8], place: Place| {
                *count = count.saturating_add(place.count);
                if *count > samples_max {
                    return;
                }
                match series.get_mut(key) {
                    Some(places) => places.push((position, place)),
                    None => {
                        series.insert(Key::from_bytes(key), vec![(position, place)]);
                    }
                }
            };
            let reader = Reader::open(block, matcher, (start, end), found);
            gather.readers.push(reader.map_err(|error| Failed { position, error })?);
            if gather.count > samples_max {
                break;
            }
        }
        Ok((gather, series))
    }

    /// Appends the samples at some places.
    pub fn read(&mut self, places: Places, out: &mut Vec<(i64, f64)>) -> Result<(), Failed> {
        for (position, place) in places {
            let Some(reader) = self.readers.get_mut(position) else { continue };
            let chunk = reader.chunk(place).map_err(|error| Failed { position, error })?;
            out.extend(Samples::read(chunk).into_iter().flatten());
        }
        Ok(())
    }
}

/// Puts samples in order of time. Only where a clock was set back do blocks overlap; then what came
/// first counts.
pub fn put_in_order(samples: &mut Vec<(i64, f64)>) {
    if !samples.is_sorted_by(|(one, _), (next, _)| one < next) {
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
    }
}
