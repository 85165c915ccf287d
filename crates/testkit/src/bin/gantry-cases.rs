//! Runs the cases of a folder against any gateway that reads etcd, such as stock APISIX:
//!
//! `gantry-cases FOLDER ETCD PREFIX GATEWAY`, for example
//! `gantry-cases crates/gateway/tests/cases http://127.0.0.1:2379 /apisix http://127.0.0.1:9080`.
//!
//! The gateway must reach backends of this program on 127.0.0.1, and should have no routes of its own.

use std::path::Path;
use std::process::ExitCode;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gantry_testkit::{Origin, case, client};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, etcd, prefix, url] = arguments.as_slice() else {
        eprintln!("gantry-cases FOLDER ETCD PREFIX GATEWAY: run cases against a gateway");
        return ExitCode::FAILURE;
    };
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let backends = [("one", one.address.to_string()), ("two", two.address.to_string())];
    let put = |key: String, document: Option<Value>| -> case::Pending<'_> {
        Box::pin(write(etcd, format!("{prefix}/{key}"), document))
    };
    let gateway = case::Gateway { url: url.clone(), client: client(), put: &put };
    let (mut passed, mut failed) = (0, 0);
    for (number, case) in case::read(Path::new(folder), &backends).iter().enumerate() {
        let failures = case.run(&gateway, number, &one.address.to_string()).await;
        if failures.is_empty() {
            passed += 1;
            println!("ok    {}", case.name);
        } else {
            failed += 1;
            println!("FAIL  {}\n      {}", case.name, failures.join("\n      "));
        }
    }
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts or deletes a key through etcd's JSON gateway.
async fn write(etcd: &str, key: String, document: Option<Value>) {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let (operation, body) = match document {
        Some(document) => {
            ("put", json!({ "key": encode(&key), "value": encode(&document.to_string()) }))
        }
        None => ("deleterange", json!({ "key": encode(&key) })),
    };
    let request = client().post(format!("{etcd}/v3/kv/{operation}")).json(&body);
    let answer = request.send().await.expect("an answer of etcd");
    assert!(answer.status().is_success(), "etcd answered {} to {operation}", answer.status());
}
