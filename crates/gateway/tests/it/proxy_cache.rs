//! Responses that are kept and answered with.

use gantry_testkit::Origin;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Gateway, Rig, route},
    scripted::{Scripted, answer},
};

fn cached(uri: &str, origin: &Scripted, config: &Value) -> Value {
    let mut route = route(uri, origin.address);
    route["plugins"] = json!({ "proxy-cache": config });
    route
}

fn in_memory(more: &Value) -> Value {
    let mut config = json!({"cache_strategy": "memory", "cache_zone": "memory_cache"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// Cache status, response status and body of a request with these headers.
async fn ask(
    gateway: &Gateway,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (String, u16, String) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = gateway.client.request(method, gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let cache = response.headers().get("apisix-cache-status");
    let cache = cache.map_or("", |value| value.to_str().unwrap()).to_owned();
    (cache, response.status().as_u16(), response.text().await.unwrap())
}

fn told(cache: &str, status: u16, body: &str) -> (String, u16, String) {
    (cache.to_owned(), status, body.to_owned())
}

#[tokio::test]
async fn memory_answers_until_it_is_purged() {
    let headers = "Content-Type: text/x\r\nX-RateLimit-Remaining: 7\r\nRateLimit-Remaining: 7\r\n\
        X-1-RateLimit-Remaining: 7\r\n";
    let origin = Scripted::counting(headers).await;
    let rig = Rig::start(&[("routes/1", cached("/*", &origin, &in_memory(&json!({}))))]).await;
    let ask = async |method: &str, path: &str| ask(&rig.gateway, method, path, &[]).await;
    assert_eq!(ask("GET", "/a?x=1").await, told("MISS", 200, "1"));
    assert_eq!(ask("GET", "/a?x=1").await, told("HIT", 200, "1"));
    assert_eq!(ask("HEAD", "/a?x=1").await, told("HIT", 200, ""));
    assert_eq!(ask("GET", "/a?x=2").await, told("MISS", 200, "2"));
    assert_eq!(ask("POST", "/a?x=1").await, told("MISS", 200, "3"));
    let hit = rig.gateway.get("127.0.0.1", "/a?x=1").await;
    let headers = hit.headers();
    assert_eq!(
        (&headers["content-type"], &headers["content-length"]),
        (&"text/x".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(headers["age"].to_str().unwrap().parse::<u64>().is_ok());
    let quota = |name: &&http::HeaderName| name.as_str().contains("ratelimit");
    assert_eq!(headers.keys().find(quota), None);
    assert_eq!(ask("PURGE", "/a?x=1").await, told("", 200, ""));
    assert_eq!(ask("PURGE", "/a?x=1").await.1, 404);
    assert_eq!(ask("GET", "/a?x=1").await, told("MISS", 200, "4"));
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn posts_are_kept_where_they_are_listed() {
    let origin = Scripted::counting("").await;
    let config = in_memory(&json!({"cache_method": ["GET", "POST"], "cache_ttl": 300.0}));
    let rig = Rig::start(&[("routes/1", cached("/*", &origin, &config))]).await;
    let ask = async |method: &str| ask(&rig.gateway, method, "/a", &[]).await;
    assert_eq!(ask("POST").await, told("MISS", 200, "1"));
    assert_eq!(ask("POST").await, told("HIT", 200, "1"));
    assert_eq!(ask("PUT").await.2, "2");
}

#[tokio::test]
async fn only_what_may_be_kept_is_kept() {
    let origin = Scripted::start(|request| match request.split(' ').nth(1).unwrap() {
        "/cookie" | "/cookie-kept" => answer("200 OK", "Set-Cookie: a=b\r\n", "x"),
        "/private" => answer("200 OK", "Cache-Control: private, max-age=9\r\n", "x"),
        "/vary-all" => answer("200 OK", "Vary: *\r\n", "x"),
        "/500" => answer("500 Internal Server Error", "", "x"),
        "/404" => answer("404 Not Found", "", "x"),
        "/301" => answer("301 Moved Permanently", "Location: /b\r\n", ""),
        "/large" => answer("200 OK", "", &"x".repeat(100)),
        "/fits" => answer("200 OK", "", &"x".repeat(99)),
        "/broken" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx".to_owned(),
        _ => answer("200 OK", "Cache-Control: max-age=9\r\nExpires: 0\r\n", "x"),
    })
    .await;
    let config = in_memory(&json!({"max_resp_body_size": 100, "no_cache": ["$arg_no", "$http_no"],
        "cache_bypass": ["$arg_by"], "hide_cache_headers": true}));
    let keeps = in_memory(&json!({"cache_set_cookie": true}));
    let rig = Rig::start(&[
        ("routes/1", cached("/*", &origin, &config)),
        ("routes/2", cached("/cookie-kept", &origin, &keeps)),
    ])
    .await;
    let second = async |path: &str| {
        ask(&rig.gateway, "GET", path, &[]).await;
        ask(&rig.gateway, "GET", path, &[]).await.0
    };
    for (path, expected) in [
        ("/", "HIT"),
        ("/404", "HIT"),
        ("/301", "HIT"),
        ("/cookie-kept", "HIT"),
        ("/?no=0", "HIT"),
        ("/?no=1", "MISS"),
        ("/?by=1", "BYPASS"),
        ("/cookie", "MISS"),
        ("/private", "MISS"),
        ("/vary-all", "MISS"),
        ("/500", "MISS"),
        ("/large", "MISS"),
        ("/fits", "HIT"),
    ] {
        assert_eq!(second(path).await, expected, "{path}");
    }
    let broken = || rig.gateway.client.get(rig.gateway.url("/broken")).send();
    for _ in 0..2 {
        let response = broken().await.unwrap();
        assert_eq!(response.headers()["apisix-cache-status"], "MISS");
        assert!(response.bytes().await.is_err(), "half a response is not kept");
    }
    let hidden = rig.gateway.get("localhost", "/").await;
    assert!(!hidden.headers().contains_key("cache-control"));
    assert!(!hidden.headers().contains_key("expires"));
}

#[tokio::test]
async fn clients_and_upstreams_may_have_a_say() {
    let origin = Scripted::counting("Cache-Control: max-age=100\r\nETag: \"a\"\r\n").await;
    let silent = Scripted::counting("").await;
    let heeding = in_memory(&json!({"cache_control": true}));
    let rig = Rig::start(&[
        ("routes/1", cached("/a", &origin, &heeding)),
        ("routes/2", cached("/silent", &silent, &heeding)),
    ])
    .await;
    let with = async |path: &str, cache_control: &str| {
        ask(&rig.gateway, "GET", path, &[("cache-control", cache_control)]).await
    };
    assert_eq!(with("/a", "only-if-cached").await.1, 504);
    assert_eq!(with("/a", "max-age=5").await, told("MISS", 200, "1"));
    assert_eq!(with("/a", "max-age=5").await, told("HIT", 200, "1"));
    assert_eq!(with("/a", "only-if-cached").await, told("HIT", 200, "1"));
    assert_eq!(with("/a", "no-cache").await, told("BYPASS", 200, "2"));
    assert_eq!(with("/a", "no-store").await, told("BYPASS", 200, "3"));
    assert_eq!(with("/a", "min-fresh=200").await, told("STALE", 200, "4"));
    assert_eq!(with("/a", "min-fresh=50").await, told("HIT", 200, "4"));
    let tagged = ask(&rig.gateway, "GET", "/a", &[("if-none-match", "\"b\", W/\"a\"")]).await;
    assert_eq!(tagged, told("HIT", 304, ""));
    assert_eq!(with("/silent", "public").await.0, "MISS");
    assert_eq!(with("/silent", "public").await.0, "MISS", "the upstream does not say how long");
}

/// Cache status, response status, `Content-Range` and body of a request for a part.
async fn part(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
) -> (String, u16, String, String) {
    let mut request = gateway.client.get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let text = |name: &str| {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let (cache, range, status) =
        (text("apisix-cache-status"), text("content-range"), response.status().as_u16());
    (cache, status, range, response.text().await.unwrap())
}

#[tokio::test]
async fn parts_are_cut_out_of_what_is_kept() {
    let origin = Scripted::start(|request| match request.split(' ').nth(1).unwrap() {
        "/plain" => answer("200 OK", "", "0123456789"),
        "/ranged" => answer("206 Partial Content", "Content-Range: bytes 2-4/10\r\n", "234"),
        _ => answer("200 OK", "Accept-Ranges: bytes\r\nETag: \"a\"\r\n", "0123456789"),
    })
    .await;
    let rig = Rig::start(&[
        ("routes/1", cached("/*", &origin, &in_memory(&json!({})))),
        ("routes/2", cached("/disk", &origin, &json!({}))),
    ])
    .await;
    let ask = async |path: &str, range: &str, if_range: &str| {
        let headers = [("range", range), ("if-range", if_range)];
        let used = if if_range.is_empty() { &headers[..1] } else { &headers };
        let (cache, status, range, body) = part(&rig.gateway, path, used).await;
        (cache, format!("{status} {range} {body}"))
    };
    for path in ["/memory", "/disk"] {
        let miss = ask(path, "bytes=2-4", "").await;
        let expected = if path == "/disk" { "206 bytes 2-4/10 234" } else { "200  0123456789" };
        assert_eq!(miss, ("MISS".to_owned(), expected.to_owned()), "{path}");
        // A disk has it a moment later.
        while ask(path, "bytes=0-0", "").await.0 != "HIT" {}
        for (range, if_range, expected) in [
            ("bytes=2-4", "", "206 bytes 2-4/10 234"),
            ("bytes=-2", "\"a\"", "206 bytes 8-9/10 89"),
            ("bytes=-2", "\"b\"", "200  0123456789"),
            ("bytes=10-", "", "416 bytes */10 "),
            ("", "", "200  0123456789"),
        ] {
            let hit = ask(path, range, if_range).await;
            assert_eq!(hit, ("HIT".to_owned(), expected.to_owned()), "{path} {range} {if_range}");
        }
        let several = ask(path, "bytes=0-1,8-9", "").await.1;
        assert!(several.starts_with("206 ") && several.contains("bytes 8-9/10"), "{several}");
    }
    let head = rig.gateway.client.head(rig.gateway.url("/memory")).header("range", "bytes=0-1");
    let head = head.send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"10".parse().unwrap())
    );
    for expected in ["MISS", "HIT"] {
        let plain = ask("/plain", "bytes=2-4", "").await;
        assert_eq!(plain, (expected.to_owned(), "200  0123456789".to_owned()));
    }
    for _ in 0..2 {
        let ranged = ask("/ranged", "bytes=2-4", "").await;
        assert_eq!(ranged, ("MISS".to_owned(), "206 bytes 2-4/10 234".to_owned()));
    }
    for request in origin.requests() {
        let is_disk = request.starts_with("GET /disk ");
        assert_eq!(request.to_lowercase().contains("\r\nrange: "), !is_disk, "{request}");
    }
}

#[tokio::test]
async fn a_part_of_a_body_that_plugins_change_is_everything() {
    let origin =
        Scripted::start(|_| answer("200 OK", "Accept-Ranges: bytes\r\n", "0123456789")).await;
    let mut route = cached("/", &origin, &in_memory(&json!({})));
    route["plugins"]["echo"] = json!({"before_body": "!"});
    let rig = Rig::start(&[("routes/1", route)]).await;
    for expected in ["MISS", "HIT"] {
        let (cache, status, _, body) = part(&rig.gateway, "/", &[("range", "bytes=2-4")]).await;
        assert_eq!((&*cache, status, &*body), (expected, 200, "!0123456789"));
    }
}

#[tokio::test]
async fn what_is_too_old_is_fetched_anew() {
    let origin = Scripted::counting("X-Accel-Expires: 1\r\n").await;
    let short = in_memory(&json!({"cache_ttl": 1}));
    let rig = Rig::start(&[
        ("routes/1", cached("/memory", &origin, &short)),
        ("routes/2", cached("/disk", &origin, &json!({}))),
    ])
    .await;
    for path in ["/memory", "/disk"] {
        assert_eq!(ask(&rig.gateway, "GET", path, &[]).await.0, "MISS");
        loop {
            match &*ask(&rig.gateway, "GET", path, &[]).await.0 {
                "EXPIRED" => break,
                status => assert!(status == "HIT" || status == "MISS", "{status}"),
            }
        }
    }
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let origin = Scripted::counting("Vary: X-A, Accept-Language\r\n").await;
    let rig = Rig::start(&[("routes/1", cached("/a", &origin, &in_memory(&json!({}))))]).await;
    let ask = async |headers: &[(&str, &str)]| ask(&rig.gateway, "GET", "/a", headers).await;
    assert_eq!(ask(&[("x-a", "1")]).await, told("MISS", 200, "1"));
    assert_eq!(ask(&[("x-a", "2")]).await, told("MISS", 200, "2"));
    assert_eq!(ask(&[("x-a", "1")]).await, told("HIT", 200, "1"));
    assert_eq!(ask(&[("x-a", "2")]).await, told("HIT", 200, "2"));
    assert_eq!(ask(&[]).await, told("MISS", 200, "3"));
}

#[tokio::test]
async fn no_path_passes_for_the_variant_of_another_one() {
    let origin = Scripted::counting("Vary: Accept-Encoding\r\n").await;
    let rig = Rig::start(&[("routes/1", cached("/*", &origin, &in_memory(&json!({}))))]).await;
    let page = async || ask(&rig.gateway, "GET", "/page", &[("accept-encoding", "gzip")]).await;
    assert_eq!(page().await, told("MISS", 200, "1"));
    for forged in ["/page%02gzip%03", "/page%02gzip%03", "/a%01b"] {
        assert_eq!(ask(&rig.gateway, "GET", forged, &[]).await.0, "BYPASS", "{forged}");
    }
    assert_eq!(ask(&rig.gateway, "PURGE", "/page%02gzip%03", &[]).await.1, 404);
    assert_eq!(page().await, told("HIT", 200, "1"));
}

#[tokio::test]
async fn consumers_do_not_see_what_belongs_to_others() {
    let origin = Scripted::counting("").await;
    let consumer = |name: &str| json!({"username": name, "plugins": {"key-auth": {"key": format!("{name}-key")}}});
    let shared = in_memory(&json!({"consumer_isolation": false}));
    let mut apart = cached("/apart", &origin, &in_memory(&json!({})));
    apart["plugins"]["key-auth"] = json!({});
    let mut together = cached("/together", &origin, &shared);
    together["plugins"]["key-auth"] = json!({});
    let rig = Rig::start(&[
        ("consumers/jack", consumer("jack")),
        ("consumers/jill", consumer("jill")),
        ("routes/1", apart),
        ("routes/2", together),
    ])
    .await;
    let ask =
        async |path: &str, key: &str| ask(&rig.gateway, "GET", path, &[("apikey", key)]).await.0;
    assert_eq!(ask("/apart", "jack-key").await, "MISS");
    assert_eq!(ask("/apart", "jill-key").await, "MISS");
    assert_eq!(ask("/apart", "jack-key").await, "HIT");
    assert_eq!(ask("/apart", "wrong").await, "", "who is not let in gets nothing kept");
    assert_eq!(ask("/together", "jack-key").await, "MISS");
    assert_eq!(ask("/together", "jill-key").await, "HIT");
}

#[tokio::test]
async fn disk_survives_a_restart_and_damaged_files_are_dropped() {
    let origin = Scripted::counting("Cache-Control: max-age=1000\r\nVary: X-A\r\n").await;
    let config = json!({"cache_zone": "disk_cache_one"});
    let rig = Rig::start(&[("routes/1", cached("/*", &origin, &config))]).await;
    let Rig { gateway, etcd_address, directory, .. } = &rig;
    for path in ["/a", "/b"] {
        assert_eq!(ask(gateway, "GET", path, &[]).await.0, "MISS");
        // A response is written after the client has it.
        while ask(gateway, "GET", path, &[]).await.0 != "HIT" {}
    }
    assert_eq!(ask(gateway, "GET", "/a", &[("x-a", "1")]).await.0, "MISS");
    let asked = origin.requests().len();
    let elsewhere = tempfile::tempdir().unwrap();
    // The directory is copied, because the first gateway still has it.
    let from = directory.path().join("cache");
    let copy = std::process::Command::new("cp").arg("-r").arg(from).arg(elsewhere.path()).status();
    assert!(copy.unwrap().success());
    let again = Gateway::start(&format!("http://{etcd_address}"), elsewhere.path());
    again.applied(2).await;
    let hit = ask(&again, "GET", "/a", &[]).await;
    assert_eq!((&*hit.0, hit.1), ("HIT", 200));
    assert_eq!(origin.requests().len(), asked, "nobody has asked the origin");
    for shelf in std::fs::read_dir(elsewhere.path().join("cache/disk_cache_one")).unwrap() {
        for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
            std::fs::write(file.unwrap().path(), "damaged").unwrap();
        }
    }
    assert_eq!(ask(&again, "GET", "/b", &[]).await.0, "MISS");
}

#[tokio::test]
async fn disk_can_be_purged() {
    let origin = Scripted::counting("").await;
    let rig = Rig::start(&[("routes/1", cached("/*", &origin, &json!({})))]).await;
    assert_eq!(ask(&rig.gateway, "PURGE", "/a", &[]).await.1, 404);
    assert_eq!(ask(&rig.gateway, "GET", "/a", &[]).await.0, "MISS");
    while ask(&rig.gateway, "GET", "/a", &[]).await.0 != "HIT" {}
    assert_eq!(ask(&rig.gateway, "PURGE", "/a", &[]).await, told("", 200, ""));
    // What other misses have left may reach the disk only now.
    while ask(&rig.gateway, "GET", "/a", &[]).await.0 != "MISS" {
        ask(&rig.gateway, "PURGE", "/a", &[]).await;
    }
}

#[tokio::test]
async fn configurations_must_fit_the_zones() {
    let origin = Origin::start("one").await;
    for (config, expected) in [
        (json!({"cache_zone": "nowhere"}), "this gateway has no `cache_zone` nowhere"),
        (
            json!({"cache_zone": "memory_cache"}),
            "the zone memory_cache is not for the strategy disk",
        ),
        (
            in_memory(&json!({"cache_key": ["$uri", "$request_method"]})),
            "`cache_key` must not contain $request_method",
        ),
    ] {
        let mut resource = route("/a", origin.address);
        resource["plugins"] = json!({ "proxy-cache": config });
        let rig = Rig::start(&[("routes/1", resource)]).await;
        let state = rig.gateway.state().await;
        let reason = state["problems"][0]["reason"].as_str().unwrap();
        assert!(reason.ends_with(expected), "{reason}");
    }
}
