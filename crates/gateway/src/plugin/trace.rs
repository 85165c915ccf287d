//! What tracers have in common: identifiers, and moments on the clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A random trace identifier, in hexadecimal.
pub fn trace_id() -> String {
    format!("{:032x}", rand::random::<u128>() | 1)
}

/// A random span identifier, in hexadecimal.
pub fn span_id() -> String {
    format!("{:016x}", rand::random::<u64>() | 1)
}

/// Whether a text is a lower-case hexadecimal number of this many digits, and not zero.
pub fn is_id(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

/// Whether one in so many is chosen.
pub fn is_chosen(ratio: f64) -> bool {
    rand::random::<f64>() < ratio
}

/// What the clock said at a moment of the past, since 1970.
pub fn clock(moment: Instant) -> Duration {
    let now = Timestamp::now().as_nanosecond();
    let now = Duration::from_nanos(u64::try_from(now).unwrap_or(0));
    now.saturating_sub(moment.elapsed())
}
