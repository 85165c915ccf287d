//! The cases of the folder `cases`, which any gateway that reads etcd must pass.

use std::path::Path;

use gantry_testkit::{Origin, case};
use serde_json::Value;

use crate::harness::Rig;

#[tokio::test]
async fn the_gateway_passes_every_case() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let backends = [("one", one.address.to_string()), ("two", two.address.to_string())];
    let rig = Rig::start(&[]).await;
    let etcd = &rig.etcd;
    let put = |key: String, document: Option<Value>| -> case::Pending<'_> {
        Box::pin(async move {
            match document {
                Some(document) => etcd.put(&key, &document),
                None => etcd.delete(&key),
            };
        })
    };
    let url = rig.gateway.url("");
    let gateway = case::Gateway { url, client: gantry_testkit::client(), put: &put };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let cases = case::read(&folder, &backends);
    assert!(cases.len() > 20, "{} cases were found", cases.len());
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        failures.extend(case.run(&gateway, number, &one.address.to_string()).await);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
