//! The log: what has arrived and is not in a block yet. Each record stands behind its length and its
//! checksum; a record that is not whole ends the log, which is cut there when it is opened.
//!
//! A record is handed to the operating system before its report is answered, so it survives the death
//! of the process; it is forced to disk when [`Log::sync`] is called, every few seconds, so a loss of
//! power costs at most those.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::codec::take;
use crate::record::Record;

/// Bytes before each record: length and checksum.
const FRAME: usize = 8;

pub struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    is_dirty: bool,
}

impl Log {
    /// Opens or creates the log; answers with what it holds.
    pub fn open(path: PathBuf) -> io::Result<(Self, Vec<Record>)> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        let mut length = 0;
        while let Some(record) = read(&mut rest) {
            records.push(record);
            length = bytes.len() - rest.len();
        }
        let cut = bytes.len() - length;
        let length = length as u64;
        if cut > 0 {
            tracing::warn!(path = %path.display(), cut, "a log of metrics was not whole at its end");
            file.set_len(length)?;
        }
        Ok((Self { path, file, length, is_dirty: cut > 0 }, records))
    }

    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let payload = record.encode();
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(FRAME + payload.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        frame.extend_from_slice(&payload);
        self.is_dirty = true;
        if let Err(error) = self.file.write_all(&frame) {
            // Half a record would hide those after it.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += frame.len() as u64;
        Ok(())
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

fn read(rest: &mut &[u8]) -> Option<Record> {
    let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    let checksum = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    let payload = take(rest, usize::try_from(length).ok()?)?;
    if crc32fast::hash(payload) != checksum {
        return None;
    }
    Record::decode(payload)
}
