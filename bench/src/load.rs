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

/// Digits of a route's number in its path, and of a consumer's in its key.
const DIGITS: usize = 6;

/// Paths that are drawn beforehand where drawing is not a matter of nanoseconds.
const DRAWS: usize = 1 << 16;

/// Path of a route.
pub fn path(route: u32) -> String {
    format!("/r/{route:0DIGITS$}")
}

/// The key of a consumer.
pub fn key(consumer: u32) -> String {
    format!("a-key-of-the-benchmark-{consumer:0DIGITS$}")
}

/// How requests are spread over routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// The second half as often as the first, the third a third as often, and so on.
    Zipf,
    /// To paths that no route has; 404 is the right answer.
    Miss,
}

/// Whom to load, and with what.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub routes: u32,
    pub spread: Spread,
    /// Requests carry the keys of so many consumers, each as often as any other; none if zero.
    pub consumers: u32,
}

impl Target {
    /// Header lines of a request, each ended by CR LF.
    pub fn headers(&self) -> String {
        if self.consumers == 0 { String::new() } else { format!("apikey: {}\r\n", key(0)) }
    }

    /// The status that every answer must have.
    fn wanted(&self) -> u16 {
        if self.spread == Spread::Miss { 404 } else { 200 }
    }
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
    let request = Request::new(target);
    let mut tasks = Vec::with_capacity(connections);
    let start = Instant::now();
    for number in 0..connections {
        let client = Client {
            connection: Connection::open(target.address).await?,
            request: request.clone(),
            wanted: target.wanted(),
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
    wanted: u16,
    random: u64,
}

impl Client {
    async fn work(mut self, schedule: Schedule) -> Result<Latencies, String> {
        let mut latencies = Latencies::default();
        while let Some(from) = schedule.next().await {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let bytes = self.request.drawn(self.random);
            let answer = self.connection.exchange(bytes).await.map_err(|why| why.to_string())?;
            if answer.status != self.wanted {
                return Err(format!("{} answered {}", self.request.path(), answer.status));
            }
            latencies.add(from.elapsed());
        }
        Ok(latencies)
    }
}

/// A request whose route and key are written into it, so that building it costs nothing.
#[derive(Clone)]
struct Request {
    bytes: Vec<u8>,
    routes: Routes,
    consumers: u32,
    /// Where the digits of the key begin.
    key: usize,
}

#[derive(Clone)]
enum Routes {
    Between { first: u32, count: u32 },
    Drawn(Arc<[u32]>),
}

impl Request {
    const PREFIX: &str = "GET /r/";

    fn new(target: &Target) -> Self {
        let (path, headers) = (path(0), target.headers());
        let text = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n");
        let key = text.len().saturating_sub(DIGITS + "\r\n\r\n".len());
        let count = target.routes;
        let routes = match target.spread {
            Spread::Uniform => Routes::Between { first: 0, count },
            Spread::Miss => Routes::Between { first: count, count },
            Spread::Zipf => Routes::Drawn(zipf(count).into()),
        };
        Self { bytes: text.into_bytes(), routes, consumers: target.consumers, key }
    }

    fn drawn(&mut self, random: u64) -> &[u8] {
        let route = match &self.routes {
            Routes::Between { first, count } => first + below(random, *count),
            Routes::Drawn(drawn) => {
                let index = below(random, drawn.len() as u32) as usize;
                drawn.get(index).copied().unwrap_or_default()
            }
        };
        self.write(Self::PREFIX.len(), route);
        if self.consumers > 1 {
            self.write(self.key, below(random.rotate_left(32), self.consumers));
        }
        &self.bytes
    }

    fn write(&mut self, start: usize, mut number: u32) {
        if let Some(digits) = self.bytes.get_mut(start..start + DIGITS) {
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }

    fn path(&self) -> String {
        let line = String::from_utf8_lossy(&self.bytes);
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn below(random: u64, count: u32) -> u32 {
    (random % u64::from(count.max(1))) as u32
}

/// Numbers below `count`, number n with a weight of 1 / (n + 1).
fn zipf(count: u32) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=count.max(1))
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    // A low-discrepancy sequence: every run draws the same.
    let share = |draw: usize| (draw as f64 * 0.618_033_988_749_895).fract();
    (0..DRAWS)
        .map(|draw| sums.partition_point(|reached| *reached <= share(draw) * sum) as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Origin;

    fn target(address: SocketAddr) -> Target {
        Target { address, routes: 10, spread: Spread::Uniform, consumers: 0 }
    }

    #[test]
    fn route_and_key_are_written_into_the_request() {
        let mut target = target(SocketAddr::from(([127, 0, 0, 1], 1)));
        target.routes = 100_000;
        target.consumers = 1000;
        let mut request = Request::new(&target);
        let random = (100_000 + 4711) | (7 << 32);
        let text = String::from_utf8(request.drawn(random).to_vec()).unwrap();
        let (route, consumer) = (below(random, 100_000), below(random.rotate_left(32), 1000));
        let (path, key) = (path(route), key(consumer));
        let rest = format!("HTTP/1.1\r\nHost: bench.example.com\r\napikey: {key}\r\n\r\n");
        assert_eq!(text, format!("GET {path} {rest}"));
        assert_eq!(request.path(), path);
        target.spread = Spread::Miss;
        Request::new(&target).drawn(5);
    }

    #[test]
    fn zipf_prefers_the_first() {
        let drawn = zipf(1000);
        let count = |number: u32| drawn.iter().filter(|drawn| **drawn == number).count() as f64;
        assert!(drawn.iter().all(|number| *number < 1000));
        assert!((count(0) / count(1) - 2.0).abs() < 0.1);
        assert!((count(0) / count(9) - 10.0).abs() < 1.0);
    }

    #[tokio::test]
    async fn open_load_keeps_its_rate_and_closed_load_does_not_wait() {
        let origin = Origin::start().unwrap();
        let target = target(origin.address);
        let time = Duration::from_millis(200);
        let steady = open(&target, 4, time, 500.0).await.unwrap();
        assert_eq!(steady.latencies.count(), 100);
        assert!(closed(&target, 4, time).await.unwrap().per_second() > 500.0);
    }
}
