//! What the provider has said about tokens, for as long as it is believed without asking again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{now, settings::Config};

/// Answers that are kept at the same time, about a kilobyte each.
const ANSWERS_MAX: usize = 10_000;

/// Answers of one configuration.
pub struct Introspected {
    /// Which claim says how long an answer holds: `exp` when, others for how many seconds.
    claim: String,
    /// The longest that an answer is kept, in seconds; zero is as long as it holds.
    interval: i64,
    kept: Mutex<HashMap<Question, Answer>>,
}

/// A token and the headers that the provider gets to see with it.
pub type Question = [u8; 32];

struct Answer {
    claims: Arc<Value>,
    /// Seconds of the Unix clock.
    until: i64,
}

impl Introspected {
    /// None if the provider is asked every time, as long as nothing else is configured.
    pub fn new(config: &Config) -> Option<Self> {
        let claim = config.introspection_expiry_claim.clone();
        (config.introspection_interval > 0 || claim.is_some()).then(|| Self {
            claim: claim.unwrap_or_else(|| "exp".to_owned()),
            interval: config.introspection_interval,
            kept: Mutex::default(),
        })
    }

    pub fn question(token: &str, addons: &HeaderMap) -> Question {
        let mut hash = Sha256::new_with_prefix(token);
        for (name, value) in addons {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hash.update([0]);
                hash.update(part);
            }
        }
        hash.finalize().into()
    }

    pub fn get(&self, question: &Question) -> Option<Arc<Value>> {
        let kept = self.kept();
        let answer = kept.get(question)?;
        (answer.until > now()).then(|| Arc::clone(&answer.claims))
    }

    /// Keeps an answer about a good token, if it says how long it holds.
    pub fn keep(&self, question: Question, claims: &Arc<Value>) {
        let now = now();
        let Some(mut seconds) = claims.get(&self.claim).and_then(Value::as_i64) else { return };
        if self.claim == "exp" {
            seconds = seconds.saturating_sub(now);
        }
        if self.interval > 0 {
            seconds = seconds.min(self.interval);
        }
        if seconds <= 0 {
            return;
        }
        let mut kept = self.kept();
        if kept.len() >= ANSWERS_MAX {
            kept.retain(|_, answer| answer.until > now);
        }
        if kept.len() >= ANSWERS_MAX {
            kept.clear();
        }
        let until = now.saturating_add(seconds);
        kept.insert(question, Answer { claims: Arc::clone(claims), until });
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Question, Answer>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn introspected(claim: &str, interval: i64) -> Introspected {
        Introspected { claim: claim.to_owned(), interval, kept: Mutex::default() }
    }

    #[test]
    fn answers_are_kept_as_long_as_they_hold_but_no_longer_than_is_configured() {
        for (claim, interval, claims, expected) in [
            ("exp", 0, json!({"exp": now() + 100}), Some(100)),
            ("exp", 30, json!({"exp": now() + 100}), Some(30)),
            ("exp", 30, json!({"exp": now() + 10}), Some(10)),
            ("exp", 30, json!({"exp": now() - 1}), None),
            ("exp", 30, json!({}), None),
            ("expires_in", 0, json!({"expires_in": 50}), Some(50)),
            ("expires_in", 30, json!({"expires_in": 50}), Some(30)),
        ] {
            let introspected = introspected(claim, interval);
            let question = Introspected::question("t", &HeaderMap::new());
            introspected.keep(question, &Arc::new(claims.clone()));
            let until = introspected.kept().get(&question).map(|answer| answer.until - now());
            // The clock may go on by a second in between.
            let near =
                until.zip(expected).is_some_and(|(is, asked)| (asked - 1..=asked).contains(&is));
            assert!(near || (until.is_none() && expected.is_none()), "{claims} {until:?}");
            assert_eq!(introspected.get(&question).is_some(), expected.is_some());
        }
    }

    #[test]
    fn what_the_provider_is_told_besides_the_token_is_part_of_the_question() {
        let tenant = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-tenant", http::HeaderValue::from_static(name));
            headers
        };
        let questions = [
            Introspected::question("t", &HeaderMap::new()),
            Introspected::question("t", &tenant("a")),
            Introspected::question("t", &tenant("b")),
            Introspected::question("u", &tenant("b")),
        ];
        for (index, question) in questions.iter().enumerate() {
            assert!(!questions[index + 1..].contains(question));
        }
    }
}
