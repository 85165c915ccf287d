//! A service registry from the management API to the nodes a gateway finds in it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use gantry_testkit::{Database, Origin};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Installation, api, application, eventually, text};

/// An API server that knows one endpoint of `shop/orders` and never has news.
async fn api_server(node: SocketAddr) -> SocketAddr {
    let list = json!({
        "kind": "EndpointSliceList",
        "metadata": { "resourceVersion": "7" },
        "items": [{
            "metadata": { "name": "orders-1", "namespace": "shop", "resourceVersion": "5",
                "labels": { "kubernetes.io/service-name": "orders" } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [node.ip().to_string()], "conditions": { "ready": true } }],
            "ports": [{ "name": "http", "port": node.port() }],
        }],
    });
    let answer = move |query: RawQuery, headers: HeaderMap| {
        let list = list.to_string();
        async move {
            assert_eq!(headers["authorization"], "Bearer s3cret-token");
            let query = query.0.unwrap_or_default();
            assert!(query.starts_with("labelSelector=tier%3Dweb&"), "{query}");
            if query.contains("watch=true") {
                std::future::pending::<()>().await;
            }
            list.into_response()
        }
    };
    let path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    let service = Router::new().route(path, axum::routing::get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

#[tokio::test]
async fn a_gateway_finds_backends_in_the_registry_of_an_application() {
    let origin = Origin::start("backend").await;
    let server = api_server(origin.address).await;
    let gantry = Installation::start(Database::Sqlite).await;
    let gateway = gantry.gateway("gateway").await;
    let registry = json!({ "name": "pods", "type": "kubernetes", "enabled": true, "kubernetes": {
        "api_server": { "scheme": "http", "host": "127.0.0.1", "port": server.port() },
        "service_account_token_value": "s3cret-token",
        "namespace_selector": { "operator": "equal", "patterns": ["shop"] },
        "endpoints_label_selectors": [{ "key": "tier", "operator": "equal", "value": "web" }],
    } });
    let path = gantry.cluster_path("/service_registries");
    let registry = text(&gantry.call(Method::POST, &path, Some(registry)).await["id"]);
    let mut shop = application("shop", "/shop", origin.address);
    shop["upstreams"][0]["upstream"] = json!({ "scheme": "http", "targets": null,
        "service_discovery": { "service_registry": "kubernetes", "service_registry_id": registry,
            "kubernetes_service": { "namespace": "shop", "name": "orders", "port": "http" } } });
    let path = gantry.cluster_path("/apps");
    let shop = text(&gantry.call(Method::POST, &path, Some(shop)).await["id"]);
    gantry.api(&shop, api("a", "/a")).await;
    gateway.applied(gantry.revision().await).await;
    eventually("the gateway finds the backend", || async {
        gateway.get("/shop/a").await.status() == 200
    })
    .await;
    let seen: Value = gateway.get("/shop/a").await.json().await.unwrap();
    assert_eq!(seen["name"], "backend");
    let state = json!([{ "id": registry, "synced": true, "error": null }]);
    assert_eq!(gateway.status().await["registries"], state);
}
