//! Names of files: which stretches of time a block holds.

use std::path::{Path, PathBuf};

/// The logs whose samples are in a block: the numbers of the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub from: u64,
    pub upto: u64,
    /// Samples between the ends of its buckets were left out.
    pub is_coarse: bool,
}

impl Extent {
    /// One log as it was.
    pub fn of_log(number: u64) -> Self {
        Self { from: number, upto: number, is_coarse: false }
    }

    /// `None` for what is not a block.
    pub fn parse(path: &Path) -> Option<Self> {
        let is_coarse = match path.extension()?.to_str()? {
            "block" => false,
            "coarse" => true,
            _ => return None,
        };
        let stem = path.file_stem()?.to_str()?;
        let (from, upto) = stem.split_once('-').unwrap_or((stem, stem));
        Some(Self { from: from.parse().ok()?, upto: upto.parse().ok()?, is_coarse })
    }

    pub fn path(&self, folder: &Path) -> PathBuf {
        let Self { from, upto, is_coarse } = *self;
        let end = if is_coarse { "coarse" } else { "block" };
        folder.join(if from == upto {
            format!("{from:010}.{end}")
        } else {
            format!("{from:010}-{upto:010}.{end}")
        })
    }

    /// Whether all of the other is here too: its file was about to be removed.
    pub fn covers(&self, other: &Self) -> bool {
        self.from <= other.from && other.upto <= self.upto && (self.is_coarse || !other.is_coarse)
    }
}

pub fn log_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let folder = Path::new("/x");
        for (from, upto, is_coarse, name) in [
            (7, 7, false, "0000000007.block"),
            (7, 18, false, "0000000007-0000000018.block"),
            (7, 7, true, "0000000007.coarse"),
        ] {
            let extent = Extent { from, upto, is_coarse };
            assert_eq!(extent.path(folder), folder.join(name));
            assert_eq!(Extent::parse(&folder.join(name)), Some(extent));
        }
        for other in ["0000000007.wal", "a.block", "1-2-3.block", "lock"] {
            assert_eq!(Extent::parse(Path::new(other)), None, "{other}");
        }
    }
}
