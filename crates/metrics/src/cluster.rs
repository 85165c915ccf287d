//! The series of one cluster: a log with what it holds in memory, and the blocks before it.
//!
//! Log and block of one stretch of time have the same number. A block is complete before the next
//! log is made, and that before the old log goes, so that a stop at any moment loses nothing: what
//! is found in between is finished at the next start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::block::{self, Block};
use crate::codec::Chunk;
use crate::compact::{self, Plan};
use crate::gather::{Failed, Gather, Places, put_in_order};
use crate::head::Head;
use crate::key::{Key, Matcher};
use crate::name::{Extent, log_path};
use crate::record::Record;
use crate::report::Report;
use crate::store::Options;
use crate::wal::Log;

/// A clock that goes back further than this, in milliseconds, was set: what came before is closed, so
/// that times before it are taken again.
const CLOCK_SET_BACK: i64 = 3_600_000;

/// Pause before a head that could not be made a block is packed again, in milliseconds: it is work, and
/// a full disk does not empty at once.
const SEAL_AGAIN: i64 = 60_000;

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

/// The samples that were kept of a report, zeros included that were inferred.
pub type Kept<'a> = &'a mut dyn Iterator<Item = (&'a Key, i64, f64)>;

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
    /// Files of blocks that cannot be read, kept for people while there is room.
    damaged: Vec<PathBuf>,
    /// The stretch in which the limit of series was reported last.
    warned: Option<i64>,
    /// When the head could not be made a block.
    failed: Option<i64>,
}

impl Cluster {
    pub fn open(folder: PathBuf, options: &Options) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let (mut logs, mut blocks, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            if Extent::parse(&path).is_some() {
                match Block::open(&path) {
                    Ok(block) => blocks.push(block),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "metrics are left out");
                        if error.kind() == io::ErrorKind::InvalidData {
                            damaged.push(path);
                        }
                    }
                }
                continue;
            }
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            match (path.extension().and_then(|end| end.to_str()), number) {
                (Some("wal"), Some(number)) => logs.push(number),
                (Some("damaged"), _) => damaged.push(path),
                (Some("tmp"), _) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        logs.sort_unstable();
        let mut blocks = without_leftovers(blocks)?;
        let covers = |blocks: &[Block], number: u64, last: Option<i64>| {
            let holds = |block: &Block| block.extent().covers(&Extent::of_log(number));
            blocks.iter().any(|block| holds(block) && last.is_none_or(|last| last <= block.last))
        };
        // The newest log goes on; those before it were about to be removed.
        let next = blocks.iter().map(|block| block.extent().upto + 1).max();
        let newest = logs.pop().or(next);
        for number in logs {
            let (_, head) = load(&folder, number)?;
            // One whose next could not be made went on after its block was written.
            if !covers(&blocks, number, head.last()) {
                let path = Extent::of_log(number).path(&folder);
                blocks.retain(|block| block.path != path);
                blocks.extend(write_block(&folder, number, &head)?);
            }
            fs::remove_file(log_path(&folder, number))?;
        }
        blocks.sort_by_key(|block| block.extent().from);
        let number = newest.unwrap_or(0);
        let (log, head) = load(&folder, number)?;
        let is_sealed = covers(&blocks, number, None);
        let (warned, failed) = (None, None);
        let mut cluster = Self { folder, number, log, head, blocks, damaged, warned, failed };
        if is_sealed {
            cluster.try_seal(cluster.head.newest, options);
        }
        Ok(cluster)
    }

    /// Keeps a report and shows what was kept of it. Nothing of it is kept when this fails.
    pub fn append(
        &mut self,
        report: &Report<'_>,
        options: &Options,
        kept: impl FnOnce(Kept<'_>),
    ) -> io::Result<Outcome> {
        if self.is_due(report.time, options) {
            self.try_seal(report.time, options);
        }
        let (entry, outcome) = self.head.plan(report, options.series_max);
        let samples = entry.samples.clone();
        let record = Record::Report(entry);
        self.log.append(&record)?;
        self.head.apply(record);
        let named = samples.iter().filter_map(|(number, time, value)| {
            self.head.key(*number).map(|key| (key, *time, *value))
        });
        kept(&mut { named });
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
        if self.failed.is_some_and(|failed| (failed..failed + SEAL_AGAIN).contains(&now)) {
            return false;
        }
        now.div_euclid(options.window_ms) > opened.div_euclid(options.window_ms)
            || self.log.length() > options.log_bytes_max
            || self.is_set_back(now)
    }

    /// If this fails, the head and its log are as they were: they go on, and it is tried again later.
    fn try_seal(&mut self, now: i64, options: &Options) {
        if let Err(error) = self.seal(now, options) {
            tracing::error!(folder = %self.folder.display(), %error, "metrics were not packed");
        }
    }

    fn is_set_back(&self, now: i64) -> bool {
        now.saturating_add(CLOCK_SET_BACK) < self.head.newest
    }

    /// Makes a block of the head and begins another.
    pub fn seal(&mut self, now: i64, options: &Options) -> io::Result<()> {
        self.failed = Some(now);
        if let Some(block) = write_block(&self.folder, self.number, &self.head)? {
            // There is one already if what came after it failed the last time.
            self.put(block);
        }
        // Times before a clock was set back are as good as none.
        let oldest = if self.is_set_back(now) { i64::MAX } else { options.oldest_remembered(now) };
        self.next_log(oldest)?;
        self.failed = None;
        Ok(())
    }

    /// Takes a block in, in place of those that it covers; answers these.
    fn put(&mut self, block: Block) -> Vec<Block> {
        let extent = block.extent();
        let covered = |known: &mut Block| extent.covers(&known.extent());
        let gone = self.blocks.extract_if(.., covered).collect();
        self.blocks.push(block);
        self.blocks.sort_by_key(|block| block.extent().from);
        gone
    }

    /// What is to be merged or thinned out first, and where.
    pub fn plan(&self, now: i64, options: &Options) -> Option<(PathBuf, Plan)> {
        // A block whose log goes on, because the next could not be made, will be written once more.
        let sealed = self.blocks.partition_point(|block| block.extent().upto < self.number);
        let sealed = self.blocks.get(..sealed).unwrap_or_default();
        Some((self.folder.clone(), compact::plan(sealed, now, options)?))
    }

    /// Puts a merged block in the place of what it was made of.
    pub fn replace(&mut self, merged: Block) -> io::Result<()> {
        let path = merged.path.clone();
        let gone = self.put(merged);
        let mut others = gone.iter().filter(|block| block.path != path);
        others.try_for_each(|block| unless_gone(fs::remove_file(&block.path)))
    }

    /// Sets a block aside that cannot be read; one that is gone was merged meanwhile.
    pub fn set_aside(&mut self, block: &Block) -> io::Result<()> {
        self.blocks.retain(|known| known.path != block.path);
        let aside = block.path.with_extension("damaged");
        match fs::rename(&block.path, &aside) {
            Ok(()) => self.damaged.push(aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the samples of a time were thinned out.
    pub fn is_coarse(&self, start: i64, end: i64) -> bool {
        let overlaps = |block: &Block| block.last > start && block.first <= end;
        self.blocks.iter().any(|block| overlaps(block) && block.extent().is_coarse)
    }

    /// Bytes of the log, the blocks and what cannot be read.
    pub fn bytes(&self) -> u64 {
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let damaged: u64 = self.damaged.iter().map(size).sum();
        self.log.length() + damaged + self.blocks.iter().map(|block| block.size).sum::<u64>()
    }

    /// Whether there is anything that [`Cluster::make_room`] could remove.
    pub fn has_surplus(&self) -> bool {
        !self.blocks.is_empty() || !self.damaged.is_empty()
    }

    /// Removes what cannot be read, or else the oldest block.
    pub fn make_room(&mut self) -> io::Result<()> {
        if let Some(path) = self.damaged.pop() {
            return unless_gone(fs::remove_file(path));
        }
        let first = self.blocks.iter().map(|block| block.last).min();
        self.forget(|block| Some(block.last) == first)
    }

    /// Removes blocks.
    pub fn forget(&mut self, which: impl Fn(&Block) -> bool) -> io::Result<()> {
        let gone: Vec<Block> = self.blocks.extract_if(.., |block| which(block)).collect();
        // They may be merged meanwhile; the merged one is looked at the next time.
        gone.iter().try_for_each(|block| unless_gone(fs::remove_file(&block.path)))
    }

    /// Begins a log that knows what was heard of since `oldest`.
    fn next_log(&mut self, oldest: i64) -> io::Result<()> {
        let number = self.number + 1;
        let path = log_path(&self.folder, number);
        unless_gone(fs::remove_file(&path))?;
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

/// It is just as well if the file was not there.
pub fn unless_gone(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Leaves out, and removes, what a merged block holds too.
fn without_leftovers(mut blocks: Vec<Block>) -> io::Result<Vec<Block>> {
    blocks.sort_by_key(|block| {
        let Extent { from, upto, is_coarse } = block.extent();
        (from, std::cmp::Reverse((upto, is_coarse)))
    });
    let mut kept: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if kept.last().is_some_and(|last| last.extent().covers(&block.extent())) {
            fs::remove_file(&block.path)?;
        } else {
            kept.push(block);
        }
    }
    Ok(kept)
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
    block::write(&Extent::of_log(number).path(folder), &head.sorted())
}

/// Calls `visit` with each series of the selection and its samples in order of time. `None`: there
/// are too many samples, and nothing was visited.
pub fn visit(
    selection: &Selection,
    blocks: &[Block],
    memory: Vec<(Key, Chunk)>,
    mut visit: impl FnMut(&Key, &[(i64, f64)]),
) -> Result<Option<()>, Failed> {
    let Selection { matcher, start, end, samples_max } = selection;
    let (mut gather, found) = Gather::open(blocks, matcher, (*start, *end), *samples_max)?;
    let in_memory: u64 = memory.iter().map(|(_, chunk)| u64::from(chunk.count)).sum();
    if gather.count.saturating_add(in_memory) > *samples_max {
        return Ok(None);
    }
    let mut series: BTreeMap<Key, (Places, Option<Chunk>)> =
        found.into_iter().map(|(key, places)| (key, (places, None))).collect();
    for (key, chunk) in memory {
        series.entry(key).or_default().1 = Some(chunk);
    }
    let mut samples = Vec::new();
    for (key, (places, chunk)) in series {
        samples.clear();
        gather.read(places, &mut samples)?;
        samples.extend(chunk.iter().flat_map(Chunk::samples));
        samples.retain(|(time, _)| time > start && time <= end);
        put_in_order(&mut samples);
        visit(&key, &samples);
    }
    Ok(Some(()))
}
