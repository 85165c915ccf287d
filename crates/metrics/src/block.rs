//! Blocks: the samples of a stretch of time in one file that never changes.
//!
//! ```text
//! mark | page … page | index | footer
//! ```
//! Pages hold the chunks of series in order of their keys, compressed about 64 KiB at a time; series
//! of one gateway stand together and have alike times, so that little remains of them. The index,
//! compressed too, names each series with the place of its chunk. Everything has a checksum. A block
//! is written under another name and renamed when it is complete on disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::codec::{
    Chunk, put_bytes, put_number, put_signed, take, take_bytes, take_number, take_signed,
};
use crate::key::{Key, Matcher};
use crate::name::Extent;

const MARK: &[u8; 8] = b"GNTRYTS1";
/// Bytes of a page before compression; what a query of one series has to unpack.
const PAGE: usize = 64 * 1024;
/// Bytes of the footer: place, size and checksum of the index, first and last time, own checksum.
const FOOTER: usize = 8 + 4 + 4 + 4 + 8 + 8 + 4;
/// More than any page or index unpacks to.
const UNPACKED_MAX: usize = 256 * 1024 * 1024;

/// A block on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub path: PathBuf,
    /// Times of the oldest and the newest sample.
    pub first: i64,
    pub last: i64,
    pub size: u64,
    index: Span,
}

/// A compressed part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    offset: u64,
    packed: usize,
    unpacked: usize,
    checksum: u32,
}

/// Where the chunk of a series is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    page: usize,
    offset: usize,
    length: usize,
    /// Samples in the chunk.
    pub count: u64,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a block of metrics is damaged: {what}"))
}

/// Writes a block of series in order of their keys; none if there are no samples.
pub fn write(path: &Path, series: &[(&Key, &Chunk)]) -> io::Result<Option<Block>> {
    let mut writer = Writer::create(path)?;
    for (key, chunk) in series {
        writer.add(key, chunk)?;
    }
    writer.finish()
}

/// Makes new names in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A block in the making. It is nothing before [`Writer::finish`].
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    pages: Vec<Span>,
    /// The page that is being filled, and the index of all series so far.
    page: Vec<u8>,
    index: Vec<u8>,
    count: usize,
    first: i64,
    last: i64,
}

impl Writer {
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(File::create(path.with_extension("tmp"))?),
            offset: 0,
            pages: Vec::new(),
            page: Vec::with_capacity(PAGE * 2),
            index: Vec::new(),
            count: 0,
            first: i64::MAX,
            last: i64::MIN,
        };
        writer.put(MARK)?;
        Ok(writer)
    }

    /// Appends a series; its key must be after the one before. Series without samples are left out.
    pub fn add(&mut self, key: &Key, chunk: &Chunk) -> io::Result<()> {
        if chunk.count == 0 {
            return Ok(());
        }
        let start = self.page.len();
        chunk.write(&mut self.page);
        put_bytes(&mut self.index, key.bytes());
        put_number(&mut self.index, self.pages.len() as u64);
        put_number(&mut self.index, start as u64);
        put_number(&mut self.index, (self.page.len() - start) as u64);
        put_number(&mut self.index, u64::from(chunk.count));
        put_signed(&mut self.index, chunk.first);
        put_signed(&mut self.index, chunk.last());
        self.first = self.first.min(chunk.first);
        self.last = self.last.max(chunk.last());
        self.count += 1;
        if self.page.len() >= PAGE { self.put_page() } else { Ok(()) }
    }

    /// Makes the block durable under its name.
    pub fn finish(mut self) -> io::Result<Option<Block>> {
        let temporary = self.path.with_extension("tmp");
        if self.count == 0 {
            return fs::remove_file(temporary).map(|()| None);
        }
        self.put_page()?;
        let index = self.put_index()?;
        self.put_footer(&index)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(temporary, &self.path)?;
        sync_folder(&self.path)?;
        let (first, last, size) = (self.first, self.last, self.offset);
        Ok(Some(Block { path: self.path, first, last, size, index }))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn put_packed(&mut self, bytes: &[u8]) -> io::Result<Span> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(bytes)?;
        let packed = encoder.finish()?;
        let span = Span {
            offset: self.offset,
            packed: packed.len(),
            unpacked: bytes.len(),
            checksum: crc32fast::hash(&packed),
        };
        self.put(&packed)?;
        Ok(span)
    }

    fn put_page(&mut self) -> io::Result<()> {
        let page = std::mem::take(&mut self.page);
        let span = self.put_packed(&page)?;
        self.pages.push(span);
        self.page = page;
        self.page.clear();
        Ok(())
    }

    fn put_index(&mut self) -> io::Result<Span> {
        let mut index = Vec::with_capacity(self.index.len() + self.pages.len() * 16);
        put_number(&mut index, self.pages.len() as u64);
        for page in &self.pages {
            put_number(&mut index, page.offset);
            put_number(&mut index, page.packed as u64);
            put_number(&mut index, page.unpacked as u64);
            put_number(&mut index, u64::from(page.checksum));
        }
        put_number(&mut index, self.count as u64);
        index.extend_from_slice(&self.index);
        self.put_packed(&index)
    }

    fn put_footer(&mut self, index: &Span) -> io::Result<()> {
        let size = |size: usize| u32::try_from(size).map_err(io::Error::other);
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&index.offset.to_le_bytes());
        footer.extend_from_slice(&size(index.packed)?.to_le_bytes());
        footer.extend_from_slice(&size(index.unpacked)?.to_le_bytes());
        footer.extend_from_slice(&index.checksum.to_le_bytes());
        footer.extend_from_slice(&self.first.to_le_bytes());
        footer.extend_from_slice(&self.last.to_le_bytes());
        footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
        self.put(&footer)
    }
}

impl Block {
    /// The logs whose samples are here.
    pub fn extent(&self) -> Extent {
        // Blocks have no other names.
        Extent::parse(&self.path).unwrap_or(Extent::of_log(0))
    }

    /// Reads what is known of a block without reading its series.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let start = size.checked_sub(FOOTER as u64).ok_or_else(|| damaged("it is too short"))?;
        let footer = read_at(&mut file, start, FOOTER)?;
        let (index, first, last) = read_footer(&footer).ok_or_else(|| damaged("its footer"))?;
        Ok(Self { path: path.to_owned(), first, last, size, index })
    }
}

fn read_footer(mut input: &[u8]) -> Option<(Span, i64, i64)> {
    let (content, _) = input.split_at_checked(FOOTER - 4)?;
    let checksum = crc32fast::hash(content);
    let input = &mut input;
    let size = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let span = Span {
        offset: u64::from_le_bytes(take(input, 8)?.try_into().ok()?),
        packed: size(take(input, 4)?)? as usize,
        unpacked: size(take(input, 4)?)? as usize,
        checksum: size(take(input, 4)?)?,
    };
    let first = i64::from_le_bytes(take(input, 8)?.try_into().ok()?);
    let last = i64::from_le_bytes(take(input, 8)?.try_into().ok()?);
    (size(take(input, 4)?)? == checksum).then_some((span, first, last))
}

fn read_at(file: &mut File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length { Err(damaged("it is too short")) } else { Ok(bytes) }
}

impl Span {
    fn read(&self, file: &mut File) -> io::Result<Vec<u8>> {
        let packed = read_at(file, self.offset, self.packed)?;
        if crc32fast::hash(&packed) != self.checksum || self.unpacked > UNPACKED_MAX {
            return Err(damaged("a checksum is wrong"));
        }
        let mut bytes = Vec::with_capacity(self.unpacked);
        DeflateDecoder::new(packed.as_slice()).take(UNPACKED_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A block that is being read.
pub struct Reader {
    file: File,
    pages: Vec<Span>,
    /// The page that was read last: the series after one are mostly in the same.
    current: Option<(usize, Vec<u8>)>,
}

impl Reader {
    /// Calls `found` with each series that fits and has samples after `start` and up to `end`.
    pub fn open(
        block: &Block,
        matcher: &Matcher,
        (start, end): (i64, i64),
        mut found: impl FnMut(&[u8], Place),
    ) -> io::Result<Self> {
        let mut file = File::open(&block.path)?;
        let index = block.index.read(&mut file)?;
        let mut input = index.as_slice();
        let mut each = |key: &[u8], place, first, last| {
            if last > start && first <= end && matcher.fits(key) {
                found(key, place);
            }
        };
        let pages = read_index(&mut input, &mut each).ok_or_else(|| damaged("its index"))?;
        Ok(Self { file, pages, current: None })
    }

    /// The chunk at a place, for `codec::Samples::read`.
    pub fn chunk(&mut self, place: Place) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|(page, _)| *page != place.page) {
            let span = self.pages.get(place.page).ok_or_else(|| damaged("a page is missing"))?;
            self.current = Some((place.page, span.read(&mut self.file)?));
        }
        let page = self.current.as_ref().map(|(_, page)| page.as_slice()).unwrap_or_default();
        let chunk = page.get(place.offset..).and_then(|rest| rest.get(..place.length));
        chunk.ok_or_else(|| damaged("a chunk is missing"))
    }
}

fn read_index(
    input: &mut &[u8],
    each: &mut impl FnMut(&[u8], Place, i64, i64),
) -> Option<Vec<Span>> {
    let size = |input: &mut &[u8]| usize::try_from(take_number(input)?).ok();
    let mut pages = Vec::new();
    for _ in 0..take_number(input)? {
        pages.push(Span {
            offset: take_number(input)?,
            packed: size(input)?,
            unpacked: size(input)?,
            checksum: u32::try_from(take_number(input)?).ok()?,
        });
    }
    for _ in 0..take_number(input)? {
        let key = take_bytes(input)?;
        let place = Place {
            page: size(input)?,
            offset: size(input)?,
            length: size(input)?,
            count: take_number(input)?,
        };
        each(key, place, take_signed(input)?, take_signed(input)?);
    }
    Some(pages)
}
