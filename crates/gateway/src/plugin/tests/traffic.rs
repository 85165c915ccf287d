//! traffic-split: which upstream a request is sent to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{access, plugin, read, request};
use crate::{
    compile,
    exchange::Exchange,
    plugin::{Plugin, Shared},
    snapshot::Snapshot,
};

/// A gateway that knows the upstreams `blue` and `green`.
fn exchange() -> Exchange {
    let mut snapshot = Snapshot::default();
    for (id, port) in [("blue", 1), ("green", 2)] {
        let document = json!({ "nodes": [{ "host": "127.0.0.1", "port": port, "weight": 1 }] });
        let text = document.to_string();
        let parsed = gantry_routing::resource::parse("upstreams", id, text.as_bytes()).unwrap();
        let gantry_routing::resource::Resource::Upstream(source) = parsed else { panic!("{text}") };
        let upstream = compile::upstream(&source, id, &Shared::default()).unwrap().value;
        snapshot.upstreams.insert_mut(id.to_owned(), upstream);
    }
    Exchange::new(Arc::new(snapshot))
}

/// Who gets a request with these headers: an id, `own`, `inline`, or the status of a refusal.
fn chosen(plugin: &Arc<dyn Plugin>, headers: &[(&'static str, &str)]) -> String {
    let mut exchange = exchange();
    let answer = access(plugin, &mut exchange, &mut request("/a?x=1", headers));
    if answer.is_some() {
        return read(answer).0.to_string();
    }
    match exchange.attempts.upstream {
        None => "own".into(),
        Some(upstream) => upstream.id.clone().unwrap_or_else(|| "inline".into()),
    }
}

/// How often each choice comes in `requests` requests.
fn counted(plugin: &Arc<dyn Plugin>, requests: usize, who: &str) -> usize {
    (0..requests).filter(|_| chosen(plugin, &[]) == who).count()
}

fn split(entries: &Value) -> Arc<dyn Plugin> {
    plugin("traffic-split", &json!({ "rules": [{ "weighted_upstreams": entries }] }))
}

#[test]
fn weights_are_exact_in_every_cycle() {
    for percent in [1, 10, 33, 50, 75, 99] {
        let rest = 100 - percent;
        let split =
            split(&json!([{ "upstream_id": "green", "weight": percent }, { "weight": rest }]));
        for _ in 0..3 {
            assert_eq!(counted(&split, 100, "green"), percent, "{percent} %");
        }
    }
}

#[test]
fn equal_weights_take_turns() {
    let split = split(&json!([{ "upstream_id": "green" }, { "upstream_id": "blue" }]));
    let first = chosen(&split, &[]);
    for _ in 0..4 {
        assert_ne!(chosen(&split, &[]), first);
        assert_eq!(chosen(&split, &[]), first);
    }
}

#[test]
fn all_or_nothing_is_possible() {
    let all = split(&json!([{ "upstream_id": "green", "weight": 100 }, { "weight": 0 }]));
    assert_eq!(counted(&all, 20, "green"), 20);
    let none = split(&json!([{ "upstream_id": "green", "weight": 0 }, { "weight": 100 }]));
    assert_eq!(counted(&none, 20, "own"), 20);
    let nobody = split(&json!([{ "upstream_id": "green", "weight": 0 }]));
    assert_eq!(chosen(&nobody, &[]), "own");
}

#[test]
fn the_last_weight_of_an_upstream_counts() {
    let split = split(&json!([
        { "upstream_id": "green", "weight": 9 }, { "weight": 1 }, { "upstream_id": "green", "weight": 1 }
    ]));
    assert_eq!(counted(&split, 10, "green"), 5);
}

#[test]
fn the_first_rule_that_is_met_chooses() {
    let split = plugin(
        "traffic-split",
        &json!({ "rules": [
            { "match": [{ "vars": [["http_x_beta", "==", "1"], ["arg_x", "==", "1"]] },
                        { "vars": [["http_x_tester", "~=", null]] }],
              "weighted_upstreams": [{ "upstream_id": "green" }] },
            { "match": [{ "vars": [["http_x_old", "==", "1"]] }],
              "weighted_upstreams": [{ "upstream_id": "blue" }] },
        ] }),
    );
    assert_eq!(chosen(&split, &[("x-beta", "1")]), "green");
    assert_eq!(chosen(&split, &[("x-tester", "")]), "green");
    assert_eq!(chosen(&split, &[("x-old", "1")]), "blue");
    assert_eq!(chosen(&split, &[("x-old", "1"), ("x-beta", "1")]), "green");
    assert_eq!(chosen(&split, &[("x-beta", "2")]), "own");
    assert_eq!(chosen(&plugin("traffic-split", &json!({})), &[]), "own");
}

#[test]
fn whole_numbers_may_be_ids_and_an_empty_match_is_met() {
    let config = json!({ "rules": [
        { "match": [], "weighted_upstreams": [{ "upstream_id": "green", "weight": 1.0 }] }] });
    assert_eq!(chosen(&plugin("traffic-split", &config), &[]), "green");
    let numeric = plugin(
        "traffic-split",
        &json!({ "rules": [{ "weighted_upstreams": [{ "upstream_id": 7 }] }] }),
    );
    let answer = access(&numeric, &mut exchange(), &mut request("/", &[]));
    assert_eq!(read(answer).1, "failed to fetch upstream info by upstream id: 7");
}

#[test]
fn an_upstream_that_does_not_exist_is_an_error_when_its_rule_is_asked() {
    let rule = |header: &str, id: &str| {
        json!({ "match": [{ "vars": [[header, "==", "1"]] }],
                "weighted_upstreams": [{ "upstream_id": id }] })
    };
    let first = plugin(
        "traffic-split",
        &json!({ "rules": [rule("http_a", "green"), rule("http_b", "gone")] }),
    );
    assert_eq!(chosen(&first, &[("a", "1")]), "green", "the second rule is not asked");
    let mut exchange = exchange();
    let answer = access(&first, &mut exchange, &mut request("/", &[]));
    let expected = "failed to fetch upstream info by upstream id: gone";
    assert_eq!(read(answer), (500, expected.to_owned()));
}

#[test]
fn an_upstream_may_stand_in_the_rule_itself() {
    let split = split(&json!([{ "upstream": {
        "name": "canary", "type": "roundrobin", "nodes": { "127.0.0.1:8081": 1 } } }]));
    assert_eq!(chosen(&split, &[]), "inline");
    let discovery = json!({ "rules": [{ "weighted_upstreams": [{ "upstream": {
        "service_name": "a", "discovery_type": "eureka" } }] }] });
    assert!(super::compile("traffic-split", &discovery, &Arc::default()).is_err());
}
