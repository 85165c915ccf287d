//! What limit-count, limit-req and limit-conn have in common: whom they count, in which numbers,
//! and how they refuse.
//!
//! Two options have nothing to set here: `redis_keepalive_*`, because all limits of one store share a
//! connection, and `redis_cluster_name`, because a cluster is known by its nodes.

use gantry_routing::vars::{Var, Vars};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{config, keyed::Bucket};
use crate::{answer::Answer, exchange::Exchange, template::Template};

/// A number, or a template that becomes one.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Amount {
    Number(u64),
    Text(String),
}

/// An [`Amount`], compiled.
pub enum Number {
    Fixed(u64),
    PerRequest(Template),
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    #[default]
    Var,
    VarCombination,
    Constant,
}

/// Whom a limit counts.
pub enum Key {
    Variable(String),
    /// The client's address stands in if no variable has a value.
    Combination(Template),
    Constant(String),
    /// As a combination, but the limit does not apply instead.
    Rule(Template),
}

/// A limit that cannot be applied: a number is none, no rule fits, or the store is away.
#[derive(Debug, Clone, Copy)]
pub struct Inapplicable;

impl From<Amount> for Number {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Number(number) => Self::Fixed(number),
            Amount::Text(text) => Self::PerRequest(Template::new(&text)),
        }
    }
}

impl Number {
    /// The number for this request, if it is one.
    pub fn of(&self, vars: &dyn Vars) -> Option<u64> {
        match self {
            Self::Fixed(number) => Some(*number),
            Self::PerRequest(template) => template.render(vars).trim().parse().ok(),
        }
    }

    /// The number for this request, if it is one above zero.
    pub fn positive(&self, vars: &dyn Vars) -> Option<u64> {
        self.of(vars).filter(|number| *number > 0)
    }
}

impl Key {
    pub fn new(key: String, kind: KeyType) -> Self {
        match kind {
            KeyType::Var => Self::Variable(key),
            KeyType::VarCombination => Self::Combination(Template::new(&key)),
            KeyType::Constant => Self::Constant(key),
        }
    }

    /// The key of an entry of `rules`.
    pub fn rule(key: &str) -> Self {
        Self::Rule(Template::new(key))
    }

    /// Hands the key of this request to `take`; None if the limit does not apply.
    pub fn with<T>(
        &self,
        vars: &dyn Vars,
        exchange: &Exchange,
        take: impl Fn(&str) -> T,
    ) -> Option<T> {
        let mut rendered = String::new();
        let found = match self {
            Self::Constant(key) => Some(take(key)),
            Self::Variable(name) => {
                let value = vars.var(name);
                let text = value.as_ref().and_then(Var::text).filter(|text| !text.is_empty());
                text.map(|text| take(&text))
            }
            Self::Combination(template) => {
                let resolved = template.append(vars, &mut rendered);
                (resolved > 0 && !rendered.is_empty()).then(|| take(&rendered))
            }
            Self::Rule(template) => {
                let resolved = template.append(vars, &mut rendered);
                return (resolved > 0).then(|| take(&rendered));
            }
        };
        Some(found.unwrap_or_else(|| take(exchange.client.text())))
    }
}

/// What refused requests get.
pub fn refusal(code: u16, message: Option<&str>) -> Result<Answer, String> {
    let status = config::status(code)?;
    Ok(match message {
        Some(message) => Answer::json(status, &json!({ "error_msg": message })),
        None => Answer::page(status),
    })
}

/// Where the state of a limit is kept, by all that tells it from others.
pub fn bucket(parts: &[&str]) -> Bucket {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(16).fold(0, |bucket, byte| bucket << 8 | Bucket::from(*byte))
}

/// What keys in Redis begin with: the owner and a short digest of the configuration. APISIX has another
/// digest (of the configuration as Lua writes it) there, so one Redis counts for gateways of one kind;
/// the keys of a `group` have none and are shared.
pub fn prefix(owner: &str, bucket: Bucket) -> String {
    format!("{owner}:{:08x}", bucket >> 96)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_depend_on_owner_and_configuration() {
        assert_ne!(bucket(&["/apisix/routes/1", "{}"]), bucket(&["/apisix/routes/2", "{}"]));
        assert_eq!(bucket(&["group"]), bucket(&["group"]));
    }
}
