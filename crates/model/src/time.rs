//! Points in time: microseconds since 1970 in UTC, RFC 3339 with six digits in JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_S: i64 = 86_400;

/// A point in time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// This moment moved by `seconds`, which may be negative.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Whole days since the Unix epoch, in UTC.
    #[must_use]
    pub fn day(self) -> i64 {
        self.seconds().div_euclid(DAY_S)
    }

    /// The first moment of a day as [`Self::day`] counts it.
    #[must_use]
    pub fn from_day(day: i64) -> Self {
        Self::from_seconds(day.saturating_mul(DAY_S))
    }

    /// First day of this calendar month and of the next one, in UTC, as [`Self::day`] counts.
    #[must_use]
    pub fn month(self) -> (i64, i64) {
        let seconds = self.seconds();
        let Ok(time) = jiff::Timestamp::from_second(seconds) else { return (0, 0) };
        let date = jiff::tz::TimeZone::UTC.to_datetime(time).date();
        let first = self.day() - i64::from(date.day()) + 1;
        (first, first + i64::from(date.days_in_month()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(Self(time.as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        let february = Timestamp::from_seconds(1_709_209_800); // 2024-02-29T12:30:00Z
        let (first, next) = february.month();
        assert_eq!(Timestamp::from_day(first).to_string(), "2024-02-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_day(next).to_string(), "2024-03-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_day(first).month(), (first, next));
        assert_eq!(Timestamp::from_day(next).month().0, next);
    }

    #[test]
    fn prints_six_digits_and_reads_them_back() {
        let time = Timestamp::from_micros(1_679_985_794_598_333);
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, "\"2023-03-28T06:43:14.598333Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
        assert_eq!(Timestamp::from_seconds(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }
}
