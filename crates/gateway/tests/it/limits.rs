//! Limits that several gateways keep in one Redis, and requests counted while they are under way.

use std::{path::Path, sync::Arc};

use gantry_testkit::{Origin, Redis, redis::free_port};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::harness::{Gateway, Rig, local, route};

/// A route to `/a` with one plugin that keeps its state in a Redis.
fn limited(origin: &Origin, plugin: &str, config: Value, redis: &Redis) -> Value {
    let mut route = route("/a", origin.address);
    route["plugins"] = json!({ plugin: in_redis(config, redis) });
    route
}

fn in_redis(mut config: Value, redis: &Redis) -> Value {
    config["policy"] = "redis".into();
    config["redis_host"] = "127.0.0.1".into();
    config["redis_port"] = redis.address.port().into();
    config
}

/// Another gateway on the configuration of a rig.
async fn another(rig: &Rig, directory: &Path) -> Gateway {
    let gateway = Gateway::start(&format!("http://{}", rig.etcd_address), directory);
    gateway.applied(2).await;
    gateway
}

/// Status, remaining and limit of one request.
async fn ask(gateway: &Gateway) -> (u16, String) {
    let response = gateway.get("localhost", "/a").await;
    let header = |name| response.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    let quota = format!("{}/{}", header("x-ratelimit-remaining"), header("x-ratelimit-limit"));
    (response.status().as_u16(), quota)
}

#[tokio::test]
async fn gateways_count_together() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    for (window, keys) in [
        ("fixed", "plugin-limit-count:v1:/apisix/routes/1:*:127.0.0.1"),
        ("sliding", "plugin-limit-count:/apisix/routes/1:*:127.0.0.1.*.counter"),
    ] {
        let redis = Redis::start(directory.path(), &[]).await;
        let config = json!({"count": 3, "time_window": 3600, "window_type": window,
            "rejected_code": 429});
        let rig =
            Rig::start(&[("routes/1", limited(&origin, "limit-count", config, &redis))]).await;
        let elsewhere = tempfile::tempdir().unwrap();
        let other = another(&rig, elsewhere.path()).await;
        assert_eq!(ask(&rig.gateway).await, (200, "2/3".to_owned()), "{window}");
        assert_eq!(ask(&other).await, (200, "1/3".to_owned()), "{window}");
        assert_eq!(ask(&rig.gateway).await, (200, "0/3".to_owned()), "{window}");
        assert_eq!(ask(&other).await, (429, "0/3".to_owned()), "{window}");
        let key = redis.cli(&["KEYS", keys]);
        assert_ne!(key, "", "{}", redis.cli(&["KEYS", "*"]));
        let ttl: i64 = redis.cli(&["TTL", &key]).parse().unwrap();
        assert!((3000..=7200).contains(&ttl), "{ttl}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_refuses_or_lets_pass_and_is_found_again() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let address = free_port();
    let config = |lenient: bool| {
        json!({"policy": "redis", "redis_host": "127.0.0.1", "redis_port": address.port(),
            "allow_degradation": lenient, "key": "remote_addr"})
    };
    let with = |uri: &str, plugin: &str, lenient: bool, more: &Value| {
        let mut config = config(lenient);
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut route = route(uri, origin.address);
        route["plugins"] = json!({ plugin: config });
        route
    };
    let count = json!({"count": 9, "time_window": 3600});
    let req = json!({"rate": 9, "burst": 9});
    let conn = json!({"conn": 9, "burst": 9, "default_conn_delay": 0.001});
    let rig = Rig::start(&[
        ("routes/1", with("/strict/count", "limit-count", false, &count)),
        ("routes/2", with("/strict/req", "limit-req", false, &req)),
        ("routes/3", with("/strict/conn", "limit-conn", false, &conn)),
        ("routes/4", with("/lenient/count", "limit-count", true, &count)),
        ("routes/5", with("/lenient/req", "limit-req", true, &req)),
        ("routes/6", with("/lenient/conn", "limit-conn", true, &conn)),
    ])
    .await;
    for plugin in ["count", "req", "conn"] {
        assert_eq!(rig.gateway.fetch(&format!("/strict/{plugin}")).await.0, 500, "{plugin}");
        assert_eq!(rig.gateway.fetch(&format!("/lenient/{plugin}")).await.0, 200, "{plugin}");
    }
    let said = rig.gateway.fetch("/strict/count").await.1;
    assert_eq!(said, "{\"error_msg\":\"failed to limit count\"}\n");
    let _redis = Redis::start_at(address, directory.path(), &[]).await;
    for plugin in ["count", "req", "conn"] {
        // The first request may still meet the broken connection.
        let mut status = 500;
        for _ in 0..100 {
            status = rig.gateway.fetch(&format!("/strict/{plugin}")).await.0;
            if status == 200 {
                break;
            }
        }
        assert_eq!(status, 200, "{plugin}");
    }
}

#[tokio::test]
async fn a_bucket_in_redis_is_shared_and_fills() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let redis = Redis::start(directory.path(), &[]).await;
    let config = json!({"rate": 0.001, "burst": 1.5, "key": "remote_addr", "nodelay": true});
    let rig = Rig::start(&[("routes/1", limited(&origin, "limit-req", config, &redis))]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = another(&rig, elsewhere.path()).await;
    assert_eq!(rig.gateway.fetch("/a").await.0, 200);
    assert_eq!(other.fetch("/a").await.0, 200);
    assert_eq!(rig.gateway.fetch("/a").await.0, 503);
    let key = redis.cli(&["KEYS", "limit_req:/apisix/routes/1:*:127.0.0.1"]);
    let excess: f64 = redis.cli(&["HGET", &key, "excess"]).parse().unwrap();
    assert!((900.0..=1000.0).contains(&excess), "{excess}");
    let ttl: i64 = redis.cli(&["TTL", &key]).parse().unwrap();
    assert!((1400..=1501).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn settings_of_the_connection_are_used() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let address = free_port();
    let port = address.port().to_string();
    let tls = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", certificate.to_str().unwrap(), "--tls-key-file"];
    let rest = [key.to_str().unwrap(), "--user", "jack", "on", ">secret", "~*", "+@all"];
    let redis =
        Redis::start_at(address, directory.path(), &[&tls[..], &files, &rest].concat()).await;
    let config = |password: &str, verify: bool| {
        json!({"count": 1, "time_window": 60, "redis_ssl": true, "redis_ssl_verify": verify,
            "redis_database": 3, "redis_username": "jack", "redis_password": password})
    };
    let route = |config| limited(&origin, "limit-count", config, &redis);
    let rig = Rig::start(&[("routes/1", route(config("secret", false)))]).await;
    assert_eq!(ask(&rig.gateway).await, (200, "0/1".to_owned()));
    assert_eq!(ask(&rig.gateway).await.0, 503);
    rig.put("routes/1", &route(config("wrong", false))).await;
    assert_eq!(ask(&rig.gateway).await.0, 500, "the password is checked");
    rig.put("routes/1", &route(config("secret", true))).await;
    assert_eq!(ask(&rig.gateway).await.0, 500, "nobody vouches for the certificate");
}

#[tokio::test]
async fn a_cluster_counts_too() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let redis = Redis::start(directory.path(), &["--cluster-enabled", "yes"]).await;
    assert_eq!(redis.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    while !redis.cli(&["CLUSTER", "INFO"]).starts_with("cluster_state:ok") {}
    let with = |uri: &str, plugin: &str, mut config: Value| {
        config["policy"] = "redis-cluster".into();
        config["redis_cluster_nodes"] = json!([redis.address.to_string()]);
        config["redis_cluster_name"] = "c".into();
        let mut route = route(uri, origin.address);
        route["plugins"] = json!({ plugin: config });
        route
    };
    let count = |window| json!({"count": 1, "time_window": 3600, "window_type": window});
    let req = json!({"rate": 0.001, "burst": 0, "key": "remote_addr"});
    let rig = Rig::start(&[
        ("routes/1", with("/fixed", "limit-count", count("fixed"))),
        ("routes/2", with("/sliding", "limit-count", count("sliding"))),
        ("routes/3", with("/req", "limit-req", req)),
    ])
    .await;
    for path in ["/fixed", "/sliding", "/req"] {
        assert_eq!(rig.gateway.fetch(path).await.0, 200, "{path}");
        assert_eq!(rig.gateway.fetch(path).await.0, 503, "{path}");
    }
}

/// A route whose limit of `count` is told to a Redis every interval, in seconds.
fn delayed(origin: &Origin, count: u64, window: &str, interval: f64, redis: &Redis) -> Value {
    let config = json!({"count": count, "time_window": 3600, "window_type": window,
        "sync_interval": interval});
    limited(origin, "limit-count", config, redis)
}

/// Waits until all counters in a Redis together have come so far.
async fn counted(redis: &Redis, sum: u64) {
    const SUM: &str = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'plugin-limit-count:*')) do
            sum = sum + redis.call('GET', key)
        end
        return sum";
    let sum = sum.to_string();
    redis.until(&["EVAL", SUM, "0"], |said| said == sum).await;
}

#[tokio::test]
async fn a_count_may_be_decided_here_and_told_later() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    for window in ["fixed", "sliding"] {
        let redis = Redis::start(directory.path(), &[]).await;
        let rig = Rig::start(&[("routes/1", delayed(&origin, 100, window, 0.1, &redis))]).await;
        let elsewhere = tempfile::tempdir().unwrap();
        let other = another(&rig, elsewhere.path()).await;
        for remaining in (1..100).rev() {
            let expected = (200, format!("{remaining}/100"));
            assert_eq!(ask(&rig.gateway).await, expected, "{window}");
        }
        counted(&redis, 99).await;
        // The other gateway does not know of them until it has told of its own.
        assert_eq!(ask(&other).await, (200, "99/100".to_owned()), "{window}");
        counted(&redis, 100).await;
        let mut admitted = 1;
        while ask(&other).await.0 == 200 {
            admitted += 1;
        }
        assert!(admitted < 100, "{window}: the others' requests count");
    }
}

#[tokio::test]
async fn requests_do_not_wait_for_what_is_told_later() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let address = free_port();
    let config = json!({"count": 2, "time_window": 3600, "policy": "redis", "sync_interval": 0.1,
        "redis_host": "127.0.0.1", "redis_port": address.port()});
    let mut route = route("/a", origin.address);
    route["plugins"] = json!({ "limit-count": config });
    let rig = Rig::start(&[("routes/1", route)]).await;
    let answers = [ask(&rig.gateway).await.0, ask(&rig.gateway).await.0, ask(&rig.gateway).await.0];
    assert_eq!(answers, [200, 200, 503], "the store is away, the count is not");
    let redis = Redis::start_at(address, directory.path(), &[]).await;
    // What was refused is not told.
    counted(&redis, 2).await;
}

/// An origin that answers only when it is allowed to, and says who has arrived.
struct Held {
    address: std::net::SocketAddr,
    arrived: Arc<Semaphore>,
    allowed: Arc<Semaphore>,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let (arrived, allowed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let held = Self {
            address: listener.local_addr().unwrap(),
            arrived: Arc::clone(&arrived),
            allowed: Arc::clone(&allowed),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, Arc::clone(&arrived), Arc::clone(&allowed)));
            }
        });
        held
    }

    async fn serve(mut stream: TcpStream, arrived: Arc<Semaphore>, allowed: Arc<Semaphore>) {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
            arrived.add_permits(1);
            allowed.acquire().await.unwrap().forget();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn requests_under_way_are_counted_until_they_end_whatever_ends_them() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Held::start().await);
    let redis = Redis::start(directory.path(), &[]).await;
    let config = json!({"conn": 1, "burst": 0, "default_conn_delay": 0.001, "key": "uri"});
    let with = |uri: &str, config| {
        let mut route = route(uri, origin.address);
        route["plugins"] = json!({ "limit-conn": config });
        route
    };
    let rig = Rig::start(&[
        ("routes/1", with("/here/*", config.clone())),
        ("routes/2", with("/there/*", in_redis(config, &redis))),
    ])
    .await;
    // Every path is counted apart, because an end is noted only after the client has seen it.
    for path in ["/here/stays", "/here/leaves", "/there/stays", "/there/leaves"] {
        let mut client = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        origin.arrived.acquire().await.unwrap().forget();
        assert_eq!(rig.gateway.fetch(path).await.0, 503, "{path}: one is under way");
        if path.ends_with("leaves") {
            drop(client);
        }
        origin.allowed.add_permits(2);
        while rig.gateway.fetch(path).await.0 == 503 {}
        origin.arrived.acquire().await.unwrap().forget();
    }
    for path in ["stays", "leaves"] {
        let key = redis.cli(&["KEYS", &format!("limit_conn:*/there/{path}")]);
        while redis.cli(&["ZCARD", &key]) == "1" {}
    }
}
