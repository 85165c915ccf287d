//! The fast checks: what a machine can say about the text of the project.

mod layers;
mod licences;
mod tidy;

use serde_json::Value;

use crate::shell::{self, Outcome, step};

pub fn run() -> Outcome {
    step("format", || shell::run("cargo", &["fmt", "--all", "--check"]))?;
    step("tidy", tidy::run)?;
    let metadata = metadata()?;
    step("layers", || layers::run(&metadata))?;
    step("licences", || licences::run(&metadata))?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("clippy", || shell::run("cargo", &clippy))
}

/// Everything cargo knows about the workspace and what it builds with.
fn metadata() -> Outcome<Value> {
    let json = shell::output("cargo", &["metadata", "--format-version", "1", "--locked"])?;
    serde_json::from_str(&json).map_err(|error| format!("cargo metadata is no JSON: {error}"))
}

/// The items of an array, or nothing.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Fails with one line a finding.
fn report(findings: &[String]) -> Outcome {
    if findings.is_empty() { Ok(()) } else { Err(format!("\n  {}", findings.join("\n  "))) }
}
