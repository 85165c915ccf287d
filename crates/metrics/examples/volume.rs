//! Bytes per sample and speed of writing and asking: a day of gateways with steady traffic on some of
//! their routes. `cargo run --release -p gantry-metrics --example volume`

#![expect(clippy::cast_precision_loss, reason = "small numbers")]

use std::error::Error;
use std::time::Instant;

use gantry_metrics::key::{Matcher, NAME};
use gantry_metrics::range::{Function, Range};
use gantry_metrics::{Options, Report, Selection, Store, text};
use gantry_model::Id;

const GATEWAYS: usize = 3;
const ROUTES: usize = 40;
/// One route in this many has traffic.
const BUSY: usize = 4;
const INTERVAL: i64 = 15_000;
const DAY: i64 = 24 * 3_600_000;

/// Numbers without order (an xorshift).
struct Chance(u64);

impl Chance {
    /// Below `limit`.
    fn next(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The counters of a route.
#[derive(Clone, Default)]
struct Route {
    requests: u64,
    bytes: [u64; 2],
    sums: [f64; 3],
    buckets: [[u64; 17]; 3],
}

/// A gateway that has some traffic between two scrapes: 57 latency series and three others a route.
fn scrape(routes: &mut [Route], chance: &mut Chance) -> String {
    let mut text = String::new();
    for (number, route) in routes.iter_mut().enumerate() {
        let more = if number % BUSY == 0 { 50 + chance.next(400) } else { 0 };
        for _ in 0..more {
            route.requests += 1;
            route.bytes[0] += 300 + chance.next(200);
            route.bytes[1] += 500 + chance.next(9000);
            for kind in 0..3 {
                let bucket = (chance.next(16) * chance.next(16) / 15) as usize;
                route.sums[kind] += (bucket as f64 + 1.0) * 1.318_203_3;
                route.buckets[kind][bucket..].iter_mut().for_each(|count| *count += 1);
            }
        }
        let mut line = |name: &str, labels: &str, value: f64| {
            text.push_str(&format!("apisix_{name}{{{labels}}} {value}\n"));
        };
        let count = route.requests as f64;
        let tail = format!("route=\"45375019953{number}\",service=\"4537\",node=\"10.0.0.7\"");
        line("http_status", &format!("code=\"200\",{tail}"), count);
        line("bandwidth", &format!("type=\"ingress\",{tail}"), route.bytes[0] as f64);
        line("bandwidth", &format!("type=\"egress\",{tail}"), route.bytes[1] as f64);
        for (kind, name) in ["request", "upstream", "apisix"].iter().enumerate() {
            let labels = format!("type=\"{name}\",{tail}");
            line("http_latency_count", &labels, count);
            line("http_latency_sum", &labels, route.sums[kind]);
            for (bucket, part) in route.buckets[kind].iter().enumerate() {
                line("http_latency_bucket", &format!("{labels},le=\"{bucket}\""), *part as f64);
            }
        }
    }
    text
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path(), Options::default())?;
    let cluster = Id::new(1).ok_or("an id")?;
    let start = 1_800_000_000_000;
    let mut chance = Chance(88_172_645_463_325_252);
    let mut gateways = vec![vec![Route::default(); ROUTES]; GATEWAYS];
    let (mut stored, mut slowest, mut bytes) = (0, 0.0_f64, 0);
    let (mut parsing, mut writing) = (0.0, 0.0);
    for round in 0..DAY / INTERVAL {
        for (gateway, routes) in gateways.iter_mut().enumerate() {
            let text = scrape(routes, &mut chance);
            let began = Instant::now();
            let samples = text::parse(&text).samples;
            parsing += began.elapsed().as_secs_f64();
            bytes += text.len();
            // Timers are a little late, each in its own way.
            let jitter = i64::try_from(chance.next(7))?;
            let report = Report {
                instance: &format!("gw-{gateway}"),
                run: "1",
                round: Some(u64::try_from(round)?),
                time: start + round * INTERVAL + jitter,
                truncated: false,
                samples,
            };
            let began = Instant::now();
            stored += store.append(cluster, &report)?.stored;
            let took = began.elapsed().as_secs_f64();
            writing += took;
            slowest = slowest.max(took);
        }
    }
    let count = f64::from(u32::try_from(stored)?);
    let size = size(folder.path())?;
    println!("samples          {stored}");
    println!(
        "on disk          {size} bytes, {:.2} a sample",
        f64::from(u32::try_from(size)?) / count
    );
    println!(
        "parsing          {:.0} MB/s",
        f64::from(u32::try_from(bytes / 1000)?) / 1000.0 / parsing
    );
    println!("writing          {:.2} million samples/s", count / writing / 1e6);
    println!("slowest report   {:.0} ms (it packs a block)", slowest * 1000.0);
    for (what, hours, labels) in [
        ("status, 1 h", 1, vec![(NAME, "apisix_http_status")]),
        ("status, 24 h", 24, vec![(NAME, "apisix_http_status")]),
        ("one route, 24 h", 24, vec![(NAME, "apisix_http_status"), ("route", "453750199530")]),
        ("buckets, 24 h", 24, vec![(NAME, "apisix_http_latency_bucket")]),
    ] {
        let end = start + DAY;
        let range = Range { start: end - hours * 3_600_000, end, step: 60_000, window: 60_000 };
        let selection = Selection {
            matcher: Matcher::new(labels),
            start: range.start - range.window,
            end,
            samples_max: u64::MAX,
        };
        let began = Instant::now();
        let (mut series, mut sum) = (0, 0.0);
        store
            .select(cluster, &selection, |(), _, samples| {
                series += 1;
                range.evaluate(Function::Rate, samples, |_, value| sum += value);
            })
            .map_err(|error| format!("{error:?}"))?;
        println!("{what:<16} {series} series in {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    }
    let began = Instant::now();
    drop(store);
    Store::open(folder.path(), Options::default())?;
    println!("opening          {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

fn size(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut size = 0;
    for cluster in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(cluster?.path()).into_iter().flatten() {
            let file = file?;
            if file.path().extension().is_some_and(|end| end == "block") {
                size += file.metadata()?.len();
            }
        }
    }
    Ok(size)
}
