//! What gateways are told about service registries before they start.

use gantry_app::{gateway, service_registry};
use gantry_gotemplate::{Template, Value as Data};
use gantry_testkit::database::Database;
use serde_json::{Value, json};

use crate::harness::{Bench, on_both_engines, parse};

on_both_engines!(start_up_files_name_registries_without_their_tokens);

async fn start_up_files_name_registries_without_their_tokens(database: Database) {
    let bench = Bench::new(database).await;
    let (cx, cluster) = (&bench.cx, bench.cluster());
    let none = gateway::startup_config(cx, cluster, "apisix").await.unwrap();
    assert!(!none.contains("discovery") && !none.contains('@'), "{none}");
    let registry = |name: &str, enabled: bool| {
        parse(json!({ "name": name, "type": "kubernetes", "enabled": enabled, "kubernetes": {
            "api_server": { "host": "10.0.0.1", "port": 6443 },
            "namespace_selector": { "operator": "match", "patterns": ["^a[{{]"] },
            "service_account_token_value": "canary-7f3a" } }))
    };
    let pods = service_registry::create(cx, cluster, registry("pods", true)).await.unwrap();
    service_registry::create(cx, cluster, registry("off", false)).await.unwrap();
    for kind in ["apisix", "helm"] {
        let template = gateway::startup_config(cx, cluster, kind).await.unwrap();
        assert!(!template.contains("canary-7f3a"));
        // The client's template engine leaves the braces as they have to be.
        let names = ["TLSDir", "CloudModuleDir", "ImageRepository", "ImageTag", "ReplicaCount"];
        let names = names.into_iter().chain(["LocalCachePVC"]);
        let data = Data::map(names.map(|name| (name.to_owned(), Data::text("x"))));
        let file = Template::parse(&template).unwrap().render(&data).unwrap();
        let entries: Vec<Value> = file
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("- {"))
            .map(|rest| serde_json::from_str(&format!("{{{rest}")).unwrap())
            .collect();
        let id = pods.value.id;
        let expected = json!({ "id": id,
            "client": { "token": format!("${{{{SERVICE_REGISTRY_{id}_TOKEN}}}}") },
            "namespace_selector": { "match": ["^a[{{]"] },
            "service": { "schema": "https", "host": "10.0.0.1", "port": "6443" } });
        assert_eq!(entries, [expected], "{kind}: {file}");
    }
}
