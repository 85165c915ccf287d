//! traffic-split: sends requests to other upstreams than the route's own, by conditions and weights.

use std::sync::Arc;

use gantry_routing::{expr::Expr, resource};
use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{
    answer::Answer,
    compile,
    exchange::Exchange,
    upstream::{Turns, Upstream},
};

pub(super) const KIND: Kind =
    Kind { name: "traffic-split", compile: TrafficSplit::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    rules: Vec<RuleConfig>,
}

#[derive(Deserialize)]
struct RuleConfig {
    r#match: Option<Vec<Conditions>>,
    weighted_upstreams: Vec<Entry>,
}

#[derive(Deserialize)]
struct Conditions {
    vars: Option<Value>,
}

#[derive(Deserialize)]
struct Entry {
    upstream_id: Option<Value>,
    upstream: Option<resource::Upstream>,
    weight: u32,
}

/// The first rule that a request meets chooses; a request that meets none goes its own way.
struct TrafficSplit {
    rules: Vec<Rule>,
}

struct Rule {
    meets: Meets,
    choices: Vec<Choice>,
    /// Weighted turns over the choices, shared by all requests of this gateway.
    turns: Turns,
}

enum Meets {
    Always,
    /// One of these has to hold.
    Any(Vec<Expr>),
    /// An empty list repeats the verdict on the rule before, as in APISIX.
    AsBefore,
}

enum Choice {
    /// The route's own upstream.
    Own,
    Id(String),
    Inline(Arc<Upstream>),
}

impl TrafficSplit {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let compile = |rule| Rule::compile(rule, place);
        let rules = config.rules.into_iter().map(compile).collect::<Result<_, String>>()?;
        Ok(Arc::new(Self { rules }))
    }
}

impl Plugin for TrafficSplit {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let mut met = true;
        for rule in &self.rules {
            if let Some(id) = rule.dangling(exchange) {
                let text = format!("failed to fetch upstream info by upstream id: {id}");
                return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text).into();
            }
            met = match &rule.meets {
                Meets::Always => true,
                Meets::Any(expressions) => {
                    let facts = exchange.facts(request);
                    expressions.iter().any(|expression| expression.matches(&facts))
                }
                Meets::AsBefore => met,
            };
            if met {
                exchange.attempts.upstream = rule.choose(exchange);
                break;
            }
        }
        Flow::Next
    }
}

impl Rule {
    fn compile(source: RuleConfig, place: &Place<'_>) -> Result<Self, String> {
        let meets = match source.r#match {
            None => Meets::Always,
            Some(list) if list.is_empty() => Meets::AsBefore,
            Some(list) => {
                let compile = |conditions: Conditions| {
                    Expr::compile(&conditions.vars.unwrap_or_else(|| json!([])))
                };
                Meets::Any(list.into_iter().map(compile).collect::<Result<_, String>>()?)
            }
        };
        let mut choices: Vec<(Choice, u32)> = Vec::new();
        for Entry { upstream_id, upstream, weight } in source.weighted_upstreams {
            let choice = Choice::compile(upstream_id, upstream, place)?;
            // The last word on one upstream counts, as in APISIX.
            match choices.iter_mut().find(|(known, _)| known.is_same(&choice)) {
                Some((_, known)) => *known = weight,
                None => choices.push((choice, weight)),
            }
        }
        let weights: Vec<u32> = choices.iter().map(|(_, weight)| *weight).collect();
        let choices = choices.into_iter().map(|(choice, _)| choice).collect();
        Ok(Self { meets, choices, turns: Turns::new(&weights) })
    }

    /// An upstream the rule names that does not exist. Asked before the rule is.
    fn dangling(&self, exchange: &Exchange) -> Option<&str> {
        self.choices.iter().find_map(|choice| match choice {
            Choice::Id(id) if !exchange.snapshot.upstreams.contains_key(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// The upstream whose turn it is; None is the route's own.
    fn choose(&self, exchange: &Exchange) -> Option<Arc<Upstream>> {
        match self.choices.get(self.turns.next(|_| true)?)? {
            Choice::Own => None,
            Choice::Id(id) => exchange.snapshot.upstreams.get(id).cloned(),
            Choice::Inline(upstream) => Some(Arc::clone(upstream)),
        }
    }
}

impl Choice {
    fn compile(
        id: Option<Value>,
        inline: Option<resource::Upstream>,
        place: &Place<'_>,
    ) -> Result<Self, String> {
        match (id, inline) {
            (Some(Value::String(id)), _) => Ok(Self::Id(id)),
            (Some(id), _) => Ok(Self::Id(id.to_string())),
            (None, None) => Ok(Self::Own),
            (None, Some(source)) => {
                // APISIX reads nothing else of an upstream that stands here.
                let source = resource::Upstream {
                    checks: None,
                    retries: None,
                    retry_timeout: 0.0,
                    tls: None,
                    keepalive_pool: None,
                    ..source
                };
                // Not the upstream of the resource itself, which may remember other things.
                let owner = format!("{}#traffic-split", place.owner);
                let compiled = compile::upstream(&source, &owner, place.shared)?;
                match compiled.problems.into_iter().next() {
                    Some(problem) => Err(problem),
                    None => Ok(Self::Inline(compiled.value)),
                }
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own, Self::Own) => true,
            (Self::Id(one), Self::Id(other)) => one == other,
            _ => false,
        }
    }
}
