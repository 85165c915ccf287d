//! limit-count in a Redis that sentinels name.

use std::path::Path;

use gantry_testkit::{Origin, Redis};
use serde_json::{Value, json};

use crate::harness::{Rig, route};

/// A route whose requests are counted in the server that a sentinel names.
fn counted(origin: &Origin, count: u64, sentinel: &Redis, more: &Value) -> Value {
    let mut config = json!({"count": count, "time_window": 3600, "rejected_code": 429,
    "policy": "redis-sentinel", "redis_master_name": "m",
    "redis_sentinels": [
        {"host": "127.0.0.1", "port": 1},
        {"host": "127.0.0.1", "port": sentinel.address.port()},
    ]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut route = route("/a", origin.address);
    route["plugins"] = json!({ "limit-count": config });
    route
}

/// Status and what is left of the limit.
async fn ask(rig: &Rig) -> (u16, String) {
    let response = rig.gateway.get("localhost", "/a").await;
    let remaining = response.headers().get("x-ratelimit-remaining");
    let remaining = remaining.map_or("-", |value| value.to_str().unwrap()).to_owned();
    (response.status().as_u16(), remaining)
}

/// A replica that is whole, and that the sentinel would promote.
async fn replica(master: &Redis, folder: &Path, more: &[&str]) -> Redis {
    let replica = master.replica(folder, more).await;
    let linked = |said: &str| said.contains("master_link_status:up");
    replica.until(&["INFO", "replication"], linked).await;
    replica
}

/// Waits until a sentinel knows a replica that it could promote.
async fn knows(sentinel: &Redis, replica: &Redis) {
    let port = format!("port\n{}\n", replica.address.port());
    let linked = |said: &str| said.contains(&port) && said.contains("master-link-status\nok");
    sentinel.until(&["SENTINEL", "REPLICAS", "m"], linked).await;
}

/// Waits until a sentinel names a server as the master.
async fn names(sentinel: &Redis, master: &Redis) {
    let port = master.address.port().to_string();
    let named = |said: &str| said.ends_with(&port);
    sentinel.until(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"], named).await;
}

#[tokio::test]
async fn counts_go_on_when_another_server_becomes_the_master() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let folder = directory.path();
    let master = Redis::start(folder, &[]).await;
    let replica = replica(&master, folder, &[]).await;
    let sentinel = Redis::sentinel(master.address, folder, &[]).await;
    knows(&sentinel, &replica).await;
    let rig = Rig::start(&[("routes/1", counted(&origin, 1000, &sentinel, &json!({})))]).await;
    assert_eq!(ask(&rig).await, (200, "999".to_owned()));
    assert_eq!(ask(&rig).await, (200, "998".to_owned()));
    let key = master.cli(&["KEYS", "plugin-limit-count:v1:/apisix/routes/1:*:127.0.0.1"]);
    replica.until(&["GET", &key], |count| count == "2").await;
    drop(master);
    names(&sentinel, &replica).await;
    let mut answer = ask(&rig).await;
    while answer.0 == 500 {
        answer = ask(&rig).await;
    }
    assert_eq!(answer, (200, "997".to_owned()), "the third is counted after the two");
    assert_eq!(replica.cli(&["GET", &key]), "3");
}

#[tokio::test]
async fn a_master_that_has_become_a_replica_is_left() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let folder = directory.path();
    let master = Redis::start(folder, &[]).await;
    let replica = replica(&master, folder, &[]).await;
    let sentinel = Redis::sentinel(master.address, folder, &[]).await;
    knows(&sentinel, &replica).await;
    let rig = Rig::start(&[("routes/1", counted(&origin, 1000, &sentinel, &json!({})))]).await;
    assert_eq!(ask(&rig).await.0, 200);
    let key = master.cli(&["KEYS", "plugin-limit-count:*"]);
    replica.until(&["GET", &key], |count| count == "1").await;
    assert_eq!(sentinel.cli(&["SENTINEL", "FAILOVER", "m"]), "OK");
    names(&sentinel, &replica).await;
    let port = replica.address.port().to_string();
    // The sentinel says so too, in a while.
    assert_eq!(master.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    let mut answer = ask(&rig).await;
    while answer.0 == 500 {
        answer = ask(&rig).await;
    }
    assert_eq!(answer.0, 200);
    assert_eq!(replica.cli(&["GET", &key]), "2", "the new master has counted");
}

#[tokio::test]
async fn sentinels_and_servers_have_their_own_passwords() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let folder = directory.path();
    let user = ["--user", "jack", "on", ">secret", "~*", "&*", "+@all"];
    let master = Redis::start(folder, &user).await;
    let lines = ["user joe on >other ~* &* +@all", "user default off"];
    let sentinel = Redis::sentinel(master.address, folder, &lines).await;
    let config = |sentinel_password: &str, password: &str| {
        let more = json!({"sentinel_username": "joe", "sentinel_password": sentinel_password,
            "redis_username": "jack", "redis_password": password, "redis_database": 3});
        counted(&origin, 1, &sentinel, &more)
    };
    let rig = Rig::start(&[("routes/1", config("other", "secret"))]).await;
    let mut answer = ask(&rig).await;
    // The sentinel may not have looked at the master yet.
    while answer.0 == 500 {
        answer = ask(&rig).await;
    }
    assert_eq!((answer.0, ask(&rig).await.0), (200, 429));
    assert_ne!(master.cli(&["-n", "3", "KEYS", "plugin-limit-count:*"]), "");
    for (of_sentinel, of_master) in [("wrong", "secret"), ("other", "wrong")] {
        rig.put("routes/1", &config(of_sentinel, of_master)).await;
        assert_eq!(ask(&rig).await.0, 500, "{of_sentinel}, {of_master}");
    }
}

#[tokio::test]
async fn a_replica_is_used_if_it_is_asked_for() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let folder = directory.path();
    let master = Redis::start(folder, &[]).await;
    let replica = replica(&master, folder, &["--replica-read-only", "no"]).await;
    let sentinel = Redis::sentinel(master.address, folder, &[]).await;
    knows(&sentinel, &replica).await;
    let more = json!({"redis_role": "slave"});
    let rig = Rig::start(&[("routes/1", counted(&origin, 1, &sentinel, &more))]).await;
    assert_eq!(ask(&rig).await, (200, "0".to_owned()));
    assert_eq!(ask(&rig).await.0, 429);
    assert_eq!(master.cli(&["DBSIZE"]), "0", "the replica has counted for itself");
    assert_eq!(replica.cli(&["CONFIG", "SET", "replica-read-only", "yes"]), "OK");
    assert_eq!(ask(&rig).await.0, 500, "a limit has to be written");
}
