//! acl: allow or deny by the labels of whoever has authenticated.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind = Kind { name: "acl", compile: Acl::compile, identify: None };

/// What an identity provider tells about somebody who is no consumer, in [`Exchange::notes`].
#[derive(Clone)]
pub struct ExternalUser(pub Arc<Value>);

/// The values of labels, by label.
type Labels = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    deny_labels: Labels,
    allow_labels: Option<Labels>,
    rejected_code: u16,
    rejected_msg: Option<String>,
    external_user_label_field: String,
    external_user_label_field_key: Option<String>,
    external_user_label_field_parser: Option<Parser>,
    external_user_label_field_separator: Option<String>,
}

/// How the field of an external user is read.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Parser {
    SegmentedText,
    Json,
    Table,
}

struct Acl {
    deny: Labels,
    allow: Option<Labels>,
    refusal: Answer,
    field: Field,
}

/// Where an external user's label stands.
struct Field {
    /// Names from the outermost object to the field.
    path: Vec<String>,
    /// The label that its values belong to.
    label: String,
    parser: Option<Parser>,
    separator: String,
}

impl Acl {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let message = config.rejected_msg.as_deref().unwrap_or("The consumer is forbidden.");
        let status = config::status(config.rejected_code)?;
        let path = path(&config.external_user_label_field)?;
        let label = config.external_user_label_field_key.or_else(|| path.last().cloned());
        Ok(Arc::new(Self {
            deny: config.deny_labels,
            allow: config.allow_labels,
            refusal: Answer::json(status, &json!({ "message": message })),
            field: Field {
                label: label.unwrap_or_default(),
                path,
                parser: config.external_user_label_field_parser,
                separator: config.external_user_label_field_separator.unwrap_or_default(),
            },
        }))
    }

    fn admits(&self, has: impl Fn(&str, &BTreeSet<String>) -> bool) -> bool {
        let any = |labels: &Labels| labels.iter().any(|(label, values)| has(label, values));
        !any(&self.deny) && self.allow.as_ref().is_none_or(any)
    }
}

impl Plugin for Acl {
    fn access(&self, exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        let admitted = if let Some(consumer) = &exchange.consumer {
            self.admits(|label, values| {
                consumer.labels.get(label).is_some_and(|value| values.contains(value))
            })
        } else if let Some(ExternalUser(user)) = exchange.notes.get() {
            let own = self.field.values(user);
            self.admits(|label, values| {
                label == self.field.label && own.iter().any(|value| values.contains(&**value))
            })
        } else {
            let message = "The request is rejected, please check the consumer for this request";
            return Answer::json(StatusCode::UNAUTHORIZED, &json!({ "message": message })).into();
        };
        if admitted { Flow::Next } else { self.refusal.clone().into() }
    }
}

/// The names of a JSONPath that only goes from object to object, such as `$.user.groups`.
fn path(text: &str) -> Result<Vec<String>, String> {
    let names = text.strip_prefix("$.").unwrap_or(text).split('.');
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-:/".contains(c))
    };
    names
        .map(|name| plain(name).then(|| name.to_owned()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`external_user_label_field`: the path `{text}` is not supported"))
}

impl Field {
    /// The values an external user has; none if they are not what they should be.
    fn values<'a>(&'a self, user: &'a Value) -> Vec<Cow<'a, str>> {
        let field = self.path.iter().try_fold(user, |value, name| value.get(name));
        match (field, self.parser) {
            (Some(Value::String(text)), Some(Parser::SegmentedText)) => {
                text.split(&*self.separator).map(|part| Cow::Borrowed(part.trim())).collect()
            }
            (Some(Value::String(text)), Some(Parser::Json)) => {
                let list: Vec<String> = serde_json::from_str(text).unwrap_or_default();
                list.into_iter().map(Cow::Owned).collect()
            }
            (Some(Value::String(text)), None) => vec![Cow::Borrowed(text)],
            (Some(Value::Array(list)), None | Some(Parser::Table)) => {
                list.iter().filter_map(Value::as_str).map(Cow::Borrowed).collect()
            }
            _ => Vec::new(),
        }
    }
}
