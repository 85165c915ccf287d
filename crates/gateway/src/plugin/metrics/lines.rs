//! The lines of one family, from the series. What differs only in labels without values is summed; a
//! family that would have too many lines loses more of them.
//!
//! Lines are told apart by hashes that stand beside the series: comparing texts would wait for memory
//! at every one. That two of 100,000 lines have the same is as likely as one in a thousand million.

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

/// Hashes of the values of labels, which are added up for a line.
pub(super) struct Hashes(RandomState);

impl Hashes {
    pub fn new() -> Self {
        Self(RandomState::new())
    }

    /// The hash of a label's value.
    pub fn of(&self, label: &str, value: &str) -> u64 {
        self.0.hash_one((label, value))
    }

    /// What a line is told apart by.
    pub fn line(&self, key: &Key, status: Option<&Status>, blanks: Blanks) -> u64 {
        let unless = |blank: bool, hash: u64| if blank { 0 } else { hash };
        let [route, service, consumer] = key.hashes;
        let mut sum = unless(blanks.route, route)
            .wrapping_add(unless(blanks.service, service))
            .wrapping_add(unless(blanks.consumer, consumer));
        let mut add = |hash: u64| sum = sum.wrapping_add(hash);
        if !blanks.node {
            add(self.0.hash_one(key.node));
        }
        for (place, value) in key.extra.iter().flat_map(|extra| extra.iter().enumerate()) {
            if blanks.extra & (1 << place) == 0 && !value.is_empty() {
                add(self.0.hash_one((place, value)));
            }
        }
        if let Some(status) = status {
            let [uri, host] = status.hashes;
            add(self.0.hash_one(status.code));
            add(unless(blanks.matched_uri, uri));
            add(unless(blanks.matched_host, host));
            add(unless(blanks.response_source, self.of("response_source", status.source)));
        }
        sum
    }
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
    blanks: Blanks,
    /// How many labels were lost for want of room.
    steps: usize,
    sum: fn(&mut V, &V),
}

/// A line, by what was first counted in it.
struct Line<V> {
    hash: u64,
    key: Key,
    status: Option<Status>,
    value: V,
}

impl<V: Default> Lines<V> {
    /// None yet. `fits` says whether there is room if these labels have no values; `sum` adds to a
    /// value.
    pub fn new(hidden: Blanks, fits: impl Fn(Blanks) -> bool, sum: fn(&mut V, &V)) -> Self {
        let last = SUMMED.len() - 1;
        let steps = (0..last).find(|steps| fits(hidden.after(*steps))).unwrap_or(last);
        Self { table: HashTable::new(), blanks: hidden.after(steps), steps, sum }
    }

    /// The labels that have no values.
    pub fn blanks(&self) -> Blanks {
        self.blanks
    }

    /// For the help text: over what was summed for want of room.
    pub fn summed(&self) -> &'static str {
        SUMMED.get(self.steps).copied().unwrap_or_default()
    }

    /// Counts a value in.
    pub fn add(&mut self, hashes: &Hashes, key: &Key, status: Option<&Status>, value: &V) {
        let hash = hashes.line(key, status, self.blanks);
        if let Some(line) = self.table.find_mut(hash, |line| line.hash == hash) {
            (self.sum)(&mut line.value, value);
            return;
        }
        let (key, status) = (key.clone(), status.cloned());
        let mut line = Line { hash, key, status, value: V::default() };
        (self.sum)(&mut line.value, value);
        self.table.insert_unique(hash, line, |line| line.hash);
    }

    /// All lines, in order.
    pub fn sorted(&self) -> Vec<(Values<'_>, &V)> {
        let lines = self
            .table
            .iter()
            .map(|line| (Values::new(&line.key, line.status.as_ref(), self.blanks), &line.value));
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        lines
    }
}
