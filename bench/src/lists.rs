//! Pages and searches among all the objects of a control plane, beside what is wanted of them.

use std::time::Instant;

use crate::Outcome;
use crate::api::{Api, Control};
use crate::control::{APPLICATIONS, name};
use crate::latency::Latencies;
use crate::table::Table;

/// Lists and searches of each kind.
const READS: u64 = 300;

/// Most milliseconds that 99 of 100 pages may take, and searches.
const PAGE_MAX: f64 = 10.0;
const SEARCH_MAX: f64 = 30.0;

/// One kind of question.
struct Ask {
    what: &'static str,
    /// Most milliseconds at p99.
    most: f64,
    /// Path of the question number so and so.
    path: Box<dyn Fn(u64) -> String>,
    /// Matches over all pages.
    count: u64,
}

/// Asks every kind of question by one client and prints how long the answers took.
pub async fn run(control: &Control, applications: &[String], objects: u64) -> Outcome {
    let mut api = control.api().await?;
    let cluster = format!("/api/v1/clusters/{}", control.cluster);
    let first = applications.first().ok_or("no application")?;
    println!("Among {objects} APIs of one cluster, one client:\n");
    let mut table =
        Table::new(&["read", "p50 ms", "p99 ms", "max ms", "server cpu ms", "wanted p99", "met"]);
    let mut missed = 0;
    for ask in asks(&cluster, first, objects) {
        let before = control.processor_seconds();
        let mut times = answers(&mut api, &ask).await?;
        let cpu = (control.processor_seconds() - before) * 1000.0 / READS as f64;
        let met = times.quantile(0.99) <= ask.most;
        missed += u32::from(!met);
        let mut cells = vec![ask.what.to_owned()];
        cells.extend([0.5, 0.99, 1.0].map(|share| format!("{:.2}", times.quantile(share))));
        let verdict = if met { "yes" } else { "NO" };
        cells.extend([format!("{cpu:.2}"), format!("{:.0}", ask.most), verdict.to_owned()]);
        table.row(cells);
    }
    table.print();
    match missed {
        0 => println!("Every target is met.\n"),
        _ => println!("{missed} targets are NOT met.\n"),
    }
    Ok(())
}

async fn answers(api: &mut Api, ask: &Ask) -> Outcome<Latencies> {
    let mut times = Latencies::default();
    for number in 0..READS {
        let path = (ask.path)(number);
        let start = Instant::now();
        let answer = api.call("GET", &path, None).await?;
        times.add(start.elapsed());
        if answer.payload["count"].as_u64() != Some(ask.count) {
            let count = &answer.payload["count"];
            return Err(format!("{path}: {count} matches instead of {}", ask.count).into());
        }
    }
    Ok(times)
}

fn asks(cluster: &str, first: &str, objects: u64) -> Vec<Ask> {
    let pages = objects.div_ceil(10).max(1);
    let apis = format!("{cluster}/apis?page_size=10");
    let page = |what, count, path: String| Ask {
        what,
        most: PAGE_MAX,
        path: Box::new(move |_| path.clone()),
        count,
    };
    let search = |what, count, query: &str| {
        let path = format!("{apis}&{query}");
        Ask { what, most: SEARCH_MAX, path: Box::new(move |_| path.clone()), count }
    };
    let some = objects.min(1_000);
    let one = {
        let apis = apis.clone();
        let path = move |number: u64| {
            let number = number.wrapping_mul(7919) % objects.max(1);
            format!("{apis}&search={}", name(number).to_uppercase())
        };
        Ask { what: "search, one match", most: SEARCH_MAX, path: Box::new(path), count: 1 }
    };
    let of_one = objects.div_ceil(APPLICATIONS);
    let middle = pages / 2;
    vec![
        page("applications", APPLICATIONS, format!("{cluster}/apps?page_size=10")),
        page("APIs of an application", of_one, format!("/api/v1/apps/{first}/apis?page_size=10")),
        page("APIs of the cluster", objects, apis.clone()),
        page("middle page", objects, format!("{apis}&page={middle}")),
        page("last page", objects, format!("{apis}&page={pages}")),
        page("by name", objects, format!("{apis}&order_by=name")),
        page("by name, middle page", objects, format!("{apis}&order_by=name&page={middle}")),
        page("by creation, last page", objects, format!("{apis}&order_by=created_at&page={pages}")),
        one,
        search("search, no match", 0, "search=unheard-of"),
        search("search, up to 1000 matches", some, "search=orders-0000"),
        search("the same, by name", some, "search=orders-0000&order_by=name"),
        search("search, all match", objects, "search=orders"),
        search("the same, middle page", objects, &format!("search=orders&page={middle}")),
        search("the same, by name", objects, &format!("search=orders&order_by=name&page={middle}")),
        search("search, one letter", objects, "search=o"),
    ]
}
