//! Start and end of the process: one token that everything watches.

use tokio_util::sync::CancellationToken;

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
