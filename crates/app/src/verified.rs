//! Certificates of gateways whose signature was checked a moment ago. A gateway comes back every few
//! seconds, and a signature is the dearest part of asking who it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gantry_model::Timestamp;
use sha2::{Digest as _, Sha256};

/// Seconds for which a check counts. Whether the certificate was revoked or has expired is asked every
/// time, elsewhere.
const COUNTS_S: i64 = 60;

/// Certificates remembered; beyond, all are forgotten.
const CERTIFICATES_MAX: usize = 10_000;

/// Serial numbers by the hash of the certificate, and until when each counts.
#[derive(Default)]
pub(crate) struct Verified(Mutex<HashMap<[u8; 32], (String, Timestamp)>>);

impl Verified {
    /// The serial number of a certificate, by `check` if it was not checked lately.
    pub(crate) fn serial<E>(
        &self,
        der: &[u8],
        now: Timestamp,
        check: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let hash: [u8; 32] = Sha256::digest(der).into();
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((serial, until)) = lock().get(&hash)
            && now < *until
        {
            return Ok(serial.clone());
        }
        let serial = check()?;
        let mut known = lock();
        if known.len() >= CERTIFICATES_MAX {
            known.clear();
        }
        known.insert(hash, (serial.clone(), now.plus_seconds(COUNTS_S)));
        Ok(serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_counts_for_a_minute_and_a_failed_one_does_not() {
        let verified = Verified::default();
        let at = Timestamp::from_seconds;
        let fails = || Err("not ours");
        assert_eq!(verified.serial(b"one", at(0), fails), Err("not ours"));
        assert_eq!(verified.serial(b"one", at(0), || Ok::<_, &str>("1".into())), Ok("1".into()));
        assert_eq!(verified.serial(b"one", at(59), fails), Ok("1".into()));
        assert_eq!(verified.serial(b"two", at(59), fails), Err("not ours"));
        assert_eq!(verified.serial(b"one", at(60), fails), Err("not ours"));
    }
}
