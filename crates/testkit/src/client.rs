//! An HTTP client that follows no redirect and trusts only what it is told.

use std::sync::Once;
use std::time::Duration;

/// Makes *ring* the process's cryptography, which rustls asks for once.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A second installation fails, which means that somebody else did it: fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client with a timeout that turns a hanging test into a failing one.
#[must_use]
pub fn client() -> reqwest::Client {
    use_ring();
    builder().build().expect("a client without special settings")
}

/// The same, to be given certificates or a resolver.
pub fn builder() -> reqwest::ClientBuilder {
    use_ring();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}
