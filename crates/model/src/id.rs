//! Identifiers: 64-bit numbers, written as decimal strings in JSON and paths (contract, schema `ID`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Identifier of a stored object; never zero, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(i64);

impl Id {
    /// The first of all ids.
    pub const ONE: Self = Self(1);

    /// `None` unless `number` is positive.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number as databases store it.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// What is wrong with a text that should be an [`Id`].
#[derive(Debug, thiserror::Error)]
#[error("an id is a positive decimal number such as \"453750199534224179\"")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        // `i64::from_str` also takes a sign and leading zeros; ids have one spelling only.
        if !text.starts_with(|c: char| c.is_ascii_digit() && c != '0') {
            return Err(ParseIdError);
        }
        text.parse().ok().and_then(Self::new).ok_or(ParseIdError)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_spelling() {
        assert_eq!("42".parse::<Id>().unwrap().to_string(), "42");
        for bad in ["", "0", "-1", "+1", "01", "1a", "99999999999999999999"] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
