//! Every plugin of the walking product, configured through the management API and felt by a client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_testkit::{Database, Origin, client};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Gateway, Installation, api};

/// A gateway with one API for each plugin configuration, at `/p/{name}`.
struct Shop {
    _gantry: Installation,
    gateway: Gateway,
}

impl Shop {
    async fn open(plugins: &[(&str, Value)], consumers: &[Value]) -> Self {
        let origin = Origin::start("backend").await;
        let gantry = Installation::start(Database::Sqlite).await;
        let shop = gantry.application("shop", "/p", origin.address).await;
        for (name, plugins) in plugins {
            let mut body = api(name, &format!("/{name}"));
            body["plugins"] = plugins.clone();
            gantry.api(&shop, body).await;
        }
        for consumer in consumers {
            gantry
                .call(Method::POST, &gantry.cluster_path("/consumers"), Some(consumer.clone()))
                .await;
        }
        let gateway = gantry.gateway("gateway").await;
        gateway.applied(gantry.revision().await).await;
        Self { _gantry: gantry, gateway }
    }

    fn request(&self, method: Method, name: &str) -> reqwest::RequestBuilder {
        client().request(method, self.gateway.http(&format!("/p/{name}")))
    }

    async fn get(&self, name: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.request(Method::GET, name);
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        request.send().await.unwrap()
    }
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn consumers_prove_who_they_are() {
    let token = hs256(r#"{"key":"mobile"}"#, "0123456789abcdef0123456789abcdef");
    let consumer = json!({ "name": "mobile", "credentials": {
        "basic-auth": { "username": "mobile", "password": "pw" },
        "jwt-auth": { "key": "mobile", "secret": "0123456789abcdef0123456789abcdef" },
    } });
    let shop = Shop::open(
        &[("basic", json!({ "basic-auth": {} })), ("jwt", json!({ "jwt-auth": {} }))],
        &[consumer],
    )
    .await;

    let refused = shop.get("basic", &[]).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(header(&refused, "www-authenticate"), Some("Basic realm=\"basic\""));
    assert_eq!(
        refused.text().await.unwrap(),
        "{\"message\":\"Missing authorization in request\"}\n"
    );
    let wrong =
        shop.request(Method::GET, "basic").basic_auth("mobile", Some("no")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right =
        shop.request(Method::GET, "basic").basic_auth("mobile", Some("pw")).send().await.unwrap();
    assert_eq!(right.status(), 200);
    let seen: Value = right.json().await.unwrap();
    assert_eq!(seen["headers"]["x-consumer-username"], "mobile");

    let refused = shop.get("jwt", &[]).await;
    assert_eq!(refused.text().await.unwrap(), "{\"message\":\"Missing JWT token in request\"}\n");
    let right = shop.get("jwt", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(right.status(), 200);
    let forged = hs256(r#"{"key":"mobile"}"#, "another secret of another consumer");
    let wrong = shop.get("jwt", &[("authorization", &forged)]).await;
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.text().await.unwrap(), "{\"message\":\"failed to verify jwt\"}\n");
}

/// A JWT made here, so that the gateway's own library does not judge itself.
fn hs256(claims: &str, secret: &str) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", part(br#"{"alg":"HS256","typ":"JWT"}"#), part(claims.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", part(&mac.finalize().into_bytes()))
}

#[tokio::test]
async fn access_is_restricted_and_counted() {
    let shop = Shop::open(
        &[
            (
                "denied",
                json!({ "ip-restriction": { "blacklist": ["127.0.0.0/8"], "message": "not you" } }),
            ),
            ("allowed", json!({ "ip-restriction": { "whitelist": ["127.0.0.1"] } })),
            (
                "counted",
                json!({ "limit-count": {
                "count": 2, "time_window": 600, "rejected_code": 429, "rejected_msg": "enough",
            } }),
            ),
        ],
        &[],
    )
    .await;
    let denied = shop.get("denied", &[]).await;
    assert_eq!(denied.status(), 403);
    assert_eq!(denied.text().await.unwrap(), "{\"message\":\"not you\"}\n");
    assert_eq!(shop.get("allowed", &[]).await.status(), 200);

    let first = shop.get("counted", &[]).await;
    assert_eq!(
        (header(&first, "x-ratelimit-limit"), header(&first, "x-ratelimit-remaining")),
        (Some("2"), Some("1"))
    );
    assert_eq!(shop.get("counted", &[]).await.status(), 200);
    let third = shop.get("counted", &[]).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(third.text().await.unwrap(), "{\"error_msg\":\"enough\"}\n");
}

#[tokio::test]
async fn requests_and_responses_are_rewritten() {
    let shop = Shop::open(
        &[
            (
                "rewritten",
                json!({ "proxy-rewrite": {
                "regex_uri": ["^/p/(.*)", "/inner/$1"], "headers": { "set": { "X-Api": "v1" } },
            } }),
            ),
            (
                "dressed",
                json!({ "response-rewrite": {
                "status_code": 202, "body": "hello", "headers": { "set": { "X-Server": "gantry" } },
            } }),
            ),
            ("moved", json!({ "redirect": { "uri": "/elsewhere", "ret_code": 301 } })),
            ("cors", json!({ "cors": { "allow_origins": "https://shop.example.com" } })),
            ("named", json!({ "request-id": { "header_name": "X-Request-Id" } })),
        ],
        &[],
    )
    .await;
    let seen: Value = shop.get("rewritten?x=1", &[]).await.json().await.unwrap();
    assert_eq!(
        (seen["path"].as_str(), seen["query"].as_str()),
        (Some("/inner/rewritten"), Some("x=1"))
    );
    assert_eq!(seen["headers"]["x-api"], "v1");

    let dressed = shop.get("dressed", &[]).await;
    assert_eq!((dressed.status().as_u16(), header(&dressed, "x-server")), (202, Some("gantry")));
    assert_eq!(dressed.text().await.unwrap(), "hello");

    let moved = shop.get("moved", &[]).await;
    assert_eq!((moved.status().as_u16(), header(&moved, "location")), (301, Some("/elsewhere")));

    let allowed = shop.get("cors", &[("origin", "https://shop.example.com")]).await;
    assert_eq!(header(&allowed, "access-control-allow-origin"), Some("https://shop.example.com"));
    let preflight =
        shop.request(Method::OPTIONS, "cors").header("origin", "https://x").send().await.unwrap();
    assert_eq!((preflight.status().as_u16(), preflight.text().await.unwrap().as_str()), (200, ""));

    let named = shop.get("named", &[("x-request-id", "mine")]).await;
    assert_eq!(header(&named, "x-request-id"), Some("mine"));
    assert_eq!(header(&shop.get("named", &[]).await, "x-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn requests_are_counted_for_prometheus() {
    let shop = Shop::open(&[("watched", json!({ "prometheus": {} }))], &[]).await;
    for _ in 0..3 {
        assert_eq!(shop.get("watched", &[]).await.status(), 200);
    }
    let metrics = shop.gateway.metrics().await;
    let line = metrics
        .lines()
        .find(|line| {
            line.starts_with("apisix_http_status{code=\"200\"") && line.contains("/p/watched")
        })
        .unwrap_or_else(|| panic!("no such series in {metrics}"));
    assert!(line.ends_with(" 3"), "counted once each, though the cluster counts too: {line}");
}
