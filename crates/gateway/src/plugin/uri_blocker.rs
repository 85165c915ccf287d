//! uri-blocker: refuses requests whose URI holds something it must not.

use std::sync::Arc;

use fancy_regex::Regex;
use gantry_routing::{regex, vars::Vars};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "uri-blocker", compile: UriBlocker::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    block_rules: Vec<String>,
    case_insensitive: bool,
    rejected_code: u16,
    rejected_msg: Option<String>,
}

struct UriBlocker {
    rules: Vec<Regex>,
    refusal: Answer,
}

impl UriBlocker {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let rules = config.block_rules.iter();
        let rules = rules.map(|rule| regex::compile(rule, config.case_insensitive));
        let status = config::status(config.rejected_code)?;
        let refusal = match config.rejected_msg {
            Some(message) => Answer::json(status, &json!({ "error_msg": message })),
            None => Answer::page(status),
        };
        Ok(Arc::new(Self { rules: rules.collect::<Result<_, _>>()?, refusal }))
    }
}

impl Plugin for UriBlocker {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let facts = exchange.facts(request);
        let uri = facts.var("request_uri");
        let uri = uri.as_ref().and_then(|uri| uri.text()).unwrap_or_default();
        // A rule that gives up has met something made to exhaust it.
        if self.rules.iter().any(|rule| rule.is_match(&*uri).unwrap_or(true)) {
            return self.refusal.clone().into();
        }
        Flow::Next
    }
}
