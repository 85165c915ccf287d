//! A running port, clusters on it, and clients for both forms.

mod http;
mod installation;

pub use http::{Http, PATIENCE};
pub use installation::{Gateways, TestCluster};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// The text behind a base64 field.
pub fn plain(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().expect("base64 is a string")).expect("base64");
    String::from_utf8(bytes).expect("keys and values are text")
}

/// The body of a range as APISIX sends it: every field, numbers for enums.
pub fn range(key: &str, range_end: &str) -> Value {
    json!({
        "key": base64(key), "range_end": base64(range_end), "limit": 0, "revision": 0,
        "sort_order": 0, "sort_target": 0, "serializable": false, "keys_only": false,
        "count_only": false, "min_mod_revision": 0, "max_mod_revision": 0,
        "min_create_revision": 0, "max_create_revision": 0,
    })
}

/// The body of a watch as APISIX 3.2.2 and later send it.
pub fn watch(key: &str, range_end: &str, start_revision: i64) -> Value {
    json!({"create_request": {
        "key": base64(key), "range_end": base64(range_end), "start_revision": start_revision,
    }})
}

/// The keys of a range's answer, in its order.
pub fn keys(answer: &Value) -> Vec<String> {
    answer["kvs"].as_array().into_iter().flatten().map(|kv| plain(&kv["key"])).collect()
}

/// The revision in an answer's header.
pub fn revision(answer: &Value) -> i64 {
    answer["header"]["revision"].as_str().expect("a revision is a string").parse().expect("number")
}
