//! Traces of the control plane as OTLP over HTTP (protobuf).
//!
//! An exporter of our own, as the spans are tracing's already: what is missing is ids, a dozen
//! messages and a client that is here anyway. The gateway's plugin `opentelemetry` describes other
//! things (requests of clients, in JSON, by its own queue), so that nothing but names could be shared.
//!
//! Nobody waits for a collector: what it does not take in time is dropped, and said in the log.

mod layer;
mod proto;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prost::Message as _;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use self::layer::Traces;
use self::proto::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans,
};
use crate::options::TraceOptions;

/// Spans that wait; more are dropped.
const WAITING_MAX: usize = 8_192;
/// Spans of one request, and how long the first of them waits.
const BATCH_MAX: usize = 512;
const BATCH_AGE: Duration = Duration::from_secs(2);
/// Longest that a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the end has begun another request is made; none is if the last has failed.
const FAREWELL: Duration = Duration::from_secs(5);

/// The thread that sends; its end sends what is left.
pub struct Exporter {
    thread: Option<JoinHandle<()>>,
    /// The layer has the other.
    stop: SyncSender<Message>,
    /// When the end has begun.
    ending: Arc<OnceLock<Instant>>,
}

/// What the thread is told.
enum Message {
    Span(Box<proto::Span>),
    Stop,
}

/// A layer that traces, and what sends its spans; nothing if no collector is named.
///
/// # Errors
/// A sentence about the option that cannot be used.
pub fn start(options: &TraceOptions) -> Result<Option<(Traces, Exporter)>, String> {
    let Some(endpoint) = &options.otlp_endpoint else { return Ok(None) };
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let url: reqwest::Url = url.parse().map_err(|error| format!("--otlp-endpoint: {error}"))?;
    if !(0.0..=1.0).contains(&options.otlp_ratio) {
        return Err("--otlp-ratio has to be from 0 to 1".to_owned());
    }
    let headers = headers(&options.otlp_header)?;
    let client = Client::builder().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let send = move |batch: Vec<proto::Span>| {
        let request = client.post(url.clone()).headers(headers.clone()).body(encode(batch));
        runtime.block_on(async { request.send().await?.error_for_status() })
    };
    let thread = std::thread::Builder::new().name("traces".into());
    let ending = Arc::new(OnceLock::new());
    let told = Arc::clone(&ending);
    let thread = thread.spawn(move || run(&receiver, &told, send));
    let thread = Some(thread.map_err(|error| error.to_string())?);
    let exporter = Exporter { thread, stop: sender.clone(), ending };
    Ok(Some((Traces::new(sender, options.otlp_ratio), exporter)))
}

fn headers(lines: &[String]) -> Result<HeaderMap, String> {
    let wrong = || "--otlp-header has to be `Name: value`".to_owned();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// Sends spans in batches until it is told to stop.
fn run<T>(
    receiver: &Receiver<Message>,
    ending: &OnceLock<Instant>,
    send: impl Fn(Vec<proto::Span>) -> Result<T, reqwest::Error>,
) {
    let mut failing = false;
    loop {
        let (batch, stop) = gather(receiver, ending.get().is_some());
        let count = batch.len();
        match if batch.is_empty() { Ok(()) } else { send(batch).map(drop) } {
            Ok(()) => failing = false,
            // One line, not one for each batch; the URL may hold a password.
            Err(error) if !failing => {
                failing = true;
                let error = error.without_url();
                tracing::warn!(%error, count, "traces did not arrive, and are dropped until they do");
            }
            Err(_) => {}
        }
        if stop || ending.get().is_some_and(|begun| failing || begun.elapsed() > FAREWELL) {
            return;
        }
    }
}

/// The next batch, and whether it is the last. At the end nothing is waited for: there may have been
/// no room to say stop.
fn gather(receiver: &Receiver<Message>, is_end: bool) -> (Vec<proto::Span>, bool) {
    let mut batch = Vec::new();
    let first = if is_end { receiver.try_recv().ok() } else { receiver.recv().ok() };
    let Some(Message::Span(first)) = first else { return (batch, true) };
    batch.push(*first);
    let end = Instant::now() + if is_end { Duration::ZERO } else { BATCH_AGE };
    while batch.len() < BATCH_MAX {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Message::Span(span)) => batch.push(*span),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return (batch, true),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    (batch, false)
}

fn encode(spans: Vec<proto::Span>) -> Vec<u8> {
    let attribute =
        |key: &str, value: &str| KeyValue::new(key, proto::Value::String(value.to_owned()));
    let version = env!("CARGO_PKG_VERSION");
    let attributes =
        vec![attribute("service.name", "gantry"), attribute("service.version", version)];
    let scope = Scope { name: "gantry".to_owned(), version: version.to_owned() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        }],
    };
    request.encode_to_vec()
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It is the first to be set, by the only one who does.
        let _ = self.ending.set(Instant::now());
        // The thread may wait for spans. Where there is no room, it does not.
        let _ = self.stop.try_send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An exporter whose queue is full at its end; answers how many spans the collector was sent.
    fn end(
        answer: impl Fn(&OnceLock<Instant>) -> Result<(), reqwest::Error> + Send + 'static,
    ) -> usize {
        let (stop, receiver) = sync_channel(WAITING_MAX);
        for _ in 0..WAITING_MAX {
            stop.try_send(Message::Span(Box::default())).unwrap();
        }
        let (ending, sent) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&ending), Arc::clone(&sent));
        let send = move |batch: Vec<proto::Span>| {
            count.fetch_add(batch.len(), Ordering::SeqCst);
            answer(&told)
        };
        let told = Arc::clone(&ending);
        let thread = std::thread::spawn(move || run(&receiver, &told, send));
        let layer = stop.clone();
        drop(Exporter { thread: Some(thread), stop, ending });
        drop(layer);
        sent.load(Ordering::SeqCst)
    }

    #[test]
    fn the_end_waits_for_a_collector_that_takes_spans() {
        assert_eq!(end(|_| Ok(())), WAITING_MAX);
    }

    #[test]
    fn the_end_does_not_wait_for_one_that_hangs() {
        let sent = end(|ending| {
            while ending.get().is_none() {
                std::thread::yield_now();
            }
            let refused = Client::builder().build()?.get("no address").build();
            Err(refused.unwrap_err())
        });
        assert_eq!(sent, BATCH_MAX);
    }
}
