//! A persistent hash table of texts: cloning shares everything, a change copies one small shard and
//! the list of shards, so old clones keep answering as before.
//!
//! A lookup among very many keys touches far memory a few times only, where a trie has a node on
//! every step of the way.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

/// Keys for each shard when the number of shards is doubled.
const KEYS: usize = 64;

/// A map from texts to values.
#[derive(Clone, Debug)]
pub struct Shards<V> {
    len: usize,
    /// None, or a power of two; the upper half of a key's hash chooses.
    shards: Arc<Vec<Arc<Shard<V>>>>,
}

type Shard<V> = HashTable<(Arc<str>, V)>;

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
        shard.find(hash, |(known, _)| **known == *key).map(|(_, value)| value)
    }
}

impl<V: Clone> Shards<V> {
    /// Adds a value, or replaces the one that a key has.
    pub fn insert(&mut self, key: &Arc<str>, value: V) {
        if self.len >= self.shards.len() * KEYS {
            self.double();
        }
        let hash = hash(key);
        let Some(shard) = self.shard_mut(hash) else { return };
        match shard.find_mut(hash, |(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => {
                shard.insert_unique(hash, (Arc::clone(key), value), |(key, _)| self::hash(key));
                self.len += 1;
            }
        }
    }

    /// Forgets a key. Does nothing if it is not there.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let hash = hash(key);
        let Some(shard) = self.shard_mut(hash) else { return };
        if let Ok(entry) = shard.find_entry(hash, |(known, _)| **known == *key) {
            entry.remove();
            self.len -= 1;
        }
    }

    fn shard_mut(&mut self, hash: u64) -> Option<&mut Shard<V>> {
        let place = place(hash, self.shards.len());
        Arc::make_mut(&mut self.shards).get_mut(place).map(Arc::make_mut)
    }

    fn double(&mut self) {
        let count = (self.shards.len() * 2).max(1);
        let mut shards = vec![Shard::new(); count];
        for entry in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = hash(&entry.0);
            if let Some(shard) = shards.get_mut(place(hash, count)) {
                shard.insert_unique(hash, entry.clone(), |(key, _)| self::hash(key));
            }
        }
        self.shards = Arc::new(shards.into_iter().map(Arc::new).collect());
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
