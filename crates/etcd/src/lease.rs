//! What gateways write: reports about themselves, each under a lease that takes it away when the
//! gateway falls silent. Kept in memory, apart from configuration, within fixed bounds.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gantry_etcd_proto::mvccpb::KeyValue;
use tonic::Status;

use crate::key::KeyRange;

/// Leases of one cluster: some per gateway, each with one report.
const LEASES_MAX: usize = 10_000;

/// Reports of one cluster.
const REPORTS_MAX: usize = 10_000;

/// Bytes of one report; APISIX writes about 200.
const REPORT_BYTES_MAX: usize = 16 * 1024;

/// Longest life without renewal: a lease is for a gateway that speaks every half minute.
const TTL_S_MAX: i64 = 24 * 3600;

/// A report nobody leased goes when it was not renewed for this long.
const UNLEASED: Duration = Duration::from_secs(3600);

/// The leases and reports of one cluster, as of a moment.
#[derive(Debug)]
pub struct Reports {
    now: Instant,
    leases: HashMap<i64, Lease>,
    reports: BTreeMap<String, Report>,
}

#[derive(Debug)]
struct Lease {
    ttl_s: i64,
    ends: Instant,
}

#[derive(Debug)]
struct Report {
    kv: KeyValue,
    /// Only for a report without a lease.
    ends: Option<Instant>,
}

/// What is left of a lease, in seconds, with its reports.
#[derive(Debug, PartialEq, Eq)]
pub struct Remaining {
    pub left_s: i64,
    pub granted_s: i64,
    pub keys: Vec<Bytes>,
}

impl Reports {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { now, leases: HashMap::new(), reports: BTreeMap::new() }
    }

    /// Moves on to `now`: what has expired by then is gone.
    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        self.forget_expired();
    }

    /// Creates a lease of `ttl_s` seconds; answers its id and the seconds it got. `id` zero lets us
    /// choose.
    pub fn grant(&mut self, id: i64, ttl_s: i64) -> Result<(i64, i64), Status> {
        if id < 0 {
            return Err(Status::invalid_argument("etcdserver: a lease id is not negative"));
        }
        if self.leases.len() >= LEASES_MAX {
            return Err(Status::resource_exhausted(format!(
                "etcdserver: too many leases: {LEASES_MAX} at once"
            )));
        }
        let id = if id == 0 { self.free_id() } else { id };
        if self.leases.contains_key(&id) {
            return Err(Status::failed_precondition("etcdserver: lease already exists"));
        }
        let ttl_s = ttl_s.clamp(1, TTL_S_MAX);
        self.leases.insert(id, Lease { ttl_s, ends: self.now + seconds(ttl_s) });
        Ok((id, ttl_s))
    }

    /// Renews a lease; answers the seconds it has again, or `None` if it is gone.
    pub fn keep_alive(&mut self, id: i64) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        lease.ends = self.now + seconds(lease.ttl_s);
        Some(lease.ttl_s)
    }

    /// Ends a lease and its reports.
    pub fn revoke(&mut self, id: i64) -> Result<(), Status> {
        self.leases.remove(&id).ok_or_else(lease_not_found)?;
        self.forget_expired();
        Ok(())
    }

    pub fn remaining(&self, id: i64) -> Option<Remaining> {
        let lease = self.leases.get(&id)?;
        let of_lease = self.reports.values().filter(|report| report.kv.lease == id);
        Some(Remaining {
            left_s: i64::try_from((lease.ends.saturating_duration_since(self.now)).as_secs())
                .unwrap_or(TTL_S_MAX),
            granted_s: lease.ttl_s,
            keys: of_lease.map(|report| report.kv.key.clone()).collect(),
        })
    }

    /// Stores a report as of `revision`; answers the one it replaces.
    pub fn put(
        &mut self,
        key: &str,
        value: Bytes,
        lease: i64,
        revision: i64,
    ) -> Result<Option<KeyValue>, Status> {
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(lease_not_found());
        }
        if value.len() > REPORT_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "etcdserver: request is too large: a report has at most {REPORT_BYTES_MAX} bytes"
            )));
        }
        let previous = self.reports.get(key).map(|report| report.kv.clone());
        if previous.is_none() && self.reports.len() >= REPORTS_MAX {
            return Err(Status::resource_exhausted(format!(
                "etcdserver: too many reports: {REPORTS_MAX} at once"
            )));
        }
        let kv = KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            create_revision: previous.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |kv| kv.version.saturating_add(1)),
            value,
            lease,
        };
        let ends = (lease == 0).then(|| self.now + UNLEASED);
        self.reports.insert(key.to_owned(), Report { kv, ends });
        Ok(previous)
    }

    /// The reports of a range, ascending.
    pub fn range(&self, range: &KeyRange) -> Vec<KeyValue> {
        let inside = self.reports.iter().filter(|(key, _)| range.contains(key));
        inside.map(|(_, report)| report.kv.clone()).collect()
    }

    fn forget_expired(&mut self) {
        let now = self.now;
        self.leases.retain(|_, lease| lease.ends > now);
        self.reports.retain(|_, report| match report.ends {
            Some(ends) => ends > now,
            None => self.leases.contains_key(&report.kv.lease),
        });
    }

    fn free_id(&self) -> i64 {
        loop {
            let id = rand::random_range(1..=i64::MAX);
            if !self.leases.contains_key(&id) {
                return id;
            }
        }
    }
}

fn lease_not_found() -> Status {
    Status::not_found("etcdserver: requested lease not found")
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    const KEY: &str = "/apisix/data_plane/server_info/a";

    fn everything() -> KeyRange {
        KeyRange::new(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
    }

    #[test]
    fn a_report_goes_with_its_lease() {
        let start = Instant::now();
        let mut reports = Reports::new(start);
        let (lease, ttl_s) = reports.grant(0, 60).unwrap();
        assert_eq!(ttl_s, 60);
        assert_eq!(reports.put(KEY, "one".into(), lease, 5).unwrap(), None);
        reports.advance(start + seconds(59));
        assert_eq!(reports.keep_alive(lease), Some(60));
        reports.advance(start + seconds(118));
        assert_eq!(reports.range(&everything()).len(), 1);
        reports.advance(start + seconds(120));
        assert_eq!(reports.range(&everything()), []);
        assert_eq!(reports.keep_alive(lease), None);
    }

    #[test]
    fn a_second_report_answers_the_first_and_counts_versions() {
        let mut reports = Reports::new(Instant::now());
        let (lease, _) = reports.grant(7, 60).unwrap();
        reports.put(KEY, "one".into(), lease, 5).unwrap();
        let previous = reports.put(KEY, "two".into(), lease, 9).unwrap().unwrap();
        assert_eq!((&*previous.value, previous.version), (&b"one"[..], 1));
        let now = reports.range(&everything()).remove(0);
        assert_eq!((now.create_revision, now.mod_revision, now.version), (5, 9, 2));
        let left = reports.remaining(lease).unwrap();
        assert_eq!((left.granted_s, left.keys.len()), (60, 1));
        reports.revoke(lease).unwrap();
        assert_eq!(reports.range(&everything()), []);
    }

    #[test]
    fn unknown_leases_and_large_reports_are_refused() {
        let mut reports = Reports::new(Instant::now());
        assert_eq!(reports.put(KEY, "x".into(), 3, 1).unwrap_err().code(), Code::NotFound);
        assert_eq!(reports.revoke(3).unwrap_err().code(), Code::NotFound);
        let large = vec![b'x'; REPORT_BYTES_MAX + 1];
        assert_eq!(reports.put(KEY, large.into(), 0, 1).unwrap_err().code(), Code::InvalidArgument);
        reports.grant(3, 1).unwrap();
        assert_eq!(reports.grant(3, 1).unwrap_err().code(), Code::FailedPrecondition);
    }
}
