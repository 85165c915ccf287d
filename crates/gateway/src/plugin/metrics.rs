//! What Prometheus can ask about requests: series by route, consumer and node, kept whole under
//! one short lock per request, and written as text when somebody asks.

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};

use crate::exposition::{family, label};

/// Upper bounds of the latency buckets, in milliseconds.
const BUCKETS: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0,
    60000.0,
];

/// The kinds of latency, as the label `type` names them.
const KINDS: [&str; 3] = ["request", "upstream", "apisix"];

/// Threads rarely meet in one of this many shards.
const SHARDS: usize = 32;

/// Combinations of route, consumer and node that are told apart, about 700 bytes each. Beyond it
/// consumer and node are left empty, so that neither can melt the gateway.
const SERIES_MAX: usize = 65_536;

/// What one request is counted under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Labels<'a> {
    /// Id, or name with `prefer_name`; empty if no route matched.
    pub route: &'a str,
    pub service: &'a str,
    pub matched_uri: &'a str,
    pub matched_host: &'a str,
    /// Name of the consumer, or empty.
    pub consumer: &'a str,
    /// None if no node was asked.
    pub node: Option<IpAddr>,
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub labels: Labels<'a>,
    pub status: u16,
    /// Who made the response: `apisix`, `nginx` or `upstream`.
    pub source: &'static str,
    pub total_ms: f64,
    /// None if no upstream was asked.
    pub upstream_ms: Option<f64>,
    pub ingress: u64,
    pub egress: u64,
}

/// All series of a gateway.
pub struct Metrics {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Requests whose consumer and node were left out for want of room.
    folded: AtomicU64,
}

/// Labels that are kept: route, service, matched URI, matched host, consumer.
#[derive(Clone)]
struct Key {
    texts: [Arc<str>; 5],
    node: Option<IpAddr>,
}

impl Key {
    fn new(labels: &Labels<'_>) -> Self {
        let Labels { route, service, matched_uri, matched_host, consumer, node } = *labels;
        Self { texts: [route, service, matched_uri, matched_host, consumer].map(Arc::from), node }
    }

    fn labels(&self) -> Labels<'_> {
        let [route, service, matched_uri, matched_host, consumer] = &self.texts;
        Labels { route, service, matched_uri, matched_host, consumer, node: self.node }
    }
}

// A key is looked up by labels that borrow from the request, so both must hash alike.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.labels().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.labels() == other.labels()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Labels<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.labels()
    }
}

#[derive(Clone, Default)]
struct Series {
    /// Few: as many as a route has statuses.
    statuses: Vec<(u16, &'static str, u64)>,
    latencies: [Histogram; KINDS.len()],
    ingress: u64,
    egress: u64,
}

#[derive(Clone, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shards = std::iter::repeat_with(|| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { shards: shards.take(SHARDS).collect(), hasher, folded: AtomicU64::new(0) }
    }
}

impl Metrics {
    /// Counts one request. Allocates only for series it has not seen.
    pub fn record(&self, sample: &Sample<'_>) {
        let labels = sample.labels;
        if !self.record_as(sample, &labels, SERIES_MAX / SHARDS) {
            self.folded.fetch_add(1, Ordering::Relaxed);
            self.record_as(sample, &Labels { consumer: "", node: None, ..labels }, SERIES_MAX);
        }
    }

    fn record_as(&self, sample: &Sample<'_>, labels: &Labels<'_>, room: usize) -> bool {
        // The map inside uses the low bits of the same hash; the high ones choose the shard.
        let hash = usize::try_from(self.hasher.hash_one(labels) >> 48).unwrap_or(0);
        let mut shard = lock(&self.shards[hash % SHARDS]);
        if let Some(series) = shard.get_mut(labels) {
            series.record(sample);
            return true;
        }
        if shard.len() >= room {
            return false;
        }
        shard.entry(Key::new(labels)).or_default().record(sample);
        true
    }

    /// Writes all series in Prometheus' text format, in a stable order.
    #[must_use]
    pub fn render(&self) -> String {
        let (statuses, series) = self.gather();
        let mut out = String::with_capacity(4096 + statuses.len() * 300 + series.len() * 8000);
        family(&mut out, "http_status", "counter", "HTTP status codes per route");
        for (labels, count) in &statuses {
            line(&mut out, "http_status", labels, *count);
        }
        family(&mut out, "http_latency", "histogram", "HTTP latency in milliseconds");
        for (labels, series) in &series {
            for (kind, histogram) in KINDS.iter().zip(&series.latencies) {
                let labels = format!("type=\"{kind}\",{labels}");
                histogram.render_buckets(&mut out, &labels);
                histogram.render_totals(&mut out, &labels);
            }
        }
        family(&mut out, "bandwidth", "counter", "Bytes per route");
        for (labels, series) in &series {
            series.render_bandwidth(&mut out, labels);
        }
        family(&mut out, "nginx_metric_errors_total", "counter", "Requests without full labels");
        let folded = self.folded.load(Ordering::Relaxed);
        let _ = writeln!(out, "apisix_nginx_metric_errors_total {folded}");
        out
    }

    /// Appends the series a control plane keeps until `out` holds `room` bytes, those that matter
    /// least last. Answers whether some were left out.
    pub fn report(&self, out: &mut String, room: usize) -> bool {
        let (statuses, series) = self.gather();
        for (labels, count) in &statuses {
            if out.len() > room {
                break;
            }
            line(out, "http_status", labels, *count);
        }
        for are_buckets in [false, true] {
            for (labels, series) in &series {
                if out.len() > room {
                    break;
                }
                series.render_part(out, labels, are_buckets);
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

    /// Sums what differs only in labels a family does not have. Copies under the locks, so that
    /// writing the text delays no request.
    fn gather(&self) -> (BTreeMap<String, u64>, BTreeMap<String, Series>) {
        let mut statuses = BTreeMap::new();
        let mut families: BTreeMap<String, Series> = BTreeMap::new();
        for shard in &self.shards {
            let copied: Vec<_> =
                lock(shard).iter().map(|(key, series)| (key.clone(), series.clone())).collect();
            for (key, series) in copied {
                let labels = key.labels();
                for (code, source, count) in &series.statuses {
                    let text = status_labels(&labels, *code, source);
                    *statuses.entry(text).or_default() += count;
                }
                families.entry(traffic_labels(&labels)).or_default().add(&series);
            }
        }
        (statuses, families)
    }
}

type Shard = HashMap<Key, Series, RandomState>;

/// A series is whole at every moment, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    fn record(&mut self, sample: &Sample<'_>) {
        let same = |(code, source, _): &&mut (u16, &str, u64)| {
            *code == sample.status && *source == sample.source
        };
        match self.statuses.iter_mut().find(same) {
            Some((.., count)) => *count += 1,
            None => self.statuses.push((sample.status, sample.source, 1)),
        }
        let own = (sample.total_ms - sample.upstream_ms.unwrap_or(0.0)).max(0.0);
        let [request, upstream, gateway] = &mut self.latencies;
        request.record(sample.total_ms);
        if let Some(ms) = sample.upstream_ms {
            upstream.record(ms);
        }
        gateway.record(own);
        self.ingress += sample.ingress;
        self.egress += sample.egress;
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.add(theirs);
        }
        self.ingress += other.ingress;
        self.egress += other.egress;
    }

    /// Either everything but the buckets of latencies, or these.
    fn render_part(&self, out: &mut String, labels: &str, are_buckets: bool) {
        if !are_buckets {
            self.render_bandwidth(out, labels);
        }
        for (kind, histogram) in KINDS.iter().zip(&self.latencies) {
            let labels = format!("type=\"{kind}\",{labels}");
            if are_buckets {
                histogram.render_buckets(out, &labels);
            } else {
                histogram.render_totals(out, &labels);
            }
        }
    }

    fn render_bandwidth(&self, out: &mut String, labels: &str) {
        line(out, "bandwidth", &format!("type=\"ingress\",{labels}"), self.ingress);
        line(out, "bandwidth", &format!("type=\"egress\",{labels}"), self.egress);
    }
}

impl Histogram {
    fn record(&mut self, ms: f64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum += ms;
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
    }

    fn render_buckets(&self, out: &mut String, labels: &str) {
        if self.count == 0 {
            return;
        }
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.counts) {
            below += count;
            line(out, "http_latency_bucket", &format!("{labels},le=\"{bound}\""), below);
        }
        line(out, "http_latency_bucket", &format!("{labels},le=\"+Inf\""), self.count);
    }

    fn render_totals(&self, out: &mut String, labels: &str) {
        if self.count == 0 {
            return;
        }
        line(out, "http_latency_count", labels, self.count);
        let _ = writeln!(out, "apisix_http_latency_sum{{{labels}}} {}", self.sum);
    }
}

// Writing to a String cannot fail, so the results below are dropped.

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "apisix_{name}{{{labels}}} {value}");
}

fn status_labels(labels: &Labels<'_>, code: u16, source: &str) -> String {
    let Labels { route, service, matched_uri, matched_host, consumer, node } = *labels;
    let mut out = format!("code=\"{code}\"");
    for (name, value) in [
        ("route", route),
        ("matched_uri", matched_uri),
        ("matched_host", matched_host),
        ("service", service),
        ("consumer", consumer),
    ] {
        label(&mut out, name, value);
    }
    tail(&mut out, node);
    label(&mut out, "response_source", source);
    out
}

fn traffic_labels(labels: &Labels<'_>) -> String {
    let Labels { route, service, consumer, node, .. } = *labels;
    let mut out = String::new();
    for (name, value) in [("route", route), ("service", service), ("consumer", consumer)] {
        label(&mut out, name, value);
    }
    tail(&mut out, node);
    out
}

fn tail(out: &mut String, node: Option<IpAddr>) {
    label(out, "node", &node.map(|ip| ip.to_string()).unwrap_or_default());
    label(out, "request_type", "traditional_http");
    label(out, "request_llm_model", "");
    label(out, "llm_model", "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample<'a>(route: &'a str, matched_uri: &'a str, consumer: &'a str) -> Sample<'a> {
        let node = Some(IpAddr::from([127, 0, 0, 1]));
        Sample {
            labels: Labels { route, service: "", matched_uri, matched_host: "", consumer, node },
            status: 200,
            source: "upstream",
            total_ms: 7.5,
            upstream_ms: Some(5.0),
            ingress: 100,
            egress: 200,
        }
    }

    #[test]
    fn requests_are_counted_under_apisix_names() {
        let metrics = Metrics::default();
        metrics.record(&sample("r\"1", "/a/*", "jack"));
        metrics.record(&sample("r\"1", "/a/*", "jack"));
        let text = metrics.render();
        let tail = "node=\"127.0.0.1\",request_type=\"traditional_http\",request_llm_model=\"\",llm_model=\"\"";
        for line in [
            format!(
                "apisix_http_status{{code=\"200\",route=\"r\\\"1\",matched_uri=\"/a/*\",matched_host=\"\",service=\"\",consumer=\"jack\",{tail},response_source=\"upstream\"}} 2"
            ),
            format!(
                "apisix_bandwidth{{type=\"egress\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail}}} 400"
            ),
            format!(
                "apisix_http_latency_bucket{{type=\"request\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail},le=\"5\"}} 0"
            ),
            format!(
                "apisix_http_latency_bucket{{type=\"upstream\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail},le=\"5\"}} 2"
            ),
            format!(
                "apisix_http_latency_sum{{type=\"apisix\",route=\"r\\\"1\",service=\"\",consumer=\"jack\",{tail}}} 5"
            ),
            "# TYPE apisix_http_latency histogram".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_report_leaves_out_buckets_first() {
        let metrics = Metrics::default();
        metrics.record(&sample("1", "/a", ""));
        let mut whole = String::new();
        assert!(!metrics.report(&mut whole, 1_000_000));
        let names: Vec<&str> = whole.lines().filter_map(|line| line.split('{').next()).collect();
        assert_eq!((names.len(), names.first()), (1 + 2 + 6 + 48, Some(&"apisix_http_status")));
        let mut part = String::new();
        assert!(metrics.report(&mut part, whole.len() / 2));
        assert!(part.len() <= whole.len() / 2 && whole.starts_with(&part) && part.ends_with('\n'));
        assert_eq!(part.matches("apisix_http_latency_sum").count(), 3);
        let mut nothing = "x\n".to_owned();
        assert!(metrics.report(&mut nothing, 2));
        assert_eq!(nothing, "x\n");
    }

    #[test]
    fn patterns_of_one_route_share_their_traffic() {
        let metrics = Metrics::default();
        metrics.record(&sample("1", "/a", ""));
        metrics.record(&sample("1", "/b", ""));
        let text = metrics.render();
        assert_eq!(text.matches("apisix_http_status{").count(), 2);
        assert_eq!(text.matches("apisix_bandwidth{").count(), 2);
    }

    #[test]
    fn consumers_beyond_the_limit_share_one_series() {
        let metrics = Metrics::default();
        for number in 0..SERIES_MAX + 5_000 {
            metrics.record(&sample("1", "/a", &number.to_string()));
        }
        let held: usize = metrics.shards.iter().map(|shard| lock(shard).len()).sum();
        assert!(held <= SERIES_MAX + 1, "{held}");
        assert!(metrics.folded.load(Ordering::Relaxed) >= 5_000);
    }
}
