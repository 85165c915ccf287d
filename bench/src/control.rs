//! The control plane: durable creates by many clients, then lists and searches among all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::json;

use crate::api::{Api, Control};
use crate::latency::Latencies;
use crate::table::Table;
use crate::{Options, Outcome, lists};

/// Clients that create at the same time.
const CLIENTS: usize = 64;

/// Applications that the created APIs are spread over.
pub const APPLICATIONS: u64 = 100;

/// Longest time that creates may take; lists and searches are then measured among fewer.
const CREATE_MAX: Duration = Duration::from_secs(600);

pub async fn run(options: &Options, binary: &str) -> Outcome {
    let engine = if options.database.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("## Control plane on {engine}\n");
    let control = Control::start(binary, options).await?;
    let mut applications = Vec::new();
    for number in 0..APPLICATIONS {
        applications.push(control.application(&format!("application-{number}"), 8080).await?);
    }
    let mut table =
        Table::new(&["creates", "per second", "p50 ms", "p99 ms", "max ms", "server cpu ms"]);
    let first = options.objects.min(10_000);
    let end = Instant::now() + CREATE_MAX;
    let mut created = 0;
    for (from, to) in [(0, first), (first, options.objects)] {
        if from < to && from == created {
            let start = Instant::now();
            let before = control.processor_seconds();
            let mut times = create(&control, &applications, (from, to), end).await?;
            created += times.count() as u64;
            let rate = times.count() as f64 / start.elapsed().as_secs_f64();
            let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.1}", times.quantile(share)));
            let what = format!("number {} to {created}, {CLIENTS} clients", from + 1);
            let cpu = (control.processor_seconds() - before) * 1000.0 / times.count().max(1) as f64;
            let cpu = vec![format!("{cpu:.2}")];
            table.row([vec![what, format!("{rate:.0}")], cells.to_vec(), cpu].concat());
        }
    }
    table.print();
    println!("Wanted: at least 1,000 a second on SQLite. Each is on disk when it is answered.\n");
    if created < options.objects {
        let seconds = CREATE_MAX.as_secs();
        println!("WARNING: {created} of {} were created in {seconds} seconds.\n", options.objects);
    }
    lists::run(&control, &applications, created).await?;
    control.restart(binary, options).await
}

/// Creates APIs of a range of numbers as fast as the server takes them, until `end` at most.
async fn create(
    control: &Control,
    applications: &[String],
    (from, to): (u64, u64),
    end: Instant,
) -> Outcome<Latencies> {
    let next = Arc::new(AtomicU64::new(from));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client {
            api: control.api().await?,
            paths: applications.iter().map(|app| format!("/api/v1/apps/{app}/apis")).collect(),
            next: next.clone(),
            end,
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
    end: Instant,
}

impl Client {
    async fn create_up_to(mut self, last: u64) -> Result<Latencies, String> {
        let mut times = Latencies::default();
        while Instant::now() < self.end {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let turn = usize::try_from(number).unwrap_or_default() % self.paths.len().max(1);
            let (Some(path), true) = (self.paths.get(turn), number < last) else {
                return Ok(times);
            };
            let body = json!({ "name": name(number), "paths": [{ "path": format!("/{number}") }] });
            let start = Instant::now();
            self.api.call("POST", path, Some(&body)).await.map_err(|why| why.to_string())?;
            times.add(start.elapsed());
        }
        Ok(times)
    }
}

/// Seven digits in the order of the numbers.
pub fn name(number: u64) -> String {
    format!("orders-{number:07}")
}
