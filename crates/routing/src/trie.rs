//! A persistent radix trie over bytes: cloning shares everything, a change copies only the nodes on
//! its way, so old clones keep answering as before and cost nothing to keep.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes to walk along, in either direction.
pub(crate) trait Key {
    fn len(&self) -> usize;
    /// The byte at `index`, None past the end.
    fn at(&self, index: usize) -> Option<u8>;
}

/// Paths are read from the front and byte by byte as they are.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a>(pub &'a [u8]);

/// Host names are read from the back and without regard to case.
#[derive(Clone, Copy)]
pub(crate) struct Backward<'a>(pub &'a [u8]);

impl Key for Forward<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> Option<u8> {
        self.0.get(index).copied()
    }
}

impl Key for Backward<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> Option<u8> {
        let from_end = self.0.len().checked_sub(index + 1)?;
        self.0.get(from_end).map(u8::to_ascii_lowercase)
    }
}

/// A map from byte strings to values. The empty string is a key too.
#[derive(Clone, Debug)]
pub(crate) struct Trie<V> {
    root: Arc<Node<V>>,
}

/// All nodes but the root have a value or at least two children.
#[derive(Clone, Debug)]
struct Node<V> {
    /// What leads here from the parent.
    edge: Edge,
    value: Option<V>,
    /// Sorted by the first byte of their edges, which is repeated here.
    children: Vec<(u8, Arc<Node<V>>)>,
}

/// A few bytes, which are in the node itself if they are short: a step down the trie then costs one
/// access to far memory less.
#[derive(Clone, Debug)]
enum Edge {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// Makes an [`Edge`] as large as three pointers.
const SHORT: usize = 22;

impl Edge {
    fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }
}

impl Deref for Edge {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: Arc::new(Node { edge: Edge::new(&[]), value: None, children: Vec::new() }) }
    }
}

impl<V> Node<V> {
    fn position(&self, byte: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&byte, |(first, _)| *first)
    }

    fn child(&self, byte: u8) -> Option<&Self> {
        let position = self.position(byte).ok()?;
        self.children.get(position).map(|(_, child)| &**child)
    }

    /// How many bytes of the edge the key follows from `start` on.
    fn common(&self, key: &impl Key, start: usize) -> usize {
        self.edge
            .iter()
            .enumerate()
            .take_while(|(offset, byte)| key.at(start + offset) == Some(**byte))
            .count()
    }
}

impl<V> Trie<V> {
    pub fn is_empty(&self) -> bool {
        self.root.value.is_none() && self.root.children.is_empty()
    }

    /// The value of exactly this key.
    pub fn get(&self, key: &impl Key) -> Option<&V> {
        let mut found = None;
        self.walk(key, |length, value| {
            if length == key.len() {
                found = Some(value);
            }
        });
        found
    }

    /// The value of the longest key that is a prefix of `key`, at most `limit` long, and whose
    /// value fits; with its length.
    pub fn longest_prefix(
        &self,
        key: &impl Key,
        limit: usize,
        fits: impl Fn(usize, &V) -> bool,
    ) -> Option<(usize, &V)> {
        let mut found = None;
        self.walk(key, |length, value| {
            if length <= limit && fits(length, value) {
                found = Some((length, value));
            }
        });
        found
    }

    /// Visits the values of all keys that are prefixes of `key`, shortest first.
    fn walk<'a>(&'a self, key: &impl Key, mut visit: impl FnMut(usize, &'a V)) {
        let mut node = &*self.root;
        let mut length = 0;
        loop {
            if let Some(value) = &node.value {
                visit(length, value);
            }
            let Some(child) = key.at(length).and_then(|byte| node.child(byte)) else { return };
            if child.common(key, length) < child.edge.len() {
                return;
            }
            length += child.edge.len();
            node = child;
        }
    }
}

impl<V: Clone> Trie<V> {
    /// The value of the key, made first if there is none.
    #[expect(clippy::indexing_slicing, reason = "`position` has found the place")]
    pub fn entry(&mut self, key: &impl Key, make: impl FnOnce() -> V) -> &mut V {
        let mut node = Arc::make_mut(&mut self.root);
        let mut length = 0;
        while let Some(byte) = key.at(length) {
            let position = match node.position(byte) {
                Ok(position) => position,
                Err(position) => {
                    let rest: Vec<u8> =
                        (length..key.len()).filter_map(|index| key.at(index)).collect();
                    let leaf = Node { edge: Edge::new(&rest), value: None, children: Vec::new() };
                    node.children.insert(position, (byte, Arc::new(leaf)));
                    position
                }
            };
            node = Arc::make_mut(&mut node.children[position].1);
            let common = node.common(key, length);
            if common < node.edge.len() {
                node.split(common);
            }
            length += common;
        }
        node.value.get_or_insert_with(make)
    }

    /// Takes the key out.
    #[expect(clippy::indexing_slicing, reason = "`position` has found the place")]
    pub fn remove(&mut self, key: &impl Key) {
        if self.get(key).is_none() {
            return;
        }
        let parent = self.parent_mut(key);
        let Some((parent, position)) = parent else {
            Arc::make_mut(&mut self.root).value = None;
            return;
        };
        let child = Arc::make_mut(&mut parent.children[position].1);
        child.value = None;
        match child.children.len() {
            0 => {
                parent.children.remove(position);
            }
            1 => child.merge(),
            _ => {}
        }
        // An inner node that held nothing but this child and one other is no longer needed.
        if parent.value.is_none() && parent.children.len() == 1 && !parent.edge.is_empty() {
            parent.merge();
        }
    }

    /// The node above that of a key which is present, and the place of the key in it; None if the
    /// key is the empty one of the root.
    #[expect(clippy::indexing_slicing, reason = "`position` has found the place")]
    fn parent_mut(&mut self, key: &impl Key) -> Option<(&mut Node<V>, usize)> {
        let mut node = Arc::make_mut(&mut self.root);
        let mut length = 0;
        loop {
            let position = node.position(key.at(length)?).ok()?;
            let child_length = length + node.children[position].1.edge.len();
            if child_length >= key.len() {
                return Some((node, position));
            }
            length = child_length;
            node = Arc::make_mut(&mut node.children[position].1);
        }
    }
}

impl<V: Clone> Node<V> {
    /// Cuts the edge after `length` bytes: what was here moves into a child.
    fn split(&mut self, length: usize) {
        let (head, tail) = self.edge.split_at(length);
        let (head, tail) = (Edge::new(head), Edge::new(tail));
        let first = tail.first().copied().unwrap_or_default();
        let child = Self {
            edge: tail,
            value: self.value.take(),
            children: std::mem::take(&mut self.children),
        };
        self.edge = head;
        self.children.push((first, Arc::new(child)));
    }

    /// Takes in the only child; the opposite of `split`.
    fn merge(&mut self) {
        let Some((_, child)) = self.children.pop() else { return };
        let child = Arc::unwrap_or_clone(child);
        self.edge = Edge::new(&[&*self.edge, &*child.edge].concat());
        self.value = child.value;
        self.children = child.children;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(keys: &[&str]) -> Trie<String> {
        let mut trie = Trie::default();
        for key in keys {
            trie.entry(&Forward(key.as_bytes()), || (*key).to_owned());
        }
        trie
    }

    fn nodes<V>(node: &Node<V>) -> usize {
        1 + node.children.iter().map(|(_, child)| nodes(child)).sum::<usize>()
    }

    #[test]
    fn the_longest_prefix_within_the_limit_is_found() {
        let trie = trie(&["", "/a", "/a/b", "/a/bc"]);
        let find = |limit| {
            trie.longest_prefix(&Forward(b"/a/b/c"), limit, |_, _| true).map(|(len, _)| len)
        };
        assert_eq!(
            [find(9), find(4), find(3), find(1), find(0)].map(Option::unwrap),
            [4, 4, 2, 0, 0]
        );
        assert_eq!(trie.get(&Forward(b"/a/")), None);
    }

    #[test]
    fn removing_leaves_no_nodes_behind() {
        let keys = ["/abc", "/abd", "/ab", "/x", "", "/abcdef"];
        let mut trie = trie(&keys);
        for key in keys {
            let old = trie.clone();
            trie.remove(&Forward(key.as_bytes()));
            trie.remove(&Forward(b"/not there"));
            assert_eq!(trie.get(&Forward(key.as_bytes())), None);
            assert_eq!(old.get(&Forward(key.as_bytes())).map(String::as_str), Some(key));
        }
        assert!(trie.is_empty());
        assert_eq!(nodes(&trie.root), 1);
    }

    #[test]
    fn host_names_are_read_backward_in_any_case() {
        let mut trie = Trie::default();
        trie.entry(&Backward(b".foo.com"), || 1);
        assert_eq!(trie.longest_prefix(&Backward(b"A.Foo.COM"), 9, |_, _| true), Some((8, &1)));
        assert_eq!(trie.longest_prefix(&Backward(b"foo.com"), 7, |_, _| true), None);
    }
}
