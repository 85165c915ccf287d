//! The labels of a series as one string of bytes, which is also its identity.

use std::borrow::Borrow;
use std::sync::Arc;

/// Label under which a series carries its name.
pub const NAME: &str = "__name__";
/// Label under which a series carries the gateway it comes from.
pub const INSTANCE: &str = "instance";

/// Starts a label, and ends the key; neither mark can be part of a text.
const LABEL: u8 = 0xfe;
/// Stands between a label's name and its value.
const VALUE: u8 = 0xff;

/// Labels sorted by name; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Key {
    /// Sorts `labels`; those with an empty value say nothing and are left out, as in Prometheus.
    #[must_use]
    pub fn new(labels: &mut [(&str, &str)]) -> Self {
        let mut bytes = Vec::new();
        write(labels, &mut bytes);
        Self(bytes.into())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Value of a label; empty if the series does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.labels().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.0.split(|byte| *byte == LABEL).filter(|label| !label.is_empty());
        labels.filter_map(|label| {
            let middle = label.iter().position(|byte| *byte == VALUE)?;
            let (name, value) = (label.get(..middle)?, label.get(middle + 1..)?);
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.labels()).finish()
    }
}

/// Writes the key of `labels` in place of what `out` holds.
pub(crate) fn write(labels: &mut [(&str, &str)], out: &mut Vec<u8>) {
    labels.sort_unstable();
    out.clear();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(LABEL);
        out.extend_from_slice(name.as_bytes());
        out.push(VALUE);
        out.extend_from_slice(value.as_bytes());
    }
    out.push(LABEL);
}

/// Labels that a series must have with just these values.
#[derive(Clone, Debug, Default)]
pub struct Matcher(Vec<Vec<u8>>);

impl Matcher {
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let part = |(name, value): (&str, &str)| {
            let mut part = vec![LABEL];
            part.extend_from_slice(name.as_bytes());
            part.push(VALUE);
            part.extend_from_slice(value.as_bytes());
            part.push(LABEL);
            part
        };
        Self(labels.into_iter().map(part).collect())
    }

    pub(crate) fn fits(&self, key: &[u8]) -> bool {
        self.0.iter().all(|part| key.windows(part.len()).any(|window| window == part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_name_and_value() {
        let key = Key::new(&mut [("route", "12"), (NAME, "up"), ("code", "200"), ("empty", "")]);
        assert_eq!(
            key.labels().collect::<Vec<_>>(),
            [(NAME, "up"), ("code", "200"), ("route", "12")]
        );
        assert_eq!((key.get("code"), key.get("empty")), ("200", ""));
        for (labels, expected) in [
            (&[("route", "12")][..], true),
            (&[("route", "12"), (NAME, "up")], true),
            (&[("route", "1")], false),
            (&[("oute", "12")], false),
            (&[("route", "12"), ("code", "404")], false),
        ] {
            assert_eq!(Matcher::new(labels.iter().copied()).fits(key.bytes()), expected);
        }
    }
}
