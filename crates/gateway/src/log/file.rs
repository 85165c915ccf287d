//! A file that grows by lines, and may be moved away while it does: then it begins anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{Deliver, Failed, lock};

/// Where lines are appended.
pub struct LogFile {
    path: PathBuf,
    open: Mutex<Option<File>>,
}

impl LogFile {
    /// The file at a path, opened with the first line; `-` is standard output.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: Mutex::new(None) }
    }

    /// Appends text that ends with a newline.
    pub fn append(&self, text: &str) -> io::Result<()> {
        if self.path.as_os_str() == "-" {
            let mut out = io::stdout().lock();
            return out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        let mut open = lock(&self.open);
        let mut file = match open.take() {
            Some(file) if is_at(&file, &self.path) => file,
            _ => OpenOptions::new().create(true).append(true).open(&self.path)?,
        };
        file.write_all(text.as_bytes())?;
        *open = Some(file);
        Ok(())
    }
}

/// Whether the file still has its name.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[async_trait]
impl Deliver for Arc<LogFile> {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        let mut text = entries.join("\n");
        text.push('\n');
        let file = Self::clone(self);
        // Disks can be slow, and others send logs from this thread.
        tokio::task::spawn_blocking(move || file.append(&text)).await??;
        Ok(())
    }
}
