//! The gateway and nginx as reverse proxies: the same work, by turns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::latency::{Latencies, median};
use crate::load::{self, Figures, HOST, Target, path};
use crate::machine::processor_seconds;
use crate::peer::{Etcd, Gateway, KEY, Nginx, Origin, Work, configure};
use crate::table::Table;
use crate::{Options, Outcome};

/// Longest time a gateway may take to serve the last of its routes.
const LOADING: Duration = Duration::from_secs(180);

pub async fn run(options: &Options, binary: &str) -> Outcome {
    println!("## Gateway and nginx as reverse proxies\n");
    let (origin, etcd) = (Origin::start()?, Etcd::start().await?);
    for plugins in [false, true] {
        for &routes in &options.routes {
            configure(&etcd, &origin, Work { workers: 1, routes, plugins }).await?;
        }
    }
    for workers in [1, 2] {
        for plugins in [false, true] {
            let mut pairs = Vec::new();
            for &routes in &options.routes {
                let work = Work { workers, routes, plugins };
                pairs.push(Pair::start(binary, &origin, &etcd, work).await?);
            }
            measure(options, &mut pairs).await?;
            report(workers, plugins, &mut pairs);
        }
    }
    Ok(())
}

/// One proxy and what was measured of it.
struct Side {
    target: Target,
    pid: u32,
    per_second: Vec<f64>,
    /// Microseconds of processor time for each request.
    processor: Vec<f64>,
    /// At a rate both sides can bear.
    steady: Latencies,
}

impl Side {
    fn new(address: SocketAddr, pid: u32, work: Work) -> Self {
        let headers = if work.plugins { format!("apikey: {KEY}\r\n") } else { String::new() };
        let target = Target { address, routes: work.routes, headers };
        Self { target, pid, per_second: vec![], processor: vec![], steady: Latencies::default() }
    }

    /// As fast as it goes.
    async fn round(&mut self, options: &Options, time: Duration) -> Outcome {
        let before = processor_seconds(self.pid);
        let figures = load::closed(&self.target, options.connections, time).await?;
        let used = processor_seconds(self.pid) - before;
        self.processor.push(used * 1e6 / figures.latencies.count().max(1) as f64);
        self.per_second.push(figures.per_second());
        Ok(())
    }

    async fn steady(&mut self, options: &Options, time: Duration, rate: f64) -> Outcome {
        let Figures { latencies, .. } =
            load::open(&self.target, options.connections, time, rate).await?;
        self.steady.extend(latencies);
        Ok(())
    }
}

/// Both proxies at the same work.
struct Pair {
    work: Work,
    nginx: Side,
    gantry: Side,
    /// From the start of the gateway's process until it served its last route.
    loaded: Duration,
    _running: (Nginx, Gateway),
}

impl Pair {
    async fn start(binary: &str, origin: &Origin, etcd: &Etcd, work: Work) -> Outcome<Self> {
        let start = Instant::now();
        let gateway = Gateway::start(binary, etcd, work).await?;
        let gantry = Side::new(gateway.address, gateway.pid(), work);
        serves(&gantry, work).await.map_err(|why| format!("gantry: {why}"))?;
        let loaded = start.elapsed();
        let server = Nginx::start(origin, work)?;
        let nginx = Side::new(server.address, server.pid(), work);
        serves(&nginx, work).await.map_err(|why| format!("nginx: {why}"))?;
        for side in [&nginx, &gantry] {
            agrees(side, work).await?;
        }
        Ok(Self { work, nginx, gantry, loaded, _running: (server, gateway) })
    }
}

/// Waits until the last route is served.
async fn serves(side: &Side, work: Work) -> Outcome {
    let start = Instant::now();
    let last = path(work.routes.saturating_sub(1));
    let mut seen = "nothing".to_owned();
    while start.elapsed() < LOADING {
        match ask(side, &last, &side.target.headers).await {
            Ok((200, _)) => return Ok(()),
            Ok((status, _)) => seen = status.to_string(),
            Err(why) => seen = why.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{last} is not served after {LOADING:?}, last came {seen}").into())
}

/// Refuses to measure sides that do different things: status and bytes must be what was asked for.
async fn agrees(side: &Side, work: Work) -> Outcome {
    let headers = side.target.headers.clone();
    let mut wanted = vec![
        (path(0), headers.clone(), 200),
        (path(work.routes / 2), headers.clone(), 200),
        (path(work.routes), headers, 404),
    ];
    if work.plugins {
        wanted.push((path(0), String::new(), 401));
        wanted.push((path(0), "apikey: wrong\r\n".into(), 401));
    }
    for (path, headers, status) in wanted {
        let (found, body) = ask(side, &path, &headers).await?;
        if found != status || (status == 200 && body != Origin::body()) {
            let port = side.target.address.port();
            return Err(format!("port {port}: {path} answered {found}, {status} was wanted").into());
        }
    }
    Ok(())
}

async fn ask(side: &Side, path: &str, headers: &str) -> Outcome<(u16, Vec<u8>)> {
    let mut connection = Connection::open(side.target.address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n");
    let answer = connection.exchange(request.as_bytes()).await?;
    Ok((answer.status, answer.body().into_owned()))
}

async fn measure(options: &Options, pairs: &mut [Pair]) -> Outcome {
    let time = Duration::from_secs_f64(options.seconds);
    for pair in pairs.iter_mut() {
        for side in [&pair.nginx, &pair.gantry] {
            load::closed(&side.target, options.connections, time / 2).await?;
        }
    }
    for round in 0..options.rounds {
        for Pair { nginx, gantry, .. } in pairs.iter_mut() {
            // Whoever goes second may find a warmer machine, so they take turns in that too.
            let order = if round % 2 == 0 { [nginx, gantry] } else { [gantry, nginx] };
            for side in order {
                side.round(options, time).await?;
            }
        }
    }
    for Pair { nginx, gantry, .. } in pairs.iter_mut() {
        let rate = median(&nginx.per_second).min(median(&gantry.per_second)) / 2.0;
        for side in [nginx, gantry] {
            side.steady(options, time, rate).await?;
        }
    }
    Ok(())
}

/// The middle of the ratios of rounds that were run next to each other.
fn ratio(left: &[f64], right: &[f64]) -> f64 {
    let ratios: Vec<f64> = left.iter().zip(right).map(|(left, right)| left / right).collect();
    median(&ratios)
}

fn report(workers: usize, plugins: bool, pairs: &mut [Pair]) {
    let what = if plugins { "key authentication and rate limit" } else { "no plugins" };
    println!("### {workers} worker(s), {what}\n");
    let mut table = Table::new(&[
        "routes",
        "nginx req/s",
        "gantry req/s",
        "ratio",
        "nginx us cpu",
        "gantry us cpu",
        "ratio",
        "nginx p50/p99 ms",
        "gantry p50/p99 ms",
        "loaded s",
    ]);
    for Pair { work, nginx, gantry, loaded, .. } in pairs.iter_mut() {
        let quantiles = |side: &mut Side| {
            format!("{:.2} / {:.2}", side.steady.quantile(0.5), side.steady.quantile(0.99))
        };
        table.row(vec![
            work.routes.to_string(),
            format!("{:.0}", median(&nginx.per_second)),
            format!("{:.0}", median(&gantry.per_second)),
            format!("{:.2}", ratio(&gantry.per_second, &nginx.per_second)),
            format!("{:.1}", median(&nginx.processor)),
            format!("{:.1}", median(&gantry.processor)),
            format!("{:.2}", ratio(&gantry.processor, &nginx.processor)),
            quantiles(nginx),
            quantiles(gantry),
            format!("{:.2}", loaded.as_secs_f64()),
        ]);
    }
    table.print();
    if let [first, .., last] = pairs {
        println!(
            "{} routes against {}: {:.3} of the throughput for Gantry (wanted: at least 0.95), {:.3} for nginx\n",
            last.work.routes,
            first.work.routes,
            ratio(&last.gantry.per_second, &first.gantry.per_second),
            ratio(&last.nginx.per_second, &first.nginx.per_second),
        );
    }
}
