//! What requests read: one revision of the configuration, compiled. Never locked, swapped whole.

use crate::consumer::Consumers;

/// One revision of the configuration. Cloning is cheap: all parts share their structure.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub consumers: Consumers,
}
