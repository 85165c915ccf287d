//! The table that finds the route of a request by host and path, as APISIX's `radixtree_host_uri`.
//!
//! Hosts go first: the exact one, then wildcards from the longest to the shortest, then routes
//! without host. Within a host the exact path goes first, then literal prefixes from the longest to
//! the shortest. `priority` orders only routes with the same exact path or the same prefix; the
//! longer pattern text goes first among equals, then the smaller id, so that the order does not
//! depend on how the table came about.
//!
//! A lookup costs as much as the path is long, however many routes there are: exact paths are looked
//! up in a hash table, prefixes along a trie.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use fancy_regex::Regex;
use smallvec::SmallVec;

use crate::regex;
use crate::route::RouteMatch;
use crate::shards::Shards;
use crate::trie::{Backward, Forward, Key, Trie};

/// Routes by host and path. Cloning is cheap and clones share what they have in common; a change
/// copies the few nodes on its way and leaves older clones as they are.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    hosts: Trie<HostPaths<T>>,
    /// Of routes without host.
    hostless: Paths<T>,
}

/// What is known under a host name, or the part of it after the star.
#[derive(Clone, Debug)]
struct HostPaths<T> {
    exact: Paths<T>,
    wildcard: Paths<T>,
}

/// Routes by path.
#[derive(Clone, Debug)]
struct Paths<T> {
    exact: Shards<Entries<T>>,
    prefixes: Trie<Entries<T>>,
}

/// Routes with the same exact path or the same prefix, in order; never empty.
///
/// Most hold one route: it stands where it is found, so that nothing but the route itself is far.
type Entries<T> = SmallVec<[Entry<T>; 1]>;

#[derive(Clone, Debug)]
struct Entry<T> {
    priority: i64,
    pattern: Pattern,
    id: Arc<str>,
    value: T,
}

/// A path pattern of a route.
///
/// Everything before the first `*` is a literal prefix. If any segment starts with `*`, the path
/// must also match the whole pattern, in which such a segment stands for any text, slashes too, and
/// the other segments are regular expressions: a peculiarity of APISIX that is kept. A star glued
/// to text has no such effect.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    regex: Option<Arc<Regex>>,
}

impl Pattern {
    /// Compiles a pattern. The error is a sentence.
    pub fn compile(text: &str) -> Result<Self, String> {
        let regex = needs_regex(text).then(|| {
            let segments: Vec<&str> = text
                .split('/')
                .map(|segment| if segment.starts_with('*') { "((.|\n)*)" } else { segment })
                .collect();
            regex::compile(&segments.join("/"), false).map(Arc::new)
        });
        let regex = regex
            .transpose()
            .map_err(|error| format!("the path `{text}` never matches: {error}"))?;
        Ok(Self { text: text.into(), regex })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn place(&self) -> Place<'_> {
        self.text.split_once('*').map_or(Place::Exact, |(literal, _)| Place::Prefix(literal))
    }

    /// What the place of the pattern has not decided yet.
    fn accepts(&self, path: &str) -> bool {
        self.regex.as_ref().is_none_or(
            |regex| matches!(regex.find(path), Ok(Some(found)) if found.range() == (0..path.len())),
        )
    }
}

/// Where a pattern is kept.
enum Place<'a> {
    /// Under its whole text.
    Exact,
    /// Under what stands before the star.
    Prefix(&'a str),
}

/// False if the literal prefix says everything, as in the common `/foo/*`.
fn needs_regex(text: &str) -> bool {
    if !text.split('/').any(|segment| segment.starts_with('*')) {
        return false;
    }
    match text.split_once('*') {
        Some((before, after)) => {
            let is_last = (before.is_empty() || before.ends_with('/')) && !after.contains('/');
            !is_last
                || before.contains(['\\', '^', '$', '|', '(', ')', '[', ']', '{', '}', '+', '?'])
        }
        None => false,
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { hosts: Trie::default(), hostless: Paths::default() }
    }
}

impl<T: Clone> RouteTable<T> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.hostless.is_empty()
    }

    /// Puts a route under one host (`*`, `*.foo.com`, `*foo.com`, `foo.com`, or None for routes
    /// without host) and one pattern. A route with this id in this place is replaced.
    pub fn insert(
        &mut self,
        host: Option<&str>,
        pattern: &Pattern,
        id: &Arc<str>,
        priority: i64,
        value: T,
    ) {
        self.paths_mut(host).change(pattern, |entries| {
            entries.retain(|entry| !entry.is(pattern, id));
            let entry = Entry { priority, pattern: pattern.clone(), id: Arc::clone(id), value };
            let at = entries.partition_point(|other| other.order(&entry) == Ordering::Less);
            entries.insert(at, entry);
        });
    }

    /// Takes a route out of one place. Does nothing if it is not there.
    pub fn remove(&mut self, host: Option<&str>, pattern: &Pattern, id: &str) {
        let known = self.paths(host).and_then(|paths| paths.entries(pattern));
        if known.is_none_or(|entries| !entries.iter().any(|entry| entry.is(pattern, id))) {
            return;
        }
        let paths = self.paths_mut(host);
        paths.change(pattern, |entries| entries.retain(|entry| !entry.is(pattern, id)));
        self.forget_empty(host);
    }

    /// Puts a route in all its places: each of `hosts` (none: routes without host) with each of its
    /// patterns.
    pub fn insert_route(
        &mut self,
        hosts: &[String],
        matcher: &RouteMatch,
        id: &Arc<str>,
        value: &T,
    ) {
        for host in places(hosts) {
            for pattern in matcher.patterns() {
                self.insert(host, pattern, id, matcher.priority(), value.clone());
            }
        }
    }

    /// Takes a route out of all places it was put in with the same arguments.
    pub fn remove_route(&mut self, hosts: &[String], matcher: &RouteMatch, id: &str) {
        for host in places(hosts) {
            for pattern in matcher.patterns() {
                self.remove(host, pattern, id);
            }
        }
    }

    fn paths(&self, host: Option<&str>) -> Option<&Paths<T>> {
        let Some(host) = host else { return Some(&self.hostless) };
        let (name, is_wildcard) = split_host(host);
        let found = self.hosts.get(&Backward(name.as_bytes()))?;
        Some(if is_wildcard { &found.wildcard } else { &found.exact })
    }

    fn paths_mut(&mut self, host: Option<&str>) -> &mut Paths<T> {
        let Some(host) = host else { return &mut self.hostless };
        let (name, is_wildcard) = split_host(host);
        let found = self.hosts.entry(&Backward(name.as_bytes()), HostPaths::default);
        if is_wildcard { &mut found.wildcard } else { &mut found.exact }
    }

    fn forget_empty(&mut self, host: Option<&str>) {
        let Some(host) = host else { return };
        let key = Backward(split_host(host).0.as_bytes());
        let is_empty = |found: &HostPaths<T>| found.exact.is_empty() && found.wildcard.is_empty();
        if self.hosts.get(&key).is_some_and(is_empty) {
            self.hosts.remove(&key);
        }
    }
}

impl<T> RouteTable<T> {
    /// The first route in order of precedence that `accept` takes.
    ///
    /// `host` has no port and may be in any case; `path` is normalised ([`crate::path::normalize`]).
    /// Allocates nothing.
    pub fn lookup(&self, host: &str, path: &str, mut accept: impl FnMut(&T) -> bool) -> Option<&T> {
        let key = Backward(host.as_bytes());
        let fits = |length, found: &HostPaths<T>| length == key.len() || !found.wildcard.is_empty();
        let mut limit = Some(key.len());
        while let Some((length, found)) =
            limit.and_then(|limit| self.hosts.longest_prefix(&key, limit, fits))
        {
            let exact = (length == key.len()).then_some(&found.exact);
            for paths in exact.into_iter().chain([&found.wildcard]) {
                if let Some(value) = paths.lookup(path, &mut accept) {
                    return Some(value);
                }
            }
            limit = length.checked_sub(1);
        }
        self.hostless.lookup(path, &mut accept)
    }
}

impl<T> Paths<T> {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn entries(&self, pattern: &Pattern) -> Option<&Entries<T>> {
        match pattern.place() {
            Place::Exact => self.exact.get(&pattern.text),
            Place::Prefix(literal) => self.prefixes.get(&Forward(literal.as_bytes())),
        }
    }

    fn lookup(&self, path: &str, accept: &mut impl FnMut(&T) -> bool) -> Option<&T> {
        let mut first = |entries: &'_ Entries<T>| {
            entries.iter().position(|entry| accept(&entry.value) && entry.pattern.accepts(path))
        };
        if let Some(entries) = self.exact.get(path)
            && let Some(place) = first(entries)
        {
            return entries.get(place).map(|entry| &entry.value);
        }
        let key = Forward(path.as_bytes());
        let mut limit = key.len();
        loop {
            // Usually one walk down the trie: whatever fits best is where the walk ends.
            let (length, entries) = self.prefixes.longest_prefix(&key, limit, |_, _| true)?;
            if let Some(place) = first(entries) {
                return entries.get(place).map(|entry| &entry.value);
            }
            limit = length.checked_sub(1)?;
        }
    }
}

impl<T: Clone> Paths<T> {
    /// Changes the routes of one place.
    fn change(&mut self, pattern: &Pattern, change: impl FnOnce(&mut Entries<T>)) {
        let mut entries = self.entries(pattern).cloned().unwrap_or_default();
        change(&mut entries);
        let fresh = (!entries.is_empty()).then_some(entries);
        match (pattern.place(), fresh) {
            (Place::Exact, Some(entries)) => self.exact.insert(&pattern.text, entries),
            (Place::Exact, None) => self.exact.remove(&pattern.text),
            (Place::Prefix(literal), Some(entries)) => {
                *self.prefixes.entry(&Forward(literal.as_bytes()), Entries::default) = entries;
            }
            (Place::Prefix(literal), None) => self.prefixes.remove(&Forward(literal.as_bytes())),
        }
    }
}

/// The places of a route that has these hosts.
fn places(hosts: &[String]) -> impl Iterator<Item = Option<&str>> {
    let hostless = hosts.is_empty().then_some(None);
    hostless.into_iter().chain(hosts.iter().map(|host| Some(host.as_str())))
}

/// The literal part of a host pattern, and whether a star stands before it.
pub(crate) fn split_host(host: &str) -> (&str, bool) {
    match host.strip_prefix('*') {
        Some(rest) => (rest, true),
        None => (host, false),
    }
}

impl<T> Default for HostPaths<T> {
    fn default() -> Self {
        Self { exact: Paths::default(), wildcard: Paths::default() }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { exact: Shards::default(), prefixes: Trie::default() }
    }
}

impl<T> Entry<T> {
    fn is(&self, pattern: &Pattern, id: &str) -> bool {
        *self.id == *id && self.pattern.text == pattern.text
    }

    fn order(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| (Reverse(entry.priority), Reverse(entry.pattern.text.len()));
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.id.cmp(&other.id))
            .then_with(|| self.pattern.text.cmp(&other.pattern.text))
    }
}
