//! The load generator: closed (as fast as answers come) or open (at a given rate, whatever comes).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use crate::Outcome;
use crate::http::Connection;
use crate::latency::Latencies;

/// Host that the benchmarks' routes are asked by.
pub const HOST: &str = "bench.example.com";

/// Digits of a route's number in its path.
const DIGITS: usize = 6;

/// Path of a route.
pub fn path(route: u32) -> String {
    format!("/r/{route:0DIGITS$}")
}

/// Whom to load, and with what.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// Requests are spread evenly over so many routes.
    pub routes: u32,
    /// Further header lines, each ended by CR LF.
    pub headers: String,
}

/// How a load went.
#[derive(Default)]
pub struct Figures {
    /// From the moment a request was sent, or was due, to the end of its answer.
    pub latencies: Latencies,
    pub seconds: f64,
}

impl Figures {
    pub fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.seconds.max(f64::EPSILON)
    }
}

/// Each connection sends its next request as soon as it has the last answer.
pub async fn closed(target: &Target, connections: usize, time: Duration) -> Outcome<Figures> {
    run(target, connections, time, None).await
}

/// Requests are due at this many a second. A late one counts from when it was due, so a server that
/// stalls cannot hide behind clients that wait for it.
pub async fn open(
    target: &Target,
    connections: usize,
    time: Duration,
    rate: f64,
) -> Outcome<Figures> {
    run(target, connections, time, Some(rate)).await
}

async fn run(
    target: &Target,
    connections: usize,
    time: Duration,
    rate: Option<f64>,
) -> Outcome<Figures> {
    let sent = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(connections);
    let start = Instant::now();
    for number in 0..connections {
        let client = Client {
            connection: Connection::open(target.address).await?,
            request: Request::new(target),
            random: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1),
        };
        let schedule = Schedule { start, end: start + time, rate, sent: sent.clone() };
        tasks.push(tokio::spawn(client.work(schedule)));
    }
    let mut figures = Figures::default();
    for latencies in try_join_all(tasks).await? {
        figures.latencies.extend(latencies.map_err(|why| format!("under load: {why}"))?);
    }
    figures.seconds = start.elapsed().as_secs_f64();
    Ok(figures)
}

struct Schedule {
    start: Instant,
    end: Instant,
    rate: Option<f64>,
    /// Requests of all connections so far.
    sent: Arc<AtomicU64>,
}

impl Schedule {
    /// When the next request counts from, after waiting until it is due.
    async fn next(&self) -> Option<Instant> {
        let due = match self.rate {
            None => Instant::now(),
            Some(rate) => {
                let number = self.sent.fetch_add(1, Ordering::Relaxed);
                let due = self.start + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        (due < self.end).then_some(due)
    }
}

struct Client {
    connection: Connection,
    request: Request,
    random: u64,
}

impl Client {
    async fn work(mut self, schedule: Schedule) -> Result<Latencies, String> {
        let mut latencies = Latencies::default();
        while let Some(from) = schedule.next().await {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let bytes = self.request.for_route(self.random);
            let answer = self.connection.exchange(bytes).await.map_err(|why| why.to_string())?;
            if answer.status != 200 {
                return Err(format!("{} answered {}", self.request.path(), answer.status));
            }
            latencies.add(from.elapsed());
        }
        Ok(latencies)
    }
}

/// A request whose route is written into it, so that building it costs nothing.
struct Request {
    bytes: Vec<u8>,
    routes: u32,
}

impl Request {
    const PREFIX: &str = "GET ";

    fn new(target: &Target) -> Self {
        let path = path(0);
        let headers = &target.headers;
        let text = format!("{}{path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n", Self::PREFIX);
        Self { bytes: text.into_bytes(), routes: target.routes }
    }

    fn for_route(&mut self, random: u64) -> &[u8] {
        let start = Self::PREFIX.len() + "/r/".len();
        let mut number = random % u64::from(self.routes.max(1));
        if let Some(digits) = self.bytes.get_mut(start..start + DIGITS) {
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        &self.bytes
    }

    fn path(&self) -> String {
        let line = String::from_utf8_lossy(&self.bytes);
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Origin;

    #[test]
    fn the_route_is_written_into_the_request() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let target = Target { address, routes: 100_000, headers: "apikey: k\r\n".into() };
        let mut request = Request::new(&target);
        let text = String::from_utf8(request.for_route(100_000 + 4711).to_vec()).unwrap();
        let rest = "HTTP/1.1\r\nHost: bench.example.com\r\napikey: k\r\n\r\n";
        assert_eq!(text, format!("GET {} {rest}", path(4711)));
        assert_eq!(request.path(), "/r/004711");
    }

    #[tokio::test]
    async fn open_load_keeps_its_rate_and_closed_load_does_not_wait() {
        let origin = Origin::start().unwrap();
        let target = Target { address: origin.address, routes: 10, headers: String::new() };
        let time = Duration::from_millis(200);
        let steady = open(&target, 4, time, 500.0).await.unwrap();
        assert_eq!(steady.latencies.count(), 100);
        assert!(closed(&target, 4, time).await.unwrap().per_second() > 500.0);
    }
}
