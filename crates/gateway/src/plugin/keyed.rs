//! State by key, shared by all threads and kept across configurations: counters of requests, levels
//! of buckets. Memory is bounded: what has expired is swept while new keys come in, and a full shard
//! forgets the half that would expire first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};

/// Threads rarely meet in one of this many shards.
const SHARDS: usize = 64;

/// Keys in all shards together, about 100 bytes each with short texts.
pub const KEYS_MAX: usize = 1 << 20;

/// A shard is swept for the first time when it has this many keys.
const SWEEP_AT_LEAST: usize = 64;

/// Whose state it is: a digest of the owner and the configuration, so that a changed configuration
/// starts anew and an unchanged one keeps its state.
pub type Bucket = u128;

/// What is kept for one key. The default is what a key begins with.
pub trait Entry: Default {
    /// From when on this says nothing any more, in milliseconds of the Unix clock.
    fn expires(&self) -> u64;
}

/// All state of one kind in a gateway.
pub struct Keyed<E> {
    shards: Vec<Mutex<Shard<E>>>,
    hasher: RandomState,
    /// Keys a shard may hold.
    room: usize,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    bucket: Bucket,
    text: Box<str>,
}

#[derive(Hash)]
struct KeyRef<'a> {
    bucket: Bucket,
    text: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.bucket == key.bucket && *self.text == *key.text
    }
}

struct Shard<E> {
    entries: HashMap<Key, E, RandomState>,
    sweep_at: usize,
}

impl<E: Entry> Default for Keyed<E> {
    fn default() -> Self {
        Self::with_room(KEYS_MAX)
    }
}

impl<E: Entry> Keyed<E> {
    /// State for at most about this many keys.
    #[must_use]
    pub fn with_room(keys: usize) -> Self {
        let hasher = RandomState::new();
        let shard = || {
            let entries = HashMap::with_hasher(hasher.clone());
            Mutex::new(Shard { entries, sweep_at: SWEEP_AT_LEAST })
        };
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { shards, hasher, room: keys.div_ceil(SHARDS).max(2) }
    }

    /// Hands the state of a key to `work`, which must be quick: others wait for it. Allocates only
    /// for keys it has not seen.
    pub fn with<T>(
        &self,
        bucket: Bucket,
        key: &str,
        now_ms: u64,
        work: impl FnOnce(&mut E) -> T,
    ) -> T {
        let wanted = KeyRef { bucket, text: key };
        let mut shard = self.shard(&wanted);
        if let Some(entry) = shard.entries.get_mut(&wanted) {
            return work(entry);
        }
        shard.make_room(self.room, now_ms);
        let mut entry = E::default();
        let outcome = work(&mut entry);
        shard.entries.insert(Key { bucket, text: key.into() }, entry);
        outcome
    }

    /// The same for a key that is known; None for others, which stay unknown.
    pub fn with_known<T>(
        &self,
        bucket: Bucket,
        key: &str,
        work: impl FnOnce(&mut E) -> T,
    ) -> Option<T> {
        let wanted = KeyRef { bucket, text: key };
        self.shard(&wanted).entries.get_mut(&wanted).map(work)
    }

    /// How many keys are remembered, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is a shard")]
    fn shard(&self, key: &KeyRef<'_>) -> MutexGuard<'_, Shard<E>> {
        // The map inside uses the low bits of the same hash; the high ones choose the shard.
        let hash = self.hasher.hash_one(key) >> 48;
        lock(&self.shards[usize::try_from(hash).unwrap_or(0) % SHARDS])
    }
}

/// An entry is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<E>(shard: &Mutex<Shard<E>>) -> MutexGuard<'_, Shard<E>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Entry> Shard<E> {
    fn make_room(&mut self, room: usize, now_ms: u64) {
        if self.entries.len() < self.sweep_at.min(room) {
            return;
        }
        self.entries.retain(|_, entry| entry.expires() > now_ms);
        if self.entries.len() >= room {
            let mut expiries: Vec<_> = self.entries.values().map(Entry::expires).collect();
            let (_, middle, _) = expiries.select_nth_unstable(room / 2);
            let middle = *middle;
            self.entries.retain(|_, entry| entry.expires() > middle);
            if self.entries.is_empty() {
                self.entries.shrink_to(room);
            }
        }
        self.sweep_at = (self.entries.len() * 2).max(SWEEP_AT_LEAST);
    }
}
