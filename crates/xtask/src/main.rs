//! The workshop: what the Makefile's words do when they are longer than a line.

mod check;
mod doctor;
mod fuzz;
mod identity_provider;
mod postgres;
mod shell;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: xtask <word>
  check          format, clippy, tidy, layers, licences
  test           check, then every test, on SQLite and PostgreSQL
  fuzz [cases]   the contract against a live server, by Schemathesis
  gen            write generated code again
  doctor <word>  say what `make <word>` needs and this machine lacks; install it when root";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["check"] => check::run(),
        ["test"] => test::run(),
        ["gen"] => {
            let update = [("GANTRY_UPDATE", "1")];
            shell::run_with("cargo", &["test", "--release", "-p", "gantry-etcd-proto"], &update)
        }
        ["fuzz"] => fuzz::run(None),
        ["fuzz", cases] => fuzz::run(Some(cases)),
        ["doctor", word] => doctor::run(word),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
