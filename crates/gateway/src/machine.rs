//! The machine this gateway runs on.

use std::sync::LazyLock;

static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
});

/// The name of this machine, as it was when first asked for.
#[must_use]
pub fn hostname() -> &'static str {
    &HOSTNAME
}
