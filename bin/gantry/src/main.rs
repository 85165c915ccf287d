//! The one binary: control plane, gateway, both for development, and recovery.

mod command;
mod lifecycle;
mod options;
mod otlp;
mod ready;
mod sample_service;
mod settings;
mod telemetry;

use std::process::ExitCode;

use command::Failure;
use options::{Command, Options};

/// A request in the engine is dozens of small allocations; this one costs them less than glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Options { log, command } = match settings::parse() {
        Ok(options) => options,
        Err(why) => return failed(&why),
    };
    // The process's cryptography, which rustls asks for once; this is the first to set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Its end is the end of the traces.
    let _exporter = match telemetry::start(&log) {
        Ok(exporter) => exporter,
        Err(why) => return failed(&why),
    };
    lifecycle::raise_file_limit();
    let done = match command {
        Command::Server(options) => command::server::run(&options),
        Command::Gateway(options) => command::gateway::run(options),
        Command::Dev(options) => command::dev::run(&options),
        Command::Admin(options) => command::admin::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &Failure) -> ExitCode {
    eprintln!("gantry: {why}");
    ExitCode::FAILURE
}
