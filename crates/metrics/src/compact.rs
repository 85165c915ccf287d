//! Compaction: when a day is over its blocks become one; when it is older than the full resolution,
//! its series are thinned out.
//!
//! Of a counter the newest value of each five minutes is kept, the first of a block, and both sides of
//! each reset: whatever it has grown between two values that are kept is what it has grown at full
//! resolution. Of a gauge the newest value of each five minutes is kept.

use std::io;
use std::path::Path;

use crate::block::{Block, Writer};
use crate::codec::Chunk;
use crate::gather::{Failed, Gather, put_in_order};
use crate::key::{Key, Matcher, NAME};
use crate::name::Extent;
use crate::store::Options;
use crate::text;

const DAY: i64 = 24 * 3_600_000;

/// Time between the samples of a counter that was thinned out, in milliseconds.
pub const RESOLUTION: i64 = 5 * 60_000;

/// Blocks that are to become one.
#[derive(Debug)]
pub struct Plan {
    pub blocks: Vec<Block>,
    pub extent: Extent,
}

/// What is due first, if anything. `blocks` are in order of their numbers.
pub fn plan(blocks: &[Block], now: i64, options: &Options) -> Option<Plan> {
    let day = |block: &Block| block.first.div_euclid(DAY);
    blocks.chunk_by(|one, next| day(one) == day(next)).find_map(|group| {
        let end = group.first().map(day)?.saturating_add(1).saturating_mul(DAY);
        let is_old = end.max(newest(group)) <= now.saturating_sub(options.full_ms);
        let thins = is_old && group.iter().any(|block| !block.extent().is_coarse);
        // The last stretch of a day is closed when the next one has begun.
        let joins = group.len() > 1 && end.saturating_add(options.window_ms) <= now;
        if !thins && !joins {
            return None;
        }
        let is_coarse = thins || group.iter().any(|block| block.extent().is_coarse);
        let (from, upto) = (group.first()?.extent().from, group.last()?.extent().upto);
        let extent = Extent { from, upto, is_coarse };
        Some(Plan { blocks: group.to_vec(), extent })
    })
}

fn newest(blocks: &[Block]) -> i64 {
    blocks.iter().map(|block| block.last).max().unwrap_or(i64::MAX)
}

/// Writes the block that takes the place of those of the plan.
pub fn merge(folder: &Path, plan: &Plan) -> Result<Option<Block>, Failed> {
    // Failures of the disk are nobody's fault.
    let own = |error: io::Error| Failed { position: usize::MAX, error };
    let all = (i64::MIN, i64::MAX);
    let (mut gather, series) = Gather::open(&plan.blocks, &Matcher::default(), all, u64::MAX)?;
    let mut writer = Writer::create(&plan.extent.path(folder)).map_err(own)?;
    let mut samples = Vec::new();
    for (key, places) in series {
        samples.clear();
        gather.read(places, &mut samples)?;
        put_in_order(&mut samples);
        writer.add(&key, &packed(&key, &samples, plan.extent.is_coarse)).map_err(own)?;
    }
    writer.finish().map_err(own)
}

fn packed(key: &Key, samples: &[(i64, f64)], is_coarse: bool) -> Chunk {
    let mut chunk = Chunk::default();
    let is_counter = text::is_counter(key.get(NAME));
    for (position, (time, value)) in samples.iter().enumerate() {
        if !is_coarse || stays(samples, position, is_counter) {
            chunk.push(*time, *value);
        }
    }
    chunk
}

/// Whether a sample is kept when a series is thinned out.
fn stays(samples: &[(i64, f64)], position: usize, is_counter: bool) -> bool {
    let Some((time, value)) = samples.get(position) else { return false };
    let bucket = |time: &i64| time.div_euclid(RESOLUTION);
    let before = position.checked_sub(1).and_then(|before| samples.get(before));
    let Some((next_time, next)) = samples.get(position + 1) else { return true };
    if bucket(time) != bucket(next_time) {
        return true;
    }
    is_counter && (next < value || before.is_none_or(|(_, before)| value < before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinned(name: &str, samples: &[(i64, f64)]) -> Vec<(i64, f64)> {
        packed(&Key::new(&mut [(NAME, name)]), samples, true).samples().collect()
    }

    #[test]
    fn counters_keep_their_growth_and_gauges_their_newest_value() {
        let minute = 60_000;
        let samples = [
            (0, 1.0),
            (minute, 2.0),
            (4 * minute, 9.0),
            (5 * minute, 10.0),
            (6 * minute, 12.0),
            (7 * minute, 3.0),
            (8 * minute, 4.0),
            (9 * minute, 5.0),
            (11 * minute, 6.0),
        ];
        let at = |positions: &[usize]| positions.iter().map(|at| samples[*at]).collect::<Vec<_>>();
        assert_eq!(thinned("apisix_http_status", &samples), at(&[0, 2, 4, 5, 7, 8]));
        let gauge = "apisix_nginx_http_current_connections";
        assert_eq!(thinned(gauge, &samples), at(&[2, 7, 8]));
        assert_eq!(thinned(gauge, &samples[..1]), at(&[0]));
    }
}
