//! api-breaker: answers in place of an upstream that has failed too often, for a time that doubles
//! with every further failure. What has been seen belongs to a host and a path, whatever the route.

use std::sync::Arc;

use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, Shared, config, headers::Fields, keyed::Entry};
use crate::{
    answer::Answer,
    clock::now_ms,
    exchange::{Exchange, Facts},
    request,
    template::Template,
};

pub(super) const KIND: Kind =
    Kind { name: "api-breaker", compile: ApiBreaker::compile, identify: None };

/// Failures are forgotten when nothing has been seen for so long, in milliseconds.
const MEMORY: u64 = 3_600_000;

#[derive(Deserialize)]
struct Config {
    break_response_code: u16,
    break_response_body: Option<String>,
    #[serde(default)]
    break_response_headers: Vec<Field>,
    max_breaker_sec: u64,
    unhealthy: Unhealthy,
    healthy: Healthy,
}

#[derive(Deserialize)]
struct Field {
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct Unhealthy {
    http_statuses: Vec<u16>,
    failures: u64,
}

#[derive(Deserialize)]
struct Healthy {
    http_statuses: Vec<u16>,
    successes: u64,
}

struct ApiBreaker {
    shared: Arc<Shared>,
    unhealthy: Unhealthy,
    healthy: Healthy,
    open_ms_max: u64,
    answer: Answer,
    /// The texts of an answer that has a body of its own.
    texts: Option<(Template, Fields)>,
}

/// What has been seen of a host and a path. Times are milliseconds of the Unix clock.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u64,
    successes: u64,
    /// When the failures last reached a multiple of what is allowed.
    tripped: Option<u64>,
    expires: u64,
}

impl Entry for Breaker {
    fn expires(&self) -> u64 {
        self.expires
    }
}

impl ApiBreaker {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let fields = config.break_response_headers.iter();
        let fields = Fields::list(fields.map(|field| (&*field.key, &*field.value)))?;
        Ok(Arc::new(Self {
            shared: Arc::clone(place.shared),
            answer: Answer::page(config::status(config.break_response_code)?),
            texts: config.break_response_body.map(|body| (Template::new(&body), fields)),
            unhealthy: config.unhealthy,
            healthy: config.healthy,
            open_ms_max: config.max_breaker_sec.saturating_mul(1000),
        }))
    }

    /// Whether requests are kept from the upstream.
    fn is_open(&self, breaker: &Breaker, now_ms: u64) -> bool {
        let Some(tripped) = breaker.tripped else { return false };
        let times = u32::try_from((breaker.failures / self.unhealthy.failures).max(1));
        let seconds = times.ok().and_then(|times| 2_u64.checked_pow(times)).unwrap_or(u64::MAX);
        let open_ms = seconds.saturating_mul(1000).min(self.open_ms_max);
        now_ms <= tripped.saturating_add(open_ms)
    }

    fn note_failure(&self, breaker: &mut Breaker, now_ms: u64) {
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.successes = 0;
        if breaker.failures.is_multiple_of(self.unhealthy.failures) {
            breaker.tripped = Some(now_ms);
        }
        breaker.expires = now_ms.saturating_add(self.open_ms_max.max(MEMORY));
    }

    fn note_success(&self, breaker: &mut Breaker) {
        if breaker.failures == 0 {
            return;
        }
        breaker.successes += 1;
        if breaker.successes >= self.healthy.successes {
            *breaker = Breaker::default();
        }
    }
}

impl Plugin for ApiBreaker {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let now_ms = now_ms();
        let is_open = |breaker: &mut Breaker| self.is_open(breaker, now_ms);
        let key = key(exchange, request);
        if self.shared.breakers.with_known(0, &key, is_open) != Some(true) {
            return Flow::Next;
        }
        let mut answer = self.answer.clone();
        if let Some((body, fields)) = &self.texts {
            let facts = exchange.facts(request);
            answer = Answer::text(answer.status, body.render(&facts).into_owned());
            answer.headers = fields.render(&facts).collect();
        }
        answer.into()
    }

    fn log(&self, facts: &Facts<'_>) {
        let Some(status) = facts.exchange.attempts.statuses.last() else { return };
        let key = || key(facts.exchange, facts.request);
        if self.unhealthy.http_statuses.contains(status) {
            let now_ms = now_ms();
            let note = |breaker: &mut Breaker| self.note_failure(breaker, now_ms);
            self.shared.breakers.with(0, &key(), now_ms, note);
        } else if self.healthy.http_statuses.contains(status) {
            self.shared.breakers.with_known(0, &key(), |breaker| self.note_success(breaker));
        }
    }
}

fn key(exchange: &Exchange, request: &RequestHeader) -> String {
    let mut key = request::host(request).to_ascii_lowercase();
    key.push_str(exchange.path(request));
    key
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_time_doubles_with_failures_up_to_its_end() {
        let breaker = ApiBreaker {
            shared: Arc::default(),
            answer: Answer::page(http::StatusCode::BAD_GATEWAY),
            unhealthy: serde_json::from_value(json!({"http_statuses": [500], "failures": 2}))
                .unwrap(),
            healthy: serde_json::from_value(json!({"http_statuses": [200], "successes": 3}))
                .unwrap(),
            open_ms_max: 10_000,
            texts: None,
        };
        let mut seen = Breaker::default();
        let mut now_ms = 1_000_000;
        for open_ms in [2000, 4000, 8000, 10_000, 10_000] {
            breaker.note_failure(&mut seen, now_ms);
            breaker.note_failure(&mut seen, now_ms);
            assert!(breaker.is_open(&seen, now_ms + open_ms), "{open_ms}");
            assert!(!breaker.is_open(&seen, now_ms + open_ms + 1), "{open_ms}");
            now_ms += open_ms + 1;
        }
        for _ in 0..2 {
            breaker.note_success(&mut seen);
        }
        breaker.note_failure(&mut seen, now_ms);
        for left in [8, 8, 0] {
            breaker.note_success(&mut seen);
            assert_eq!(seen.failures.min(8), left, "successes are counted in a row");
        }
    }
}
