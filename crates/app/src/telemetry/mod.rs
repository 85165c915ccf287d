//! Gantry's account of itself: what it has done and how long that took ([`text`]), and whether it is
//! well ([`ready`]).

mod background;
mod exposition;
mod requests;
mod scrape;

pub use background::Task;
pub use scrape::text;

use std::time::Duration;

use background::Background;
use gantry_model::{Error, ErrorCode, Result};
use requests::Requests;

use crate::{App, feed};

/// Longest that the database may take to be called well.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// What is counted while Gantry runs.
#[derive(Default)]
pub(crate) struct Telemetry {
    pub(crate) background: Background,
    requests: Requests,
}

/// Counts a request that was answered. `operation` is one of the contract's.
pub fn request(app: &App, operation: &'static str, status: u16, took: Duration) {
    app.telemetry.requests.count(operation, status, took);
}

/// Registers work in the background; it is well while it says so every `patience`.
pub fn task(app: &App, name: &'static str, patience: Duration) -> Task {
    app.telemetry.background.begin(name, patience)
}

/// Whether everything works: the database, the log of revisions and work in the background. An error
/// names all that does not.
pub async fn ready(app: &App) -> Result<()> {
    let mut problems = Vec::new();
    match tokio::time::timeout(DATABASE_PATIENCE, app.ready()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the database does not answer"
            );
            problems.push("the database does not answer".to_owned());
        }
        Err(_) => {
            let patience = DATABASE_PATIENCE.as_secs();
            problems.push(format!("the database has not answered within {patience} s"));
        }
    }
    let stuck = app.feeds.stuck();
    if !stuck.is_empty() {
        // Whoever asks may not know these ids.
        tracing::error!(clusters = ?stuck, "logs of revisions could not be read for a while");
        let (count, patience) = (stuck.len(), feed::PATIENCE.as_secs());
        problems.push(format!("the revisions of {count} clusters were not read for {patience} s"));
    }
    problems.extend(app.telemetry.background.problems());
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Internal, format!("not ready: {}", problems.join("; "))))
}
