//! Gantry against its peers and against its own measures, on this machine only.
//!
//! Figures of one machine say little; the ratios between peers that were measured by turns say more.
//! See the README beside this crate for how to read the tables.

mod api;
mod control;
mod gateway;
mod gateways;
mod http;
mod instances;
mod latency;
mod lists;
mod load;
mod machine;
mod peer;
mod propagation;
mod receipts;
mod side;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(name = "gantry-bench", about = "Benchmarks of Gantry, as ratios where there is a peer")]
pub struct Options {
    /// What to measure; everything if left out.
    benches: Vec<Bench>,
    /// Measure even if the machine is busy; the figures then say little.
    #[arg(long)]
    force: bool,
    /// Seconds of one round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rounds that each peer gets, by turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Objects to create before lists and searches are measured.
    #[arg(long, default_value_t = 100_000)]
    objects: u64,
    /// Changes whose way to the gateway is timed.
    #[arg(long, default_value_t = 300)]
    changes: usize,
    /// Watchers beside the gateway, and gateways that acknowledge.
    #[arg(long, default_value_t = 100)]
    watchers: usize,
    /// Instances that report at the same time.
    #[arg(long, default_value_t = 1000)]
    instances: usize,
    /// Seconds for which they report.
    #[arg(long, default_value_t = 60)]
    report_seconds: u64,
    /// PostgreSQL for the control plane instead of SQLite.
    #[arg(long)]
    database: Option<String>,
    /// The binary to measure; the one beside this program if left out.
    #[arg(long)]
    gantry: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The gateway, nginx, haproxy and a minimal Pingora proxy, and the gateway at more work.
    Gateway,
    /// From the API's answer to the first request served the new way.
    Propagation,
    /// From a commit to the acknowledgement of many gateways.
    Receipts,
    /// Many instances that report, and questions about them.
    Instances,
    /// Durable creates, lists and searches of the control plane.
    Control,
}

/// Why a benchmark could not be carried out, for people.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.split_first() {
        Some((word, arguments)) if word == peer::ENGINE => peer::serve_engine(arguments),
        _ => run(&Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gantry-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome {
    // One thread for the client: what it cannot use is left to those who are measured.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(options, &binary(options)?))
}

async fn measure(options: &Options, binary: &str) -> Outcome {
    println!("{}", machine::facts(binary));
    if let Err(busy) = machine::quiet().await {
        if !options.force {
            return Err(
                format!("{busy}. Nothing was measured; --force measures all the same").into()
            );
        }
        println!("WARNING: {busy}. The figures below say little.\n");
    }
    let all =
        [Bench::Gateway, Bench::Propagation, Bench::Receipts, Bench::Instances, Bench::Control];
    let benches = if options.benches.is_empty() { &all[..] } else { &options.benches };
    for bench in benches {
        match bench {
            Bench::Gateway => gateway::run(options, binary).await?,
            Bench::Propagation => propagation::run(options, binary).await?,
            Bench::Receipts => receipts::run(options, binary).await?,
            Bench::Instances => instances::run(options, binary).await?,
            Bench::Control => control::run(options, binary).await?,
        }
    }
    Ok(())
}

fn binary(options: &Options) -> Outcome<String> {
    let path = match &options.gantry {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("gantry"),
    };
    if !path.is_file() {
        let why = format!("{} is not built: make dist", path.display());
        return Err(why.into());
    }
    Ok(path.display().to_string())
}
