//! Health checks as configured: whom to ask how often, and which answers mean what.

use std::time::Duration;

use super::Report;

/// The health checks of one upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Checks {
    pub active: Active,
    pub passive: Option<Passive>,
}

/// Probes that the gateway sends on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// None only opens a connection.
    pub request: Option<ProbeRequest>,
    pub timeout: Duration,
    /// Probes at a time.
    pub concurrency: usize,
    /// None is the node's own.
    pub port: Option<u16>,
    /// The pause between probes of nodes that are up; None probes none.
    pub up_interval: Option<Duration>,
    /// The same for nodes that are down.
    pub down_interval: Option<Duration>,
    pub thresholds: Thresholds,
}

/// An HTTP request of a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRequest {
    pub tls: bool,
    pub verify: bool,
    /// Host header and server name; None is the node's.
    pub host: Option<String>,
    pub method: String,
    pub path: String,
    /// More lines of the head, each with its end.
    pub headers: String,
    pub body: String,
}

/// What requests of clients tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Passive {
    /// Whether statuses count; connections count always.
    pub http: bool,
    pub thresholds: Thresholds,
}

/// Which answers are good or bad, and how many of them in a row change a node's state. Zero: none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Thresholds {
    pub good: Vec<u16>,
    pub bad: Vec<u16>,
    pub successes: u8,
    pub http_failures: u8,
    pub tcp_failures: u8,
    pub timeouts: u8,
}

impl Thresholds {
    /// What a status tells; None if it stands in neither list.
    #[must_use]
    pub fn judge(&self, status: u16) -> Option<Report> {
        if self.good.contains(&status) {
            Some(Report::Success)
        } else {
            self.bad.contains(&status).then_some(Report::HttpFailure)
        }
    }

    /// How many reports of this kind change the state.
    #[must_use]
    pub fn limit(&self, report: Report) -> u8 {
        match report {
            Report::Success => self.successes,
            Report::HttpFailure => self.http_failures,
            Report::TcpFailure => self.tcp_failures,
            Report::Timeout => self.timeouts,
        }
    }
}
