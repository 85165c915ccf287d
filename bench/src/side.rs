//! One proxy at some work, and what was measured of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::latency::{Latencies, median};
use crate::load::{self, HOST, Spread, Target, path};
use crate::machine::processor_seconds;
use crate::peer::{Engine, Etcd, Gateway, Haproxy, Nginx, Origin, Plugins, Work};
use crate::{Options, Outcome};

/// Longest time a proxy may take to serve the last of its routes.
const LOADING: Duration = Duration::from_secs(180);

/// Who proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The least proxy on Pingora.
    Engine,
    Nginx,
    Haproxy,
    Gantry,
}

enum Running {
    Engine(Engine),
    Nginx(Nginx),
    Haproxy(Haproxy),
    Gantry(Box<Gateway>),
}

/// A proxy that runs.
pub struct Side {
    kind: Kind,
    work: Work,
    pub target: Target,
    running: Running,
    per_second: Vec<f64>,
    /// Microseconds of processor time for each request.
    processor: Vec<f64>,
    /// At a rate all sides can bear.
    pub steady: Latencies,
}

impl Side {
    /// Starts a proxy and refuses one that does not answer as the others do.
    pub async fn start(
        kind: Kind,
        binary: &str,
        origin: &Origin,
        etcd: &Etcd,
        work: Work,
        spread: Spread,
    ) -> Outcome<Self> {
        let running = match kind {
            Kind::Engine => Running::Engine(Engine::start(origin, work)?),
            Kind::Nginx => Running::Nginx(Nginx::start(origin, work)?),
            Kind::Haproxy => Running::Haproxy(Haproxy::start(origin, work)?),
            Kind::Gantry => Running::Gantry(Box::new(Gateway::start(binary, etcd, work).await?)),
        };
        let address = match &running {
            Running::Engine(engine) => engine.address,
            Running::Nginx(nginx) => nginx.address,
            Running::Haproxy(haproxy) => haproxy.address,
            Running::Gantry(gateway) => gateway.address,
        };
        let consumers = if work.plugins.authenticate() { work.consumers } else { 0 };
        let target = Target { address, routes: work.routes, spread, consumers };
        let side = Self {
            kind,
            work,
            target,
            running,
            per_second: vec![],
            processor: vec![],
            steady: Latencies::default(),
        };
        serves(address, work).await.map_err(|why| format!("{}: {why}", side.title()))?;
        side.agrees().await?;
        Ok(side)
    }

    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Engine(engine) => engine.pid(),
            Running::Nginx(nginx) => nginx.pid(),
            Running::Haproxy(haproxy) => haproxy.pid(),
            Running::Gantry(gateway) => gateway.pid(),
        }
    }

    pub fn title(&self) -> String {
        let proxy = match self.kind {
            Kind::Engine => "minimal Pingora",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Gantry => "gantry",
        };
        let plugins = match self.work.plugins {
            Plugins::None => String::new(),
            Plugins::Guarded => ", key and rate limit".to_owned(),
            Plugins::Five => ", five plugins".to_owned(),
            Plugins::Counted => ", counted".to_owned(),
        };
        let consumers = match self.work.consumers {
            0 | 1 => String::new(),
            consumers => format!(", {consumers} consumers"),
        };
        format!("{proxy}{plugins}{consumers}")
    }

    pub fn per_second(&self) -> f64 {
        median(&self.per_second)
    }

    pub fn processor(&self) -> f64 {
        median(&self.processor)
    }

    /// As fast as it goes.
    pub async fn round(&mut self, options: &Options, time: Duration) -> Outcome {
        let before = processor_seconds(self.pid());
        let figures = load::closed(&self.target, options.connections, time).await?;
        let used = processor_seconds(self.pid()) - before;
        self.processor.push(used * 1e6 / figures.latencies.count().max(1) as f64);
        self.per_second.push(figures.per_second());
        Ok(())
    }

    /// At so many requests a second.
    pub async fn steady(&mut self, options: &Options, time: Duration, rate: f64) -> Outcome {
        let figures = load::open(&self.target, options.connections, time, rate).await?;
        self.steady.extend(figures.latencies);
        Ok(())
    }

    /// Whether status and bytes are what was asked for.
    async fn agrees(&self) -> Outcome {
        let (routes, headers) = (self.work.routes, self.target.headers());
        let mut wanted =
            vec![(path(0), headers.clone(), 200), (path(routes / 2), headers.clone(), 200)];
        // These two pass everything on.
        if !matches!(self.kind, Kind::Engine | Kind::Haproxy) {
            wanted.push((path(routes), headers, 404));
        }
        if self.work.plugins.authenticate() {
            wanted.push((path(0), String::new(), 401));
            wanted.push((path(0), "apikey: wrong\r\n".into(), 401));
        }
        for (path, headers, status) in wanted {
            let (found, body) = ask(self.target.address, &path, &headers).await?;
            if found != status || (status == 200 && body != Origin::body()) {
                let who = self.title();
                return Err(format!("{who}: {path} answered {found}, {status} was wanted").into());
            }
        }
        Ok(())
    }
}

/// The middle of the ratios of rounds that were run next to each other.
pub fn ratio(left: &Side, right: &Side) -> f64 {
    let rounds = left.per_second.iter().zip(&right.per_second);
    median(&rounds.map(|(left, right)| left / right).collect::<Vec<_>>())
}

/// Waits until the last route is served, or refused for want of a key.
pub async fn serves(address: SocketAddr, work: Work) -> Outcome {
    let start = Instant::now();
    let last = path(work.routes.saturating_sub(1));
    let mut seen = "nothing".to_owned();
    while start.elapsed() < LOADING {
        match ask(address, &last, "").await {
            Ok((200 | 401, _)) => return Ok(()),
            Ok((status, _)) => seen = status.to_string(),
            Err(why) => seen = why.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("{last} is not served after {LOADING:?}, last came {seen}").into())
}

/// One request on a connection of its own; status and body.
pub async fn ask(address: SocketAddr, path: &str, headers: &str) -> Outcome<(u16, Vec<u8>)> {
    let mut connection = Connection::open(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n");
    let answer = connection.exchange(request.as_bytes()).await?;
    Ok((answer.status, answer.body().into_owned()))
}
