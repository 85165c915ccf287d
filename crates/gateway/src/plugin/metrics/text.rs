//! The series as text. Labels that the cluster hides have no values, and what differs only in them
//! is summed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::IpAddr,
    sync::atomic::Ordering,
    time::Instant,
};

use serde::Deserialize;

use super::{Histogram, KINDS, Key, Labels, Metrics, Series, SeriesOptions, lock};
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
#[derive(Default)]
struct Families {
    statuses: BTreeMap<String, u64>,
    latencies: BTreeMap<String, Series>,
    /// Bytes from and to clients.
    bandwidth: BTreeMap<String, (u64, u64)>,
}

impl Metrics {
    /// Appends all series in Prometheus' text format, in a stable order. Whenever `out` has grown,
    /// `spill` may take what is in it.
    pub fn render(&self, out: &mut String, spill: &mut dyn FnMut(&mut String)) {
        let Families { statuses, latencies, bandwidth } = self.gather(&self.hidden.load());
        let mut grown = |out: &mut String| {
            if out.len() >= PIECE {
                spill(out);
            }
        };
        family(out, "http_status", "counter", "HTTP status codes per route");
        for (labels, count) in &statuses {
            line(out, "http_status", labels, *count);
            grown(out);
        }
        family(out, "http_latency", "histogram", "HTTP latency in milliseconds");
        for (labels, series) in &latencies {
            for (kind, histogram) in KINDS.iter().zip(&series.latencies) {
                let labels = format!("type=\"{kind}\",{labels}");
                histogram.render_buckets(out, &labels, &self.options.buckets);
                histogram.render_totals(out, &labels);
            }
            grown(out);
        }
        family(out, "bandwidth", "counter", "Bytes per route");
        for (labels, bytes) in &bandwidth {
            render_bandwidth(out, labels, *bytes);
            grown(out);
        }
        family(out, "nginx_metric_errors_total", "counter", "Requests without full labels");
        let folded = self.folded.load(Ordering::Relaxed);
        let _ = writeln!(out, "apisix_nginx_metric_errors_total {folded}");
    }

    /// Appends the series a control plane keeps until `out` holds `room` bytes, those that matter
    /// least last, and all labels with their values. Answers whether some were left out.
    pub fn report(&self, out: &mut String, room: usize) -> bool {
        let Families { statuses, latencies, bandwidth } = self.gather(&Hidden::default());
        for (labels, count) in &statuses {
            if out.len() > room {
                break;
            }
            line(out, "http_status", labels, *count);
        }
        for are_buckets in [false, true] {
            for (labels, series) in &latencies {
                if out.len() > room {
                    break;
                }
                if let Some(bytes) = bandwidth.get(labels).filter(|_| !are_buckets) {
                    render_bandwidth(out, labels, *bytes);
                }
                let bounds = are_buckets.then_some(self.options.buckets.as_slice());
                series.render_part(out, labels, bounds);
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

    /// Sums what differs only in labels a family does not show. Copies under the locks, so that
    /// writing the text delays no request.
    fn gather(&self, hidden: &Hidden) -> Families {
        let mut families = Families::default();
        let now = Instant::now();
        for shard in &self.shards {
            let mut shard = lock(shard);
            if let Some(expiry) = self.options.expiry {
                shard.expire(now, expiry);
            }
            let copied: Vec<_> =
                shard.series.iter().map(|(key, series)| (key.clone(), series.clone())).collect();
            drop(shard);
            for (key, series) in copied {
                families.add(&key, &series, hidden, &self.options);
            }
        }
        families
    }
}

impl Families {
    fn add(&mut self, key: &Key, series: &Series, hidden: &Hidden, options: &SeriesOptions) {
        let labels = key.labels();
        let extra = |hidden| extra_labels(&labels, hidden, options);
        for (code, source, count) in &series.statuses {
            let text = status_labels(&labels, *code, source, &hidden.http_status)
                + &extra(&hidden.http_status);
            *self.statuses.entry(text).or_default() += count;
        }
        let latencies =
            traffic_labels(&labels, &hidden.http_latency) + &extra(&hidden.http_latency);
        self.latencies.entry(latencies).or_default().add(series);
        let bandwidth = traffic_labels(&labels, &hidden.bandwidth) + &extra(&hidden.bandwidth);
        let (ingress, egress) = self.bandwidth.entry(bandwidth).or_default();
        *ingress += series.ingress;
        *egress += series.egress;
    }
}

impl Series {
    /// Either the buckets of latencies, or without bounds everything else about them.
    fn render_part(&self, out: &mut String, labels: &str, bounds: Option<&[f64]>) {
        for (kind, histogram) in KINDS.iter().zip(&self.latencies) {
            let labels = format!("type=\"{kind}\",{labels}");
            match bounds {
                Some(bounds) => histogram.render_buckets(out, &labels, bounds),
                None => histogram.render_totals(out, &labels),
            }
        }
    }
}

fn render_bandwidth(out: &mut String, labels: &str, (ingress, egress): (u64, u64)) {
    line(out, "bandwidth", &format!("type=\"ingress\",{labels}"), ingress);
    line(out, "bandwidth", &format!("type=\"egress\",{labels}"), egress);
}

// Writing to a String cannot fail, so the results below are dropped.

impl Histogram {
    fn render_buckets(&self, out: &mut String, labels: &str, bounds: &[f64]) {
        if self.count == 0 {
            return;
        }
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(&self.counts) {
            below += count;
            let _ = writeln!(out, "apisix_http_latency_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(out, "apisix_http_latency_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
    }

    fn render_totals(&self, out: &mut String, labels: &str) {
        if self.count == 0 {
            return;
        }
        line(out, "http_latency_count", labels, self.count);
        let _ = writeln!(out, "apisix_http_latency_sum{{{labels}}} {}", self.sum);
    }
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "apisix_{name}{{{labels}}} {value}");
}

fn status_labels(
    labels: &Labels<'_>,
    code: u16,
    source: &str,
    hidden: &BTreeSet<String>,
) -> String {
    let Labels { route, service, matched_uri, matched_host, consumer, node, .. } = *labels;
    let mut out = format!("code=\"{code}\"");
    for (name, value) in [
        ("route", route),
        ("matched_uri", matched_uri),
        ("matched_host", matched_host),
        ("service", service),
        ("consumer", consumer),
    ] {
        shown(&mut out, name, value, hidden);
    }
    tail(&mut out, node, hidden);
    shown(&mut out, "response_source", source, hidden);
    out
}

fn traffic_labels(labels: &Labels<'_>, hidden: &BTreeSet<String>) -> String {
    let Labels { route, service, consumer, node, .. } = *labels;
    let mut out = String::new();
    for (name, value) in [("route", route), ("service", service), ("consumer", consumer)] {
        shown(&mut out, name, value, hidden);
    }
    tail(&mut out, node, hidden);
    out
}

fn tail(out: &mut String, node: Option<IpAddr>, hidden: &BTreeSet<String>) {
    shown(out, "node", &node.map(|ip| ip.to_string()).unwrap_or_default(), hidden);
    shown(out, "request_type", "traditional_http", hidden);
    label(out, "request_llm_model", "");
    label(out, "llm_model", "");
}

/// Labels that were asked for, a comma before each.
fn extra_labels(labels: &Labels<'_>, hidden: &BTreeSet<String>, options: &SeriesOptions) -> String {
    let mut out = String::new();
    for (position, (name, _)) in options.extra_labels.iter().enumerate() {
        // Absent where there was no room to tell them apart.
        let value = labels.extra.get(position).map_or("", String::as_str);
        let mut text = String::new();
        shown(&mut text, name, value, hidden);
        out.push(',');
        out.push_str(&text);
    }
    out
}

/// Appends a label, without its value if it is hidden.
fn shown(out: &mut String, name: &str, value: &str, hidden: &BTreeSet<String>) {
    label(out, name, if hidden.contains(name) { "" } else { value });
}
