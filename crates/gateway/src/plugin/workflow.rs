//! workflow: the first rule whose case fits decides what is done with a request: an answer, or one
//! of the limits. Of several actions of a rule only the first counts, as in APISIX.

use std::sync::Arc;

use gantry_routing::expr::Expr;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind = Kind { name: "workflow", compile: Workflow::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    rules: Vec<RuleConfig>,
}

#[derive(Deserialize)]
struct RuleConfig {
    case: Option<Value>,
    actions: Vec<(String, Value)>,
}

#[derive(Deserialize)]
struct Return {
    code: u16,
}

struct Workflow {
    rules: Vec<Rule>,
}

struct Rule {
    /// None fits always.
    case: Option<Expr>,
    action: Action,
}

enum Action {
    Answer(Answer),
    Limit(Arc<dyn Plugin>),
}

impl Workflow {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let rule = |(index, rule): (usize, &RuleConfig)| Rule::compile(rule, index, place);
        let rules = config.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { rules }))
    }
}

impl Plugin for Workflow {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let facts = exchange.facts(request);
        let fits = |rule: &&Rule| rule.case.as_ref().is_none_or(|case| case.matches(&facts));
        match self.rules.iter().find(fits).map(|rule| &rule.action) {
            None => Flow::Next,
            Some(Action::Answer(answer)) => answer.clone().into(),
            Some(Action::Limit(limit)) => limit.access(exchange, request),
        }
    }

    /// Whatever limit was applied has left its headers; any of them writes them.
    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        for rule in &self.rules {
            if let Action::Limit(limit) = &rule.action {
                limit.response_headers(exchange, request, response);
            }
        }
    }
}

impl Rule {
    fn compile(source: &RuleConfig, index: usize, place: &Place<'_>) -> Result<Self, String> {
        let (name, config) = source
            .actions
            .first()
            .ok_or_else(|| format!("rule {}: give an action, such as `return`", index + 1))?;
        let owner = format!("{}/workflow/{index}", place.owner);
        let place = Place { owner: &owner, ..*place };
        Ok(Self {
            case: source.case.as_ref().map(Expr::compile).transpose()?,
            action: Action::compile(name, config, &place)?,
        })
    }
}

impl Action {
    fn compile(name: &str, value: &Value, place: &Place<'_>) -> Result<Self, String> {
        match name {
            "return" => {
                let status = config::status(config::read::<Return>(value)?.code)?;
                let body = json!({ "error_msg": "rejected by workflow" });
                Ok(Self::Answer(Answer::json(status, &body)))
            }
            "limit-count" | "limit-conn" => super::compile(name, value.clone(), place)
                .map(Self::Limit)
                .map_err(|reason| format!("`{name}`: {reason}")),
            _ => Err(format!("there is no action `{name}`")),
        }
    }
}
