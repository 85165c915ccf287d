//! The headers that tell clients what is left of their quota.

use http::{HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use serde::Deserialize;
use serde_json::Number;

use super::{config, counter::Verdict};
use crate::exchange::Exchange;

/// The names of the quota headers, from the plugin's metadata.
#[derive(Deserialize)]
#[serde(default)]
pub struct Names {
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

/// The names of limit, remaining and reset.
pub struct Headers([HeaderName; 3]);

/// Headers for the response, left in [`Exchange::notes`] by all limits of a request.
#[derive(Clone, Default)]
struct Quotas(Vec<(HeaderName, HeaderValue)>);

impl Names {
    /// With a prefix `X-RateLimit-Limit` becomes `X-<prefix>-RateLimit-Limit`.
    pub fn headers(&self, prefix: Option<&str>) -> Result<Headers, String> {
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
    /// Leaves the headers of one limit for the response.
    pub fn note(&self, exchange: &mut Exchange, count: u64, verdict: Verdict) {
        let Self([limit, remaining, reset]) = self;
        let quotas = &mut exchange.notes.get_or_insert_default::<Quotas>().0;
        quotas.reserve(3);
        quotas.push((limit.clone(), HeaderValue::from(count)));
        quotas.push((remaining.clone(), HeaderValue::from(verdict.remaining)));
        if let Ok(value) = HeaderValue::try_from(seconds(verdict.reset_ms)) {
            quotas.push((reset.clone(), value));
        }
    }
}

/// Writes what all limits have left. The first of the chain does it for the others.
pub fn write(exchange: &mut Exchange, response: &mut ResponseHeader) {
    for (name, value) in exchange.notes.remove::<Quotas>().unwrap_or_default().0 {
        // Fails only if the header map is full; the response is worth more than its quota.
        let _ = response.insert_header(name, value);
    }
}

/// Seconds with up to two decimals, as a number.
pub fn reset(ms: u64) -> Number {
    match ms / 10 % 100 {
        0 => Number::from(ms / 1000),
        _ => Number::from_f64((ms / 10) as f64 / 100.0).unwrap_or_else(|| Number::from(ms / 1000)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_has_at_most_two_decimals() {
        let texts: Vec<_> = [60_000, 59_990, 59_500, 1_009, 0].into_iter().map(seconds).collect();
        assert_eq!(texts, ["60", "59.99", "59.5", "1", "0"]);
        let numbers = [60_000, 59_990, 59_500, 1_009].map(|ms| reset(ms).to_string());
        assert_eq!(numbers, ["60", "59.99", "59.5", "1"]);
    }

    #[test]
    fn prefixes_stand_before_the_word_rate_limit() {
        let Headers([limit, ..]) = Names::default().headers(Some("1")).unwrap();
        assert_eq!(limit, "x-1-ratelimit-limit");
    }
}
