//! Everything CI checks, in the order in which failures are cheapest.

use crate::postgres::Postgres;
use crate::shell::{self, Outcome, step};
use crate::{check, doctor, identity_provider};

pub fn run() -> Outcome {
    step("tools", || doctor::run("test"))?;
    check::run()?;
    step("build", || shell::run("cargo", &["build", "--release", "--workspace", "--all-targets"]))?;
    step("test", test)
}

fn test() -> Outcome {
    let postgres = Postgres::start()?;
    let url = postgres.url();
    let provider = identity_provider::install()?.display().to_string();
    let environment = [
        ("GANTRY_TEST_POSTGRES", url.as_str()),
        ("GANTRY_TEST_IDENTITY_PROVIDER", provider.as_str()),
    ];
    let arguments: &[&str] = if shell::has("cargo-nextest") {
        &["nextest", "run", "--release", "--workspace", "--no-fail-fast"]
    } else {
        &["test", "--release", "--workspace", "--no-fail-fast"]
    };
    shell::run_with("cargo", arguments, &environment)
}
