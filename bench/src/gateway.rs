//! The gateway against other proxies and against itself: the same work, by turns.

use std::time::{Duration, Instant};

use crate::load::{self, Spread, path};
use crate::machine::resident_bytes;
use crate::peer::{Etcd, Gateway, Origin, Plugins, Work, configure};
use crate::side::{Kind, Side, ask, ratio, serves};
use crate::table::Table;
use crate::{Options, Outcome};

/// Who has keys where many have.
const CONSUMERS: u32 = 100_000;

/// Routes of the measures that are about many.
const MANY: u32 = 100_000;

const BARE: Work = Work { workers: 1, routes: 1, plugins: Plugins::None, consumers: 0 };
const GUARDED: Work = Work { plugins: Plugins::Guarded, consumers: 1, ..BARE };

/// One line of the summary: what was wanted and what was seen.
struct Measure {
    what: String,
    wanted: String,
    seen: String,
    met: bool,
}

impl Measure {
    fn at_least(what: &str, wanted: f64, seen: f64) -> Self {
        let (what, met) = (what.to_owned(), seen >= wanted);
        Self { what, wanted: format!(">= {wanted:.2}"), seen: format!("{seen:.3}"), met }
    }

    fn at_most(what: &str, wanted: f64, seen: f64, unit: &str) -> Self {
        let (what, met) = (what.to_owned(), seen <= wanted);
        let figure = |figure: f64| format!("{figure:.1} {unit}");
        Self { what, wanted: format!("<= {}", figure(wanted)), seen: figure(seen), met }
    }
}

pub async fn run(options: &Options, binary: &str) -> Outcome {
    let stage = Stage { options, binary, origin: Origin::start()?, etcd: Etcd::start().await? };
    let mut measures = stage.proxying().await?;
    measures.extend(stage.routes().await?);
    measures.extend(stage.consumers().await?);
    measures.extend(stage.many_routes().await?);
    println!("## Measures\n");
    let mut table = Table::new(&["measure", "wanted", "seen", "met"]);
    for Measure { what, wanted, seen, met } in measures {
        table.row(vec![what, wanted, seen, if met { "yes".into() } else { "NO".into() }]);
    }
    table.print();
    Ok(())
}

/// What all measurements share.
struct Stage<'o> {
    options: &'o Options,
    binary: &'o str,
    origin: Origin,
    etcd: Etcd,
}

impl Stage<'_> {
    /// A proxy that does the work, checked for doing it right.
    async fn side(&self, kind: Kind, work: Work, spread: Spread) -> Outcome<Side> {
        if kind == Kind::Gantry {
            configure(&self.etcd, &self.origin, work).await?;
        }
        Side::start(kind, self.binary, &self.origin, &self.etcd, work, spread).await
    }

    /// Everybody without plugins, then Gantry and nginx with some.
    async fn proxying(&self) -> Outcome<Vec<Measure>> {
        let five = Work { plugins: Plugins::Five, ..GUARDED };
        let mut sides = Vec::new();
        for (kind, work) in [
            (Kind::Engine, BARE),
            (Kind::Nginx, BARE),
            (Kind::Haproxy, BARE),
            (Kind::Gantry, BARE),
            (Kind::Nginx, GUARDED),
            (Kind::Gantry, GUARDED),
            (Kind::Gantry, five),
        ] {
            sides.push(self.side(kind, work, Spread::Uniform).await?);
        }
        self.measure(&mut sides).await?;
        report("One route, one worker", &mut sides);
        let [engine, nginx, _, bare, _, guarded, _] = &sides[..] else { return Ok(vec![]) };
        Ok(vec![
            Measure::at_least(
                "bare proxying, to a minimal Pingora proxy",
                0.95,
                ratio(bare, engine),
            ),
            Measure::at_least("bare proxying, to nginx", 0.85, ratio(bare, nginx)),
            Measure::at_least("key-auth + limit-count, to bare", 0.92, ratio(guarded, bare)),
        ])
    }

    /// Many routes against one, with traffic of several kinds.
    async fn routes(&self) -> Outcome<Vec<Measure>> {
        let mut sides = Vec::new();
        for (kind, routes, spread) in [
            (Kind::Gantry, 1, Spread::Uniform),
            (Kind::Gantry, 100, Spread::Uniform),
            (Kind::Gantry, 10_000, Spread::Uniform),
            (Kind::Gantry, MANY, Spread::Uniform),
            (Kind::Gantry, MANY, Spread::Zipf),
            (Kind::Gantry, MANY, Spread::Miss),
            (Kind::Nginx, 1, Spread::Uniform),
            (Kind::Nginx, MANY, Spread::Uniform),
        ] {
            sides.push(self.side(kind, Work { routes, ..BARE }, spread).await?);
        }
        self.measure(&mut sides).await?;
        report("Routes", &mut sides);
        let [one, _, _, many, ..] = &sides[..] else { return Ok(vec![]) };
        let grown = memory(many).saturating_sub(memory(one)) as f64;
        println!("{:.0} bytes of memory for each of {MANY} routes\n", grown / f64::from(MANY));
        Ok(vec![
            Measure::at_least("100,000 routes, to 1 route", 0.97, ratio(many, one)),
            Measure::at_most("memory with 100,000 routes", 220.0, memory(many) as f64 / 1e6, "MB"),
        ])
    }

    /// Many consumers against one.
    async fn consumers(&self) -> Outcome<Vec<Measure>> {
        let many = Work { consumers: CONSUMERS, ..GUARDED };
        let mut sides = Vec::new();
        for work in [GUARDED, many] {
            sides.push(self.side(Kind::Gantry, work, Spread::Uniform).await?);
        }
        self.measure(&mut sides).await?;
        report("Consumers", &mut sides);
        let [one, many] = &sides[..] else { return Ok(vec![]) };
        Ok(vec![Measure::at_least("100,000 consumers, to 1", 0.97, ratio(many, one))])
    }

    /// Starting with many routes, from etcd and from the disk, and counting for each of them.
    async fn many_routes(&self) -> Outcome<Vec<Measure>> {
        let work = Work { routes: MANY, plugins: Plugins::Counted, ..BARE };
        configure(&self.etcd, &self.origin, work).await?;
        let start = Instant::now();
        let gateway = Gateway::start(self.binary, &self.etcd, work).await?;
        serves(gateway.address, work).await?;
        let from_etcd = start.elapsed();
        // What was loaded is on the disk when the status says so.
        saved(&gateway).await?;
        let start = Instant::now();
        let gateway = gateway.restart_alone(self.binary, work).await?;
        serves(gateway.address, work).await?;
        let from_disk = start.elapsed();
        println!(
            "First request to the last of {MANY} routes: {:.2} s after a start from etcd, {:.2} s \
             from the disk\n",
            from_etcd.as_secs_f64(),
            from_disk.as_secs_f64()
        );
        let scrape = self.scrape(&gateway, work).await?;
        Ok(vec![
            Measure::at_most(
                "start with 100,000 routes from the disk",
                1.0,
                from_disk.as_secs_f64(),
                "s",
            ),
            Measure::at_most("scrape with 100,000 routes", 100.0, scrape.as_secs_f64() * 1e3, "ms"),
        ])
    }

    /// How long the metrics take once every route was asked.
    async fn scrape(&self, gateway: &Gateway, work: Work) -> Outcome<Duration> {
        for route in 0..work.routes {
            if ask(gateway.address, &path(route), "").await?.0 != 200 {
                return Err(format!("{} is not served", path(route)).into());
            }
        }
        let start = Instant::now();
        let (status, text) = ask(gateway.status, "/apisix/prometheus/metrics", "").await?;
        let taken = start.elapsed();
        println!("{} bytes of metrics in {:.1} ms\n", text.len(), taken.as_secs_f64() * 1e3);
        if status == 200 { Ok(taken) } else { Err(format!("metrics answered {status}").into()) }
    }

    /// Warms all sides up, loads them by turns, then at half of the slowest one's rate.
    async fn measure(&self, sides: &mut [Side]) -> Outcome {
        let time = Duration::from_secs_f64(self.options.seconds);
        for side in sides.iter() {
            load::closed(&side.target, self.options.connections, time / 2).await?;
        }
        for round in 0..self.options.rounds {
            // Whoever goes second may find a warmer machine, so the order turns around.
            let order: Box<dyn Iterator<Item = &mut Side> + Send> = if round % 2 == 0 {
                Box::new(sides.iter_mut())
            } else {
                Box::new(sides.iter_mut().rev())
            };
            for side in order {
                side.round(self.options, time).await?;
            }
        }
        let slowest = sides.iter().map(Side::per_second).fold(f64::INFINITY, f64::min);
        for side in sides {
            side.steady(self.options, time, slowest / 2.0).await?;
        }
        Ok(())
    }
}

/// Waits until the gateway's disk has what is in force.
async fn saved(gateway: &Gateway) -> Outcome {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let (_, status) = ask(gateway.status, "/status", "").await?;
        let status: serde_json::Value = serde_json::from_slice(&status)?;
        if status["cached_revision"].is_number() && status["cached_revision"] == status["revision"]
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the gateway did not save its configuration within a minute".into())
}

fn memory(side: &Side) -> u64 {
    resident_bytes(side.pid())
}

fn report(title: &str, sides: &mut [Side]) {
    println!("## {title}\n");
    let headings =
        ["proxy", "routes", "traffic", "req/s", "us cpu", "p50 ms", "p99 ms", "memory MB"];
    let mut table = Table::new(&headings);
    for side in sides.iter_mut() {
        let memory = memory(side) as f64 / 1e6;
        table.row(vec![
            side.title(),
            side.target.routes.to_string(),
            format!("{:?}", side.target.spread).to_lowercase(),
            format!("{:.0}", side.per_second()),
            format!("{:.1}", side.processor()),
            format!("{:.2}", side.steady.quantile(0.5)),
            format!("{:.2}", side.steady.quantile(0.99)),
            format!("{memory:.0}"),
        ]);
    }
    table.print();
}
