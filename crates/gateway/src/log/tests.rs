//! Entries on their way, with receivers that fail on purpose.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pingora::http::RequestHeader;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Deliver, Failed, LogFile, Logs, Pace, Queue, Tape, document};
use crate::{
    exchange::{Exchange, Facts},
    plugin::Shared,
    snapshot::Snapshot,
};

/// Notes batches, and fails as often as told.
struct Receiver {
    batches: mpsc::UnboundedSender<Vec<String>>,
    failures: Mutex<Vec<Failed>>,
}

#[async_trait]
impl Deliver for Receiver {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        self.batches.send(entries.to_vec()).unwrap();
        self.failures.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

struct Rig {
    shared: Arc<Shared>,
    queue: Queue,
    batches: mpsc::UnboundedReceiver<Vec<String>>,
}

impl Rig {
    fn new(pace: &Value, failures: Vec<Failed>) -> Self {
        let shared = Arc::<Shared>::default();
        let mut config = json!({
            "batch_max_size": 1000, "inactive_timeout": 5, "buffer_duration": 60,
            "max_retry_count": 0, "retry_delay": 1, "name": "test",
        });
        config.as_object_mut().unwrap().extend(pace.as_object().unwrap().clone());
        let pace: Pace = serde_json::from_value(config).unwrap();
        let (batches, received) = mpsc::unbounded_channel();
        let receiver = Receiver { batches, failures: Mutex::new(failures) };
        let queue = Queue::new("test", pace, &shared, Arc::new(receiver));
        Self { shared, queue, batches: received }
    }

    fn push(&self, entry: &str) {
        let exchange = Exchange::new(Arc::new(Snapshot::default()));
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        let facts = Facts { exchange: &exchange, request: &request, response: None };
        self.queue.push(&facts, || entry.to_owned());
    }

    async fn batch(&mut self) -> Vec<String> {
        self.batches.recv().await.unwrap()
    }

    /// Waits for the end of everything and answers what became of the entries.
    async fn end(self) -> Value {
        self.shared.logs.close(std::time::Duration::from_secs(30)).await;
        self.shared.logs.describe()["test"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once() {
    let mut rig = Rig::new(&json!({"batch_max_size": 2}), vec![]);
    let start = tokio::time::Instant::now();
    for entry in ["a", "b", "c"] {
        rig.push(entry);
    }
    assert_eq!(rig.batch().await, ["a", "b"]);
    assert_eq!(start.elapsed().as_secs(), 0);
    assert_eq!(rig.batch().await, ["c"]);
    assert_eq!(start.elapsed().as_secs(), 5, "inactive_timeout");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_entry_does_not_wait_longer_than_buffer_duration() {
    let mut rig = Rig::new(&json!({"buffer_duration": 7}), vec![]);
    let start = tokio::time::Instant::now();
    for second in 0..7 {
        rig.push(&second.to_string());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(rig.batch().await.len(), 7);
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_sent_again_from_the_first_entry_that_did_not_arrive() {
    let failures = vec![Failed { delivered: 1, reason: "half".to_owned() }];
    let pace = json!({"batch_max_size": 3, "max_retry_count": 1, "retry_delay": 9});
    let mut rig = Rig::new(&pace, failures);
    let start = tokio::time::Instant::now();
    for entry in ["a", "b", "c"] {
        rig.push(entry);
    }
    assert_eq!(rig.batch().await, ["a", "b", "c"]);
    assert_eq!(rig.batch().await, ["b", "c"]);
    assert_eq!(start.elapsed().as_secs(), 9);
    assert_eq!(rig.end().await, json!({"sent": 3, "failed": 0, "dropped": 0, "pending": 0}));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_given_up_after_its_tries() {
    let failures = (0..3).map(|_| Failed::from("no")).collect();
    let mut rig = Rig::new(&json!({"batch_max_size": 2, "max_retry_count": 2}), failures);
    for entry in ["a", "b"] {
        rig.push(entry);
    }
    for _ in 0..3 {
        assert_eq!(rig.batch().await, ["a", "b"]);
    }
    assert_eq!(rig.end().await, json!({"sent": 0, "failed": 2, "dropped": 0, "pending": 0}));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_dropped_and_counted() {
    let mut rig = Rig::new(&json!({}), vec![]);
    rig.queue = rig.queue.with_room(2);
    for entry in ["a", "b", "c"] {
        rig.push(entry);
    }
    let mut metrics = String::new();
    rig.shared.logs.render(&mut metrics);
    for line in [
        "apisix_batch_process_entries{name=\"test\",route_id=\"\",server_addr=\"0.0.0.0\"} 2",
        "apisix_log_entries_total{plugin=\"test\",outcome=\"dropped\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nis not in\n{metrics}");
    }
    assert_eq!(rig.end().await, json!({"sent": 2, "failed": 0, "dropped": 1, "pending": 0}));
}

#[tokio::test(start_paused = true)]
async fn entries_are_sent_after_their_queue_is_gone() {
    let mut rig = Rig::new(&json!({}), vec![]);
    rig.push("a");
    rig.queue = Rig::new(&json!({}), vec![]).queue;
    assert_eq!(rig.batch().await, ["a"]);
}

#[test]
fn a_tape_keeps_the_beginning_and_nothing_twice() {
    let mut tape = Tape::default();
    tape.record(0, b"nobody asked");
    assert_eq!(tape.text(100), None);
    tape.want(4);
    tape.want(8);
    tape.record(0, b"abc");
    // The body is sent again, in other pieces.
    tape.record(0, b"a");
    tape.record(1, b"bcdef");
    tape.record(6, b"ghijk");
    assert_eq!(tape.text(100).unwrap(), "abcdefgh");
    assert_eq!(tape.text(4).unwrap(), "abcd");
}

#[test]
fn a_file_that_was_moved_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let file = LogFile::new(&path);
    file.append("1\n").unwrap();
    file.append("2\n").unwrap();
    std::fs::rename(&path, &moved).unwrap();
    file.append("3\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    file.append("4\n").unwrap();
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "1\n2\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "4\n");
}

#[test]
fn single_entries_are_objects_where_batches_cannot_be_larger() {
    let entries = ["{}".to_owned()];
    assert_eq!(document(&entries, true), "{}");
    assert_eq!(document(&entries, false), "[{}]");
    assert_eq!(document(&["1".to_owned(), "2".to_owned()], false), "[1,2]");
}

#[test]
fn no_proxy_of_the_environment_sees_what_is_logged() {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    for verify in [true, false] {
        let client = Logs::default().client(verify).unwrap();
        assert!(!format!("{client:?}").contains("proxies"), "{client:?}");
    }
}
