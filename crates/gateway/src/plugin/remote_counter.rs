//! Request counters in Redis, under the keys APISIX uses and by the rules of `counter`.

use std::sync::LazyLock;

use redis::Script;

use super::{
    counter::{Quota, Verdict, Window, in_view},
    limit::Inapplicable,
    redis::Store,
};

/// A window begins with its first request, which sets the time it ends. Answers the count and the
/// seconds left.
static FIXED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local left = redis.call('TTL', KEYS[1])
        if left < 0 then
            redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
            return {1, tonumber(ARGV[1])}
        end
        return {redis.call('INCRBY', KEYS[1], 1), left}",
    )
});

/// Counts a request only if there is room for it. Answers whether there was, and the count.
static SLIDING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local used = tonumber(redis.call('GET', KEYS[1]) or '0')
        if used >= tonumber(ARGV[1]) then
            return {0, used}
        end
        used = redis.call('INCRBY', KEYS[1], 1)
        if used == 1 then
            redis.call('EXPIRE', KEYS[1], ARGV[2])
        end
        return {1, used}",
    )
});

/// Counts requests that were admitted already. Answers the count and the milliseconds left.
static ADD_FIXED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local left = redis.call('PTTL', KEYS[1])
        if left < 0 then
            redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
            return {tonumber(ARGV[1]), ARGV[2] * 1000}
        end
        return {redis.call('INCRBY', KEYS[1], ARGV[1]), left}",
    )
});

/// The same for one of the windows that slide; none of them just reads. Answers the count.
static ADD_SLIDING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if tonumber(ARGV[1]) == 0 then
            return tonumber(redis.call('GET', KEYS[1]) or '0')
        end
        local used = redis.call('INCRBY', KEYS[1], ARGV[1])
        if redis.call('TTL', KEYS[1]) < 0 then
            redis.call('EXPIRE', KEYS[1], ARGV[2])
        end
        return used",
    )
});

/// Counts one request of `key` against its quota.
pub async fn take(
    store: &Store,
    key: &str,
    quota: Quota,
    now_ms: u64,
) -> Result<Verdict, Inapplicable> {
    match quota.kind {
        Window::Fixed => take_fixed(store, key, quota).await,
        Window::Sliding => take_sliding(store, key, quota, now_ms).await,
    }
}

async fn take_fixed(store: &Store, key: &str, quota: Quota) -> Result<Verdict, Inapplicable> {
    let seconds = quota.window_ms / 1000;
    let (used, left): (u64, u64) = store.invoke(FIXED.key(fixed_key(key)).arg(seconds)).await?;
    Ok(Verdict {
        admitted: used <= quota.count,
        remaining: quota.count.saturating_sub(used),
        reset_ms: left.saturating_mul(1000),
    })
}

/// The window before no longer changes, so it is read on its own: in a cluster the two counters may
/// be on different nodes.
async fn take_sliding(
    store: &Store,
    key: &str,
    quota: Quota,
    now_ms: u64,
) -> Result<Verdict, Inapplicable> {
    let window = quota.window_ms.max(1);
    let number = now_ms / window;
    let left = window - now_ms % window;
    let before: Option<u64> =
        store.query(redis::cmd("GET").arg(sliding_key(key, number.saturating_sub(1)))).await?;
    let room = quota.count.saturating_sub(in_view(before.unwrap_or(0), left, window));
    let mut call = SLIDING.key(sliding_key(key, number));
    let (admitted, used): (u64, u64) =
        store.invoke(call.arg(room).arg(sliding_expiry(window))).await?;
    Ok(Verdict { admitted: admitted == 1, remaining: room.saturating_sub(used), reset_ms: left })
}

/// Counts `more` requests that were admitted already. Answers how many there are in the window, and
/// the milliseconds until it ends.
pub async fn add_fixed(
    store: &Store,
    key: &str,
    more: u64,
    window_ms: u64,
) -> Result<(u64, u64), Inapplicable> {
    store.invoke(ADD_FIXED.key(fixed_key(key)).arg(more).arg(window_ms / 1000)).await
}

/// The same for the window of a number: the Unix clock divided by the window.
pub async fn add_sliding(
    store: &Store,
    key: &str,
    number: u64,
    more: u64,
    window_ms: u64,
) -> Result<u64, Inapplicable> {
    let mut call = ADD_SLIDING.key(sliding_key(key, number));
    store.invoke(call.arg(more).arg(sliding_expiry(window_ms))).await
}

fn fixed_key(key: &str) -> String {
    format!("plugin-limit-count:v1:{key}")
}

fn sliding_key(key: &str, number: u64) -> String {
    format!("plugin-limit-count:{key}.{number}.counter")
}

/// Seconds that a window is kept: until the next one is over.
fn sliding_expiry(window_ms: u64) -> u64 {
    (window_ms / 1000).max(1).saturating_mul(2)
}
