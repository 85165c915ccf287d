//! A persistent hash table of texts: cloning shares everything, a change copies one small shard and
//! the list of shards, so old clones keep answering as before.
//!
//! A lookup among very many keys waits for far memory as seldom as can be: the list of shards is
//! small enough to stay near, the slot that the hash points to mostly is the right one and holds the
//! value, and the key's text is fetched beside what the value leads to. A trie has a node on every
//! step of the way, and general hash tables keep an index beside their entries.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Keys for each shard when the number of shards is doubled.
const KEYS: usize = 64;

/// Slots of a shard that has any.
const SLOTS_MIN: usize = 4;

/// A map from texts to values.
#[derive(Clone, Debug)]
pub struct Shards<V> {
    len: usize,
    /// None, or a power of two; the upper half of a key's hash chooses.
    shards: Arc<Vec<Shard<V>>>,
}

/// An open hash table: a key is in the slot that the lower bits of its hash say, or in one of those
/// after it, with no free one between.
#[derive(Clone, Debug)]
struct Shard<V> {
    len: usize,
    /// None, or a power of two of which a quarter at least is free.
    slots: Arc<[Option<Slot<V>>]>,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    hash: u64,
    key: Arc<str>,
    value: V,
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { len: 0, shards: Arc::default() }
    }
}

impl<V> Shards<V> {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let hash = hash(key);
        let shard = self.shards.get(place(hash, self.shards.len()))?;
        let slot = shard.slots.get(shard.find(hash, key)?)?.as_ref()?;
        Some(&slot.value)
    }
}

impl<V: Clone> Shards<V> {
    /// Adds a value, or replaces the one that a key has.
    pub fn insert(&mut self, key: &Arc<str>, value: V) {
        if self.len >= self.shards.len() * KEYS {
            self.double();
        }
        let slot = Slot { hash: hash(key), key: Arc::clone(key), value };
        let Some(shard) = self.shard_mut(slot.hash) else { return };
        let before = shard.len;
        shard.insert(slot);
        self.len += shard.len - before;
    }

    /// Forgets a key. Does nothing if it is not there.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let hash = hash(key);
        let Some(shard) = self.shard_mut(hash) else { return };
        shard.remove(hash, key);
        self.len -= 1;
    }

    fn shard_mut(&mut self, hash: u64) -> Option<&mut Shard<V>> {
        let place = place(hash, self.shards.len());
        Arc::make_mut(&mut self.shards).get_mut(place)
    }

    fn double(&mut self) {
        let count = (self.shards.len() * 2).max(1);
        let mut shards = vec![Shard::default(); count];
        for slot in self.shards.iter().flat_map(Shard::filled) {
            if let Some(shard) = shards.get_mut(place(slot.hash, count)) {
                shard.insert(slot.clone());
            }
        }
        self.shards = Arc::new(shards);
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { len: 0, slots: Arc::new([]) }
    }
}

impl<V> Shard<V> {
    fn filled(&self) -> impl Iterator<Item = &Slot<V>> {
        self.slots.iter().flatten()
    }

    /// The slots where a key with this hash may be, in the order it is looked for.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<V> {
        let count = self.slots.len();
        (0..count).map(move |step| (hash as usize).wrapping_add(step) & (count - 1))
    }

    /// The slot that holds a key.
    fn find(&self, hash: u64, key: &str) -> Option<usize> {
        for place in self.probe(hash) {
            let slot = self.slots.get(place)?.as_ref()?;
            if slot.hash == hash && *slot.key == *key {
                return Some(place);
            }
        }
        None
    }
}

impl<V: Clone> Shard<V> {
    fn insert(&mut self, slot: Slot<V>) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN), |_| true);
        }
        let known = self.find(slot.hash, &slot.key);
        self.len += usize::from(known.is_none());
        let free = |place: &usize| self.slots.get(*place).is_some_and(Option::is_none);
        let place = known.or_else(|| self.probe(slot.hash).find(free));
        if let Some(place) = place.and_then(|place| Arc::make_mut(&mut self.slots).get_mut(place)) {
            *place = Some(slot);
        }
    }

    fn remove(&mut self, hash: u64, key: &str) {
        self.resize(self.slots.len(), |slot| slot.hash != hash || *slot.key != *key);
    }

    /// Puts what shall be kept into so many slots.
    fn resize(&mut self, count: usize, keep: impl Fn(&Slot<V>) -> bool) {
        let old = std::mem::take(self);
        self.slots = vec![None; count].into();
        for slot in old.filled().filter(|slot| keep(slot)) {
            self.insert(slot.clone());
        }
    }
}
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// Shards look at the lower bits.
fn place(hash: u64, count: usize) -> usize {
    (hash >> 32) as usize & count.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_keep_what_they_had() {
        let keys: Vec<Arc<str>> = (0..1000).map(|number| number.to_string().into()).collect();
        let mut table = Shards::default();
        for (number, key) in keys.iter().enumerate() {
            table.insert(key, number);
        }
        let old = table.clone();
        for key in keys.iter().step_by(2) {
            table.remove(key);
            table.remove("not there");
        }
        table.insert(&keys[1], 7);
        for (number, key) in keys.iter().enumerate() {
            let expected = if number == 1 { 7 } else { number };
            assert_eq!(table.get(key), (number % 2 == 1).then_some(&expected));
            assert_eq!(old.get(key), Some(&number));
        }
        assert_eq!(table.get("1000"), None);
        assert_eq!((table.len, old.len), (500, 1000));
        for key in &keys {
            table.remove(key);
        }
        assert!(table.is_empty() && table.get("1").is_none());
    }
}
