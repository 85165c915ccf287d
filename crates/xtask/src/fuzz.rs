//! Schemathesis over a live server: requests made from the published contract, valid and broken, one
//! by one and in stories of several operations.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::shell::{self, Outcome, step};

/// What is installed from PyPI.
const PACKAGE: &str = "schemathesis==4.32.5";
/// Requests made for an operation in each phase, unless `CASES` says otherwise.
const CASES: &str = "20";
/// Seconds after which the whole run ends.
const SECONDS_MAX: &str = "1500";

/// What would end the run's own credential, and what only gateways reach, on a port of their own.
const LEFT_OUT: &[&str] = &[
    "reportHeartbeat",
    "reportMetrics",
    "logout",
    "deleteAccessToken",
    "deleteAllAccessTokens",
    "deleteCurrentUser",
    "updatePassword",
];

/// Runs all phases with all checks; fails on any server error and any answer that breaks the contract.
pub fn run(cases: Option<&str>) -> Outcome {
    step("tools", || crate::doctor::run("test-fuzz"))?;
    // With the features of the whole workspace, as `make test` builds it: nothing compiles twice.
    let build = ["build", "--release", "--workspace", "--bin", "gantry"];
    step("build", || shell::run("cargo", &build))?;
    let tool = tool()?;
    step("fuzz", || {
        let server = Server::start()?;
        let authorization = format!("Authorization: Bearer {}", server.token);
        let location = format!("{}/api/openapi.json", server.api);
        let tool = tool.display().to_string();
        let config = shell::root().join("api/schemathesis.toml").display().to_string();
        let hooks = shell::root().join("api/schemathesis_hooks.py").display().to_string();
        let mut arguments = vec![
            "--config-file",
            &config,
            "run",
            &location,
            "--header",
            &authorization,
            "--max-examples",
            cases.unwrap_or(CASES),
            "--max-time",
            SECONDS_MAX,
            "--seed",
            "1",
            "--continue-on-failure",
        ];
        arguments
            .extend(LEFT_OUT.iter().flat_map(|operation| ["--exclude-operation-id", operation]));
        shell::run_with(&tool, &arguments, &[("SCHEMATHESIS_HOOKS", &hooks)])
    })
}

/// The program, installed into the user's cache when it is not there yet.
fn tool() -> Outcome<PathBuf> {
    let folder = shell::cache()?.join(PACKAGE.replace("==", "-"));
    let program = folder.join("bin/schemathesis");
    if !program.is_file() {
        let folder = folder.display().to_string();
        shell::run("python3", &["-m", "venv", &folder])?;
        let pip = format!("{folder}/bin/pip");
        shell::run(&pip, &["install", "--quiet", "--disable-pip-version-check", PACKAGE])?;
    }
    Ok(program)
}

/// A control plane in a folder of its own; gone when dropped.
struct Server {
    process: Child,
    folder: PathBuf,
    api: String,
    token: String,
}

impl Server {
    fn start() -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("gantry-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let program = target().join("release/gantry");
        let data = folder.display().to_string();
        let mut process = Command::new(&program)
            .args(["server", "--data", &data, "--admin-email", "owner@example.com"])
            .args(["--listen-api", "127.0.0.1:0", "--listen-dp", "127.0.0.1:0"])
            .args(["--listen-metrics", "127.0.0.1:0", "--log", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let lines =
            BufReader::new(process.stdout.take().ok_or("the server has no output")?).lines();
        let found = lines.map_while(Result::ok).find_map(|line| address(&line));
        let api = found.ok_or("the server ended before it was ready")?;
        let program = program.display().to_string();
        let create = ["admin", "--data", &data, "create-token", "--email", "owner@example.com"];
        let token = shell::output(&program, &create)?.trim().to_owned();
        Ok(Self { process, folder, api, token })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either may have ended already; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The address of the management API in the line that says the server is ready.
fn address(line: &str) -> Option<String> {
    let at = line.find("http://")?;
    let rest = line.get(at..)?;
    let end = rest.find(|letter: char| letter.is_whitespace() || letter == '"' || letter == ',');
    rest.get(..end.unwrap_or(rest.len())).map(str::to_owned)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from)
}
