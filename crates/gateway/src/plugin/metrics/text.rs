//! The series as text. Labels that the cluster hides have no values, and what differs only in them
//! is summed; a family that would have too many lines loses more of them.

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use ahash::RandomState;
use hashbrown::HashMap;
use serde::Deserialize;

use super::{KINDS, Key, LINES_MAX, Labels, Latencies, Metrics, Series, Status, lock};
use crate::exposition::{family, label};

/// Bytes of text that are worth handing on.
const PIECE: usize = 64 * 1024;

/// What a family may lose one after the other, and how its help text says so.
const SUMMED: [&str; 3] = [
    "",
    "; too many lines: summed over consumers and nodes",
    "; too many lines: summed over routes, consumers and nodes",
];
const SUMMED_ALL: &str = "; too many lines: summed over services, routes, consumers and nodes";

/// Names of labels without values, by family: `disabled_labels` of the plugin's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hidden {
    http_status: BTreeSet<String>,
    http_latency: BTreeSet<String>,
    bandwidth: BTreeSet<String>,
}

/// The labels of a family that have no values.
#[derive(Clone, Copy, Default)]
struct Blanks {
    route: bool,
    matched_uri: bool,
    matched_host: bool,
    service: bool,
    consumer: bool,
    node: bool,
    request_type: bool,
    response_source: bool,
    /// A bit for each label that was asked for.
    extra: u32,
}

/// The labels of a line that have values, in the order lines are shown.
#[derive(Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Line<'a> {
    route: &'a str,
    service: &'a str,
    consumer: &'a str,
    node: Option<IpAddr>,
    extra: Vec<&'a str>,
    /// These are of statuses only.
    code: u16,
    matched_uri: &'a str,
    matched_host: &'a str,
    source: &'a str,
}

type Lines<'a, V> = HashMap<Line<'a>, V, RandomState>;

/// A copy of what was counted.
type Copied = [(Arc<Key>, Series)];

impl Metrics {
    /// Appends all series in Prometheus' text format, in a stable order. Whenever `out` has grown,
    /// `spill` may take what is in it.
    pub fn render(&self, out: &mut String, spill: &mut dyn FnMut(&mut String)) {
        let (copied, hidden) = (self.copy(), self.hidden.load());
        let mut writer = Writer { bounds: bounds(&self.options.buckets), out, spill };

        let blanks = self.blanks(&hidden.http_status);
        let (blanks, summed, lines) = self.fitting(&copied, blanks, 1, status_lines);
        writer.family("http_status", "counter", "HTTP status codes per route", summed);
        for (line, count) in lines {
            writer.status(&self.status_labels(&line, blanks), count);
        }

        let blanks = self.blanks(&hidden.http_latency);
        let each = KINDS.len() * (self.options.buckets.len() + 3);
        let (blanks, summed, lines) = self.fitting(&copied, blanks, each, latency_lines);
        writer.family("http_latency", "histogram", "HTTP latency in milliseconds", summed);
        for (line, latencies) in lines {
            let labels = self.traffic_labels(&line, blanks);
            for kind in 0..KINDS.len() {
                writer.buckets(kind, &labels, &latencies);
                writer.totals(kind, &labels, &latencies);
            }
        }

        let blanks = self.blanks(&hidden.bandwidth);
        let (blanks, summed, lines) = self.fitting(&copied, blanks, 2, bandwidth_lines);
        writer.family("bandwidth", "counter", "Bytes per route", summed);
        for (line, bytes) in lines {
            writer.bandwidth(&self.traffic_labels(&line, blanks), bytes);
        }

        family(out, "nginx_metric_errors_total", "counter", "Requests without full labels");
        let folded = self.folded.load(Ordering::Relaxed);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "apisix_nginx_metric_errors_total {folded}");
    }

    /// Appends the series a control plane keeps until `out` holds `room` bytes, those that matter
    /// least last, and all labels with their values. Answers whether some were left out.
    pub fn report(&self, out: &mut String, room: usize) -> bool {
        let (mut copied, blanks) = (self.copy(), Blanks::default());
        copied.sort_unstable_by(|(one, _), (other, _)| one.labels().cmp(&other.labels()));
        let mut keep = |_: &mut String| {};
        let mut writer = Writer { bounds: bounds(&self.options.buckets), out, spill: &mut keep };
        for (key, series) in &copied {
            if writer.out.len() > room {
                break;
            }
            for status in &series.statuses {
                let line = Line::of_status(key.labels(), status, blanks);
                writer.status(&self.status_labels(&line, blanks), status.count);
            }
        }
        for are_buckets in [false, true] {
            for (key, Series { latencies, ingress, egress, .. }) in &copied {
                if writer.out.len() > room {
                    break;
                }
                let labels = self.traffic_labels(&Line::of(key.labels(), blanks), blanks);
                if !are_buckets {
                    writer.bandwidth(&labels, (*ingress, *egress));
                }
                for kind in 0..KINDS.len() {
                    if are_buckets {
                        writer.buckets(kind, &labels, latencies);
                    } else {
                        writer.totals(kind, &labels, latencies);
                    }
                }
            }
        }
        let is_cut = out.len() > room;
        if is_cut {
            let kept = out.as_bytes().get(..room).unwrap_or_default();
            let end = kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            out.truncate(end);
        }
        is_cut
    }

    /// All there is; copied under the locks, so that writing the text delays no request.
    fn copy(&self) -> Vec<(Arc<Key>, Series)> {
        let now = Instant::now();
        let mut copied = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            if let Some(expiry) = self.options.expiry {
                shard.expire(now, expiry);
            }
            copied.reserve(shard.series.len());
            copied.extend(shard.series.iter().map(|(key, series)| (key.clone(), series.clone())));
        }
        copied
    }

    /// The lines of a family with the most labels that leave it within its bound, in order; what is
    /// blank then, and a word about it. `each` is how many lines of text one of them makes.
    fn fitting<'a, V: Default>(
        &self,
        copied: &'a Copied,
        blanks: Blanks,
        each: usize,
        add: impl Fn(&mut Lines<'a, V>, &'a (Arc<Key>, Series), Blanks),
    ) -> (Blanks, &'static str, Vec<(Line<'a>, V)>) {
        let room = self.options.lines_max.unwrap_or(LINES_MAX) / each;
        let mut lines = Lines::with_hasher(self.hasher.clone());
        let mut level = 0;
        let (blanks, summed) = loop {
            let blanks = blanks.at(level);
            let summed = SUMMED.get(level).copied();
            let fits = copied.iter().all(|counted| {
                add(&mut lines, counted, blanks);
                summed.is_none() || lines.len() <= room
            });
            if fits {
                break (blanks, summed.unwrap_or(SUMMED_ALL));
            }
            lines.clear();
            level += 1;
        };
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        (blanks, summed, lines)
    }
}

fn status_lines<'a>(
    lines: &mut Lines<'a, u64>,
    (key, series): &'a (Arc<Key>, Series),
    blanks: Blanks,
) {
    for status in &series.statuses {
        *lines.entry(Line::of_status(key.labels(), status, blanks)).or_default() += status.count;
    }
}

fn latency_lines<'a>(
    lines: &mut Lines<'a, Latencies>,
    (key, series): &'a (Arc<Key>, Series),
    blanks: Blanks,
) {
    lines.entry(Line::of(key.labels(), blanks)).or_default().add(&series.latencies);
}

/// Bytes from and to clients.
fn bandwidth_lines<'a>(
    lines: &mut Lines<'a, (u64, u64)>,
    (key, series): &'a (Arc<Key>, Series),
    blanks: Blanks,
) {
    let (ingress, egress) = lines.entry(Line::of(key.labels(), blanks)).or_default();
    *ingress += series.ingress;
    *egress += series.egress;
}

impl Blanks {
    /// What is blank once a family has lost so many of [`SUMMED`].
    fn at(mut self, level: usize) -> Self {
        if level > 0 {
            (self.consumer, self.node, self.extra) = (true, true, u32::MAX);
        }
        if level > 1 {
            (self.route, self.matched_uri, self.matched_host) = (true, true, true);
        }
        self.service |= level > 2;
        self
    }

    fn has_extra(self, position: usize) -> bool {
        self.extra & (1 << position) != 0
    }
}

/// The text, or nothing if it is not shown.
fn unless(blank: bool, text: &str) -> &str {
    if blank { "" } else { text }
}

impl<'a> Line<'a> {
    fn of(labels: Labels<'a>, blanks: Blanks) -> Self {
        let extra = labels.extra.iter().enumerate();
        let extra = extra.map(|(place, value)| unless(blanks.has_extra(place), value));
        Self {
            route: unless(blanks.route, labels.route),
            service: unless(blanks.service, labels.service),
            consumer: unless(blanks.consumer, labels.consumer),
            node: labels.node.filter(|_| !blanks.node),
            extra: extra.collect(),
            ..Self::default()
        }
    }

    fn of_status(labels: Labels<'a>, status: &'a Status, blanks: Blanks) -> Self {
        Self {
            code: status.code,
            matched_uri: unless(blanks.matched_uri, &status.matched_uri),
            matched_host: unless(blanks.matched_host, &status.matched_host),
            source: unless(blanks.response_source, status.source),
            ..Self::of(labels, blanks)
        }
    }
}

impl Metrics {
    fn blanks(&self, hidden: &BTreeSet<String>) -> Blanks {
        let extra = self.options.extra_labels.iter().enumerate();
        let extra = extra.filter(|(_, (name, _))| hidden.contains(name));
        Blanks {
            route: hidden.contains("route"),
            matched_uri: hidden.contains("matched_uri"),
            matched_host: hidden.contains("matched_host"),
            service: hidden.contains("service"),
            consumer: hidden.contains("consumer"),
            node: hidden.contains("node"),
            request_type: hidden.contains("request_type"),
            response_source: hidden.contains("response_source"),
            extra: extra.fold(0, |bits, (position, _)| bits | 1 << position),
        }
    }

    fn status_labels(&self, line: &Line<'_>, blanks: Blanks) -> String {
        let mut out = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = write!(out, "code=\"{}\"", line.code);
        label(&mut out, "route", line.route);
        label(&mut out, "matched_uri", line.matched_uri);
        label(&mut out, "matched_host", line.matched_host);
        label(&mut out, "service", line.service);
        label(&mut out, "consumer", line.consumer);
        common_labels(&mut out, line, blanks);
        label(&mut out, "response_source", line.source);
        self.extra_labels(&mut out, line);
        out
    }

    fn traffic_labels(&self, line: &Line<'_>, blanks: Blanks) -> String {
        let mut out = String::with_capacity(256);
        label(&mut out, "route", line.route);
        label(&mut out, "service", line.service);
        label(&mut out, "consumer", line.consumer);
        common_labels(&mut out, line, blanks);
        self.extra_labels(&mut out, line);
        out
    }

    fn extra_labels(&self, out: &mut String, line: &Line<'_>) {
        for (position, (name, _)) in self.options.extra_labels.iter().enumerate() {
            // Absent where there was no room to tell them apart.
            label(out, name, line.extra.get(position).copied().unwrap_or_default());
        }
    }
}

fn common_labels(out: &mut String, line: &Line<'_>, blanks: Blanks) {
    label(out, "node", &line.node.map(|node| node.to_string()).unwrap_or_default());
    label(out, "request_type", unless(blanks.request_type, "traditional_http"));
    label(out, "request_llm_model", "");
    label(out, "llm_model", "");
}

/// The values of the label `le` but for the last, which is infinite.
fn bounds(buckets: &[f64]) -> Vec<String> {
    buckets.iter().map(f64::to_string).collect()
}

/// Writes lines, and hands the text on whenever there is enough of it.
struct Writer<'a> {
    bounds: Vec<String>,
    out: &'a mut String,
    spill: &'a mut dyn FnMut(&mut String),
}

// Writing to a String cannot fail, so the results below are dropped.
impl Writer<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str, summed: &str) {
        family(self.out, name, kind, &format!("{help}{summed}"));
    }

    fn status(&mut self, labels: &str, count: u64) {
        let _ = writeln!(self.out, "apisix_http_status{{{labels}}} {count}");
        self.spill();
    }

    fn bandwidth(&mut self, labels: &str, (ingress, egress): (u64, u64)) {
        for (kind, bytes) in [("ingress", ingress), ("egress", egress)] {
            let _ = writeln!(self.out, "apisix_bandwidth{{type=\"{kind}\",{labels}}} {bytes}");
        }
        self.spill();
    }

    /// The buckets of one of [`KINDS`]; none if nothing was counted.
    fn buckets(&mut self, kind: usize, labels: &str, latencies: &Latencies) {
        let (Some(name), Some(total)) = (KINDS.get(kind), latencies.totals.get(kind)) else {
            return;
        };
        if total.count == 0 {
            return;
        }
        let counts = latencies.buckets.iter().skip(kind * self.bounds.len());
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(counts) {
            below += count;
            bucket(self.out, name, labels, bound, below);
        }
        bucket(self.out, name, labels, "+Inf", total.count);
        self.spill();
    }

    /// How many there were of one of [`KINDS`], and their sum; nothing if there were none.
    fn totals(&mut self, kind: usize, labels: &str, latencies: &Latencies) {
        let (Some(name), Some(total)) = (KINDS.get(kind), latencies.totals.get(kind)) else {
            return;
        };
        if total.count > 0 {
            for (part, value) in [("count", total.count as f64), ("sum", total.sum)] {
                let _ = writeln!(
                    self.out,
                    "apisix_http_latency_{part}{{type=\"{name}\",{labels}}} {value}"
                );
            }
        }
    }

    fn spill(&mut self) {
        if self.out.len() >= PIECE {
            (self.spill)(self.out);
        }
    }
}

/// By far the most lines are of this kind.
fn bucket(out: &mut String, kind: &str, labels: &str, bound: &str, below: u64) {
    for part in ["apisix_http_latency_bucket{type=\"", kind, "\",", labels, ",le=\"", bound, "\"} "]
    {
        out.push_str(part);
    }
    let _ = writeln!(out, "{below}");
}
