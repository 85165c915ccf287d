//! Starting from disk.

use gantry_testkit::Origin;
use serde_json::json;

use crate::harness::{Gateway, Rig, route};

#[tokio::test]
async fn a_gateway_starts_from_disk_while_its_source_is_away() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a", origin.address))]).await;
    let Rig { gateway, directory, stop_etcd, etcd_address, .. } = rig;
    let before = gateway.state().await;
    stop_etcd.cancel();
    gateway.stop();
    let gateway = Gateway::start(&format!("http://{etcd_address}"), directory.path());
    gateway.applied(2).await;
    assert_eq!(gateway.fetch("/a").await.0, 200);
    assert_eq!(gateway.status("/ready").await.0, 200);
    let after = gateway.state().await;
    assert_eq!(after["digest"], before["digest"]);
    assert_eq!(after["configuration_from_disk"], json!(true));
}

#[tokio::test]
async fn a_damaged_file_gives_way_to_the_previous_one() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a", origin.address))]).await;
    let endpoint = format!("http://{}", rig.etcd_address);
    let Rig { gateway, directory, stop_etcd, etcd, .. } = rig;
    // Stopping saves; the second run saves once more and keeps what the first one saved.
    gateway.stop();
    let revision = etcd.put("routes/1", &route("/b", origin.address));
    let gateway = Gateway::start(&endpoint, directory.path());
    gateway.applied(revision).await;
    gateway.stop();
    stop_etcd.cancel();
    std::fs::write(directory.path().join("configuration.sealed"), "rubbish").unwrap();
    let gateway = Gateway::start(&endpoint, directory.path());
    gateway.applied(2).await;
    assert_eq!(gateway.fetch("/a").await.0, 200);
}

#[tokio::test]
async fn without_any_configuration_the_gateway_is_alive_but_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start("http://127.0.0.1:1", directory.path());
    assert_eq!(gateway.status("/live").await.0, 200);
    assert_eq!(gateway.status("/ready").await.0, 503);
    assert_eq!(gateway.status("/apisix/prometheus/metrics").await.0, 200);
}
