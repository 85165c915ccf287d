//! limit-count: so many requests per key and time window, counted in this gateway.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use gantry_routing::vars::{Var, Vars};

use super::{
    Flow, Kind, Place, Plugin, Shared, config,
    counter::{Bucket, Quota, Verdict, Window},
};
use crate::{answer::Answer, exchange::Exchange, template::Template};

pub(super) const KIND: Kind =
    Kind { name: "limit-count", compile: LimitCount::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    count: Option<Amount>,
    time_window: Option<Amount>,
    window_type: WindowType,
    key: String,
    key_type: KeyType,
    rules: Option<Vec<RuleConfig>>,
    group: Option<String>,
    rejected_code: u16,
    rejected_msg: Option<String>,
    policy: String,
    allow_degradation: bool,
    show_limit_quota_header: bool,
}

#[derive(Deserialize)]
struct RuleConfig {
    count: Amount,
    time_window: Amount,
    key: String,
    header_prefix: Option<String>,
}

/// The names of the quota headers, from the plugin's metadata.
#[derive(Deserialize)]
#[serde(default)]
struct Names {
    limit_header: String,
    remaining_header: String,
    reset_header: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            limit_header: "X-RateLimit-Limit".to_owned(),
            remaining_header: "X-RateLimit-Remaining".to_owned(),
            reset_header: "X-RateLimit-Reset".to_owned(),
        }
    }
}

/// A number, or a template that becomes one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum WindowType {
    Fixed,
    Sliding,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum KeyType {
    Var,
    VarCombination,
    Constant,
}

struct LimitCount {
    shared: Arc<Shared>,
    rules: Vec<Rule>,
    window: Window,
    refusal: Answer,
    /// Whether requests pass that cannot be counted.
    lenient: bool,
    show_headers: bool,
}

struct Rule {
    bucket: Bucket,
    count: Number,
    seconds: Number,
    key: Key,
    headers: Headers,
}

enum Number {
    Fixed(u64),
    PerRequest(Template),
}

enum Key {
    Variable(String),
    /// The client's address stands in if no variable has a value.
    Combination(Template),
    Constant(String),
    /// As a combination, but the rule is skipped instead.
    Rule(Template),
}

/// The names of limit, remaining and reset.
#[derive(Clone)]
struct Headers([HeaderName; 3]);

/// Headers for the response, left in [`Exchange::notes`] by all limits of a request.
#[derive(Clone, Default)]
struct Quotas(Vec<(HeaderName, HeaderValue)>);

/// A request that cannot be counted.
struct Uncountable;

impl LimitCount {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        if config.policy != "local" {
            let policy = &config.policy;
            return Err(format!("`policy` {policy} is not available here, use `local`"));
        }
        let names = place.metadata.map(config::read).transpose()?.unwrap_or_default();
        let refusal = refusal(&config)?;
        Ok(Arc::new(Self {
            shared: Arc::clone(place.shared),
            window: match config.window_type {
                WindowType::Fixed => Window::Fixed,
                WindowType::Sliding => Window::Sliding,
            },
            refusal,
            lenient: config.allow_degradation,
            show_headers: config.show_limit_quota_header,
            rules: rules(config, value, place.owner, &names)?,
        }))
    }

    /// Charges the rules in order; the first that refuses ends the request.
    fn charge(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
    ) -> Result<bool, Uncountable> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut applied = false;
        let mut quotas = Vec::new();
        let mut admitted = true;
        for rule in &self.rules {
            let facts = exchange.facts(request);
            let (Some(count), Some(seconds)) = (rule.count.of(&facts), rule.seconds.of(&facts))
            else {
                return Err(Uncountable);
            };
            let window_ms = seconds.saturating_mul(1000);
            let quota = Quota { count, window_ms, kind: self.window };
            let take = |key: &str| self.shared.counters.take(rule.bucket, key, quota, now_ms);
            let Some(verdict) = rule.key.with(&facts, exchange, take) else { continue };
            applied = true;
            if self.show_headers {
                rule.headers.append(count, verdict, &mut quotas);
            }
            if !verdict.admitted {
                admitted = false;
                break;
            }
        }
        if !quotas.is_empty() {
            exchange.notes.get_or_insert_default::<Quotas>().0.append(&mut quotas);
        }
        if applied { Ok(admitted) } else { Err(Uncountable) }
    }
}

impl Plugin for LimitCount {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        match self.charge(exchange, request) {
            Ok(true) => Flow::Next,
            Ok(false) => self.refusal.clone().into(),
            Err(Uncountable) if self.lenient => Flow::Next,
            Err(Uncountable) => {
                let body = json!({ "error_msg": "failed to limit count" });
                Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body).into()
            }
        }
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        // The first limit of the chain writes the headers of all of them.
        for (name, value) in exchange.notes.remove::<Quotas>().unwrap_or_default().0 {
            // Fails only if the header map is full; the response is worth more than its quota.
            let _ = response.insert_header(name, value);
        }
    }
}

fn rules(config: Config, value: &Value, owner: &str, names: &Names) -> Result<Vec<Rule>, String> {
    let bucket = |index: usize| match &config.group {
        Some(group) => digest(&[group]),
        None => digest(&[owner, &value.to_string(), &index.to_string()]),
    };
    if let Some(rules) = config.rules {
        let compile = |(index, rule): (usize, RuleConfig)| {
            let prefix = rule.header_prefix.unwrap_or_else(|| (index + 1).to_string());
            Ok(Rule {
                bucket: bucket(index),
                count: rule.count.into(),
                seconds: rule.time_window.into(),
                key: Key::Rule(Template::new(&rule.key)),
                headers: names.headers(Some(&prefix))?,
            })
        };
        return rules.into_iter().enumerate().map(compile).collect();
    }
    let (Some(count), Some(time_window)) = (config.count, config.time_window) else {
        return Err("give `count` and `time_window`, or `rules`".to_owned());
    };
    let key = match config.key_type {
        KeyType::Var => Key::Variable(config.key),
        KeyType::VarCombination => Key::Combination(Template::new(&config.key)),
        KeyType::Constant => Key::Constant(config.key),
    };
    let (bucket, headers) = (bucket(0), names.headers(None)?);
    Ok(vec![Rule { bucket, count: count.into(), seconds: time_window.into(), key, headers }])
}

fn refusal(config: &Config) -> Result<Answer, String> {
    let status = config::status(config.rejected_code)?;
    Ok(match &config.rejected_msg {
        Some(message) => Answer::json(status, &json!({ "error_msg": message })),
        None => Answer::page(status),
    })
}

fn digest(parts: &[&str]) -> Bucket {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(16).fold(0, |bucket, byte| bucket << 8 | Bucket::from(*byte))
}

impl Names {
    /// With a prefix `X-RateLimit-Limit` becomes `X-<prefix>-RateLimit-Limit`.
    fn headers(&self, prefix: Option<&str>) -> Result<Headers, String> {
        let name = |name: &str| match (prefix, name.find("RateLimit-")) {
            (Some(prefix), Some(at)) => {
                let (before, after) = name.split_at(at);
                config::header_name(&format!("{before}{prefix}-{after}"))
            }
            (Some(prefix), None) => config::header_name(&format!("{prefix}-{name}")),
            (None, _) => config::header_name(name),
        };
        let Self { limit_header, remaining_header, reset_header } = self;
        Ok(Headers([name(limit_header)?, name(remaining_header)?, name(reset_header)?]))
    }
}

impl Headers {
    fn append(&self, count: u64, verdict: Verdict, out: &mut Vec<(HeaderName, HeaderValue)>) {
        let Self([limit, remaining, reset]) = self;
        out.reserve(3);
        out.push((limit.clone(), HeaderValue::from(count)));
        out.push((remaining.clone(), HeaderValue::from(verdict.remaining)));
        if let Ok(value) = HeaderValue::try_from(seconds(verdict.reset_ms)) {
            out.push((reset.clone(), value));
        }
    }
}

/// Seconds with up to two decimals.
fn seconds(ms: u64) -> String {
    let (whole, hundredths) = (ms / 1000, ms % 1000 / 10);
    match hundredths {
        0 => whole.to_string(),
        _ if hundredths % 10 == 0 => format!("{whole}.{}", hundredths / 10),
        _ => format!("{whole}.{hundredths:02}"),
    }
}

impl From<Amount> for Number {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Number(number) => Self::Fixed(number),
            Amount::Text(text) => Self::PerRequest(Template::new(&text)),
        }
    }
}

impl Number {
    /// The positive number for this request, if it is one.
    fn of(&self, vars: &dyn Vars) -> Option<u64> {
        let number = match self {
            Self::Fixed(number) => *number,
            Self::PerRequest(template) => template.render(vars).trim().parse().ok()?,
        };
        (number > 0).then_some(number)
    }
}

impl Key {
    /// Hands the key of this request to `take`; None if the rule does not apply.
    fn with<T>(&self, vars: &dyn Vars, exchange: &Exchange, take: impl Fn(&str) -> T) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_has_at_most_two_decimals() {
        let texts: Vec<_> = [60_000, 59_990, 59_500, 1_009, 0].into_iter().map(seconds).collect();
        assert_eq!(texts, ["60", "59.99", "59.5", "1", "0"]);
    }

    #[test]
    fn prefixes_stand_before_the_word_rate_limit() {
        let Headers([limit, ..]) = Names::default().headers(Some("1")).unwrap();
        assert_eq!(limit, "x-1-ratelimit-limit");
    }

    #[test]
    fn buckets_depend_on_owner_and_configuration() {
        assert_ne!(digest(&["/apisix/routes/1", "{}"]), digest(&["/apisix/routes/2", "{}"]));
        assert_eq!(digest(&["group"]), digest(&["group"]));
    }
}
