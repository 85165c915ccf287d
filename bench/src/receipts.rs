//! From a commit to the word of the last of many gateways that it is in use.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Control, text};
use crate::gateways::{Material, Reporter};
use crate::latency::Latencies;
use crate::table::Table;
use crate::{Options, Outcome};

/// Rest between two changes, so that each finds the machine idle.
const REST: Duration = Duration::from_millis(20);

pub async fn run(options: &Options, binary: &str) -> Outcome {
    println!("## Receipts of {} gateways for {} changes\n", options.watchers, options.changes);
    let control = Control::start(binary, options).await?;
    let app = control.application("receipts", 8080).await?;
    let mut api = control.api().await?;
    let apis = format!("/api/v1/apps/{app}/apis");
    let created = api.call("POST", &apis, Some(&version(0))).await?;
    let resource = format!("{apis}/{}", text(&created.payload, "/id")?);
    let revision = created.revision.ok_or("the API names no revision")?;
    start(&control, options.watchers, revision).await?;
    let (mut receipts, mut waits) = (Latencies::default(), Latencies::default());
    let before = control.processor_seconds();
    for number in 1..=options.changes {
        tokio::time::sleep(REST).await;
        let path = format!("{resource}?wait=applied&timeout=30");
        let begin = Instant::now();
        let answer = api.call("PUT", &path, Some(&version(number))).await?;
        waits.add(begin.elapsed());
        if answer.delivery["applied"] != options.watchers {
            return Err(format!("not everybody has it: {}", answer.delivery).into());
        }
        let revision = answer.revision.ok_or("the API names no revision")?;
        let path = format!("/api/v1/clusters/{}/revisions/{revision}/receipts", control.cluster);
        let told = api.call("GET", &path, None).await?.payload;
        for receipt in told["list"].as_array().into_iter().flatten() {
            let millis = receipt["after_ms"].as_u64().ok_or("a receipt without a time")?;
            receipts.add(Duration::from_millis(millis));
        }
    }
    let cpu = (control.processor_seconds() - before) * 1000.0 / options.changes.max(1) as f64;
    let mut table = Table::new(&["", "p50 ms", "p99 ms", "max ms"]);
    for (what, times) in [
        ("from the commit to a gateway's receipt", &mut receipts),
        ("from a write to its answer with wait=applied", &mut waits),
    ] {
        let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.1}", times.quantile(share)));
        table.row(std::iter::once(what.to_owned()).chain(cells).collect());
    }
    table.print();
    println!("{cpu:.1} ms of the server's processor time for each change, watches included.");
    println!("Wanted: p99 of the first row at most 50 ms. Resolution: 1 ms.\n");
    Ok(())
}

fn version(number: usize) -> Value {
    json!({ "name": "changing", "paths": [{ "path": format!("/version/{number}") }] })
}

/// Starts gateways that acknowledge each revision as soon as their watch tells it.
async fn start(control: &Control, count: usize, revision: i64) -> Outcome {
    let material = Material::issue(control).await?;
    for number in 0..count {
        let reporter = Reporter::new(&material, control.gateways(), number)?;
        let mut lines = reporter.watch().await?;
        reporter.beat(revision).await?;
        tokio::spawn(async move {
            // Whoever stops is missed by the next change.
            while let Ok(revision) = lines.revision().await {
                if reporter.beat(revision).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
