//! The plans of an installation, as the operator wrote them into a file.

use std::path::Path;

use gantry_model::organization::Organization;
use gantry_model::plan::{Plan, Quotas};
use gantry_model::{Error, Result, Timestamp};
use gantry_routing::plugin;
use serde::Deserialize;

/// Names beside those of plugins that a plan may exclude.
const GROUPS: [&str; 3] = ["acl", "authentication", "logging"];

/// At least one plan. The first is that of new organizations, of organizations whose plan has ended,
/// and of those whose plan is no longer in the file.
#[derive(Clone, Debug)]
pub struct Plans {
    first: Plan,
    others: Vec<Plan>,
}

/// The file: YAML or JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plans: Vec<Plan>,
}

impl Default for Plans {
    /// One plan without limits, on which organizations were before there were others.
    fn default() -> Self {
        Self { first: Plan::self_hosted(), others: Vec::new() }
    }
}

impl Plans {
    /// Reads a file of plans. Errors are for the operator: they name file, line and field.
    pub fn read(file: &Path) -> Result<Self, String> {
        let named = |reason: String| format!("plans in {}: {reason}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        Self::parse(&text).map_err(named)
    }

    /// Reads plans written as YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { plans } = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        for (position, plan) in plans.iter().enumerate() {
            check(plan).map_err(|(field, rule)| format!("plans[{position}].{field} {rule}"))?;
            let twin = |other: &&Plan| other.id == plan.id || other.name == plan.name;
            if plans.iter().take(position).any(|other| twin(&other)) {
                return Err(format!("plans[{position}]: its id or name is that of another plan"));
            }
        }
        let mut plans = plans.into_iter();
        let first = plans.next().ok_or("plans must hold at least one plan")?;
        Ok(Self { first, others: plans.collect() })
    }

    fn all(&self) -> impl Iterator<Item = &Plan> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn first(&self) -> &Plan {
        &self.first
    }

    /// A plan by its name or id.
    pub(crate) fn find(&self, text: &str) -> Result<&Plan> {
        let fits = |plan: &&Plan| plan.name == text || plan.id.to_string() == text;
        self.all().find(fits).ok_or_else(|| {
            let names: Vec<String> = self.all().map(|plan| format!("`{}`", plan.name)).collect();
            let rule = format!("must be the name or id of a plan: {}", names.join(", "));
            Error::invalid_field("plan", rule, format!("\"{}\"", self.first.name))
        })
    }

    /// The plan whose rules hold for an organization now.
    pub(crate) fn of(&self, organization: &Organization, now: Timestamp) -> &Plan {
        let ended = organization.plan_expire_time.is_some_and(|end| end <= now);
        let own = self.all().find(|plan| plan.id == organization.plan_id && !ended);
        own.unwrap_or(&self.first)
    }

    /// Whether no plan has a quota.
    pub(crate) fn limit_nothing(&self) -> bool {
        self.all().all(|plan| plan.quotas == Quotas::default())
    }

    /// Whether every plan has every plugin.
    pub(crate) fn exclude_nothing(&self) -> bool {
        self.all().all(|plan| plan.excluded_plugins.is_empty())
    }
}

/// What a type cannot say about a plan: the field and the rule it breaks.
fn check(plan: &Plan) -> Result<(), (String, String)> {
    let broken = |field: &str, rule: &str| Err((field.to_owned(), rule.to_owned()));
    if plan.name.trim().is_empty() {
        return broken("name", "must not be blank");
    }
    if plan.price_per_million_calls < 0 {
        return broken("price_per_million_calls", "must be 0 or more");
    }
    if plan.currency.len() != 3 || !plan.currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return broken("currency", "must be an ISO code in lower case, for example usd");
    }
    if plan.duration_days == Some(0) {
        return broken("duration_days", "must be 1 or more; left out, the plan does not end");
    }
    for (field, quota) in [("clusters", plan.quotas.clusters), ("members", plan.quotas.members)] {
        if quota == Some(0) {
            let rule = "must be 1 or more, because every organization starts with one";
            return Err((format!("quotas.{field}"), rule.to_owned()));
        }
    }
    let known = |name: &&String| plugin::get(name).is_some() || GROUPS.contains(&name.as_str());
    match plan.excluded_plugins.iter().find(|name| !known(name)) {
        Some(name) => Err(("excluded_plugins".into(), format!("names `{name}`: no such plugin"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Plans::parse(text).expect_err("a refusal")
    }

    #[test]
    fn yaml_and_json_are_read() {
        let yaml = "plans:\n- id: 1\n  name: Free\n  quotas: {clusters: 1}\n";
        let json = r#"{"plans": [{"id": 1, "name": "Free", "quotas": {"clusters": 1}}]}"#;
        for text in [yaml, json] {
            let plans = Plans::parse(text).unwrap();
            assert_eq!(plans.first().quotas.clusters, Some(1));
            assert_eq!(plans.first().currency, "usd");
            assert!(!plans.limit_nothing() && plans.exclude_nothing());
        }
        assert!(Plans::default().limit_nothing());
    }

    #[test]
    fn errors_name_the_line_and_the_field() {
        let unknown = refused("plans:\n- id: 1\n  name: Free\n  quotas:\n    apps: 3\n");
        for part in ["plans[0].quotas", "unknown field `apps`", "`applications`", "line 5"] {
            assert!(unknown.contains(part), "{part} is not in: {unknown}");
        }
        assert!(refused("plans: []").contains("at least one"));
        assert!(refused("plans:\n- {id: 0, name: a}").contains("positive number"));
        assert!(refused("plans:\n- {id: 1}").contains("`name`"));
        let twice = refused("plans:\n- {id: 1, name: a}\n- {id: 1, name: b}");
        assert!(twice.starts_with("plans[1]: its id or name"), "{twice}");
        let plugin = refused("plans:\n- {id: 1, name: a, excluded_plugins: [no-such]}");
        assert_eq!(plugin, "plans[0].excluded_plugins names `no-such`: no such plugin");
        let none = refused("plans:\n- {id: 1, name: a, quotas: {clusters: 0}}");
        assert!(none.starts_with("plans[0].quotas.clusters must be 1 or more"), "{none}");
    }
}
