//! limit-req: a leaky bucket per key. Requests that come faster than it leaks are held back, and
//! refused once the bucket is full.

use std::{sync::Arc, sync::LazyLock, time::Duration};

use http::StatusCode;
use pingora::http::RequestHeader;
use redis::Script;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, Shared, config,
    keyed::{Bucket, Entry},
    limit::{self, Inapplicable, Key, KeyType},
    redis::Store,
};
use crate::{answer::Answer, clock, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "limit-req", compile: LimitReq::compile, identify: None };

/// Shorter delays than this are not worth a timer.
const DELAY_MIN: Duration = Duration::from_millis(1);

#[derive(Deserialize)]
struct Config {
    rate: f64,
    burst: f64,
    key: String,
    key_type: KeyType,
    rejected_code: u16,
    rejected_msg: Option<String>,
    nodelay: bool,
    allow_degradation: bool,
}

struct LimitReq {
    shared: Arc<Shared>,
    limit: Arc<Limit>,
    /// None keeps the buckets in this gateway.
    store: Option<Arc<Store>>,
    bucket: Bucket,
    /// What its keys in Redis begin with.
    prefix: String,
    key: Key,
}

struct Limit {
    /// Requests per second.
    rate: f64,
    /// Requests that may be in the bucket.
    burst: f64,
    refusal: Answer,
    nodelay: bool,
    /// Whether requests pass if the store is away.
    lenient: bool,
}

/// How full a bucket is.
#[derive(Debug, Default)]
pub struct Leak {
    /// Requests more than have leaked out, in thousandths. None before the first request.
    excess: Option<f64>,
    /// When it was looked at last, in milliseconds of the Unix clock.
    last: u64,
    expires: u64,
}

impl Entry for Leak {
    fn expires(&self) -> u64 {
        self.expires
    }
}

impl Leak {
    /// Puts one request into the bucket. Answers what is in it, in requests; None if it is full.
    fn take(&mut self, rate: f64, burst: f64, now_ms: u64) -> Option<f64> {
        // Requests per second are thousandths per millisecond.
        let leaked = rate * now_ms.saturating_sub(self.last) as f64;
        let excess = self.excess.map_or(0.0, |excess| (excess - leaked + 1000.0).max(0.0));
        if excess > burst * 1000.0 {
            return None;
        }
        let empty_in = ((excess + 1000.0) / rate).ceil();
        *self = Self {
            excess: Some(excess),
            last: self.last.max(now_ms),
            // A cast of a number beyond the range is the largest number.
            expires: now_ms.saturating_add(empty_in as u64),
        };
        Some(excess / 1000.0)
    }
}

/// The same in Redis, in thousandths. Answers the excess, or -1 if the bucket is full.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local known = redis.call('HMGET', KEYS[1], 'excess', 'last')
        local excess, last = 0, now
        if known[1] and known[2] then
            last = math.max(tonumber(known[2]), now)
            local leaked = rate * math.max(now - tonumber(known[2]), 0) / 1000
            excess = math.max(tonumber(known[1]) - leaked + 1000, 0)
            if excess > burst then
                return -1
            end
        end
        redis.call('HMSET', KEYS[1], 'excess', excess, 'last', last)
        redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
        return math.ceil(excess)",
    )
});

impl LimitReq {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let bucket = limit::bucket(&[place.owner, &value.to_string()]);
        Ok(Arc::new(Self {
            shared: Arc::clone(place.shared),
            store: place.shared.stores.open(value)?,
            bucket,
            prefix: limit::prefix(place.owner, bucket),
            key: Key::new(config.key, config.key_type),
            limit: Arc::new(Limit {
                rate: config.rate,
                burst: config.burst,
                refusal: limit::refusal(config.rejected_code, config.rejected_msg.as_deref())?,
                nodelay: config.nodelay,
                lenient: config.allow_degradation,
            }),
        }))
    }
}

impl Plugin for LimitReq {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let (facts, limit) = (exchange.facts(request), &self.limit);
        let now_ms = clock::now_ms();
        let Some(store) = &self.store else {
            let taken = self.key.with(&facts, exchange, |key| {
                let take = |leak: &mut Leak| leak.take(limit.rate, limit.burst, now_ms);
                self.shared.leaks.with(self.bucket, key, now_ms, take)
            });
            return limit.settle(Ok(taken.flatten()));
        };
        let name = |key: &str| format!("limit_req:{}:{key}", self.prefix);
        let Some(key) = self.key.with(&facts, exchange, name) else { return Flow::Next };
        let (limit, store) = (Arc::clone(limit), Arc::clone(store));
        let taking = {
            let limit = Arc::clone(&limit);
            async move { limit.take_remotely(&store, &key, now_ms).await }
        };
        Flow::wait(taking, move |taken, _, _| limit.settle(taken))
    }
}

impl Limit {
    async fn take_remotely(
        &self,
        store: &Store,
        key: &str,
        now_ms: u64,
    ) -> Result<Option<f64>, Inapplicable> {
        let mut call = TAKE.key(key);
        call.arg(self.rate * 1000.0).arg(self.burst * 1000.0).arg(now_ms);
        let excess: i64 = store.invoke(&call).await?;
        Ok((excess >= 0).then_some(excess as f64 / 1000.0))
    }

    /// How long it takes until as much has leaked out.
    fn delay(&self, excess: f64) -> Duration {
        Duration::try_from_secs_f64(excess / self.rate).unwrap_or(Duration::MAX)
    }

    /// Decides by what is in the bucket now.
    fn settle(&self, taken: Result<Option<f64>, Inapplicable>) -> Flow {
        match taken {
            Ok(Some(excess)) => match self.delay(excess) {
                delay if self.nodelay || delay < DELAY_MIN => Flow::Next,
                delay => Flow::pause(delay),
            },
            Ok(None) => self.refusal.clone().into(),
            Err(Inapplicable) if self.lenient => Flow::Next,
            Err(Inapplicable) => Answer::page(StatusCode::INTERNAL_SERVER_ERROR).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_with_requests_and_leaks_with_time() {
        let mut leak = Leak::default();
        let mut take = |now| leak.take(2.0, 1.5, now);
        assert_eq!(take(1_000), Some(0.0), "the first request finds it empty");
        assert_eq!(take(1_000), Some(1.0));
        assert_eq!(take(1_000), None, "two are more than the burst");
        assert_eq!(take(1_250), Some(1.5), "half a request has leaked out");
        assert_eq!(take(9_000), Some(0.0));
        assert_eq!(leak.expires(), 9_500);
    }

    #[test]
    fn requests_wait_until_what_came_before_has_leaked_out() {
        let refusal = limit::refusal(503, None).unwrap();
        let limit = Limit { rate: 4.0, burst: 9.0, refusal, nodelay: false, lenient: false };
        assert_eq!(limit.delay(0.0), Duration::ZERO);
        assert_eq!(limit.delay(2.5), Duration::from_millis(625));
        assert!(matches!(limit.settle(Ok(Some(0.001))), Flow::Next), "less than a millisecond");
    }

    #[test]
    fn a_clock_that_goes_back_leaks_nothing() {
        let mut leak = Leak::default();
        assert_eq!(leak.take(1.0, 5.0, 5_000), Some(0.0));
        assert_eq!(leak.take(1.0, 5.0, 4_000), Some(1.0));
        assert_eq!(leak.take(1.0, 5.0, 5_000), Some(2.0), "nothing leaks twice");
    }
}
