//! The lines of one family, from the series. What differs only in labels without values is summed; a
//! family that would have too many lines loses more of them.

use std::{collections::BTreeSet, net::IpAddr};

use ahash::RandomState;
use hashbrown::HashTable;

use super::{Key, SeriesOptions, Status};

/// What a family has lost after so many steps, as its help text says.
const SUMMED: [&str; 4] = [
    "",
    "; too many lines: summed over consumers and nodes",
    "; too many lines: summed over routes, consumers and nodes",
    "; too many lines: summed over services, routes, consumers and nodes",
];

/// The labels of a family that have no values.
#[derive(Clone, Copy, Default)]
pub(super) struct Blanks {
    route: bool,
    matched_uri: bool,
    matched_host: bool,
    service: bool,
    consumer: bool,
    node: bool,
    pub request_type: bool,
    response_source: bool,
    /// A bit for each label that was asked for.
    extra: u32,
}

impl Blanks {
    /// Those with these names.
    pub fn new(names: &BTreeSet<String>, options: &SeriesOptions) -> Self {
        let extra = options.extra_labels.iter().enumerate();
        let extra = extra.filter(|(_, (name, _))| names.contains(name));
        Self {
            route: names.contains("route"),
            matched_uri: names.contains("matched_uri"),
            matched_host: names.contains("matched_host"),
            service: names.contains("service"),
            consumer: names.contains("consumer"),
            node: names.contains("node"),
            request_type: names.contains("request_type"),
            response_source: names.contains("response_source"),
            extra: extra.fold(0, |bits, (position, _)| bits | 1 << position),
        }
    }

    /// What is blank after so many steps.
    fn after(mut self, steps: usize) -> Self {
        if steps > 0 {
            (self.consumer, self.node, self.extra) = (true, true, u32::MAX);
        }
        if steps > 1 {
            (self.route, self.matched_uri, self.matched_host) = (true, true, true);
        }
        self.service |= steps > 2;
        self
    }
}

/// The values of a line's labels, in the order lines are shown.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Values<'a> {
    pub route: &'a str,
    pub service: &'a str,
    pub consumer: &'a str,
    pub node: Option<IpAddr>,
    pub extra: Vec<&'a str>,
    // These are empty but for statuses.
    pub code: u16,
    pub matched_uri: &'a str,
    pub matched_host: &'a str,
    pub source: &'a str,
}

impl<'a> Values<'a> {
    pub fn new(key: &'a Key, status: Option<&'a Status>, blanks: Blanks) -> Self {
        let unless = |blank: bool, text: &'a str| if blank { "" } else { text };
        let labels = key.labels();
        let extra = labels.extra.iter().enumerate();
        let extra = extra.map(|(place, value)| unless(blanks.extra & (1 << place) != 0, value));
        let (code, uri, host, source) = match status {
            Some(status) => {
                (status.code, &*status.matched_uri, &*status.matched_host, status.source)
            }
            None => (0, "", "", ""),
        };
        Self {
            route: unless(blanks.route, labels.route),
            service: unless(blanks.service, labels.service),
            consumer: unless(blanks.consumer, labels.consumer),
            node: labels.node.filter(|_| !blanks.node),
            extra: extra.collect(),
            code,
            matched_uri: unless(blanks.matched_uri, uri),
            matched_host: unless(blanks.matched_host, host),
            source: unless(blanks.response_source, source),
        }
    }
}

/// The lines of one family so far.
pub(super) struct Lines<V> {
    table: HashTable<Line<V>>,
    /// Two independent ones: values whose hashes are the same are the same. Comparing texts would wait for
    /// memory at every series.
    hashers: [RandomState; 2],
    room: usize,
    /// Before any step.
    hidden: Blanks,
    steps: usize,
    sum: fn(&mut V, &V),
}

/// A line, by what was first counted in it.
struct Line<V> {
    hashes: [u64; 2],
    key: Key,
    status: Option<Status>,
    value: V,
}

impl<V> Line<V> {
    fn values(&self, blanks: Blanks) -> Values<'_> {
        Values::new(&self.key, self.status.as_ref(), blanks)
    }
}

impl<V: Default> Lines<V> {
    /// None yet; `room` for so many. `sum` adds to a value.
    pub fn new(hidden: Blanks, room: usize, sum: fn(&mut V, &V)) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Self { table: HashTable::new(), hashers, room, hidden, steps: 0, sum }
    }

    /// The labels that have no values.
    pub fn blanks(&self) -> Blanks {
        self.hidden.after(self.steps)
    }

    /// For the help text: over what was summed for want of room.
    pub fn summed(&self) -> &'static str {
        SUMMED.get(self.steps).copied().unwrap_or_default()
    }

    /// Makes room for so many more, or as many as will ever be.
    pub fn reserve(&mut self, lines: usize) {
        let more = lines.min(self.room.saturating_sub(self.table.len()));
        self.table.reserve(more, |line| line.hashes[0]);
    }

    /// Counts a value in.
    pub fn add(&mut self, key: &Key, status: Option<&Status>, value: &V) {
        let values = Values::new(key, status, self.blanks());
        let hashes = self.hashers.each_ref().map(|hasher| hasher.hash_one(&values));
        let [hash, _] = hashes;
        if let Some(line) = self.table.find_mut(hash, |line| line.hashes == hashes) {
            (self.sum)(&mut line.value, value);
            return;
        }
        let (key, status) = (key.clone(), status.cloned());
        let mut line = Line { hashes, key, status, value: V::default() };
        (self.sum)(&mut line.value, value);
        self.table.insert_unique(hash, line, |line| line.hashes[0]);
        if self.table.len() > self.room && self.steps + 1 < SUMMED.len() {
            self.lose();
        }
    }

    /// One step: fewer labels, so fewer lines.
    fn lose(&mut self) {
        self.steps += 1;
        for Line { key, status, value, .. } in std::mem::take(&mut self.table) {
            self.add(&key, status.as_ref(), &value);
        }
    }

    /// All lines, in order.
    pub fn sorted(&self) -> Vec<(Values<'_>, &V)> {
        let blanks = self.blanks();
        let lines = self.table.iter().map(|line| (line.values(blanks), &line.value));
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        lines
    }
}
