//! A canary release in progress: the plugin `traffic-split` on its application's service
//! (facts/apisix/translation.md §3).

use gantry_model::Id;
use gantry_model::config::{CanaryReleaseSpec, CanaryType};
use serde_json::{Value, json};

use crate::expression;
use crate::upstream::upstream_id;

/// The plugin that splits traffic.
pub const PLUGIN: &str = "traffic-split";

/// Share of the canary where nothing is said; callers must say something.
const PERCENT_DEFAULT: u8 = 1;

/// Configuration of [`PLUGIN`] for a release of the application `app`. Requests the rule does not
/// pick go to the service's own upstream, which is what an entry without an id means too.
pub fn traffic_split(app: Id, spec: &CanaryReleaseSpec) -> Value {
    let canary = upstream_id(app, &spec.canary_upstream_version);
    let rule = match spec.kind {
        CanaryType::Rule => {
            let vars: Vec<Value> = spec.expressions.iter().map(expression::condition).collect();
            json!({
                "match": [{ "vars": vars }],
                "weighted_upstreams": [{ "upstream_id": canary, "weight": 1 }],
            })
        }
        CanaryType::Percent => {
            let percent = spec.percent.unwrap_or(PERCENT_DEFAULT).min(100);
            let mut entries = vec![json!({ "upstream_id": canary, "weight": percent })];
            if percent < 100 {
                entries.push(json!({ "weight": 100 - percent }));
            }
            json!({ "weighted_upstreams": entries })
        }
    };
    json!({ "rules": [rule] })
}
