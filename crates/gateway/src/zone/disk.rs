//! Responses on disk, one file each. They survive a restart; a damaged file is as good as none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use super::{bounded::Bounded, stored::Stored};

/// A zone on disk.
pub struct Disk {
    directory: PathBuf,
    /// The files by name, with their sizes.
    files: Bounded<()>,
    /// Makes the names of files that are being written unique.
    written: AtomicU64,
}

/// What files that are being written end with.
const UNFINISHED: &str = "new";

impl Disk {
    /// Opens a directory for files of this many bytes together. Those it has are taken over, the
    /// oldest making room if they are too many.
    pub fn open(directory: &Path, size: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let disk = Self {
            directory: directory.to_owned(),
            files: Bounded::new(size),
            written: AtomicU64::new(0),
        };
        let mut known: Vec<(SystemTime, String, u64)> = Vec::new();
        for shelf in fs::read_dir(directory)?.flatten() {
            for file in fs::read_dir(shelf.path()).into_iter().flatten().flatten() {
                let (Ok(name), Ok(about)) = (file.file_name().into_string(), file.metadata())
                else {
                    continue;
                };
                if name.ends_with(UNFINISHED) {
                    drop_file(&file.path());
                } else {
                    known.push((
                        about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        name,
                        about.len(),
                    ));
                }
            }
        }
        known.sort_unstable();
        for (_, name, size) in known {
            disk.count(&name, usize::try_from(size).unwrap_or(usize::MAX));
        }
        Ok(disk)
    }

    pub(super) fn find(&self, key: &str) -> Option<Stored> {
        let name = name(key);
        self.files.find(&name)?;
        let path = self.path(&name);
        let found = fs::read(&path).ok().and_then(|file| Stored::decode(file.into()));
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a cached response is damaged and dropped");
            self.remove(key);
        }
        found.filter(|stored| stored.key == key)
    }

    pub(super) fn put(&self, stored: &Stored) {
        let Some(file) = stored.encode().filter(|file| self.files.fits(file.len())) else { return };
        let name = name(&stored.key);
        match self.write(&name, &file) {
            Ok(()) => self.count(&name, file.len()),
            Err(error) => tracing::warn!(%error, "a response could not be cached on disk"),
        }
    }

    pub(super) fn remove(&self, key: &str) -> bool {
        let name = name(key);
        drop_file(&self.path(&name));
        self.files.remove(&name)
    }

    /// A file is complete or not there: it gets its name when it has been written.
    fn write(&self, name: &str, file: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        if let Some(shelf) = path.parent() {
            fs::create_dir_all(shelf)?;
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_extension(format!("{number}.{UNFINISHED}"));
        let outcome = fs::write(&unfinished, file).and_then(|()| fs::rename(&unfinished, &path));
        if outcome.is_err() {
            drop_file(&unfinished);
        }
        outcome
    }

    fn count(&self, name: &str, size: usize) {
        for gone in self.files.put(name, (), size) {
            drop_file(&self.path(&gone));
        }
    }

    /// Files are on 256 shelves, so that no directory gets too long.
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name.get(..2).unwrap_or("")).join(name)
    }
}

fn name(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// A file that cannot be removed is in nobody's way: it is read as what it is, or overwritten.
fn drop_file(path: &Path) {
    let _ = fs::remove_file(path);
}
