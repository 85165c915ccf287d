//! TLS towards clients.

use gantry_testkit::Origin;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;

use crate::harness::{Rig, route};

#[tokio::test]
async fn the_server_name_picks_the_certificate_and_http2_is_spoken() {
    let origin = Origin::start("one").await;
    let certificate = |name: &str| generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, two) = (certificate("one.com"), certificate("a.two.com"));
    let ssl = |pair: &CertifiedKey<rcgen::KeyPair>, name: &str| json!({"sni": name, "cert": pair.cert.pem(), "key": pair.signing_key.serialize_pem()});
    let rig = Rig::start(&[
        ("routes/1", route("/*", origin.address)),
        ("ssls/1", ssl(&one, "one.com")),
        ("ssls/2", ssl(&two, "*.two.com")),
    ])
    .await;
    let address = rig.gateway.bound.https.unwrap();
    let get = async |name: &str, trusted: &CertifiedKey<rcgen::KeyPair>| {
        let authority = reqwest::Certificate::from_pem(trusted.cert.pem().as_bytes()).unwrap();
        let client =
            gantry_testkit::client::builder().tls_certs_only([authority]).resolve(name, address);
        client.build().unwrap().get(format!("https://{name}:{}/x", address.port())).send().await
    };
    for (name, pair) in [("one.com", &one), ("a.two.com", &two)] {
        let response = get(name, pair).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.version(), http::Version::HTTP_2);
        let seen: serde_json::Value = response.json().await.unwrap();
        assert_eq!(seen["headers"]["x-forwarded-proto"], "https");
    }
    assert!(get("one.com", &two).await.is_err(), "each name has its own certificate");
    assert!(get("three.com", &one).await.is_err(), "no certificate, no handshake");
}
