//! The one binary: control plane, gateway, both for development, and recovery.

mod command;
mod lifecycle;
mod options;
mod ready;
mod sample_service;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;
use options::{Command, Options};

fn main() -> ExitCode {
    let Options { log, command } = Options::parse();
    telemetry::start(&log);
    // The process's cryptography, which rustls asks for once; this is the first to set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match command {
        Command::Server(options) => command::server::run(&options),
        Command::Gateway(options) => command::gateway::run(options),
        Command::Dev(options) => command::dev::run(&options),
        Command::Admin(options) => command::admin::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gantry: {why}");
            ExitCode::FAILURE
        }
    }
}
