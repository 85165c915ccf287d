//! Stock APISIX without an agent is seen by what it does here.

use gantry_app::{Cx, instance, receipt};
use gantry_model::instance::{Instance, InstanceStatus, Source};
use gantry_model::receipt::ReceiptState;
use gantry_testkit::Database;
use serde_json::json;

use crate::support::{Gateways, Http, PATIENCE, TestCluster, base64, watch};

/// Waits until the cluster's instances are as wanted.
async fn until(
    gateways: &Gateways,
    cluster: &TestCluster,
    wanted: impl Fn(&[Instance]) -> bool,
) -> Vec<Instance> {
    let cx = Cx::system(&gateways.app, "test");
    let look = async {
        loop {
            let list = instance::list(&cx, cluster.id).await.expect("instances").list;
            if wanted(&list) {
                return list;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("instances as wanted in time")
}

#[tokio::test]
async fn an_open_watch_is_an_instance_on_sqlite() {
    an_open_watch_is_an_instance(Database::Sqlite).await;
}

#[tokio::test]
async fn an_open_watch_is_an_instance_on_postgres() {
    an_open_watch_is_an_instance(Database::postgres()).await;
}

async fn an_open_watch_is_an_instance(database: Database) {
    let gateways = Gateways::start_on(database).await;
    let (cluster, other) = (gateways.cluster().await, gateways.cluster().await);
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.expect("a connection");
    let mut lines = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", 0)).await;
    assert_eq!(lines.result().await["created"], true);
    let seen = until(&gateways, &cluster, |list| !list.is_empty()).await;
    assert_eq!((seen.len(), seen[0].source), (1, Source::Connection));
    assert_eq!(seen[0].status, InstanceStatus::Healthy);
    assert_eq!(seen[0].report.ip, "127.0.0.1");
    assert_eq!(seen[0].behind, None, "nobody knows which revision it uses");

    // What it writes about itself says more, and it is the same one.
    let mut writer = Http::connect(&gateways, Some(&cluster.bundle)).await.expect("a connection");
    let granted = writer.post("/v3/lease/grant", &json!({"TTL": 60, "ID": 0})).await;
    let info = json!({"id": "0c1e", "hostname": "edge", "version": "3.9.1", "boot_time": 1_700_000_000,
        "etcd_version": "3.4.0"});
    let report = json!({"lease": granted.body["ID"], "value": base64(&info.to_string()),
        "key": base64("/apisix/data_plane/server_info/0c1e")});
    writer.post("/v3/kv/put", &report).await;
    let seen =
        until(&gateways, &cluster, |list| list.iter().any(|one| one.report.id == "0c1e")).await;
    assert_eq!((seen.len(), seen[0].source), (1, Source::ServerInfo));
    assert_eq!((&*seen[0].report.version, &*seen[0].report.hostname), ("APISIX/3.9.1", "edge"));
    assert_eq!(seen[0].run_id, "1700000000");
    let revision = cluster.add("ann").await;
    let cx = Cx::system(&gateways.app, "test");
    let told = receipt::receipts(&cx, cluster.id, revision).await.expect("receipts").list;
    assert_eq!((told.len(), told[0].state), (1, ReceiptState::Unknown), "it acknowledges nothing");
    assert!(until(&gateways, &other, |_| true).await.is_empty());
}
