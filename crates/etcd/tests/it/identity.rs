//! Who gets what: nothing without a right, one's own cluster with one.

use http::StatusCode;
use serde_json::json;

use crate::support::{Gateways, Http, keys, range, watch};

#[tokio::test]
async fn a_stranger_learns_the_version_and_nothing_else() {
    let gateways = Gateways::start().await;
    let mut http = Http::connect(&gateways, None).await.unwrap();
    assert_eq!(http.get("/version").await.unwrap().status, StatusCode::OK);
    for path in [
        "/v3/kv/range",
        "/v3/kv/put",
        "/v3/watch",
        "/v3/lease/grant",
        "/v3/nothing",
        "/api/v1/dp/x",
    ] {
        let answer = http.post(path, &range("/apisix", "/apisiy")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.body["code"], 16);
    }
    let mut liar = Http::connect(&gateways, None).await.unwrap().with_token("made-up");
    let answer = liar.post("/v3/kv/range", &range("/apisix", "/apisiy")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_cluster_sees_itself_and_no_other() {
    let gateways = Gateways::start().await;
    let (one, other) = (gateways.cluster().await, gateways.cluster().await);
    one.add("ann").await;
    let mut http = Http::connect(&gateways, Some(&other.bundle)).await.unwrap();
    let answer =
        http.post("/v3/kv/range", &range("/apisix/consumers/", "/apisix/consumers0")).await;
    assert_eq!(keys(&answer.body), ["/apisix/consumers/"]);
    // The data plane's own API on the same port knows its sender, too.
    assert_eq!(http.get("/api/v1/dp/me").await.unwrap().body.to_string(), other.id.to_string());
}

#[tokio::test]
async fn a_certificate_of_someone_else_gets_nothing() {
    let (gateways, foreign) = (Gateways::start().await, Gateways::start().await);
    let cluster = foreign.cluster().await;
    let answer = match Http::connect(&gateways, Some(&cluster.bundle)).await {
        Ok(mut http) => http.get("/version").await,
        Err(error) => Err(error),
    };
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn a_user_signs_in_and_watches_with_the_token() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let (name, password) = cluster.user().await;
    let mut http = Http::connect(&gateways, None).await.unwrap();
    let wrong = json!({"name": name, "password": "wrong"});
    let refused = http.post("/v3/auth/authenticate", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let right = json!({"name": name, "password": password});
    let answer = http.post("/v3/auth/authenticate", &right).await;
    let token = answer.body["token"].as_str().unwrap().to_owned();

    let mut bare = Http::connect(&gateways, None).await.unwrap().with_token(token.clone());
    let mut lines = bare.stream("/v3/watch", &watch("/apisix/", "/apisix0", 0)).await;
    assert_eq!(lines.result().await["created"], true);
    let bearer = format!("Bearer {token}");
    let mut http = Http::connect(&gateways, None).await.unwrap().with_token(bearer);
    let answer = http.post("/v3/kv/range", &range("/apisix", "/apisiy")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn revoking_a_certificate_ends_its_watches_and_its_connections() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut idle = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    assert_eq!(idle.get("/version").await.unwrap().status, StatusCode::OK);
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut lines = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", 0)).await;
    lines.result().await;

    cluster.revoke().await;
    let last = lines.next().await.expect("it says why");
    assert_eq!(last["error"]["http_code"], 401);
    assert_eq!(lines.next().await, None);
    assert_eq!(idle.get("/version").await.unwrap().status, StatusCode::UNAUTHORIZED);
    let answer = match Http::connect(&gateways, Some(&cluster.bundle)).await {
        Ok(mut http) => http.get("/version").await,
        Err(error) => Err(error),
    };
    assert!(answer.is_err(), "{answer:?}");
}
