//! The last good configuration on disk, so that a gateway starts while its source is away.
//! Sealed with the gateway's own key: a changed byte or a foreign file is never taken.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::status::Status;

/// Everything at one revision. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    pub revision: i64,
    pub values: RedBlackTreeMapSync<String, Arc<[u8]>>,
}

/// Where and under which key the configuration is kept.
#[derive(Clone)]
pub struct Cache {
    directory: PathBuf,
    cipher: ChaCha20Poly1305,
    /// What the file belongs to besides the key: the source's prefix.
    scope: String,
}

/// The form on disk, before sealing. Values are texts: others are not configuration.
#[derive(Serialize, Deserialize)]
struct Sheet<'a> {
    revision: i64,
    #[serde(borrow)]
    values: BTreeMap<&'a str, std::borrow::Cow<'a, str>>,
}

const MAGIC: &[u8] = b"gantry-cache-1\n";
const NONCE_BYTES: usize = 12;
const CURRENT: &str = "configuration.sealed";
const PREVIOUS: &str = "configuration.previous.sealed";
/// Writing waits this long, so that a burst of changes is written once.
const CALM: Duration = Duration::from_millis(500);

impl Cache {
    /// Opens the cache in a directory. The key comes from the gateway's private key, or from a file
    /// made here that only this user can read.
    pub fn open(directory: &Path, private_key: Option<&str>, scope: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let secret = match private_key {
            Some(key) => key.as_bytes().to_vec(),
            None => local_key(&directory.join("cache.key"))?,
        };
        let key =
            Sha256::new().chain_update(b"gantry gateway cache\0").chain_update(secret).finalize();
        let cipher = ChaCha20Poly1305::new_from_slice(&key).map_err(io::Error::other)?;
        Ok(Self { directory: directory.to_owned(), cipher, scope: scope.to_owned() })
    }

    /// The newest configuration that is whole; the one before it if need be.
    #[must_use]
    pub fn load(&self) -> Option<Saved> {
        [CURRENT, PREVIOUS].into_iter().find_map(|name| {
            let path = self.directory.join(name);
            match fs::read(&path) {
                Ok(bytes) => self.unseal(&bytes).or_else(|| {
                    tracing::error!(path = %path.display(), "the saved configuration is damaged or of another key");
                    None
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "the saved configuration cannot be read");
                    None
                }
            }
        })
    }

    /// Makes this the newest configuration and keeps the one before. On disk when it returns.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let (current, fresh) =
            (self.directory.join(CURRENT), self.directory.join("configuration.fresh"));
        let mut file = private_file().create(true).truncate(true).open(&fresh)?;
        file.write_all(&self.seal(saved)?)?;
        file.sync_all()?;
        match fs::rename(&current, self.directory.join(PREVIOUS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&fresh, &current)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Saves what `states` shows, never more often than [`CALM`], and once more at the end.
    pub async fn keep(
        self,
        mut states: watch::Receiver<Saved>,
        status: Arc<Status>,
        shutdown: CancellationToken,
    ) {
        let mut going = true;
        while going {
            going = tokio::select! {
                changed = states.changed() => changed.is_ok(),
                () = shutdown.cancelled() => false,
            };
            if going {
                tokio::select! {
                    () = tokio::time::sleep(CALM) => {}
                    () = shutdown.cancelled() => {}
                }
            } else if !states.has_changed().unwrap_or(false) {
                break;
            }
            let (cache, saved) = (self.clone(), states.borrow_and_update().clone());
            let revision = saved.revision;
            match tokio::task::spawn_blocking(move || cache.save(&saved)).await {
                Ok(Ok(())) => status.set_saved(revision),
                Ok(Err(error)) => tracing::error!(%error, "the configuration could not be saved"),
                Err(error) => tracing::error!(%error, "saving the configuration broke off"),
            }
        }
    }

    fn seal(&self, saved: &Saved) -> io::Result<Vec<u8>> {
        let values = saved.values.iter().filter_map(|(key, value)| {
            Some((key.as_str(), std::str::from_utf8(value).ok()?.into()))
        });
        let sheet =
            serde_json::to_vec(&Sheet { revision: saved.revision, values: values.collect() })?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: &sheet, aad: self.scope.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce.into(), payload).map_err(io::Error::other)?;
        Ok([MAGIC, &nonce, &sealed].concat())
    }

    fn unseal(&self, bytes: &[u8]) -> Option<Saved> {
        let (nonce, sealed) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: self.scope.as_bytes() };
        let sheet = self.cipher.decrypt(&(*nonce).into(), payload).ok()?;
        let Sheet { revision, values } = serde_json::from_slice(&sheet).ok()?;
        let values = values
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Arc::<[u8]>::from(value.as_bytes())));
        Some(Saved { revision, values: values.collect() })
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn local_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut key)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            key = rand::random::<[u8; 32]>().to_vec();
            let mut file = private_file().create_new(true).open(path)?;
            file.write_all(&key)?;
            file.sync_all()?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(revision: i64) -> Saved {
        let values = [("routes/1".to_owned(), Arc::<[u8]>::from(&b"{\"uri\":\"/\\u00e9\"}"[..]))];
        Saved { revision, values: values.into_iter().collect() }
    }

    #[test]
    fn what_was_saved_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path(), None, "/apisix").unwrap();
        assert_eq!(cache.load(), None);
        cache.save(&saved(7)).unwrap();
        let again = Cache::open(directory.path(), None, "/apisix").unwrap();
        assert_eq!(again.load(), Some(saved(7)));
        let bytes = fs::read(directory.path().join(CURRENT)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"routes"), "sealed");
    }

    #[test]
    fn a_damaged_file_gives_way_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path(), Some("a private key"), "/apisix").unwrap();
        cache.save(&saved(1)).unwrap();
        cache.save(&saved(2)).unwrap();
        let path = directory.path().join(CURRENT);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(cache.load().unwrap().revision, 1);
        fs::write(&path, b"").unwrap();
        assert_eq!(cache.load().unwrap().revision, 1);
    }

    #[test]
    fn a_file_of_another_key_or_prefix_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        Cache::open(directory.path(), Some("one"), "/apisix").unwrap().save(&saved(1)).unwrap();
        assert_eq!(Cache::open(directory.path(), Some("other"), "/apisix").unwrap().load(), None);
        assert_eq!(Cache::open(directory.path(), Some("one"), "/other").unwrap().load(), None);
    }

    #[tokio::test]
    async fn the_last_state_is_saved_on_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path(), None, "/apisix").unwrap();
        let (states, seen) = watch::channel(Saved::default());
        let shutdown = CancellationToken::new();
        states.send_replace(saved(3));
        shutdown.cancel();
        cache.clone().keep(seen, Arc::default(), shutdown).await;
        assert_eq!(cache.load().unwrap().revision, 3);
    }
}
