//! Where proxy-cache keeps responses: zones of bounded size in memory or on disk, configured with the
//! gateway, not by the control plane.

mod bounded;
mod disk;
mod memory;
mod stored;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

pub use disk::Disk;
pub use memory::Memory;
pub use stored::{Content, Stored};

/// One zone, as the gateway is configured: `name=50m` in memory, `name=1g:/directory` on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneOptions {
    pub name: String,
    /// Bytes of all responses together; the least used ones make room for others.
    pub size: u64,
    /// Where responses are kept on disk; None keeps them in memory.
    pub directory: Option<PathBuf>,
}

/// All zones of a gateway, and how long responses on disk are fresh that do not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    pub zones: Vec<ZoneOptions>,
    /// Seconds.
    pub ttl: u64,
}

impl FromStr for ZoneOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no zone like `name=50m` or `name=1g:/directory`");
        let (name, rest) = text.split_once('=').ok_or_else(malformed)?;
        let (size, directory) = match rest.split_once(':') {
            Some((size, directory)) => (size, Some(PathBuf::from(directory))),
            None => (rest, None),
        };
        let digits = size.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
        let shift = match size.get(digits.len()..) {
            Some("") => 0,
            Some("k" | "K") => 10,
            Some("m" | "M") => 20,
            Some("g" | "G") => 30,
            _ => return Err(malformed()),
        };
        let number: u64 = digits.parse().map_err(|_| malformed())?;
        let size = number.checked_mul(1 << shift).ok_or_else(malformed)?;
        if name.is_empty() || directory.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(malformed());
        }
        Ok(Self { name: name.to_owned(), size, directory })
    }
}

impl CacheOptions {
    /// What APISIX is shipped with: `disk_cache_one`, 1 GiB below this directory, and `memory_cache`,
    /// 50 MiB.
    #[must_use]
    pub fn shipped(directory: &Path) -> Self {
        let disk = ZoneOptions {
            name: "disk_cache_one".to_owned(),
            size: 1 << 30,
            directory: Some(directory.join("cache").join("disk_cache_one")),
        };
        let memory =
            ZoneOptions { name: "memory_cache".to_owned(), size: 50 << 20, directory: None };
        Self { zones: vec![disk, memory], ttl: 10 }
    }
}

/// Responses in memory or on disk.
#[derive(Clone)]
pub enum Zone {
    Memory(Arc<Memory>),
    Disk(Arc<Disk>),
}

/// The zones of a gateway by name.
#[derive(Default)]
pub struct Zones {
    zones: BTreeMap<String, Zone>,
    /// How long responses on disk are fresh that do not say so.
    pub ttl: Duration,
}

impl Zones {
    /// Opens all zones. What is on disk already is taken over.
    pub fn open(options: &CacheOptions) -> io::Result<Self> {
        let mut zones = BTreeMap::new();
        for ZoneOptions { name, size, directory } in &options.zones {
            let size = usize::try_from(*size).unwrap_or(usize::MAX);
            let zone = match directory {
                None => Zone::Memory(Arc::new(Memory::new(size))),
                Some(directory) => Zone::Disk(Arc::new(Disk::open(directory, size)?)),
            };
            zones.insert(name.clone(), zone);
        }
        Ok(Self { zones, ttl: Duration::from_secs(options.ttl) })
    }

    /// The zone of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Zone> {
        self.zones.get(name).cloned()
    }
}

impl Zone {
    /// Puts a response in. One that depends on headers of the request is filed under the key of its
    /// variant, and the variants of a key under the key itself. Blocks while a disk writes.
    pub fn put(&self, key: &str, varies: Vec<String>, response: Stored) {
        if !varies.is_empty() {
            self.file_variant(key, varies, &response);
        }
        self.insert(response);
    }

    fn file_variant(&self, key: &str, names: Vec<String>, response: &Stored) {
        let known = match self.find(key).map(|found| found.content.clone()) {
            Some(Content::Variants { names: before, keys }) if before == names => keys,
            _ => Vec::new(),
        };
        let (variants, superfluous) = stored::with_variant(known, &response.key);
        for variant in superfluous {
            self.remove(&variant);
        }
        self.insert(Stored {
            key: key.to_owned(),
            stored_ms: response.stored_ms,
            expires_ms: u64::MAX,
            content: Content::Variants { names, keys: variants },
        });
    }

    fn insert(&self, stored: Stored) {
        match self {
            Self::Memory(memory) => memory.put(stored),
            Self::Disk(disk) => disk.put(&stored),
        }
    }

    /// What is kept under a key, fresh or not. Blocks while a disk reads.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Arc<Stored>> {
        match self {
            Self::Memory(memory) => memory.find(key),
            Self::Disk(disk) => disk.find(key).map(Arc::new),
        }
    }

    /// Forgets what is kept under a key, with all variants; whether there was anything.
    pub fn purge(&self, key: &str) -> bool {
        if let Some(Content::Variants { keys, .. }) =
            self.find(key).map(|found| found.content.clone())
        {
            for variant in keys {
                self.remove(&variant);
            }
        }
        self.remove(key)
    }

    fn remove(&self, key: &str) -> bool {
        match self {
            Self::Memory(memory) => memory.remove(key),
            Self::Disk(disk) => disk.remove(key),
        }
    }
}
