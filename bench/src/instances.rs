//! Many instances that report: what they cost the server, and how quickly it answers about them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::sync::mpsc;

use crate::api::{Api, Control};
use crate::gateways::{Material, Reporter};
use crate::latency::Latencies;
use crate::table::Table;
use crate::{Options, Outcome};

/// As gateways do it when nobody says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(10);
const METRICS: Duration = Duration::from_secs(15);

/// Routes that each instance has metrics of.
const ROUTES: usize = 10;

/// Each question is asked so often.
const QUESTIONS: usize = 50;

/// What an instance tells of one report.
enum Told {
    Heartbeat(Duration),
    Metrics(Duration),
    Failed(String),
}

pub async fn run(options: &Options, binary: &str) -> Outcome {
    let (count, seconds) = (options.instances, options.report_seconds);
    println!("## {count} instances that report for {seconds} s\n");
    let control = Arc::new(Control::start(binary, options).await?);
    let app = control.application("reporting", 8080).await?;
    let api = json!({ "name": "open", "paths": [{ "path": "/open" }] });
    let path = format!("/api/v1/apps/{app}/apis");
    let answer = control.api().await?.call("POST", &path, Some(&api)).await?;
    let revision = answer.revision.ok_or("the API names no revision")?;
    let idle = control.resident_bytes();
    let (sender, mut told) = mpsc::channel(1024);
    let material = Material::issue(&control).await?;
    for number in 0..count {
        let reporter = Reporter::new(&material, control.gateways(), number)?;
        reporter.beat(revision).await?;
        let start = Duration::from_secs_f64(HEARTBEAT.as_secs_f64() * number as f64 / count as f64);
        tokio::spawn(report(reporter, revision, start, sender.clone()));
    }
    drop(sender);
    let (begin, cpu) = (Instant::now(), control.processor_seconds());
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    tokio::pin!(end);
    let (mut heartbeats, mut metrics) = (Latencies::default(), Latencies::default());
    loop {
        tokio::select! {
            () = &mut end => break,
            one = told.recv() => match one {
                Some(Told::Heartbeat(time)) => heartbeats.add(time),
                Some(Told::Metrics(time)) => metrics.add(time),
                Some(Told::Failed(why)) => return Err(why.into()),
                None => return Err("every instance has stopped".into()),
            },
        }
    }
    let wall = begin.elapsed().as_secs_f64();
    let share = (control.processor_seconds() - cpu) / wall * 100.0;
    let held = control.resident_bytes();
    // Questions are asked while reports go on arriving.
    let drain = tokio::spawn(async move { while told.recv().await.is_some() {} });
    let mut table = Table::new(&["", "number", "p50 ms", "p99 ms", "max ms"]);
    row(&mut table, "heartbeats", &mut heartbeats);
    row(&mut table, "reports of metrics", &mut metrics);
    questions(&control, revision, &mut table).await?;
    drain.abort();
    table.print();
    let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "Server: {share:.0} % of one processor; {:.0} MiB resident, {:.0} MiB before the first report.\n",
        mebi(held),
        mebi(idle)
    );
    Ok(())
}

fn row(table: &mut Table, what: &str, times: &mut Latencies) {
    let cells = [0.5, 0.99, 1.0].map(|share| format!("{:.1}", times.quantile(share)));
    let name = [what.to_owned(), times.count().to_string()];
    table.row(name.into_iter().chain(cells).collect());
}

/// Reports at its own moments until nobody listens.
async fn report(reporter: Reporter, revision: i64, start: Duration, told: mpsc::Sender<Told>) {
    let begin = tokio::time::Instant::now() + start;
    let mut beats = tokio::time::interval_at(begin, HEARTBEAT);
    let mut pushes = tokio::time::interval_at(begin, METRICS);
    let mut round = 0;
    loop {
        let (begin, outcome, is_heartbeat) = tokio::select! {
            _ = beats.tick() => (Instant::now(), reporter.beat(revision).await, true),
            _ = pushes.tick() => {
                round += 1;
                let text = metrics(round);
                (Instant::now(), reporter.push(round, &text).await, false)
            }
        };
        let told_now = match (outcome, is_heartbeat) {
            (Ok(()), true) => Told::Heartbeat(begin.elapsed()),
            (Ok(()), false) => Told::Metrics(begin.elapsed()),
            (Err(why), _) => Told::Failed(format!("{}: {why}", reporter.id())),
        };
        if told.send(told_now).await.is_err() {
            return;
        }
    }
}

/// What a gateway with some routes reports after so many rounds.
fn metrics(round: u64) -> String {
    let mut text = String::new();
    for route in 0..ROUTES {
        let labels = format!("route=\"{route}\",service=\"1\",consumer=\"\",node=\"10.0.0.9\"");
        let count = round * 100;
        text += &format!("apisix_http_status{{code=\"200\",{labels}}} {count}\n");
        for (kind, bytes) in [("ingress", 200), ("egress", 2000)] {
            text += &format!("apisix_bandwidth{{type=\"{kind}\",{labels}}} {}\n", count * bytes);
        }
        for bound in ["1", "5", "20", "100", "+Inf"] {
            text += &format!(
                "apisix_http_latency_bucket{{type=\"request\",le=\"{bound}\",{labels}}} {count}\n"
            );
        }
        text += &format!("apisix_http_latency_count{{type=\"request\",{labels}}} {count}\n");
        text += &format!("apisix_http_latency_sum{{type=\"request\",{labels}}} {count}\n");
    }
    text + "apisix_nginx_http_current_connections{state=\"active\"} 5\n"
}

async fn questions(control: &Control, revision: i64, table: &mut Table) -> Outcome {
    let mut api = control.api().await?;
    let cluster = format!("/api/v1/clusters/{}", control.cluster);
    ask(&mut api, &format!("{cluster}/instances"), "list of instances", table).await?;
    let receipts = format!("{cluster}/revisions/{revision}/receipts");
    ask(&mut api, &receipts, "receipts of a revision", table).await?;
    for kind in ["api-requests", "api-qps", "api-latency"] {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let (start, end) = (rfc3339(now - 3600), rfc3339(now));
        let path = format!("{cluster}/metrics/{kind}?start={start}&end={end}&step=60");
        ask(&mut api, &path, &format!("{kind} of an hour"), table).await?;
    }
    Ok(())
}

async fn ask(api: &mut Api, path: &str, what: &str, table: &mut Table) -> Outcome {
    let mut times = Latencies::default();
    for _ in 0..QUESTIONS {
        let begin = Instant::now();
        api.call("GET", path, None).await?;
        times.add(begin.elapsed());
    }
    row(table, what, &mut times);
    Ok(())
}

/// A point in time, in seconds since 1970, as the API reads it (days to civil dates after Hinnant).
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_800_000_000), "2027-01-15T08:00:00Z");
    }
}
