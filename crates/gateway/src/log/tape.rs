//! The beginning of bodies, kept for those who log them.

use std::borrow::Cow;

/// What is kept of one exchange.
#[derive(Debug, Default)]
pub struct Tapes {
    pub request: Tape,
    pub response: Tape,
}

/// The first bytes of a body; none unless somebody wants them.
#[derive(Debug, Default)]
pub struct Tape {
    limit: usize,
    bytes: Vec<u8>,
}

impl Tape {
    /// Keeps at least this many bytes of what comes.
    pub fn want(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// A piece of the body has come by that begins at `offset`; after a failed try it may have been
    /// here before.
    pub fn record(&mut self, offset: u64, piece: &[u8]) {
        let known = (self.bytes.len() as u64).checked_sub(offset);
        let Some(skip) = known.and_then(|known| usize::try_from(known).ok()) else { return };
        let room = self.limit.saturating_sub(self.bytes.len());
        let fresh = piece.get(skip..).unwrap_or_default();
        self.bytes.extend_from_slice(fresh.get(..room).unwrap_or(fresh));
    }

    /// The body up to `limit` bytes; None if there is none.
    #[must_use]
    pub fn text(&self, limit: usize) -> Option<Cow<'_, str>> {
        let bytes = self.bytes.get(..limit).unwrap_or(&self.bytes);
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes))
    }
}
