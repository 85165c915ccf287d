//! Responses in memory.

use std::sync::Arc;

use super::{bounded::Bounded, stored::Stored};

/// A zone in memory.
pub struct Memory(Bounded<Arc<Stored>>);

impl Memory {
    /// An empty zone for this many bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Bounded::new(size))
    }

    pub(super) fn find(&self, key: &str) -> Option<Arc<Stored>> {
        self.0.find(key)
    }

    pub(super) fn put(&self, stored: Stored) {
        let weight = stored.weight();
        if self.0.fits(weight) {
            let stored = Arc::new(stored);
            self.0.put(&stored.key, Arc::clone(&stored), weight);
        }
    }

    pub(super) fn remove(&self, key: &str) -> bool {
        self.0.remove(key)
    }
}
