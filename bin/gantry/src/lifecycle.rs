//! Start and end of the process: how many files it may open, and one token that everything watches.

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

/// Lets the process open as many files, connections among them, as the system allows it at all. What a
/// shell or systemd starts may open 1,024 unless it asks for more, for the sake of programs that use
/// `select`.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of files this process may open stays as it was");
    }
}

/// A token that is cancelled by the first SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// When the signals cannot be watched.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = token.clone();
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if round > 0 {
                std::process::exit(130);
            }
            tracing::info!("stopping; press Ctrl-C again to stop at once");
            shutdown.cancel();
        }
    });
    Ok(token)
}
