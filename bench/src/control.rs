//! The control plane: durable creates by many clients, then lists and searches among all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::future::try_join_all;
use serde_json::json;

use crate::api::{Api, Control};
use crate::latency::Latencies;
use crate::table::Table;
use crate::{Options, Outcome};

/// Clients that create at the same time.
const CLIENTS: usize = 64;

/// Applications that the created APIs are spread over.
const APPLICATIONS: u64 = 100;

/// Lists and searches of each kind.
const READS: u64 = 200;

pub async fn run(options: &Options, binary: &str) -> Outcome {
    let engine = if options.database.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("## Control plane on {engine}\n");
    let control = Control::start(binary, options).await?;
    let mut applications = Vec::new();
    for number in 0..APPLICATIONS {
        applications.push(control.application(&format!("application-{number}"), 8080).await?);
    }
    let mut table = Table::new(&["creates", "per second", "p50 ms", "p99 ms", "max ms"]);
    let first = options.objects.min(10_000);
    for (from, to) in [(0, first), (first, options.objects)] {
        if from < to {
            let start = Instant::now();
            let mut times = create(&control, &applications, from, to).await?;
            let rate = (to - from) as f64 / start.elapsed().as_secs_f64();
            let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.1}", times.quantile(share)));
            let what = format!("number {} to {to}, {CLIENTS} clients", from + 1);
            table.row([vec![what, format!("{rate:.0}")], cells.to_vec()].concat());
        }
    }
    table.print();
    println!("Wanted: at least 1,000 a second on SQLite. Each is on disk when it is answered.\n");
    reads(&control, &applications, options.objects).await
}

/// Creates APIs number `from` up to `to` as fast as the server takes them.
async fn create(
    control: &Control,
    applications: &[String],
    from: u64,
    to: u64,
) -> Outcome<Latencies> {
    let next = Arc::new(AtomicU64::new(from));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client {
            api: control.api().await?,
            paths: applications.iter().map(|app| format!("/api/v1/apps/{app}/apis")).collect(),
            next: next.clone(),
        };
        clients.push(tokio::spawn(client.create_up_to(to)));
    }
    let mut times = Latencies::default();
    for done in try_join_all(clients).await? {
        times.extend(done?);
    }
    Ok(times)
}

struct Client {
    api: Api,
    paths: Vec<String>,
    next: Arc<AtomicU64>,
}

impl Client {
    async fn create_up_to(mut self, end: u64) -> Result<Latencies, String> {
        let mut times = Latencies::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let turn = usize::try_from(number).unwrap_or_default() % self.paths.len().max(1);
            let (Some(path), true) = (self.paths.get(turn), number < end) else { return Ok(times) };
            let body = json!({ "name": name(number), "paths": [{ "path": format!("/{number}") }] });
            let start = Instant::now();
            self.api.call("POST", path, Some(&body)).await.map_err(|why| why.to_string())?;
            times.add(start.elapsed());
        }
    }
}

fn name(number: u64) -> String {
    format!("orders-{number:07}")
}

async fn reads(control: &Control, applications: &[String], objects: u64) -> Outcome {
    let mut api = control.api().await?;
    let cluster = format!("/api/v1/clusters/{}", control.cluster);
    let of_one = format!("/api/v1/apps/{}/apis", applications.first().ok_or("no application")?);
    let far = objects / APPLICATIONS / 10;
    let some = |read: u64| name(read.wrapping_mul(7919) % objects.max(1));
    type Ask<'a> = Box<dyn Fn(u64) -> String + 'a>;
    let kinds: [(&str, Ask<'_>); 5] = [
        ("list of one application, first page", Box::new(|_| format!("{of_one}?page_size=10"))),
        ("the same, last page", Box::new(|_| format!("{of_one}?page_size=10&page={far}"))),
        ("list of applications", Box::new(|_| format!("{cluster}/apps?page_size=10"))),
        (
            "search in the cluster, one match",
            Box::new(|read| format!("{cluster}/apis?search={}", some(read))),
        ),
        ("search in the cluster, all match", Box::new(|_| format!("{cluster}/apis?search=orders"))),
    ];
    println!("Among {objects} APIs, one client:\n");
    let mut table = Table::new(&["read", "p50 ms", "p99 ms", "max ms"]);
    for (what, path) in kinds {
        let mut times = Latencies::default();
        for read in 0..READS {
            let start = Instant::now();
            let answer = api.call("GET", &path(read), None).await?;
            times.add(start.elapsed());
            if answer.payload["list"].as_array().is_none_or(Vec::is_empty) {
                return Err(format!("{} found nothing", path(read)).into());
            }
        }
        let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.2}", times.quantile(share)));
        table.row([vec![what.to_owned()], cells.to_vec()].concat());
    }
    table.print();
    Ok(())
}
