//! What Prometheus can ask about requests: series by route, consumer and node, kept whole under
//! one short lock per request. `text` writes them down when somebody asks.

mod lines;
#[cfg(test)]
mod tests;
mod text;

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ahash::RandomState;
use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use lines::Hashes;
pub use text::Hidden;

/// Upper bounds of the latency buckets, in milliseconds, unless the gateway is started with others.
const BUCKETS: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0,
    60000.0,
];

/// The kinds of latency, as the label `type` names them.
const KINDS: [&str; 3] = ["request", "upstream", "apisix"];

/// Threads rarely meet in one of this many shards.
const SHARDS: usize = 32;

/// Statuses of a series whose matched URI and host are told apart; they are searched one by one.
const STATUSES_MAX: usize = 100;
/// Combinations of route, consumer and node that are told apart, mostly less than 1 KB each. Beyond it
/// consumer, node and what was asked for are left empty, so that neither can melt the gateway.
const SERIES_MAX: usize = 65_536;
/// Lines of one family that Prometheus is shown unless the gateway is started with another bound;
/// APISIX has room for about 30,000 in all in its dictionary of 10 MB.
const LINES_MAX: usize = 20_000;
/// Series without requests for this long make room for others when there is none.
const IDLE: Duration = Duration::from_secs(3600);
/// Time between two looks for those, in one shard.
const SWEEP: Duration = Duration::from_secs(60);

/// Most buckets and labels that may be asked for: each multiplies what is kept.
const BUCKETS_MAX: usize = 64;
const EXTRA_LABELS_MAX: usize = 8;
const LINES_MAX_MIN: usize = 1000;
/// Labels that series have without being asked.
const OWN_LABELS: [&str; 13] = [
    "code",
    "route",
    "matched_uri",
    "matched_host",
    "service",
    "consumer",
    "node",
    "type",
    "le",
    "request_type",
    "request_llm_model",
    "llm_model",
    "response_source",
];

/// How series are kept: `plugin_attr.prometheus` of APISIX, for all families alike.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesOptions {
    /// Upper bounds of the latency buckets, in milliseconds, ascending; APISIX's if empty.
    pub buckets: Vec<f64>,
    /// Names and variables of more labels, such as `region` and `http_x_region`.
    pub extra_labels: Vec<(String, String)>,
    /// Series without requests for so long are forgotten; never if absent.
    pub expiry: Option<Duration>,
    /// Most lines of one family that are shown; what would be more is summed over consumers and nodes,
    /// then over routes, then over services. 20,000 if absent.
    pub lines_max: Option<usize>,
}

impl SeriesOptions {
    /// Says what cannot be.
    pub fn check(&self) -> Result<(), String> {
        let is_ascending = self.buckets.is_sorted_by(|one, next| one < next);
        let are_usable = self.buckets.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        if !is_ascending || !are_usable || self.buckets.len() > BUCKETS_MAX {
            let rule = "milliseconds have to be above zero and ascending";
            return Err(format!("buckets: at most {BUCKETS_MAX} {rule}, such as 5,50,500"));
        }
        if self.extra_labels.len() > EXTRA_LABELS_MAX {
            return Err(format!("labels: at most {EXTRA_LABELS_MAX} can be added"));
        }
        if self.lines_max.is_some_and(|lines| lines < LINES_MAX_MIN) {
            return Err(format!("lines: {LINES_MAX_MIN} or more, such as 20000"));
        }
        for (position, (name, _)) in self.extra_labels.iter().enumerate() {
            let mut bytes = name.bytes();
            let is_name = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let before = self.extra_labels.iter().take(position);
            let is_new = !OWN_LABELS.contains(&name.as_str())
                && before.into_iter().all(|(other, _)| other != name);
            if !is_name || !is_new {
                return Err(format!(
                    "labels: `{name}` is no name, or there is such a label already"
                ));
            }
        }
        Ok(())
    }
}

/// What one request is counted under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels<'a> {
    /// Id, or name with `prefer_name`; empty if no route matched.
    pub route: &'a str,
    pub service: &'a str,
    /// Name of the consumer, or empty.
    pub consumer: &'a str,
    /// None if no node was asked.
    pub node: Option<IpAddr>,
    /// Values of the labels that were asked for, in their order.
    pub extra: &'a [String],
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub labels: Labels<'a>,
    /// The pattern of the route that the path matched, or empty; told apart for statuses only.
    pub matched_uri: &'a str,
    /// The same for the host.
    pub matched_host: &'a str,
    /// When the request began.
    pub began: Instant,
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
    hashes: Hashes,
    /// Requests whose consumer and node were left out for want of room.
    folded: AtomicU64,
    hidden: ArcSwap<Hidden>,
    /// With buckets.
    options: SeriesOptions,
}

/// Labels that are kept: in few allocations, as whoever looks at very many series waits for memory.
#[derive(Clone)]
struct Key {
    /// Route, service and consumer.
    text: Arc<str>,
    /// Where route and service end.
    ends: [u32; 2],
    node: Option<IpAddr>,
    /// None instead of an empty one.
    extra: Option<Arc<[String]>>,
    /// Of route, service and consumer.
    hashes: [u64; 3],
}

impl Key {
    fn new(labels: &Labels<'_>, hashes: &Hashes) -> Self {
        let Labels { route, service, consumer, node, extra } = *labels;
        let end = |parts: &[&str]| parts.iter().map(|part| part.len() as u32).sum();
        Self {
            text: [route, service, consumer].concat().into(),
            ends: [end(&[route]), end(&[route, service])],
            node,
            extra: (!extra.is_empty()).then(|| extra.into()),
            hashes: [("route", route), ("service", service), ("consumer", consumer)]
                .map(|(label, value)| hashes.of(label, value)),
        }
    }

    fn labels(&self) -> Labels<'_> {
        let [route, service] = self.ends.map(|end| end as usize);
        let part = |range| self.text.get(range).unwrap_or_default();
        Labels {
            route: part(0..route),
            service: part(route..service),
            consumer: part(service..self.text.len()),
            node: self.node,
            extra: self.extra.as_deref().unwrap_or_default(),
        }
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

/// What is forgotten together, so that no sum of a part of it ever shrinks. There are many, so they are
/// not copied.
#[derive(Default)]
struct Series {
    /// When the newest request began.
    newest: Option<Instant>,
    /// Mostly few: as many as a route has statuses, for each of its patterns that is used.
    statuses: Vec<(Status, u64)>,
    latencies: Latencies,
    ingress: u64,
    egress: u64,
}

/// What statuses are told apart by, within a series.
#[derive(Clone)]
struct Status {
    code: u16,
    source: &'static str,
    matched_uri: Arc<str>,
    matched_host: Arc<str>,
    /// Of matched URI and host.
    hashes: [u64; 2],
}

/// A histogram of each of [`KINDS`].
#[derive(Default)]
struct Latencies {
    /// One for each bound, kind after kind; none before the first request.
    buckets: Box<[u64]>,
    totals: [Total; KINDS.len()],
}

#[derive(Clone, Copy, Default)]
struct Total {
    count: u64,
    /// Milliseconds.
    sum: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(SeriesOptions::default())
    }
}

impl Metrics {
    /// No series yet.
    #[must_use]
    pub fn new(mut options: SeriesOptions) -> Self {
        if options.buckets.is_empty() {
            options.buckets = BUCKETS.into();
        }
        let hasher = RandomState::new();
        let shard =
            || Mutex::new(Shard { series: HashMap::with_hasher(hasher.clone()), swept: None });
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher,
            hashes: Hashes::new(),
            folded: AtomicU64::new(0),
            hidden: ArcSwap::default(),
            options,
        }
    }

    /// Variables whose values are [`Labels::extra`].
    pub fn extra_variables(&self) -> impl Iterator<Item = &str> {
        self.options.extra_labels.iter().map(|(_, variable)| variable.as_str())
    }

    /// Counts one request. Allocates only for series it has not seen.
    pub fn record(&self, sample: &Sample<'_>) {
        let labels = sample.labels;
        if !self.record_as(sample, &labels, SERIES_MAX / SHARDS) {
            self.folded.fetch_add(1, Ordering::Relaxed);
            let folded = Labels { consumer: "", node: None, extra: &[], ..labels };
            self.record_as(sample, &folded, SERIES_MAX);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is a shard")]
    fn shard(&self, labels: &Labels<'_>) -> MutexGuard<'_, Shard> {
        // The map inside uses the low bits of the same hash; the high ones choose the shard.
        let hash = usize::try_from(self.hasher.hash_one(labels) >> 48).unwrap_or(0);
        lock(&self.shards[hash % SHARDS])
    }

    fn record_as(&self, sample: &Sample<'_>, labels: &Labels<'_>, room: usize) -> bool {
        let mut shard = self.shard(labels);
        if let Some(series) = shard.series.get_mut(labels) {
            series.record(sample, &self.options.buckets, &self.hashes);
            return true;
        }
        if shard.series.len() >= room && !shard.sweep(sample.began, room) {
            return false;
        }
        let series = shard.series.entry(Key::new(labels, &self.hashes)).or_default();
        series.record(sample, &self.options.buckets, &self.hashes);
        true
    }

    /// Says which labels have no values from now on, for whoever reads the text.
    pub fn hide(&self, hidden: Hidden) {
        self.hidden.store(Arc::new(hidden));
    }
}

struct Shard {
    series: HashMap<Key, Series, RandomState>,
    swept: Option<Instant>,
}

impl Shard {
    /// Drops what has been idle for longer than wanted.
    fn expire(&mut self, now: Instant, expiry: Duration) {
        let idle = |series: &Series| {
            series.newest.is_none_or(|newest| now.saturating_duration_since(newest) >= expiry)
        };
        self.series.retain(|_, series| !idle(series));
    }

    /// Drops what has been idle; answers whether there is room now.
    fn sweep(&mut self, now: Instant, room: usize) -> bool {
        let is_past = |since: Option<Instant>, time| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= time)
        };
        if is_past(self.swept, SWEEP) {
            self.swept = Some(now);
            self.series.retain(|_, series| !is_past(series.newest, IDLE));
        }
        self.series.len() < room
    }
}

/// A series is whole at every moment, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    fn record(&mut self, sample: &Sample<'_>, bounds: &[f64], hashes: &Hashes) {
        self.newest = self.newest.max(Some(sample.began));
        if let Some((_, count)) = self.statuses.iter_mut().find(|(known, _)| known.is_of(sample)) {
            *count += 1;
        } else if self.statuses.len() < STATUSES_MAX {
            self.statuses.push((Status::new(sample, hashes), 1));
        } else {
            let sample = Sample { matched_uri: "", matched_host: "", ..*sample };
            match self.statuses.iter_mut().find(|(known, _)| known.is_of(&sample)) {
                Some((_, count)) => *count += 1,
                None => self.statuses.push((Status::new(&sample, hashes), 1)),
            }
        }
        let own = (sample.total_ms - sample.upstream_ms.unwrap_or(0.0)).max(0.0);
        // In the order of KINDS.
        let latencies = [Some(sample.total_ms), sample.upstream_ms, Some(own)];
        for (kind, ms) in latencies.into_iter().enumerate() {
            if let Some(ms) = ms {
                self.latencies.record(kind, ms, bounds);
            }
        }
        self.ingress += sample.ingress;
        self.egress += sample.egress;
    }
}

impl Status {
    fn new(sample: &Sample<'_>, hashes: &Hashes) -> Self {
        Self {
            code: sample.status,
            source: sample.source,
            matched_uri: sample.matched_uri.into(),
            matched_host: sample.matched_host.into(),
            hashes: [("matched_uri", sample.matched_uri), ("matched_host", sample.matched_host)]
                .map(|(label, value)| hashes.of(label, value)),
        }
    }

    fn is_of(&self, sample: &Sample<'_>) -> bool {
        self.code == sample.status
            && self.source == sample.source
            && *self.matched_uri == *sample.matched_uri
            && *self.matched_host == *sample.matched_host
    }
}

impl Latencies {
    fn record(&mut self, kind: usize, ms: f64, bounds: &[f64]) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; KINDS.len() * bounds.len()].into();
        }
        let bucket = bounds.partition_point(|bound| *bound < ms);
        if bucket < bounds.len()
            && let Some(count) = self.buckets.get_mut(kind * bounds.len() + bucket)
        {
            *count += 1;
        }
        if let Some(total) = self.totals.get_mut(kind) {
            total.count += 1;
            total.sum += ms;
        }
    }

    fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; other.buckets.len()].into();
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        for (mine, theirs) in self.totals.iter_mut().zip(&other.totals) {
            mine.count += theirs.count;
            mine.sum += theirs.sum;
        }
    }
}
