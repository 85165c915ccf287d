//! From the API's answer to the first request served the new way, and to the last of many watchers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gantry_testkit::Process;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::{Api, Control, text};
use crate::gateways::{Lines, Material};
use crate::http::Connection;
use crate::latency::Latencies;
use crate::load::HOST;
use crate::peer::Origin;
use crate::table::Table;
use crate::{Options, Outcome};

/// How often the gateway is asked whether it serves the change: the error of the figures.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Rest between two changes, so that each finds the machine idle.
const REST: Duration = Duration::from_millis(20);

/// Longest time a change may take.
const LOST: Duration = Duration::from_secs(30);

pub async fn run(options: &Options, binary: &str) -> Outcome {
    println!("## Propagation of {} changes\n", options.changes);
    let mut bench = Bench::start(options, binary).await?;
    let mut table = Table::new(&["from the API's answer to", "p50 ms", "p99 ms", "max ms"]);
    let mut row = |what: String, mut times: Latencies| {
        let figure = |share| times.quantile(share);
        let cells = [0.5, 0.99, 1.0].map(figure).map(|millis| format!("{millis:.1}"));
        table.row(std::iter::once(what).chain(cells).collect());
    };
    let (alone, _) = bench.changes(options.changes, None).await?;
    row("the first request served".into(), alone);
    let watchers = Watchers::start(&bench, options.watchers).await?;
    let (beside, seen) = bench.changes(options.changes, Some(watchers)).await?;
    row(format!("the first request served, {} watchers beside", options.watchers), beside);
    row(format!("the last of {} watchers", options.watchers), seen);
    table.print();
    println!("Wanted: p99 of the first row at most 30 ms. Resolution: {RESOLUTION:?}.\n");
    Ok(())
}

/// A server, a gateway that follows it, and one API that changes.
struct Bench {
    control: Control,
    api: Api,
    /// Path of the API that changes.
    resource: String,
    gateway: SocketAddr,
    identity: Material,
    changed: usize,
    _gateway: Process,
}

impl Bench {
    async fn start(options: &Options, binary: &str) -> Outcome<Self> {
        let origin = Origin::start()?;
        let control = Control::start(binary, options).await?;
        let mut api = control.api().await?;
        let identity = Material::issue(&control).await?;
        let process = follow(binary, &control, &identity).await?;
        let gateway = process.address("http").trim_start_matches("http://").parse()?;
        let app = control.application("propagation", origin.address.port()).await?;
        let apis = format!("/api/v1/apps/{app}/apis");
        let created = api.call("POST", &apis, Some(&version(0))).await?.payload;
        let resource = format!("{apis}/{}", text(&created, "/id")?);
        let mut bench =
            Self { control, api, resource, gateway, identity, changed: 0, _gateway: process };
        bench.served(0).await?;
        Ok(bench)
    }

    /// Makes changes one after the other, and times each to the gateway and to the watchers.
    async fn changes(
        &mut self,
        count: usize,
        mut watchers: Option<Watchers>,
    ) -> Outcome<(Latencies, Latencies)> {
        let (mut served, mut seen) = (Latencies::default(), Latencies::default());
        for _ in 0..count {
            tokio::time::sleep(REST).await;
            self.changed += 1;
            let change = version(self.changed);
            let answer = self.api.call("PUT", &self.resource, Some(&change)).await?;
            let answered = Instant::now();
            served.add(self.served(self.changed).await?.saturating_duration_since(answered));
            if let Some(watchers) = &mut watchers {
                let revision = answer.revision.ok_or("the API names no revision")?;
                let last = watchers.have_seen(revision).await?;
                seen.add(last.saturating_duration_since(answered));
            }
        }
        Ok((served, seen))
    }

    /// Asks until the version is served, and answers when that was.
    async fn served(&mut self, number: usize) -> Outcome<Instant> {
        let mut connection = Connection::open(self.gateway).await?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path(number));
        let start = Instant::now();
        while start.elapsed() < LOST {
            if connection.exchange(request.as_bytes()).await?.status == 200 {
                return Ok(Instant::now());
            }
            tokio::time::sleep(RESOLUTION).await;
        }
        Err(format!("{} is not served after {LOST:?}", path(number)).into())
    }
}

fn path(number: usize) -> String {
    format!("/version/{number}")
}

fn version(number: usize) -> Value {
    json!({ "name": "changing", "paths": [{ "path": path(number), "path_type": "Exact" }] })
}

/// Starts a gateway that follows the control plane.
async fn follow(binary: &str, control: &Control, identity: &Material) -> Outcome<Process> {
    let folder = control.folder.path();
    let file = |name: &str, text: &str| -> Outcome<String> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let data = folder.join("gateway").display().to_string();
    let (certificate, key) =
        (file("tls.crt", &identity.certificate)?, file("tls.key", &identity.key)?);
    let ca = file("ca.crt", &identity.ca)?;
    let mut arguments = vec!["--log", "warn", "gateway", "--data", &data, "--threads", "1"];
    arguments.extend(["--control-plane", control.gateways(), "--tls-cert", &certificate]);
    arguments.extend(["--tls-key", &key, "--tls-ca", &ca]);
    for listener in ["--listen-http", "--listen-https", "--listen-status"] {
        arguments.extend([listener, "127.0.0.1:0"]);
    }
    Ok(Process::start(binary, &arguments, folder).await)
}

/// Watch streams as a stock APISIX opens them, all in this process.
struct Watchers {
    count: usize,
    /// Revisions as they are seen, in any order.
    seen: mpsc::Receiver<(i64, Instant)>,
}

impl Watchers {
    async fn start(bench: &Bench, count: usize) -> Outcome<Self> {
        let (sender, seen) = mpsc::channel(count.max(1) * 16);
        let client = bench.identity.client()?;
        for _ in 0..count {
            let stream = Lines::open(&client, bench.control.gateways()).await?;
            tokio::spawn(report(stream, sender.clone()));
        }
        Ok(Self { count, seen })
    }

    /// Waits until everybody has seen the revision, and answers when the last one did.
    async fn have_seen(&mut self, revision: i64) -> Outcome<Instant> {
        let (mut missing, mut last) = (self.count, Instant::now());
        while missing > 0 {
            let next = tokio::time::timeout(LOST, self.seen.recv()).await;
            let lost = || format!("{missing} watchers did not see revision {revision}");
            let (found, when) = next.ok().flatten().ok_or_else(lost)?;
            if found == revision {
                missing -= 1;
                last = when;
            }
        }
        Ok(last)
    }
}

/// Tells each revision that a watcher sees.
async fn report(mut stream: Lines, seen: mpsc::Sender<(i64, Instant)>) {
    while let Ok(revision) = stream.revision().await {
        if seen.send((revision, Instant::now())).await.is_err() {
            return;
        }
    }
}
