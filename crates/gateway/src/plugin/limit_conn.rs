//! limit-conn: so many requests per key at the same time. Some more are held back, the rest is
//! refused.
//!
//! The delay is always `default_conn_delay`, as APISIX never gets to learn a better one; so there is
//! nothing that `only_use_default_delay` would change.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::StatusCode;
use pingora::http::RequestHeader;
use redis::Script;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, Shared, config,
    keyed::{Bucket, Entry},
    limit::{self, Amount, Inapplicable, Key, KeyType, Number},
    redis::Store,
};
use crate::{answer::Answer, clock, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "limit-conn", compile: LimitConn::compile, identify: None };

/// How long a request may stay in the store, in seconds, if nothing else is configured.
const KEY_TTL: u64 = 3600;

#[derive(Deserialize)]
struct Config {
    conn: Option<Amount>,
    burst: Option<Amount>,
    default_conn_delay: f64,
    key: Option<String>,
    key_type: KeyType,
    rules: Option<Vec<RuleConfig>>,
    rejected_code: u16,
    rejected_msg: Option<String>,
    allow_degradation: bool,
    key_ttl: Option<u64>,
}

#[derive(Deserialize)]
struct RuleConfig {
    conn: Amount,
    burst: Amount,
    key: String,
}

struct LimitConn {
    shared: Arc<Shared>,
    rules: Vec<Rule>,
    /// Whether a rule whose numbers are none is passed over.
    skips: bool,
    limit: Arc<Limit>,
    /// None counts in this gateway.
    store: Option<Arc<Store>>,
    /// Seconds after which the store forgets a request whose gateway is gone.
    key_ttl: u64,
}

struct Limit {
    delay: Duration,
    refusal: Answer,
    /// Whether requests pass that cannot be counted.
    lenient: bool,
}

struct Rule {
    bucket: Bucket,
    /// What its keys in Redis begin with.
    prefix: String,
    conn: Number,
    burst: Number,
    key: Key,
}

/// Requests of one key under way.
#[derive(Default)]
pub struct Busy(u64);

impl Entry for Busy {
    fn expires(&self) -> u64 {
        if self.0 > 0 { u64::MAX } else { 0 }
    }
}

impl Busy {
    /// One more, unless there are so many already. Answers how many there are then.
    fn enter(&mut self, max: u64) -> Option<u64> {
        let entered = self.0.saturating_add(1);
        (entered <= max).then(|| {
            self.0 = entered;
            entered
        })
    }
}

/// A place that a request has taken; the last one who drops it gives it back.
struct Seat {
    shared: Arc<Shared>,
    taken: Taken,
}

enum Taken {
    Here { bucket: Bucket, key: String },
    Remotely { store: Arc<Store>, key: String, member: String },
}

/// The places of a request, left in [`Exchange::notes`] until it ends, whatever ends it.
#[derive(Clone, Default)]
struct Seats(Vec<Arc<Seat>>);

impl Drop for Seat {
    fn drop(&mut self) {
        match &mut self.taken {
            Taken::Here { bucket, key } => {
                let leave = |busy: &mut Busy| busy.0 = busy.0.saturating_sub(1);
                self.shared.busy.with_known(*bucket, key, leave);
            }
            Taken::Remotely { store, key, member } => {
                let (store, mut leave) = (Arc::clone(store), redis::cmd("ZREM"));
                leave.arg(std::mem::take(key)).arg(std::mem::take(member));
                self.shared.background.spawn(async move {
                    // What stays behind expires.
                    let _ = store.query::<i64>(&leave).await;
                });
            }
        }
    }
}

/// Takes a place in a set of those under way, each with the time it is forgotten at. Answers how
/// many there are, 0 if there was no place.
static ENTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local now, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now)
        local entered = redis.call('ZCARD', KEYS[1]) + 1
        if entered > tonumber(ARGV[1]) then
            return 0
        end
        redis.call('ZADD', KEYS[1], now + ttl, ARGV[4])
        redis.call('EXPIRE', KEYS[1], ttl)
        return entered",
    )
});

/// One rule and the place a request asks for.
struct Wish {
    rule: usize,
    conn: u64,
    max: u64,
    key: String,
}

impl LimitConn {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let delay = Duration::try_from_secs_f64(config.default_conn_delay)
            .map_err(|error| format!("`default_conn_delay`: {error}"))?;
        let limit = Limit {
            delay,
            refusal: limit::refusal(config.rejected_code, config.rejected_msg.as_deref())?,
            lenient: config.allow_degradation,
        };
        Ok(Arc::new(Self {
            shared: Arc::clone(place.shared),
            skips: config.rules.is_some(),
            limit: Arc::new(limit),
            store: place.shared.stores.open(value)?,
            key_ttl: config.key_ttl.unwrap_or(KEY_TTL).max(1),
            rules: rules(config, value, place.owner)?,
        }))
    }

    /// What the rules are to be asked for.
    fn wishes(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Result<Vec<Wish>, Inapplicable> {
        let facts = exchange.facts(request);
        let mut wishes = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            let (Some(conn), Some(burst)) = (rule.conn.positive(&facts), rule.burst.of(&facts))
            else {
                if self.skips {
                    continue;
                }
                return Err(Inapplicable);
            };
            let max = conn.saturating_add(burst);
            let key = rule.key.with(&facts, exchange, str::to_owned);
            wishes.extend(key.map(|key| Wish { rule: index, conn, max, key }));
        }
        if wishes.is_empty() { Err(Inapplicable) } else { Ok(wishes) }
    }

    /// Takes all places, or none.
    fn enter(&self, wishes: Vec<Wish>) -> Entered {
        let mut entered = Entered::default();
        for Wish { rule, conn, max, key } in wishes {
            let Some(rule) = self.rules.get(rule) else { continue };
            let bucket = rule.bucket;
            let enter = |busy: &mut Busy| busy.enter(max);
            let Some(busy) = self.shared.busy.with(bucket, &key, clock::now_ms(), enter) else {
                return Entered { full: true, ..Entered::default() };
            };
            entered.sit(conn, busy, &self.shared, Taken::Here { bucket, key });
        }
        entered
    }

    /// The same in a Redis.
    fn enter_remotely(
        &self,
        wishes: Vec<Wish>,
        store: &Arc<Store>,
        id: &str,
    ) -> impl Future<Output = Result<Entered, Inapplicable>> + use<> {
        let (shared, store) = (Arc::clone(&self.shared), Arc::clone(store));
        let (ttl, id) = (self.key_ttl, id.to_owned());
        let named = |wish: Wish| {
            let prefix = self.rules.get(wish.rule).map_or("", |rule| &rule.prefix);
            Wish { key: format!("limit_conn:{prefix}:{}", wish.key), ..wish }
        };
        let wishes: Vec<_> = wishes.into_iter().map(named).collect();
        async move {
            let mut entered = Entered::default();
            for Wish { rule, conn, max, key } in wishes {
                let member = format!("{id}-{rule}");
                let mut call = ENTER.key(&key);
                call.arg(max).arg(clock::now_ms() / 1000).arg(ttl).arg(&member);
                let busy: u64 = store.invoke(&call).await?;
                if busy == 0 {
                    return Ok(Entered { full: true, ..Entered::default() });
                }
                let store = Arc::clone(&store);
                entered.sit(conn, busy, &shared, Taken::Remotely { store, key, member });
            }
            Ok(entered)
        }
    }
}

/// What became of a request's wishes.
#[derive(Default)]
struct Entered {
    seats: Vec<Arc<Seat>>,
    /// How many times the delay the request has to wait.
    delays: u64,
    full: bool,
}

impl Entered {
    fn sit(&mut self, conn: u64, busy: u64, shared: &Arc<Shared>, taken: Taken) {
        if busy > conn {
            self.delays = self.delays.max((busy - 1) / conn.max(1));
        }
        self.seats.push(Arc::new(Seat { shared: Arc::clone(shared), taken }));
    }
}

impl Plugin for LimitConn {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let wishes = match self.wishes(exchange, request) {
            Ok(wishes) => wishes,
            Err(Inapplicable) => return self.limit.settle(Err(Inapplicable), exchange),
        };
        let Some(store) = &self.store else {
            return self.limit.settle(Ok(self.enter(wishes)), exchange);
        };
        let limit = Arc::clone(&self.limit);
        let entering = self.enter_remotely(wishes, store, exchange.id());
        Flow::wait(entering, move |entered, exchange, _| limit.settle(entered, exchange))
    }
}

impl Limit {
    fn settle(&self, entered: Result<Entered, Inapplicable>, exchange: &mut Exchange) -> Flow {
        match entered {
            Ok(Entered { full: true, .. }) => self.refusal.clone().into(),
            Ok(Entered { mut seats, delays, .. }) => {
                exchange.notes.get_or_insert_default::<Seats>().0.append(&mut seats);
                match u32::try_from(delays).unwrap_or(u32::MAX) {
                    0 => Flow::Next,
                    times => Flow::pause(self.delay.saturating_mul(times)),
                }
            }
            Err(Inapplicable) if self.lenient => Flow::Next,
            Err(Inapplicable) => Answer::page(StatusCode::INTERNAL_SERVER_ERROR).into(),
        }
    }
}

fn rules(config: Config, value: &Value, owner: &str) -> Result<Vec<Rule>, String> {
    let rule = |index: usize, conn: Amount, burst: Amount, key| {
        let bucket = limit::bucket(&[owner, &value.to_string(), &index.to_string()]);
        let prefix = limit::prefix(owner, bucket);
        Rule { bucket, prefix, conn: conn.into(), burst: burst.into(), key }
    };
    if let Some(rules) = config.rules {
        let compile = |(index, one): (usize, RuleConfig)| {
            rule(index, one.conn, one.burst, Key::rule(&one.key))
        };
        return Ok(rules.into_iter().enumerate().map(compile).collect());
    }
    match (config.conn, config.burst, config.key) {
        (Some(conn), Some(burst), Some(key)) => {
            Ok(vec![rule(0, conn, burst, Key::new(key, config.key_type))])
        }
        _ => Err("give `conn`, `burst` and `key`, or `rules`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_with_every_full_round() {
        let shared = Arc::default();
        let delays = |conn: u64, busy: u64| {
            let mut entered = Entered::default();
            entered.sit(conn, busy, &shared, Taken::Here { bucket: 1, key: String::new() });
            entered.delays
        };
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|busy| delays(3, busy)), [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!([1, 2, 3].map(|busy| delays(1, busy)), [0, 1, 2]);
    }
}
