//! Ten thousand changes of configuration while requests are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gantry_testkit::{Origin, client};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::real_etcd::{Etcd, gateway};

const SWAPS: u64 = 10_000;
/// Memory is compared from here on: caches of sockets and allocators are warm.
const WARM: u64 = 2_000;
/// More than anything that is allocated once, and far less than one configuration kept each time.
const GROWTH_MAX_KIB: u64 = 8 * 1024;

/// Where the writer is, and what clients have seen.
#[derive(Default)]
struct Progress {
    written: AtomicU64,
    answers: AtomicU64,
    stop: AtomicBool,
}

/// Asks again and again. Versions must exist and never go back.
async fn ask(url: String, progress: Arc<Progress>) {
    let (client, mut newest) = (client(), 0);
    while !progress.stop.load(Ordering::Relaxed) {
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let version = answer.headers()["x-version"].to_str().unwrap().parse::<u64>().unwrap();
        // A version may be served before its write was answered, not before it began.
        let written = progress.written.load(Ordering::SeqCst);
        assert!(version >= newest && version <= written + 1, "{newest} {version} {written}");
        newest = version;
        progress.answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_swaps_answer_right_and_keep_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start("backend").await;
    let etcd = Etcd::start(folder.path());
    etcd.healthy().await;
    let route = |version: u64| {
        json!({
            "uri": "/a",
            "plugins": { "response-rewrite": { "headers": { "set": { "x-version": version.to_string() } } } },
            "upstream": { "type": "roundrobin", "nodes": { origin.address.to_string(): 1 } },
        })
    };
    etcd.put("/apisix/routes/1", &route(0));
    let gateway = gateway(&etcd, folder.path()).await;
    let url = format!("{}/a", gateway.address("http"));
    let version = async || {
        let answer = client().get(&url).send().await.unwrap();
        answer.headers().get("x-version").and_then(|v| v.to_str().ok()?.parse::<u64>().ok())
    };
    eventually("the route is served", || async { version().await == Some(0) }).await;

    let progress = Arc::new(Progress::default());
    let clients: Vec<_> =
        (0..3).map(|_| tokio::spawn(ask(url.clone(), Arc::clone(&progress)))).collect();
    let (http, put) = (client(), format!("{}/v3/kv/put", etcd.endpoint));
    let mut warm = 0;
    for number in 1..=SWAPS {
        let (key, value) = ("/apisix/routes/1", route(number).to_string());
        let body = json!({ "key": encode(key), "value": encode(&value) });
        let answer = http.post(&put).json::<Value>(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        progress.written.store(number, Ordering::SeqCst);
        if number == WARM {
            eventually("the gateway follows", || async { version().await == Some(WARM) }).await;
            warm = resident_kib(gateway.pid());
        }
    }
    eventually("the last one is served", || async { version().await == Some(SWAPS) }).await;
    progress.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(progress.answers.load(Ordering::Relaxed) > 1_000);
    let grown = resident_kib(gateway.pid()).saturating_sub(warm);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than after {WARM} swaps, which had {warm}");
}

fn encode(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
