//! Sends what was counted to the control plane: at regular moments, as much as fits, and never again.
//! What does not arrive is part of the next report, as counters only grow.

use std::{io::Write, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::state::State;

/// A report larger than this many parts loses what matters least.
const PARTS_MAX: usize = 4;
/// Longer than any healthy answer takes, shorter than the interval.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the control plane wants of a gateway; it says so in its answers to heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    pub enabled: bool,
    pub interval: Duration,
    /// Bytes of text in one part.
    pub size: usize,
}

impl Default for Orders {
    /// Until the control plane has said otherwise, nothing is sent.
    fn default() -> Self {
        Self { enabled: false, interval: Duration::from_secs(15), size: 1024 * 1024 }
    }
}

/// Who reports, where to, and by which client.
pub struct Reports {
    /// `https://host:port` of the control plane.
    pub endpoint: String,
    pub client: reqwest::Client,
    pub instance_id: String,
    pub run_id: String,
    pub state: Arc<State>,
    pub orders: watch::Receiver<Orders>,
    /// Stands above the one in the orders.
    pub interval: Option<Duration>,
}

impl Reports {
    /// Reports while that is wanted, until `shutdown`. The first report comes with the first orders,
    /// when little was counted: so the counters of this run are known to begin at zero.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut round = 0;
        loop {
            let orders = *self.orders.borrow_and_update();
            let next = Instant::now() + self.interval.unwrap_or(orders.interval);
            if orders.enabled {
                round += 1;
                let sent = tokio::select! {
                    sent = self.report(round, orders.size) => sent,
                    () = shutdown.cancelled() => return,
                };
                if let Err(error) = sent {
                    tracing::warn!(%error, "a report of metrics did not arrive");
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                Ok(()) = self.orders.changed() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn report(&self, round: u64, size: usize) -> Result<(), String> {
        let (state, id) = (Arc::clone(&self.state), self.instance_id.clone());
        // Many series take a while to write and to compress.
        let bodies = tokio::task::spawn_blocking(move || bodies(&state, &id, round, size));
        for body in bodies.await.map_err(|error| error.to_string())? {
            let sent = self
                .client
                .post(format!("{}/api/v1/dp/metrics", self.endpoint))
                .header("X-APISEVEN-Instance-Id", &self.instance_id)
                .header("X-APISEVEN-Run-Id", &self.run_id)
                .header("Content-Type", "application/json")
                .header("Content-Encoding", "gzip")
                .timeout(TIMEOUT)
                .body(body)
                .send()
                .await;
            sent.and_then(reqwest::Response::error_for_status)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The parts of a report, ready to be sent.
fn bodies(state: &State, id: &str, round: u64, size: usize) -> Vec<Vec<u8>> {
    let (text, truncated) = state.report(size.saturating_mul(PARTS_MAX));
    let body = |part: &str| {
        let report = json!({
            "id": id, "domain": "", "metrics": part, "round": round, "truncated": truncated,
        });
        packed(report.to_string().as_bytes())
    };
    parts(&text, size).into_iter().map(body).collect()
}

/// Whole lines, at most `size` bytes together; a line that is longer by itself is left out. One part
/// at least: that nothing was counted is worth knowing.
fn parts(text: &str, size: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > size {
        let window = rest.as_bytes().get(..size).unwrap_or_default();
        match window.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => {
                let (part, after) = rest.split_at(end + 1);
                parts.push(part);
                rest = after;
            }
            None => rest = rest.split_once('\n').map_or("", |(_, after)| after),
        }
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(rest);
    }
    parts
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail; if it did, the control plane would refuse the report.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_split_between_lines() {
        let text = "aaaa 1\nbbbb 2\ncccc 3\n";
        assert_eq!(parts(text, 100), [text]);
        assert_eq!(parts(text, 14), ["aaaa 1\nbbbb 2\n", "cccc 3\n"]);
        assert_eq!(parts(text, 13), ["aaaa 1\n", "bbbb 2\n", "cccc 3\n"]);
        assert_eq!(parts("ä 1\nlonger than all 2\nb 3\n", 6), ["ä 1\n", "b 3\n"]);
        assert_eq!(parts("", 10), [""]);
    }
}
