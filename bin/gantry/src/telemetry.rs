//! Logs on standard error, readable for people or JSON for machines, and traces for a collector.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::command::Outcome;
use crate::options::LogOptions;
use crate::otlp::{self, Exporter};

/// Starts log and traces; a filter that cannot be read is replaced by `info`, with a word about it.
/// The traces end with what is returned.
pub fn start(options: &LogOptions) -> Outcome<Option<Exporter>> {
    let (filter, problem) = match EnvFilter::try_new(&options.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = if options.log_json {
        log.json().boxed()
    } else {
        log.with_ansi(colours(std::io::stderr().is_terminal())).boxed()
    };
    let (traces, exporter) = otlp::start(&options.traces)?.unzip();
    // Our own spans only: the exporter's client must not trace itself.
    let ours = Targets::new().with_target("gantry", LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(traces.map(|traces| traces.with_filter(ours)))
        .init();
    if let Some(error) = problem {
        tracing::warn!(%error, filter = options.log, "the log filter is not understood; using `info`");
    }
    Ok(exporter)
}

/// Whether to print colours: on a terminal, unless NO_COLOR says otherwise.
#[must_use]
pub fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none()
}
