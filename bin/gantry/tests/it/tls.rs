//! HTTPS with certificates that came through the management API.

use std::net::SocketAddr;

use gantry_testkit::{Database, Origin};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Installation, api, application};

/// An authority of the test's own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn a_certificate_serves_its_names_and_https_only_means_it() {
    let origin = Origin::start("backend").await;
    let gantry = Installation::start(Database::Sqlite).await;
    let gateway = gantry.gateway("gateway").await;
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let names = vec!["shop.example.com".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();

    let mut body = application("shop", "/shop", origin.address);
    body["hosts"] = json!(["shop.example.com"]);
    body["protocols"] = json!(["HTTPS"]);
    let created = gantry.call(Method::POST, &gantry.cluster_path("/apps"), Some(body)).await;
    let shop = created["id"].as_str().unwrap();
    gantry.api(shop, api("open", "/open")).await;
    let certificate = json!({ "certificate": leaf.pem(), "private_key": key.serialize_pem() });
    let stored =
        gantry.call(Method::POST, &gantry.cluster_path("/certificates"), Some(certificate)).await;
    assert_eq!(stored["snis"], json!(["shop.example.com"]));
    assert!(!stored.to_string().contains("PRIVATE KEY"));
    gateway.applied(gantry.revision().await).await;

    let https: SocketAddr = gateway.https().parse().unwrap();
    let trusting = gantry_testkit::client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
        .resolve("shop.example.com", https)
        .resolve("other.example.com", https)
        .build()
        .unwrap();
    let url = |host: &str| format!("https://{host}:{}/shop/open", https.port());
    let answer = trusting.get(url("shop.example.com")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("\"backend\""));
    trusting.get(url("other.example.com")).send().await.expect_err("no certificate for this name");

    let plain = gantry_testkit::client()
        .get(gateway.http("/shop/open"))
        .header("host", "shop.example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 301);
    let location = plain.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("https://shop.example.com"), "{location}");
}
