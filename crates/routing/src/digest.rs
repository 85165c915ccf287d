//! A digest of a key space that is kept up to date key by key.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// XOR of the first 16 bytes of SHA-256(key 0x00 value) over all keys.
///
/// It does not depend on the order of changes, so a gateway that applied deltas and a server that
/// reads the whole key space arrive at the same value. It detects lost or wrong changes; it is no
/// defence against somebody who chooses values to collide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of all these keys with their values.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut digest = Self::default();
        for (key, value) in entries {
            digest.toggle(key, value);
        }
        digest
    }

    /// Counts a key with its value in.
    pub fn add(&mut self, key: &str, value: &str) {
        self.toggle(key, value);
    }

    /// Takes a key out; `value` is the one it had.
    pub fn remove(&mut self, key: &str, value: &str) {
        self.toggle(key, value);
    }

    /// Adding and removing are the same operation.
    fn toggle(&mut self, key: &str, value: &str) {
        let hash = Sha256::new()
            .chain_update(key.as_bytes())
            .chain_update([0])
            .chain_update(value.as_bytes())
            .finalize();
        for (byte, with) in self.0.iter_mut().zip(hash.iter()) {
            *byte ^= with;
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 32 hexadecimal digits")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(NoDigest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_changes_does_not_matter() {
        let mut digest = Digest::default();
        digest.add("/apisix/routes/2", "b");
        digest.add("/apisix/routes/1", "old");
        digest.remove("/apisix/routes/1", "old");
        digest.add("/apisix/routes/1", "a");
        assert_eq!(digest, Digest::of([("/apisix/routes/1", "a"), ("/apisix/routes/2", "b")]));
    }

    #[test]
    fn keys_and_values_are_told_apart() {
        assert_ne!(Digest::of([("ab", "c")]), Digest::of([("a", "bc")]));
    }

    #[test]
    fn the_text_is_hexadecimal_and_read_back() {
        let digest = Digest::of([("key", "value")]);
        // printf 'key\0value' | sha256sum | head -c 32
        assert_eq!(digest.to_string(), "ce8afba3f180dd8fa021b256e4b73c5a".to_owned());
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("+".repeat(32).parse::<Digest>(), Err(NoDigest));
        assert_eq!("é".repeat(16).parse::<Digest>(), Err(NoDigest));
    }
}
