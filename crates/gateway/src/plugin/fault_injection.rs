//! fault-injection: holds a share of the requests back, or answers them with an error of choice.

use std::{sync::Arc, time::Duration};

use gantry_routing::expr::Expr;
use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Flow, Kind, Place, Plugin, config, headers::Fields};
use crate::{answer::Answer, exchange::Exchange, template::Template};

pub(super) const KIND: Kind =
    Kind { name: "fault-injection", compile: FaultInjection::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    abort: Option<AbortConfig>,
    delay: Option<DelayConfig>,
}

#[derive(Deserialize)]
struct AbortConfig {
    http_status: u16,
    body: Option<String>,
    headers: Option<Map<String, Value>>,
    #[serde(flatten)]
    share: Share,
}

#[derive(Deserialize)]
struct DelayConfig {
    duration: f64,
    #[serde(flatten)]
    share: Share,
}

#[derive(Deserialize)]
struct Share {
    percentage: Option<u8>,
    vars: Option<Vec<Value>>,
}

struct FaultInjection {
    delay: Option<(Chance, Duration)>,
    abort: Option<Arc<Abort>>,
}

struct Abort {
    chance: Chance,
    status: StatusCode,
    body: Option<Template>,
    headers: Fields,
}

/// Which requests a fault hits.
struct Chance {
    percentage: u8,
    /// One of these has to hold, if there are any.
    conditions: Vec<Expr>,
}

impl FaultInjection {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let delay = config.delay.map(|delay| {
            let duration = Duration::try_from_secs_f64(delay.duration)
                .map_err(|error| format!("`delay.duration`: {error}"))?;
            Ok::<_, String>((Chance::compile(delay.share)?, duration))
        });
        let abort = config.abort.map(|abort| {
            Ok::<_, String>(Arc::new(Abort {
                chance: Chance::compile(abort.share)?,
                status: config::status(abort.http_status)?,
                body: abort.body.as_deref().map(Template::new),
                headers: Fields::parse(abort.headers.as_ref())?,
            }))
        });
        Ok(Arc::new(Self { delay: delay.transpose()?, abort: abort.transpose()? }))
    }
}

impl Plugin for FaultInjection {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let abort = self.abort.clone();
        let abort = move |exchange: &Exchange, request: &RequestHeader| match abort {
            Some(abort) => abort.answer(exchange, request),
            None => Flow::Next,
        };
        match &self.delay {
            Some((chance, duration)) if chance.hits(exchange, request) => {
                let delay = tokio::time::sleep(*duration);
                Flow::wait(delay, move |(), exchange, request| abort(exchange, request))
            }
            _ => abort(exchange, request),
        }
    }
}

impl Abort {
    fn answer(&self, exchange: &Exchange, request: &RequestHeader) -> Flow {
        if !self.chance.hits(exchange, request) {
            return Flow::Next;
        }
        let facts = exchange.facts(request);
        let mut answer = match &self.body {
            Some(body) => Answer::text(self.status, body.render(&facts).into_owned()),
            None => Answer::page(self.status),
        };
        answer.headers = self.headers.render(&facts).collect();
        answer.into()
    }
}

impl Chance {
    fn compile(share: Share) -> Result<Self, String> {
        let conditions = share.vars.unwrap_or_default();
        Ok(Self {
            percentage: share.percentage.unwrap_or(100),
            conditions: conditions.iter().map(Expr::compile).collect::<Result<_, _>>()?,
        })
    }

    fn hits(&self, exchange: &Exchange, request: &RequestHeader) -> bool {
        if rand::random_range(1..=100) > self.percentage {
            return false;
        }
        let facts = exchange.facts(request);
        let meets = |condition: &Expr| condition.matches(&facts);
        self.conditions.is_empty() || self.conditions.iter().any(meets)
    }
}
