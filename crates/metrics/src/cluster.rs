//! The series of one cluster: a log with what it holds in memory, and the blocks before it.
//!
//! Log and block of one stretch of time have the same number. A block is complete before the next
//! log is made, and that before the old log goes, so that a stop at any moment loses nothing: what
//! is found in between is finished at the next start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::block::{self, Block, Place, Reader};
use crate::codec::{Chunk, Samples};
use crate::head::Head;
use crate::key::{Key, Matcher};
use crate::record::Record;
use crate::report::Report;
use crate::store::Options;
use crate::wal::Log;

/// A clock that goes back further than this, in milliseconds, was set: what came before is closed, so
/// that times before it are taken again.
const CLOCK_SET_BACK: i64 = 3_600_000;

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Samples that were kept.
    pub stored: usize,
    /// Samples for which there is a sample of the same or a later time already.
    pub repeated: usize,
    /// Samples of new series beyond the limit.
    pub over_limit: usize,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    pub matcher: Matcher,
    /// Samples after this time …
    pub start: i64,
    /// … and up to this.
    pub end: i64,
    /// More samples are refused before they are read.
    pub samples_max: u64,
}

/// Why nothing was found.
#[derive(Debug)]
pub enum Error {
    /// There are more samples than wanted at most.
    TooMany,
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub struct Cluster {
    folder: PathBuf,
    number: u64,
    log: Log,
    head: Head,
    /// In order of their numbers.
    pub blocks: Vec<Block>,
    /// The stretch in which the limit of series was reported last.
    warned: Option<i64>,
}

impl Cluster {
    pub fn open(folder: PathBuf, options: &Options) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let (mut logs, mut blocks) = (Vec::new(), BTreeMap::new());
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            match (path.extension().and_then(|end| end.to_str()), number) {
                (Some("wal"), Some(number)) => logs.push(number),
                (Some("block"), Some(number)) => match Block::open(&path) {
                    Ok(block) => drop(blocks.insert(number, block)),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "metrics are left out");
                    }
                },
                (Some("tmp"), _) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        logs.sort_unstable();
        // The newest log goes on; those before it were about to be removed.
        let newest = logs.pop().or(blocks.keys().next_back().map(|number| number + 1));
        for number in logs {
            if let Entry::Vacant(missing) = blocks.entry(number) {
                let (_, head) = load(&folder, number)?;
                if let Some(block) = write_block(&folder, number, &head)? {
                    missing.insert(block);
                }
            }
            fs::remove_file(log_path(&folder, number))?;
        }
        let number = newest.unwrap_or(0);
        let (log, head) = load(&folder, number)?;
        let is_sealed = blocks.contains_key(&number);
        let blocks = blocks.into_values().collect();
        let mut cluster = Self { folder, number, log, head, blocks, warned: None };
        if is_sealed {
            cluster.next_log(options.oldest_remembered(cluster.head.newest))?;
        }
        Ok(cluster)
    }

    /// Keeps a report. Nothing of it is kept when this fails.
    pub fn append(&mut self, report: &Report<'_>, options: &Options) -> io::Result<Outcome> {
        if self.is_due(report.time, options)
            && let Err(error) = self.seal(report.time, options)
        {
            // The head and its log are as they were: they go on and the next report tries again.
            tracing::error!(folder = %self.folder.display(), %error, "metrics were not packed");
        }
        let (entry, outcome) = self.head.plan(report, options.series_max);
        let record = Record::Report(entry);
        self.log.append(&record)?;
        self.head.apply(record);
        let stretch = report.time.div_euclid(options.window_ms);
        if outcome.over_limit > 0 && self.warned != Some(stretch) {
            self.warned = Some(stretch);
            tracing::warn!(
                folder = %self.folder.display(), instance = report.instance,
                left_out = outcome.over_limit, limit = options.series_max,
                "more series than the limit: new ones are left out"
            );
        }
        Ok(outcome)
    }

    /// Whether the head is to become a block now.
    pub fn is_due(&self, now: i64, options: &Options) -> bool {
        let Some(opened) = self.head.opened else { return false };
        now.div_euclid(options.window_ms) > opened.div_euclid(options.window_ms)
            || self.log.length() > options.log_bytes_max
            || self.is_set_back(now)
    }

    fn is_set_back(&self, now: i64) -> bool {
        now.saturating_add(CLOCK_SET_BACK) < self.head.newest
    }

    /// Makes a block of the head and begins another.
    pub fn seal(&mut self, now: i64, options: &Options) -> io::Result<()> {
        if let Some(block) = write_block(&self.folder, self.number, &self.head)? {
            // There is one already if what came after it failed the last time.
            self.blocks.retain(|known| known.path != block.path);
            self.blocks.push(block);
        }
        // Times before a clock was set back are as good as none.
        let oldest = if self.is_set_back(now) { i64::MAX } else { options.oldest_remembered(now) };
        self.next_log(oldest)
    }

    /// Begins a log that knows what was heard of since `oldest`.
    fn next_log(&mut self, oldest: i64) -> io::Result<()> {
        let number = self.number + 1;
        let path = log_path(&self.folder, number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (mut log, _) = Log::open(path)?;
        let mut head = Head::default();
        let carry = Record::Carry(self.head.carry(oldest));
        log.append(&carry)?;
        head.apply(carry);
        log.sync()?;
        block::sync_folder(log.path())?;
        let old = std::mem::replace(&mut self.log, log);
        (self.number, self.head) = (number, head);
        fs::remove_file(old.path())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.log.sync()
    }

    /// What is in memory and fits, and the blocks that may hold more.
    pub fn snapshot(&self, selection: &Selection) -> (Vec<Block>, Vec<(Key, Chunk)>) {
        let Selection { matcher, start, end, .. } = selection;
        let fits = |(key, chunk): &(&Key, &Chunk)| {
            chunk.last() > *start && chunk.first <= *end && matcher.fits(key.bytes())
        };
        let overlaps = |block: &&Block| block.last > *start && block.first <= *end;
        let memory = self.head.chunks().filter(fits);
        (
            self.blocks.iter().filter(overlaps).cloned().collect(),
            memory.map(|(key, chunk)| (key.clone(), chunk.clone())).collect(),
        )
    }
}

fn log_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.wal"))
}

fn load(folder: &Path, number: u64) -> io::Result<(Log, Head)> {
    let (log, records) = Log::open(log_path(folder, number))?;
    let mut head = Head::default();
    for record in records {
        head.apply(record);
    }
    Ok((log, head))
}

fn write_block(folder: &Path, number: u64, head: &Head) -> io::Result<Option<Block>> {
    let series = head.sorted();
    if series.is_empty() {
        return Ok(None);
    }
    block::write(&folder.join(format!("{number:010}.block")), &series).map(Some)
}

/// Calls `visit` with each series and its samples in order of time.
pub fn visit(
    selection: &Selection,
    blocks: &[Block],
    memory: Vec<(Key, Chunk)>,
    mut visit: impl FnMut(&Key, &[(i64, f64)]),
) -> Result<(), Error> {
    let (mut readers, mut series) = (Vec::new(), BTreeMap::<Key, (Vec<(usize, Place)>, _)>::new());
    let mut count: u64 = memory.iter().map(|(_, chunk)| u64::from(chunk.count)).sum();
    for block in blocks {
        let position = readers.len();
        let found = |key: &[u8], place: Place| {
            count = count.saturating_add(place.count);
            if count > selection.samples_max {
                return;
            }
            match series.get_mut(key) {
                Some((places, _)) => places.push((position, place)),
                None => {
                    series.insert(Key::from_bytes(key), (vec![(position, place)], None));
                }
            }
        };
        match Reader::open(block, &selection.matcher, (selection.start, selection.end), found) {
            Ok(reader) => readers.push(reader),
            // Forgotten since the list was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        if count > selection.samples_max {
            return Err(Error::TooMany);
        }
    }
    if count > selection.samples_max {
        return Err(Error::TooMany);
    }
    for (key, chunk) in memory {
        series.entry(key).or_default().1 = Some(chunk);
    }
    let mut samples = Vec::new();
    for (key, (places, chunk)) in series {
        samples.clear();
        for (position, place) in places {
            if let Some(reader) = readers.get_mut(position) {
                samples.extend(Samples::read(reader.chunk(place)?).into_iter().flatten());
            }
        }
        samples.extend(chunk.iter().flat_map(Chunk::samples));
        samples.retain(|(time, _)| *time > selection.start && *time <= selection.end);
        // Only where a clock was set back do blocks overlap.
        if !samples.is_sorted_by(|(one, _), (next, _)| one < next) {
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup_by_key(|(time, _)| *time);
        }
        visit(&key, &samples);
    }
    Ok(())
}
