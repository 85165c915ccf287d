//! What is known about plugins, and which may be used where.

use gantry_model::config::Plugins;
use gantry_model::instance::OFFLINE_AFTER_S;
use gantry_model::{Error, Id, Result, Violation};
use gantry_routing::plugin;
use gantry_store::instance;
use gantry_translate::{Use, is_loaded};
use serde_json::Value;

use crate::change::Change;
use crate::{Cx, check, loaded_plugin, plan};

/// JSON Schema of a plugin's configuration.
pub fn schema(name: &str) -> Result<Value> {
    let found = plugin::get(name).ok_or_else(|| Error::not_found("plugin"))?;
    Ok(found.schema.clone())
}

/// JSON Schema of a plugin's metadata.
pub fn metadata_schema(name: &str) -> Result<Value> {
    let found = plugin::get(name).ok_or_else(|| Error::not_found("plugin"))?;
    found.metadata_schema.clone().ok_or_else(|| Error::not_found("metadata of this plugin"))
}

/// Plugins that the plan of an organization includes.
pub async fn available(cx: &Cx, org: Id) -> Result<Vec<&'static plugin::Plugin>> {
    let plan = plan::get(cx, org).await?;
    Ok(plugin::all().filter(|one| !plan.excluded_plugins.contains(&one.name)).collect())
}

/// Refuses plugins that must not be used in the cluster, as far as `after` uses them newly or
/// otherwise than `before`: what was allowed once stays. `place` is the path of the plugins, such as
/// `plugins.`; empty for those of a cluster.
pub(crate) async fn check_usable(
    change: &mut Change<'_>,
    place: &str,
    before: &Plugins,
    after: &Plugins,
) -> Result<()> {
    let old = gantry_translate::uses(before);
    let mut new = gantry_translate::uses(after);
    new.retain(|one| !old.iter().any(|kept| kept.name == one.name && kept.config == one.config));
    if new.is_empty() {
        return Ok(());
    }
    let records = loaded_plugin::records(&change.app, change.tx, change.cluster.id).await?;
    let states = loaded_plugin::states(&records);
    let missing = new.iter().filter(|one| !is_loaded(&states, one.name)).map(|one| {
        let rule = format!(
            "needs the plugin `{}`, which is not loaded in this cluster; load it first with POST \
             /clusters/{}/plugin_management",
            one.name, change.cluster.id
        );
        Violation::new(format!("{place}{}", one.field), rule, "")
    });
    check::refuse(&missing.collect::<Vec<_>>())?;
    refuse_not_run(change, place, &new).await?;
    let (app, org) = (change.app.clone(), change.cluster.org_id);
    let used = new.iter().map(|one| {
        let written = one.field.split('.').next().unwrap_or(one.name);
        (format!("{place}{}", one.field), [one.name, written])
    });
    plan::refuse_excluded(&app, change.tx, org, used).await
}

/// Refuses plugins, and settings of them, that Gantry's own gateways do not run while such gateways
/// serve the cluster: they would leave the plugin out, or close what it protects.
async fn refuse_not_run(change: &mut Change<'_>, place: &str, new: &[Use<'_>]) -> Result<()> {
    let optional = |name: &str| change.optional_plugins.iter().any(|one| one == name);
    let needed = new.iter().filter(|one| !optional(one.name));
    let violations: Vec<_> = needed.flat_map(|one| not_run(place, one)).collect();
    if violations.is_empty() || !has_gantry_gateways(change).await? {
        return Ok(());
    }
    check::refuse(&violations)
}

/// What of a plugin Gantry's own gateways do not do: nothing of it, or single settings.
fn not_run(place: &str, one: &Use<'_>) -> Vec<Violation> {
    let (field, name) = (format!("{place}{}", one.field), one.name);
    let served = format!(
        "one of them serves this cluster; repeat with ?optional_plugins={name} if it may do without"
    );
    if !plugin::runs_in_gantry(name) {
        let rule =
            format!("needs the plugin `{name}`, which Gantry's gateways do not run, and {served}");
        return vec![Violation::new(field, rule, "")];
    }
    let left_out = plugin::left_out(name, one.config).into_iter();
    left_out
        .map(|broken| {
            let rule = format!("{} for Gantry's gateways, and {served}", broken.rule);
            Violation::new(format!("{field}.{}", broken.field), rule, broken.example)
        })
        .collect()
}

/// Whether a gateway of ours was heard of lately.
async fn has_gantry_gateways(change: &mut Change<'_>) -> Result<bool> {
    let since = change.now.plus_seconds(-OFFLINE_AFTER_S);
    let instances = instance::list(change.tx, change.cluster.id).await?;
    let heard = instances.iter().filter(|one| one.last_seen_time >= since);
    let mut reports = heard.filter_map(|one| serde_json::from_str::<Value>(&one.report).ok());
    Ok(reports.any(|report| {
        let version = report["version"].as_str().unwrap_or_default();
        version.to_ascii_lowercase().starts_with("gantry/")
    }))
}
