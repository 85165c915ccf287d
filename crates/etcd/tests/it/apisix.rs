//! What gateways of four versions were captured asking, in their order, and what they must get.

use http::StatusCode;
use serde_json::json;

use crate::support::{Gateways, Http, base64, keys, plain, range, revision, watch};

/// Every directory of version 3, as it stands among the keys of an empty cluster.
const PLACEHOLDERS: [&str; 13] = [
    "/apisix/consumer_groups/",
    "/apisix/consumers/",
    "/apisix/global_rules/",
    "/apisix/plugin_configs/",
    "/apisix/plugin_metadata/",
    "/apisix/plugins/",
    "/apisix/protos/",
    "/apisix/routes/",
    "/apisix/secrets/",
    "/apisix/services/",
    "/apisix/ssls/",
    "/apisix/stream_routes/",
    "/apisix/upstreams/",
];

const ANN: &str = "/apisix/consumers/ann";

/// What every cluster serves from its first moment: its settings.
const RULE: &str = "/apisix/global_rules/cluster";

/// The placeholders, what every cluster serves, and `more`, in the order of a range.
fn sorted_with(more: &[&str]) -> Vec<String> {
    let mut keys: Vec<&str> =
        PLACEHOLDERS.into_iter().chain([RULE]).chain(more.iter().copied()).collect();
    keys.sort_unstable();
    keys.into_iter().map(str::to_owned).collect()
}

/// 3.18.0 as data plane: no /version, no put; everything at once, then one watch on everything.
#[tokio::test]
async fn a_3_18_data_plane_starts_and_follows() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let newest = cluster.add("ann").await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();

    let answer = http.post("/v3/kv/range", &range("/apisix", "/apisiy")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(revision(&answer.body), newest);
    assert_eq!(keys(&answer.body), sorted_with(&[ANN]));
    assert_eq!(answer.body["count"], "15");
    let first = &answer.body["kvs"][0];
    assert_eq!(plain(&first["value"]), "init_dir");
    assert_eq!((&first["create_revision"], &first["mod_revision"]), (&json!("1"), &json!("1")));

    let mut watching = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut lines = watching.stream("/v3/watch", &watch("/apisix/", "/apisix0", newest + 1)).await;
    assert_eq!(lines.result().await["created"], true);
    let next = cluster.change("ann", 2).await;
    let told = lines.result().await;
    assert_eq!(revision(&told), next);
    let event = &told["events"][0];
    assert!(event.get("type").is_none(), "a PUT has no type: {event}");
    assert_eq!(plain(&event["kv"]["key"]), ANN);
    assert_eq!(plain(&event["kv"]["value"]), cluster.value(ANN).await);
    assert_eq!(event["kv"]["version"], "2");

    let last = cluster.remove("ann").await;
    let gone = lines.result().await;
    assert_eq!(
        gone["events"],
        json!([{"type": "DELETE",
                "kv": {"key": base64(ANN), "mod_revision": last.to_string()}}])
    );
    assert!(lines.is_silent().await, "an idle watch says nothing");

    // The prometheus plugin, every 15 seconds.
    assert_eq!(http.get("/version").await.unwrap().body["etcdcluster"], "3.5.0");
    let phantom = http.post("/v3/kv/range", &json!({"key": base64("/apisix/phantomkey")})).await;
    assert!(phantom.body.get("kvs").is_none());
    assert_eq!(revision(&phantom.body), last);
}

/// 3.2.2 traditional: the command line writes directories, every worker reports the instance.
#[tokio::test]
async fn a_3_2_instance_starts_and_reports_itself() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();

    assert_eq!(http.get("/version").await.unwrap().body["etcdserver"], "3.5.0");
    for directory in PLACEHOLDERS {
        let body = json!({"value": base64("init_dir"), "key": base64(directory)});
        let answer = http.post("/v3/kv/put", &body).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.body.to_string().contains("error"));
    }
    let everything = http.post("/v3/kv/range", &range("/apisix", "/apisiy")).await;
    assert_eq!(keys(&everything.body), sorted_with(&[]));
    let plugins = http.post("/v3/kv/range", &range("/apisix/plugins", "/apisix/plugint")).await;
    assert_eq!(keys(&plugins.body), ["/apisix/plugins/"]);

    // With nothing loaded it watches from revision 1; of a young cluster that can be told.
    let mut old = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut lines = old.stream("/v3/watch", &watch("/apisix/", "/apisix0", 1)).await;
    assert_eq!(lines.result().await["created"], true);
    assert_eq!(plain(&lines.result().await["events"][0]["kv"]["key"]), RULE);
    let first = cluster.add("ann").await;
    assert_eq!(revision(&lines.result().await), first);

    // server-info
    let key = "/apisix/data_plane/server_info/0c1e";
    let info = json!({"key": base64(key), "range_end": ""});
    assert!(http.post("/v3/kv/range", &info).await.body.get("kvs").is_none());
    let granted = http.post("/v3/lease/grant", &json!({"TTL": 60, "ID": 0})).await;
    let lease = granted.body["ID"].as_str().unwrap().to_owned();
    assert_eq!(granted.body["TTL"], "60");
    let report =
        json!({"prev_kv": true, "lease": lease, "key": base64(key), "value": base64("{}")});
    let put = http.post("/v3/kv/put", &report).await;
    assert_eq!(revision(&put.body), first);
    assert!(put.body.get("prev_kv").is_none());
    let again = http.post("/v3/kv/put", &report).await;
    assert_eq!(plain(&again.body["prev_kv"]["value"]), "{}");
    assert_eq!(keys(&http.post("/v3/kv/range", &info).await.body), [key]);
    let mut kept = http.stream("/v3/lease/keepalive", &json!({"ID": lease})).await;
    let kept = kept.result().await;
    assert_eq!((&kept["ID"], &kept["TTL"]), (&json!(lease), &json!("60")));
    // Reports are no configuration: no revision, no event, not among the rest.
    assert!(lines.is_silent().await);
    let everything = http.post("/v3/kv/range", &range("/apisix", "/apisiy")).await;
    assert_eq!(everything.body["count"], "15");
    http.post("/v3/lease/revoke", &json!({"ID": lease})).await;
    assert!(http.post("/v3/kv/range", &info).await.body.get("kvs").is_none());
}

/// 3.9.1 in its 3.14-and-later manner: a phantom key before each watch, a quiet watch reopened.
#[tokio::test]
async fn a_3_9_data_plane_reopens_a_quiet_watch_where_it_was() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let newest = cluster.add("ann").await;
    for round in 0..3 {
        let phantom = range("/apisix//phantomkey", "");
        assert_eq!(revision(&http.post("/v3/kv/range", &phantom).await.body), newest);
        let mut watching = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
        let body = watch("/apisix/", "/apisix0", newest + 1);
        let mut lines = watching.stream("/v3/watch", &body).await;
        let created = lines.result().await;
        assert_eq!((&created["created"], revision(&created)), (&json!(true), newest), "{round}");
    }
    let mut watching = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let missed = cluster.change("ann", 2).await;
    let mut lines = watching.stream("/v3/watch", &watch("/apisix/", "/apisix0", newest + 1)).await;
    assert_eq!(lines.result().await["created"], true);
    assert_eq!(revision(&lines.result().await), missed);
}

/// 2.15.3: one watch per directory, one answer each, and other names for two directories.
#[tokio::test]
async fn a_2_15_gateway_finds_its_own_directory_names() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let (newest, key) = cluster.add_certificate("a.example.com").await;
    let old_key = key.replace("/ssls/", "/ssl/");
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    for directory in ["/apisix/ssl/", "/apisix/proto/", "/apisix/routes/"] {
        let body = json!({"value": base64("init_dir"), "key": base64(directory)});
        assert_eq!(http.post("/v3/kv/put", &body).await.status, StatusCode::OK);
    }

    let ssl = http.post("/v3/kv/range", &range("/apisix/ssl", "/apisix/ssm")).await;
    assert_eq!(keys(&ssl.body), ["/apisix/ssl/", &*old_key]);
    let proto = http.post("/v3/kv/range", &range("/apisix/proto", "/apisix/protp")).await;
    assert_eq!(keys(&proto.body), ["/apisix/proto/"]);
    let ssls = http.post("/v3/kv/range", &range("/apisix/ssls", "/apisix/sslt")).await;
    assert_eq!(keys(&ssls.body), ["/apisix/ssls/", &*key]);

    let mut watching = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let body = watch("/apisix/ssl", "/apisix/ssm", newest + 1);
    let mut lines = watching.stream("/v3/watch", &body).await;
    assert_eq!(lines.result().await["created"], true);
    cluster.add("ann").await;
    let (changed, key) = cluster.add_certificate("b.example.com").await;
    let told = lines.result().await;
    assert_eq!(revision(&told), changed, "a change elsewhere is not told here");
    assert_eq!(plain(&told["events"][0]["kv"]["key"]), key.replace("/ssls/", "/ssl/"));
}

#[tokio::test]
async fn configuration_cannot_be_written_here() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let route = json!({"key": base64("/apisix/routes/1"), "value": base64("{}")});
    let fake = json!({"key": base64("/apisix/routes/"), "value": base64("{}")});
    for (path, body) in [
        ("/v3/kv/put", &route),
        ("/v3/kv/put", &fake),
        ("/v3/kv/txn", &json!({})),
        ("/v3/kv/deleterange", &route),
        ("/v3/kv/compaction", &json!({"revision": "1"})),
    ] {
        let answer = http.post(path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.body["code"], 7);
        assert_eq!(answer.body["error"], answer.body["message"]);
        assert!(
            answer.body["error"].as_str().unwrap().starts_with("etcdserver: permission denied")
        );
    }
}

#[tokio::test]
async fn the_options_of_a_range_are_honoured() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    for name in ["ann", "bob", "cid"] {
        cluster.add(name).await;
    }
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut ask = async |more: serde_json::Value| {
        let mut body = range("/apisix/consumers/", "/apisix/consumers0");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        http.post("/v3/kv/range", &body).await
    };
    let counted = ask(json!({"count_only": true})).await.body;
    assert_eq!((&counted["count"], counted.get("kvs")), (&json!("4"), None));
    let limited = ask(json!({"limit": "2"})).await.body;
    assert_eq!(keys(&limited), ["/apisix/consumers/", ANN]);
    assert_eq!((&limited["more"], &limited["count"]), (&json!(true), &json!("4")));
    let last = ask(json!({"sort_order": "DESCEND", "sort_target": "MOD", "limit": 1})).await.body;
    assert_eq!(keys(&last), ["/apisix/consumers/cid"]);
    let names = ask(json!({"keys_only": true})).await.body;
    assert!(names["kvs"][1].get("value").is_none());
    let fresh = ask(json!({"min_create_revision": "2"})).await.body;
    assert_eq!(keys(&fresh).len(), 3);
    assert_eq!(ask(json!({"sort_order": "UP"})).await.status, StatusCode::BAD_REQUEST);
}
