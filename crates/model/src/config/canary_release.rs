//! A canary release: a share of an application's requests, or those that meet conditions, goes to
//! another version of its upstreams.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Expression, Operator, Subject, null_as_default};
use crate::{Id, Timestamp, Violation};

/// Where a release stands. Every release begins paused, and a finished one stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// All requests go to the application's default version.
    #[default]
    Paused,
    InProgress,
    /// The canary's version has become the application's default.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryType {
    Percent,
    Rule,
}

/// Contract, schema `CanaryReleaseSpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryReleaseSpec {
    pub name: String,
    pub state: CanaryState,
    #[serde(rename = "type")]
    pub kind: CanaryType,
    pub canary_upstream_version: String,
    /// 1 to 100; what a release of type percent goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// All of them must hold (design §4); what a release of type rule goes by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Expression>,
}

/// What callers send: a specification whose state may be left open, and whose conditions may have
/// the older form.
#[derive(Clone, Debug, Deserialize)]
pub struct CanaryReleaseRequest {
    pub name: String,
    /// `None` keeps the state; the SDK sends an empty text for it.
    #[serde(default, deserialize_with = "empty_as_none")]
    pub state: Option<CanaryState>,
    #[serde(rename = "type")]
    pub kind: CanaryType,
    pub canary_upstream_version: String,
    #[serde(default)]
    pub percent: Option<u8>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub expressions: Vec<Expression>,
    /// Read where there are no `expressions`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rules: Vec<CanaryRule>,
}

/// The older form of an expression (contract, schema `CanaryReleaseRule`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRule {
    /// As `subject`.
    pub position: String,
    /// As `name`.
    pub key: String,
    pub operator: String,
    #[serde(default)]
    pub value: Value,
}

/// Contract, schema `CanaryRelease`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CanaryRelease {
    pub id: Id,
    pub app_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: CanaryReleaseSpec,
    /// The expressions again, for clients that know the older form only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<CanaryRule>,
}

impl CanaryReleaseSpec {
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        self.state == CanaryState::InProgress
    }

    /// The conditions in the older form.
    #[must_use]
    pub fn rules(&self) -> Vec<CanaryRule> {
        self.expressions.iter().map(CanaryRule::from).collect()
    }
}

impl CanaryReleaseRequest {
    /// Whether the conditions came in the older form.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.expressions.is_empty() && !self.rules.is_empty()
    }

    /// The specification, in `state` unless the request names another.
    ///
    /// # Errors
    /// Rules that are none, all at once.
    pub fn into_spec(self, state: CanaryState) -> Result<CanaryReleaseSpec, Vec<Violation>> {
        let mut violations = Vec::new();
        let expressions = if self.has_rules() {
            let rules = self.rules.iter().enumerate();
            rules.filter_map(|(index, rule)| rule.expression(index, &mut violations)).collect()
        } else {
            self.expressions
        };
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(CanaryReleaseSpec {
            name: self.name,
            state: self.state.unwrap_or(state),
            kind: self.kind,
            canary_upstream_version: self.canary_upstream_version,
            percent: self.percent,
            expressions,
        })
    }
}

impl CanaryRule {
    /// The expression of the same meaning; notes what is wrong with a rule that has none.
    fn expression(&self, index: usize, violations: &mut Vec<Violation>) -> Option<Expression> {
        let before = violations.len();
        let mut broken = |field: &str, rule: &str, example: &str| {
            violations.push(Violation::new(format!("rules[{index}].{field}"), rule, example));
        };
        let subject: Option<Subject> = word(&self.position);
        if subject.is_none() {
            let rule = "must be one of header, query, cookie, path, variable";
            broken("position", rule, r#""header""#);
        }
        let operator: Option<Operator> = word(&self.operator);
        if operator.is_none() {
            let rule = "must be one of equal, not_equal, regex_match, regex_not_match, present, \
                        not_present, larger_equal, larger_than, less_equal, less_than";
            broken("operator", rule, r#""equal""#);
        }
        let value = match &self.value {
            Value::Null => Some(String::new()),
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Array(_) | Value::Object(_) => None,
        };
        if value.is_none() {
            broken("value", "must be a text or a number", r#""1""#);
        }
        if violations.len() > before {
            return None;
        }
        Some(Expression {
            subject: subject?,
            name: self.key.clone(),
            operator: operator?,
            value: value?,
        })
    }
}

impl From<&Expression> for CanaryRule {
    fn from(expression: &Expression) -> Self {
        let Expression { subject, name, operator, value } = expression;
        Self {
            position: spelled(subject),
            key: name.clone(),
            operator: spelled(operator),
            value: Value::from(value.as_str()),
        }
    }
}

/// A word of an enumeration, in any letter case.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_value(Value::from(text.to_ascii_lowercase())).ok()
}

/// The word of a unit variant.
fn spelled(variant: &impl Serialize) -> String {
    let value = serde_json::to_value(variant).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn empty_as_none<'de, D>(deserializer: D) -> Result<Option<CanaryState>, D::Error>
where
    D: Deserializer<'de>,
{
    let value = Option::<Value>::deserialize(deserializer)?.unwrap_or_default();
    if value.is_null() || value == "" {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(body: &Value) -> CanaryReleaseRequest {
        let mut whole = json!({ "name": "a", "type": "rule", "canary_upstream_version": "v2" });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn the_older_form_reads_as_the_newer() {
        let rule =
            json!({ "position": "Header", "key": "X-A", "operator": "larger_than", "value": 5 });
        let sent = request(&json!({ "state": "", "rules": [rule], "expressions": null }));
        let spec = sent.into_spec(CanaryState::InProgress).unwrap();
        assert_eq!(spec.state, CanaryState::InProgress);
        let expression = json!({
            "subject": "header", "name": "X-A", "operator": "larger_than", "value": "5"
        });
        assert_eq!(serde_json::to_value(&spec.expressions).unwrap(), json!([expression]));
        let mirrored = json!([
            { "position": "header", "key": "X-A", "operator": "larger_than", "value": "5" }
        ]);
        assert_eq!(serde_json::to_value(spec.rules()).unwrap(), mirrored);
    }

    #[test]
    fn expressions_go_before_rules() {
        let sent = request(&json!({
            "state": "paused",
            "expressions": [{ "subject": "path", "operator": "equal", "value": "/" }],
            "rules": [{ "position": "nowhere", "key": "", "operator": "?" }]
        }));
        assert_eq!(sent.into_spec(CanaryState::InProgress).unwrap().expressions.len(), 1);
    }

    #[test]
    fn all_that_is_wrong_with_rules_is_named() {
        let sent = request(&json!({
            "rules": [{ "position": "body", "key": "a", "operator": "is", "value": [1] }]
        }));
        let fields: Vec<String> = sent
            .into_spec(CanaryState::Paused)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["rules[0].position", "rules[0].operator", "rules[0].value"]);
    }
}
