//! Remote write: everything that is kept goes to another server too (Prometheus remote write 1.0).
//!
//! Reports never wait for it. What waits is bounded; beyond, the oldest is dropped and counted. A
//! server that fails is tried again, and so is one that does not want us: somebody will set that
//! right. What it says is wrong with samples will not pass. Series of all clusters go to one
//! server, so each carries its cluster.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gantry_metrics::Key;
use gantry_model::Id;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::remote::{Remote, reason};
use crate::telemetry::Task;

/// Label that tells the cluster of a series.
pub(super) const CLUSTER: &str = "cluster";
/// Where a label goes that a gateway itself calls so, as Prometheus does it.
const EXPORTED_CLUSTER: &str = "exported_cluster";

/// Samples that may wait, some 60 MB: a minute of a large installation, hours of a small one.
const WAITING_MAX: usize = 500_000;
/// Samples of one request.
const REQUEST_SAMPLES_MAX: usize = 5_000;
/// A refused request of more samples is tried again in halves: one sample spoils not all.
const HALVED_MIN: usize = 64;
/// Samples that are older than the report they are inferred from by more than this, in milliseconds,
/// are not sent: Prometheus refuses what is an hour behind its newest, and all that comes with it.
pub(super) const TOO_OLD: i64 = 30 * 60_000;
/// Waits between tries, doubled from the first up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How often it says that it is alive when nothing waits.
const IDLE: Duration = Duration::from_secs(30);
/// Longer than it may be silent: a try and the wait after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long the end of the process waits for what still waits.
const FAREWELL: Duration = Duration::from_secs(5);

/// Bytes of a refusal that are logged.
const SAID_MAX: usize = 300;

/// A sample on its way.
pub(super) type Kept = (Id, Key, i64, f64);

/// What waits, and the server it is for.
pub(crate) struct RemoteWrite {
    remote: Remote,
    waiting: Mutex<VecDeque<Kept>>,
    wake: Notify,
    /// Told whenever nothing waits.
    empty: Notify,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    sending: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
}

/// How remote write is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteWriteState {
    /// Samples that wait or are on their way.
    pub waiting: u64,
    /// Samples that arrived.
    pub sent: u64,
    /// Samples that were dropped because too many waited.
    pub dropped: u64,
    /// Samples that the server did not want.
    pub refused: u64,
    /// Requests that failed and were tried again.
    pub failures: u64,
}

enum Problem {
    /// Worth another try.
    Passing(String),
    /// The same, once somebody has looked at the settings.
    Setting(String),
    /// These samples are not wanted.
    Refused(String),
}

impl RemoteWrite {
    pub fn new(remote: Remote) -> Self {
        let (waiting, counts) = (Mutex::default(), Counts::default());
        Self { remote, waiting, wake: Notify::new(), empty: Notify::new(), counts }
    }

    /// Queues samples; never waits.
    pub(super) fn push(&self, samples: impl Iterator<Item = Kept>) {
        let mut waiting = lock(&self.waiting);
        waiting.extend(samples);
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        waiting.drain(..surplus);
        drop(waiting);
        self.counts.dropped.fetch_add(surplus as u64, Relaxed);
        self.wake.notify_one();
    }

    pub fn state(&self) -> RemoteWriteState {
        let Counts { sending, sent, dropped, refused, failures } = &self.counts;
        RemoteWriteState {
            waiting: lock(&self.waiting).len() as u64 + sending.load(Relaxed),
            sent: sent.load(Relaxed),
            dropped: dropped.load(Relaxed),
            refused: refused.load(Relaxed),
            failures: failures.load(Relaxed),
        }
    }

    /// Sends what waits until `shutdown`, and then for a little while what is left.
    pub(super) async fn run(&self, task: &Task, shutdown: &CancellationToken) {
        tokio::select! {
            () = self.send_all(task) => {}
            () = self.farewell(shutdown) => {}
        }
        let left = self.state().waiting;
        if left > 0 {
            tracing::warn!(left, "samples did not reach the metrics server before the end");
        }
    }

    async fn send_all(&self, task: &Task) {
        loop {
            task.beat();
            let batch = self.take();
            if batch.is_empty() {
                self.empty.notify_one();
                // Both outcomes lead to the next look.
                let _ = tokio::time::timeout(IDLE, self.wake.notified()).await;
                continue;
            }
            self.deliver(&batch, task).await;
            self.counts.sending.store(0, Relaxed);
        }
    }

    fn take(&self) -> Vec<Kept> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(REQUEST_SAMPLES_MAX);
        self.counts.sending.store(count as u64, Relaxed);
        waiting.drain(..count).collect()
    }

    async fn farewell(&self, shutdown: &CancellationToken) {
        shutdown.cancelled().await;
        let emptied = async {
            while self.state().waiting > 0 {
                self.empty.notified().await;
            }
        };
        // What is left is told by the caller.
        let _ = tokio::time::timeout(FAREWELL, emptied).await;
    }

    /// Sends samples until they are there or refused.
    async fn deliver(&self, samples: &[Kept], task: &Task) {
        // Parts in order, the next one last.
        let mut parts = vec![samples];
        while let Some(part) = parts.pop() {
            let count = part.len() as u64;
            match self.send_until_answered(part, task).await {
                Ok(()) => drop(self.counts.sent.fetch_add(count, Relaxed)),
                Err(_) if part.len() >= HALVED_MIN => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(reason) => {
                    self.counts.refused.fetch_add(count, Relaxed);
                    tracing::warn!(count, reason, "the metrics server refused samples");
                }
            }
        }
    }

    /// An error is a refusal.
    async fn send_until_answered(&self, samples: &[Kept], task: &Task) -> Result<(), String> {
        let (first, longest) = BACKOFF;
        let mut pause = first;
        let body = encode(samples)?;
        loop {
            match self.send(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(Problem::Refused(reason)) => return Err(reason),
                Err(Problem::Passing(reason)) => {
                    self.counts.failures.fetch_add(1, Relaxed);
                    tracing::warn!(reason, "the metrics server did not take samples; trying again");
                }
                Err(Problem::Setting(reason)) => {
                    self.counts.failures.fetch_add(1, Relaxed);
                    tracing::error!(
                        reason,
                        "the metrics server does not let us in: look at its URL and headers; trying \
                         again"
                    );
                }
            }
            task.beat();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn send(&self, body: Bytes) -> Result<(), Problem> {
        let request = self.remote.post("").headers(headers()).body(body);
        let answer = request.send().await.map_err(|error| Problem::Passing(reason(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let mut said = answer.text().await.unwrap_or_default();
        said.truncate(said.floor_char_boundary(SAID_MAX));
        let reason = format!("{status}: {}", said.trim());
        Err(match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Problem::Setting(reason),
            _ if status.is_redirection() => Problem::Setting(reason),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Problem::Passing(reason),
            _ if status.is_server_error() => Problem::Passing(reason),
            // About these samples, such as a conflict: others wait behind them.
            _ => Problem::Refused(reason),
        })
    }
}

fn headers() -> HeaderMap {
    [
        (CONTENT_TYPE, "application/x-protobuf"),
        (CONTENT_ENCODING, "snappy"),
        (USER_AGENT, concat!("gantry/", env!("CARGO_PKG_VERSION"))),
        (HeaderName::from_static("x-prometheus-remote-write-version"), "0.1.0"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into_iter()
    .collect()
}

/// The body of a request: a compressed `WriteRequest` with each series once.
fn encode(samples: &[Kept]) -> Result<Bytes, String> {
    let mut series = BTreeMap::<(Id, &Key), Vec<Sample>>::new();
    for (cluster, key, timestamp, value) in samples {
        let sample = Sample { value: *value, timestamp: *timestamp };
        series.entry((*cluster, key)).or_default().push(sample);
    }
    let one = |((cluster, key), samples)| TimeSeries { labels: labels(cluster, key), samples };
    let request = WriteRequest { timeseries: series.into_iter().map(one).collect() };
    let packed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    packed.map(Bytes::from).map_err(|error| error.to_string())
}

/// Labels in order of their names.
fn labels(cluster: Id, key: &Key) -> Vec<Label> {
    let reported = key.labels().map(|(name, value)| {
        let name = if name == CLUSTER { EXPORTED_CLUSTER } else { name };
        (name, value.to_owned())
    });
    let mut labels: BTreeMap<&str, String> = reported.collect();
    labels.insert(CLUSTER, cluster.to_string());
    let label = |(name, value): (&str, String)| Label { name: name.to_owned(), value };
    labels.into_iter().map(label).collect()
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> RemoteWrite {
        RemoteWrite::new(Remote::new("metrics-remote-write", "http://127.0.0.1:1/", &[]).unwrap())
    }

    fn cluster(id: i64) -> Id {
        Id::new(id).unwrap()
    }

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let key = Key::new(&mut [("__name__", "up"), ("cluster", "mine"), ("zone", "a")]);
        let samples = [(cluster(7), key.clone(), 1_000, 0.0), (cluster(7), key, 2_000, 3.5)];
        let packed = encode(&samples).unwrap();
        let bytes = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
        let read = WriteRequest::decode(bytes.as_slice()).unwrap();
        let [series] = read.timeseries.as_slice() else { panic!("one series") };
        let labels: Vec<_> =
            series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        let expected =
            [("__name__", "up"), ("cluster", "7"), ("exported_cluster", "mine"), ("zone", "a")];
        assert_eq!(labels, expected);
        let samples: Vec<_> = series.samples.iter().map(|one| (one.timestamp, one.value)).collect();
        assert_eq!(samples, [(1_000, 0.0), (2_000, 3.5)]);
    }

    #[test]
    fn the_oldest_samples_go_when_too_many_wait() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let remote = remote();
        let key = Key::new(&mut [("__name__", "up")]);
        let push = |from: i64, count: i64| {
            remote.push((from..from + count).map(|time| (cluster(1), key.clone(), time, 1.0)));
        };
        let max = i64::try_from(WAITING_MAX).unwrap();
        push(0, max - 1);
        assert_eq!(remote.state().dropped, 0);
        push(max, 11);
        let state = remote.state();
        assert_eq!((state.waiting, state.dropped), (WAITING_MAX as u64, 10));
        assert_eq!(remote.take()[0].2, 10);
    }

    /// Answers requests until the test ends: the first with `first`, if there is one, and those with
    /// the value 13 with `refusal`.
    async fn serve(listener: tokio::net::TcpListener, mut first: Option<u16>, refusal: u16) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let body = loop {
                client.read_buf(&mut read).await.unwrap();
                let text = String::from_utf8_lossy(&read);
                let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                let (start, head) = (head.len() + 4, head.to_ascii_lowercase());
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let whole = start + length.unwrap().parse::<usize>().unwrap();
                if let Some(body) = read.get(start..whole) {
                    break body;
                }
            };
            let bytes = snap::raw::Decoder::new().decompress_vec(body).unwrap();
            let request = WriteRequest::decode(bytes.as_slice()).unwrap();
            let mut values = request.timeseries.iter().flat_map(|one| &one.samples);
            let bad = values.any(|one| (one.value - 13.0).abs() < 0.5);
            let status = first.take().unwrap_or(if bad { refusal } else { 204 });
            let answer =
                format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// Sends 2000 samples with these values; answers how that went.
    async fn send(
        first: Option<u16>,
        refusal: u16,
        value: impl Fn(i64) -> f64,
    ) -> RemoteWriteState {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, first, refusal));
        let remote = RemoteWrite::new(Remote::new("metrics-remote-write", &url, &[]).unwrap());
        let key = Key::new(&mut [("__name__", "up")]);
        remote.push((0..2_000).map(|time| (cluster(1), key.clone(), time, value(time))));
        let app_wide = crate::telemetry::Telemetry::default();
        let task = app_wide.background.begin("remote write", PATIENCE);
        remote.deliver(&remote.take(), &task).await;
        server.abort();
        remote.state()
    }

    #[tokio::test]
    async fn one_bad_sample_spoils_few_others() {
        for status in [400, 409, 413, 415, 422] {
            let state = send(None, status, |time| if time == 777 { 13.0 } else { 1.0 }).await;
            assert_eq!((state.sent + state.refused, state.failures), (2_000, 0), "{status}");
            assert!((1..HALVED_MIN as u64).contains(&state.refused), "{status}: {state:?}");
        }
    }

    #[tokio::test]
    async fn a_wrong_password_or_url_loses_nothing() {
        for status in [401, 403, 404, 405, 302] {
            let state = send(Some(status), 400, |_| 1.0).await;
            assert_eq!((state.sent, state.refused, state.failures), (2_000, 0, 1), "{status}");
        }
    }
}
