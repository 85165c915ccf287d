//! Running other programs, with a heading that says what and a line that says how long.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A sentence for whoever typed the command.
pub type Outcome<T = ()> = Result<T, String>;

/// The folder that holds the workspace's manifest.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Our folder in the user's cache, for tools that are installed once.
pub fn cache() -> Outcome<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = given.map(PathBuf::from).or_else(home).ok_or("no HOME for a cache folder")?;
    Ok(cache.join("gantry"))
}

/// Runs a program in the workspace's folder; its output goes to ours.
pub fn run(program: &str, arguments: &[&str]) -> Outcome {
    run_with(program, arguments, &[])
}

/// The same with more environment variables.
pub fn run_with(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let status = command(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|error| format!("`{program}` does not start: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{program} {}` failed ({status})", arguments.join(" ")))
    }
}

/// A program that does not see what cargo told this one about itself. Build scripts look at it too: without this,
/// half of the dependencies would be built again at every change between `make` and `cargo`.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().unwrap_or_default();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a program prints.
pub fn output(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = command(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .map_err(|error| format!("`{program}` does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{program} {}` failed: {said}", arguments.join(" ")));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{program}` printed no text"))
}

/// Whether a program can be started by its name.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs one step of a longer job under a heading.
pub fn step(name: &str, job: impl FnOnce() -> Outcome) -> Outcome {
    eprintln!("{}", heading(name));
    let start = Instant::now();
    job().map_err(|why| format!("{name}: {why}"))?;
    eprintln!("   {name}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn heading(name: &str) -> String {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\n\u{1b}[1;36m== {name}\u{1b}[0m")
    } else {
        format!("\n== {name}")
    }
}
