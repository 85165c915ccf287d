//! consumer-restriction: which consumers, groups, services or routes get through.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gantry_routing::vars::Vars;
use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "consumer-restriction", compile: ConsumerRestriction::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "type")]
    subject: String,
    whitelist: Option<BTreeSet<String>>,
    #[serde(default)]
    blacklist: BTreeSet<String>,
    #[serde(default)]
    allowed_by_methods: Vec<Allowed>,
    rejected_code: u16,
    rejected_msg: Option<String>,
}

#[derive(Deserialize)]
struct Allowed {
    #[serde(default)]
    user: String,
    #[serde(default)]
    methods: BTreeSet<String>,
}

struct ConsumerRestriction {
    /// The variable that is looked at, such as `consumer_name`.
    subject: String,
    whitelist: Option<BTreeSet<String>>,
    blacklist: BTreeSet<String>,
    /// What users who are named here may do.
    methods: BTreeMap<String, BTreeSet<String>>,
    refusal: Answer,
}

impl ConsumerRestriction {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for allowed in config.allowed_by_methods {
            methods.entry(allowed.user).or_default().extend(allowed.methods);
        }
        let message =
            config.rejected_msg.unwrap_or_else(|| format!("The {} is forbidden.", config.subject));
        let status = config::status(config.rejected_code)?;
        Ok(Arc::new(Self {
            subject: config.subject,
            whitelist: config.whitelist,
            blacklist: config.blacklist,
            methods,
            refusal: Answer::json(status, &json!({ "message": message })),
        }))
    }

    /// Being in the whitelist opens all methods; not being in it closes them all.
    fn admits(&self, subject: &str, method: &str) -> bool {
        if self.blacklist.contains(subject) {
            return false;
        }
        match &self.whitelist {
            Some(list) => list.contains(subject),
            None => self.methods.get(subject).is_none_or(|methods| methods.contains(method)),
        }
    }
}

impl Plugin for ConsumerRestriction {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let facts = exchange.facts(request);
        let subject = facts.var(&self.subject);
        match subject.as_ref().and_then(|subject| subject.text()) {
            Some(subject) if self.admits(&subject, request.method.as_str()) => Flow::Next,
            Some(_) => self.refusal.clone().into(),
            None => {
                let message = format!(
                    "The request is rejected, please check the {} for this request",
                    self.subject
                );
                Answer::json(StatusCode::UNAUTHORIZED, &json!({ "message": message })).into()
            }
        }
    }
}
