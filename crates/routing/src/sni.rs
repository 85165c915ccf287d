//! The table that finds the certificate for a server name, as APISIX does.

use std::sync::Arc;

use crate::table::split_host;
use crate::trie::{Backward, Key, Trie};

/// Certificates by server name (`foo.com`, `*.foo.com`, `*`). Cloning is cheap, older clones stay as
/// they are.
#[derive(Clone, Debug)]
pub struct SniTable<T> {
    names: Trie<Slot<T>>,
}

/// What is known under a name, or the part of it after the star; sorted by id.
#[derive(Clone, Debug)]
struct Slot<T> {
    exact: Vec<(Arc<str>, T)>,
    wildcard: Vec<(Arc<str>, T)>,
}

impl<T> Default for SniTable<T> {
    fn default() -> Self {
        Self { names: Trie::default() }
    }
}

impl<T: Clone> SniTable<T> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Puts a certificate under a name; the one with this id there is replaced.
    #[expect(clippy::indexing_slicing, reason = "the search has found the place")]
    pub fn insert(&mut self, name: &str, id: &str, value: T) {
        let (literal, is_wildcard) = split_host(name.trim_end_matches('.'));
        let slot = self.names.entry(&Backward(literal.as_bytes()), Slot::default);
        let entries = slot.side_mut(is_wildcard);
        match entries.binary_search_by(|(other, _)| (**other).cmp(id)) {
            Ok(at) => entries[at].1 = value,
            Err(at) => entries.insert(at, (id.into(), value)),
        }
    }

    /// Takes a certificate away from a name. Does nothing if it is not there.
    pub fn remove(&mut self, name: &str, id: &str) {
        let (literal, is_wildcard) = split_host(name.trim_end_matches('.'));
        let key = Backward(literal.as_bytes());
        if self.names.get(&key).is_none() {
            return;
        }
        let slot = self.names.entry(&key, Slot::default);
        slot.side_mut(is_wildcard).retain(|(other, _)| **other != *id);
        if slot.exact.is_empty() && slot.wildcard.is_empty() {
            self.names.remove(&key);
        }
    }
}

impl<T> SniTable<T> {
    /// The certificate for a name: that of the exact name, else that of the longest wildcard.
    ///
    /// A wildcard stands for exactly one label, a lone `*` for everything. A longest wildcard that
    /// would stand for several labels is not made up for by a shorter one. Several certificates with
    /// one name: the one with the smallest id.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<&T> {
        let name = name.trim_end_matches('.');
        let key = Backward(name.as_bytes());
        if let Some((_, value)) = self.names.get(&key).and_then(|slot| slot.exact.first()) {
            return Some(value);
        }
        let fits = |_, slot: &Slot<T>| !slot.wildcard.is_empty();
        let (length, slot) = self.names.longest_prefix(&key, key.len(), fits)?;
        let covered = name.get(..name.len() - length)?;
        let is_one_label = length == 0 || !covered.contains('.');
        slot.wildcard.first().filter(|_| is_one_label).map(|(_, value)| value)
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { exact: Vec::new(), wildcard: Vec::new() }
    }
}

impl<T> Slot<T> {
    fn side_mut(&mut self, is_wildcard: bool) -> &mut Vec<(Arc<str>, T)> {
        if is_wildcard { &mut self.wildcard } else { &mut self.exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_go_before_wildcards_of_one_label() {
        let mut table = SniTable::new();
        table.insert("foo.com", "1", "exact");
        table.insert("*.foo.com", "2", "wildcard");
        table.insert("*", "3", "any");
        for (name, expected) in [
            ("foo.com", Some("exact")),
            ("FOO.com.", Some("exact")),
            ("a.foo.com", Some("wildcard")),
            ("a.b.foo.com", None),
            ("bar.com", Some("any")),
        ] {
            assert_eq!(table.lookup(name).copied(), expected, "{name}");
        }
    }

    #[test]
    fn the_smallest_id_wins_and_removal_uncovers_the_next() {
        let mut table = SniTable::new();
        table.insert("foo.com", "2", 2);
        table.insert("foo.com", "1", 1);
        let old = table.clone();
        assert_eq!(table.lookup("foo.com"), Some(&1));
        table.remove("foo.com", "1");
        assert_eq!(table.lookup("foo.com"), Some(&2));
        table.remove("foo.com", "2");
        assert!(table.is_empty());
        assert_eq!(old.lookup("foo.com"), Some(&1));
    }
}
