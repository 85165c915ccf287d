//! limit-count: so many requests per key and time window, counted in this gateway or in a Redis.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};

use gantry_routing::vars::Vars;

use super::{
    Flow, Kind, Place, Plugin, Shared, config,
    counter::{Quota, Verdict, Window},
    delayed::Delayed,
    keyed::Bucket,
    limit::{self, Amount, Inapplicable, Key, KeyType, Number},
    quota::{self, Headers, Names},
    redis::Store,
    remote_counter,
};
use crate::{
    answer::Answer,
    clock,
    exchange::{Exchange, Facts},
};

pub(super) const KIND: Kind =
    Kind { name: "limit-count", compile: LimitCount::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    count: Option<Amount>,
    time_window: Option<Amount>,
    window_type: Window,
    key: String,
    key_type: KeyType,
    rules: Option<Vec<RuleConfig>>,
    group: Option<String>,
    rejected_code: u16,
    rejected_msg: Option<String>,
    allow_degradation: bool,
    show_limit_quota_header: bool,
    sync_interval: f64,
}

#[derive(Deserialize)]
struct RuleConfig {
    count: Amount,
    time_window: Amount,
    key: String,
    header_prefix: Option<String>,
}

struct LimitCount {
    limit: Arc<Limit>,
    counting: Counting,
}

/// Where requests are counted.
enum Counting {
    Here(Arc<Shared>),
    Remotely(Arc<Store>),
    /// Here, and a Redis is told.
    Delayed(Arc<Delayed>),
}

/// What a limit has decided last about a request.
#[derive(Clone)]
pub struct Decision {
    limit: Arc<Limit>,
    rule: usize,
    count: u64,
    verdict: Verdict,
}

struct Limit {
    rules: Vec<Rule>,
    window: Window,
    refusal: Answer,
    /// Whether requests pass that cannot be counted.
    lenient: bool,
    show_headers: bool,
}

struct Rule {
    bucket: Bucket,
    /// What its keys in Redis begin with.
    prefix: String,
    count: Number,
    seconds: Number,
    key: Key,
    headers: Headers,
}

/// One rule and the request it is to count.
struct Charge {
    rule: usize,
    quota: Quota,
    key: String,
}

/// Rules that were charged, with their counts and what became of it.
type Charged = Vec<(usize, u64, Verdict)>;

impl LimitCount {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let counting = Counting::new(&config, value, place.shared)?;
        let names = place.metadata.map(config::read).transpose()?.unwrap_or_default();
        let limit = Limit {
            window: config.window_type,
            refusal: limit::refusal(config.rejected_code, config.rejected_msg.as_deref())?,
            lenient: config.allow_degradation,
            show_headers: config.show_limit_quota_header,
            rules: rules(config, value, place.owner, &names)?,
        };
        Ok(Arc::new(Self { limit: Arc::new(limit), counting }))
    }
}

impl Counting {
    fn new(config: &Config, value: &Value, shared: &Arc<Shared>) -> Result<Self, String> {
        let Some(store) = shared.stores.open(value)? else {
            return Ok(Self::Here(Arc::clone(shared)));
        };
        if config.sync_interval < 0.0 {
            return Ok(Self::Remotely(store));
        }
        let interval = Duration::try_from_secs_f64(config.sync_interval)
            .map_err(|error| format!("`sync_interval`: {error}"))?;
        Ok(Self::Delayed(Arc::new(Delayed::new(shared, store, interval))))
    }
}

impl Plugin for LimitCount {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let limit = &self.limit;
        let charged = match &self.counting {
            Counting::Here(shared) => {
                limit.charge(exchange, request, |rule, key, quota, now_ms| {
                    shared.counters.take(rule.bucket, key, quota, now_ms)
                })
            }
            Counting::Delayed(delayed) => {
                limit.charge(exchange, request, |rule, key, quota, now_ms| {
                    delayed.take(rule.bucket, &rule.full(key), quota, now_ms)
                })
            }
            Counting::Remotely(store) => match limit.charges(exchange, request) {
                Err(Inapplicable) => Err(Inapplicable),
                Ok(charges) => {
                    let limit = Arc::clone(limit);
                    let charging = charge_remotely(Arc::clone(store), charges);
                    return Flow::wait(charging, move |charged, exchange, _| {
                        limit.settle(charged, exchange)
                    });
                }
            },
        };
        limit.settle(charged, exchange)
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        quota::write(exchange, response);
    }
}

impl Limit {
    /// Charges the rules in order; the first that refuses ends it.
    fn charge(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
        take: impl Fn(&Rule, &str, Quota, u64) -> Verdict,
    ) -> Result<Charged, Inapplicable> {
        let now_ms = clock::now_ms();
        let facts = exchange.facts(request);
        let mut charged = Charged::new();
        for (index, rule) in self.rules.iter().enumerate() {
            // A rule that does not apply may have numbers that are none.
            let attempt = |key: &str| {
                let quota = rule.quota(&facts, self.window)?;
                Ok::<_, Inapplicable>((quota.count, take(rule, key, quota, now_ms)))
            };
            let Some(taken) = rule.key.with(&facts, exchange, attempt) else { continue };
            let (count, verdict) = taken?;
            charged.push((index, count, verdict));
            if !verdict.admitted {
                break;
            }
        }
        Ok(charged)
    }

    /// What is to be charged in a Redis.
    fn charges(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Result<Vec<Charge>, Inapplicable> {
        let facts = exchange.facts(request);
        let mut charges = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            let charge = |key: &str| {
                let quota = rule.quota(&facts, self.window)?;
                Ok::<_, Inapplicable>(Charge { rule: index, quota, key: rule.full(key) })
            };
            charges.extend(rule.key.with(&facts, exchange, charge).transpose()?);
        }
        Ok(charges)
    }

    /// Decides, and leaves the headers for the response.
    fn settle(
        self: &Arc<Self>,
        charged: Result<Charged, Inapplicable>,
        exchange: &mut Exchange,
    ) -> Flow {
        let charged = charged.unwrap_or_default();
        if self.show_headers {
            for (index, count, verdict) in &charged {
                if let Some(rule) = self.rules.get(*index) {
                    rule.headers.note(exchange, *count, *verdict);
                }
            }
        }
        if let Some(&(rule, count, verdict)) = charged.last() {
            let limit = Arc::clone(self);
            exchange.decision = Some(Decision { limit, rule, count, verdict });
        }
        match charged.last() {
            Some((_, _, verdict)) if verdict.admitted => Flow::Next,
            Some(_) => self.refusal.clone().into(),
            None if self.lenient => Flow::Next,
            None => {
                let body = json!({ "error_msg": "failed to limit count" });
                Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body).into()
            }
        }
    }
}

/// Charges in order; the first that is refused ends it.
async fn charge_remotely(store: Arc<Store>, charges: Vec<Charge>) -> Result<Charged, Inapplicable> {
    let now_ms = clock::now_ms();
    let mut charged = Charged::with_capacity(charges.len());
    for Charge { rule, quota, key } in charges {
        let verdict = remote_counter::take(&store, &key, quota, now_ms).await?;
        charged.push((rule, quota.count, verdict));
        if !verdict.admitted {
            break;
        }
    }
    Ok(charged)
}

fn rules(config: Config, value: &Value, owner: &str, names: &Names) -> Result<Vec<Rule>, String> {
    let place = |index: usize| match &config.group {
        Some(group) => (limit::bucket(&[group]), group.clone()),
        None => {
            let bucket = limit::bucket(&[owner, &value.to_string(), &index.to_string()]);
            (bucket, limit::prefix(owner, bucket))
        }
    };
    if let Some(rules) = config.rules {
        let compile = |(index, rule): (usize, RuleConfig)| {
            let header_prefix = rule.header_prefix.unwrap_or_else(|| (index + 1).to_string());
            let (bucket, prefix) = place(index);
            Ok(Rule {
                bucket,
                prefix,
                count: rule.count.into(),
                seconds: rule.time_window.into(),
                key: Key::rule(&rule.key),
                headers: names.headers(Some(&header_prefix))?,
            })
        };
        return rules.into_iter().enumerate().map(compile).collect();
    }
    let (bucket, prefix) = place(0);
    let (Some(count), Some(time_window)) = (config.count, config.time_window) else {
        return Err("give `count` and `time_window`, or `rules`".to_owned());
    };
    Ok(vec![Rule {
        bucket,
        prefix,
        count: count.into(),
        seconds: time_window.into(),
        key: Key::new(config.key, config.key_type),
        headers: names.headers(None)?,
    }])
}

impl Decision {
    /// `$rate_limiting_info`: the key, its quota and what is left of it.
    pub fn text(&self, facts: &Facts<'_>) -> Option<String> {
        let rule = self.limit.rules.get(self.rule)?;
        let key = rule.key.with(facts, facts.exchange, |key| rule.full(key))?;
        let info = json!({
            "rate_limiting_key": key,
            "rate_limiting_limit": self.count,
            "rate_limiting_remaining": self.verdict.remaining,
            "rate_limiting_reset": quota::reset(self.verdict.reset_ms),
        });
        Some(info.to_string())
    }
}

impl Rule {
    /// A key of this rule among all keys.
    fn full(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    fn quota(&self, vars: &dyn Vars, kind: Window) -> Result<Quota, Inapplicable> {
        let count = self.count.positive(vars).ok_or(Inapplicable)?;
        let seconds = self.seconds.positive(vars).ok_or(Inapplicable)?;
        Ok(Quota { count, window_ms: seconds.saturating_mul(1000), kind })
    }
}
