//! How much of bodies under way plugins may hold, all requests together. Who gets no room does
//! without: a response is not cached, a request not copied.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are counted together.
const UNIT: usize = 1024;

/// Room for all bodies together, in bytes.
const ROOM: usize = 256 << 20;

/// The room of a gateway.
pub struct Room(Arc<Semaphore>);

/// A part of the room, given back when the last one drops it.
pub type Claim = Arc<OwnedSemaphorePermit>;

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM / UNIT)))
    }
}

impl Room {
    /// Claims room for this many bytes; None if there is too little left.
    pub fn claim(&self, bytes: usize) -> Option<Claim> {
        let units = u32::try_from(bytes / UNIT + 1).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok().map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let room = Room::default();
        let claims: Vec<_> = std::iter::from_fn(|| room.claim(1 << 20)).collect();
        assert_eq!(claims.len(), 255, "each takes a little more than it asked for");
        drop(claims);
        assert!(room.claim(200 << 20).is_some());
    }
}
