//! The series as text, for Prometheus and for a control plane.

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{MutexGuard, atomic::Ordering},
    time::Instant,
};

use hashbrown::HashTable;
use serde::Deserialize;

use super::{
    KINDS, Key, LINES_MAX, Latencies, Metrics, Series, SeriesOptions, Shard,
    lines::{Blanks, Lines, Values},
    lock,
};
use crate::exposition::{family, label};

/// Bytes of text that are worth handing on.
const PIECE: usize = 64 * 1024;

/// Names of labels without values, by family: `disabled_labels` of the plugin's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hidden {
    http_status: BTreeSet<String>,
    http_latency: BTreeSet<String>,
    bandwidth: BTreeSet<String>,
}

/// All there is, by the labels of each family.
struct Families {
    statuses: Lines<u64>,
    latencies: Lines<Latencies>,
    /// Bytes from and to clients.
    bandwidth: Lines<(u64, u64)>,
}

impl Metrics {
    /// Appends all series in Prometheus' text format, in a stable order. Whenever `out` has grown,
    /// `spill` may take what is in it.
    pub fn render(&self, out: &mut String, spill: &mut dyn FnMut(&mut String)) {
        let Families { statuses, latencies, bandwidth } = self.gather();
        let mut writer = Writer::new(&self.options, out, spill);
        writer.family("http_status", "counter", "HTTP status codes per route", statuses.summed());
        for (values, count) in statuses.sorted() {
            writer.status(&self.status_labels(&values, statuses.blanks()), *count);
        }
        let help = "HTTP latency in milliseconds";
        writer.family("http_latency", "histogram", help, latencies.summed());
        for (values, latencies_of) in latencies.sorted() {
            let labels = self.traffic_labels(&values, latencies.blanks());
            for kind in 0..KINDS.len() {
                writer.buckets(kind, &labels, latencies_of);
                writer.totals(kind, &labels, latencies_of);
            }
        }
        writer.family("bandwidth", "counter", "Bytes per route", bandwidth.summed());
        for (values, bytes) in bandwidth.sorted() {
            writer.bandwidth(&self.traffic_labels(&values, bandwidth.blanks()), *bytes);
        }
        family(out, "nginx_metric_errors_total", "counter", "Requests without full labels");
        let folded = self.folded.load(Ordering::Relaxed);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "apisix_nginx_metric_errors_total {folded}");
    }

    /// All there is, as lines. Summed where it stands, one shard after the other, so that many series
    /// cost no second copy and hold up few requests.
    fn gather(&self) -> Families {
        let hidden = self.hidden.load();
        let room = self.options.lines_max.unwrap_or(LINES_MAX);
        let latency_lines = KINDS.len() * (self.options.buckets.len() + 3);
        let blanks = |names| Blanks::new(names, &self.options);
        let mut families = Families {
            statuses: Lines::new(
                blanks(&hidden.http_status),
                |blanks| self.fits(room, blanks, true),
                |sum, count| *sum += count,
            ),
            latencies: Lines::new(
                blanks(&hidden.http_latency),
                |blanks| self.fits(room / latency_lines, blanks, false),
                Latencies::add,
            ),
            bandwidth: Lines::new(
                blanks(&hidden.bandwidth),
                |blanks| self.fits(room / 2, blanks, false),
                |sum, bytes| *sum = (sum.0 + bytes.0, sum.1 + bytes.1),
            ),
        };
        for shard in self.shards_now() {
            for (key, series) in &shard.series {
                for (status, count) in &series.statuses {
                    families.statuses.add(&self.hashes, key, Some(status), count);
                }
                families.latencies.add(&self.hashes, key, None, &series.latencies);
                let bytes = (series.ingress, series.egress);
                families.bandwidth.add(&self.hashes, key, None, &bytes);
            }
        }
        families
    }

    /// Whether a family has so many lines at most, but for what is seen for the first time between this
    /// look and the next.
    fn fits(&self, room: usize, blanks: Blanks, by_status: bool) -> bool {
        let mut lines = HashTable::new();
        for shard in self.shards_now() {
            for (key, series) in &shard.series {
                let statuses = series.statuses.iter().map(|(status, _)| Some(status));
                let statuses = statuses.filter(|_| by_status);
                for status in statuses.chain((!by_status).then_some(None)) {
                    let hash = self.hashes.line(key, status, blanks);
                    lines.entry(hash, |known| *known == hash, |known| *known).or_insert(hash);
                }
                if lines.len() > room {
                    return false;
                }
            }
        }
        true
    }

    /// All shards, one after the other locked, without what is expired.
    fn shards_now(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        let now = Instant::now();
        self.shards.iter().map(move |shard| {
            let mut shard = lock(shard);
            if let Some(expiry) = self.options.expiry {
                shard.expire(now, expiry);
            }
            shard
        })
    }

    /// Appends the series a control plane keeps until `out` holds `room` bytes, those that matter
    /// least last, and all labels with their values. Answers whether some were left out. Nothing is copied
    /// but keys: each series is written from where it stands.
    pub fn report(&self, out: &mut String, room: usize) -> bool {
        let keys = self.keys();
        let (mut keep, blanks) = (|_: &mut String| {}, Blanks::default());
        let mut writer = Writer::new(&self.options, out, &mut keep);
        self.each(&keys, &mut writer, room, |writer, key, series| {
            for (status, count) in &series.statuses {
                let values = Values::new(key, Some(status), blanks);
                writer.status(&self.status_labels(&values, blanks), *count);
            }
        });
        for are_buckets in [false, true] {
            self.each(&keys, &mut writer, room, |writer, key, series| {
                let Series { latencies, ingress, egress, .. } = series;
                let labels = self.traffic_labels(&Values::new(key, None, blanks), blanks);
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
            });
        }
        let is_cut = out.len() > room;
        if is_cut {
            let kept = out.as_bytes().get(..room).unwrap_or_default();
            let end = kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            out.truncate(end);
        }
        is_cut
    }

    /// Those of all series, in order, so that what is cut off is always the same.
    fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        for shard in self.shards_now() {
            keys.extend(shard.series.keys().cloned());
        }
        keys.sort_unstable_by(|one, other| one.labels().cmp(&other.labels()));
        keys
    }

    /// Writes what is to be said of these series, as long as there is room. Each is locked by itself;
    /// those that are gone meanwhile are left out.
    fn each(
        &self,
        keys: &[Key],
        writer: &mut Writer<'_>,
        room: usize,
        write: impl Fn(&mut Writer<'_>, &Key, &Series),
    ) {
        for key in keys {
            if writer.out.len() > room {
                break;
            }
            if let Some(series) = self.shard(&key.labels()).series.get(key) {
                write(writer, key, series);
            }
        }
    }

    fn status_labels(&self, line: &Values<'_>, blanks: Blanks) -> String {
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

    fn traffic_labels(&self, line: &Values<'_>, blanks: Blanks) -> String {
        let mut out = String::with_capacity(256);
        label(&mut out, "route", line.route);
        label(&mut out, "service", line.service);
        label(&mut out, "consumer", line.consumer);
        common_labels(&mut out, line, blanks);
        self.extra_labels(&mut out, line);
        out
    }

    fn extra_labels(&self, out: &mut String, line: &Values<'_>) {
        for (position, (name, _)) in self.options.extra_labels.iter().enumerate() {
            // Absent where there was no room to tell them apart.
            label(out, name, line.extra.get(position).copied().unwrap_or_default());
        }
    }
}

fn common_labels(out: &mut String, line: &Values<'_>, blanks: Blanks) {
    label(out, "node", &line.node.map(|node| node.to_string()).unwrap_or_default());
    label(out, "request_type", if blanks.request_type { "" } else { "traditional_http" });
    label(out, "request_llm_model", "");
    label(out, "llm_model", "");
}

/// Writes lines, and hands the text on whenever there is enough of it.
struct Writer<'a> {
    /// The values of the label `le` but for the last, which is infinite.
    bounds: Vec<String>,
    out: &'a mut String,
    spill: &'a mut dyn FnMut(&mut String),
}

// Writing to a String cannot fail, so the results below are dropped.
impl<'a> Writer<'a> {
    fn new(
        options: &SeriesOptions,
        out: &'a mut String,
        spill: &'a mut dyn FnMut(&mut String),
    ) -> Self {
        Self { bounds: options.buckets.iter().map(f64::to_string).collect(), out, spill }
    }

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
