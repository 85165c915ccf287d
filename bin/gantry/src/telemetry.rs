//! Logs on standard error: readable for people, or JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::options::LogOptions;

/// Starts the log; a filter that cannot be read is replaced by `info`, with a word about it.
pub fn start(options: &LogOptions) {
    let (filter, problem) = match EnvFilter::try_new(&options.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if options.log_json {
        log.json().init();
    } else {
        log.with_ansi(colours(std::io::stderr().is_terminal())).init();
    }
    if let Some(error) = problem {
        tracing::warn!(%error, filter = options.log, "the log filter is not understood; using `info`");
    }
}

/// Whether to print colours: on a terminal, unless NO_COLOR says otherwise.
#[must_use]
pub fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none()
}
