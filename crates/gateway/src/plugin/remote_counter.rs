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
    let key = format!("plugin-limit-count:v1:{key}");
    let seconds = quota.window_ms / 1000;
    let (used, left): (u64, u64) = store.invoke(FIXED.key(key).arg(seconds)).await?;
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
    let counter = |number: u64| format!("plugin-limit-count:{key}.{number}.counter");
    let before: Option<u64> =
        store.query(redis::cmd("GET").arg(counter(number.saturating_sub(1)))).await?;
    let room = quota.count.saturating_sub(in_view(before.unwrap_or(0), left, window));
    let expiry = (window / 1000).max(1).saturating_mul(2);
    let (admitted, used): (u64, u64) =
        store.invoke(SLIDING.key(counter(number)).arg(room).arg(expiry)).await?;
    Ok(Verdict { admitted: admitted == 1, remaining: room.saturating_sub(used), reset_ms: left })
}
