//! The real binary as a child process, found ready by the line it prints.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running `gantry …`; killed when dropped.
pub struct Process {
    child: Child,
    addresses: HashMap<String, String>,
    /// What it printed before it was ready.
    pub printed: Vec<String>,
    log: PathBuf,
}

impl Process {
    /// Starts `binary` and waits until it says `gantry ready`. Its log goes to `folder`.
    pub async fn start<A: AsRef<OsStr>>(binary: &str, arguments: &[A], folder: &Path) -> Self {
        Self::start_with(binary, arguments, &[], folder).await
    }

    /// The same with environment variables.
    pub async fn start_with<A: AsRef<OsStr>>(
        binary: &str,
        arguments: &[A],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Self {
        let log = folder
            .join(format!("log-{}.txt", std::fs::read_dir(folder).map_or(0, Iterator::count)));
        let stderr = std::fs::File::create(&log).expect("a log file in the test's folder");
        let mut child = Command::new(binary)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped output")).lines();
        let mut printed = Vec::new();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(addresses) = line.strip_prefix("gantry ready") {
                    return Some(parse(addresses));
                }
                printed.push(line);
            }
            None
        };
        let addresses = match tokio::time::timeout(Duration::from_secs(60), ready).await {
            Ok(Some(addresses)) => addresses,
            outcome => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("{binary} did not get ready ({outcome:?}): {printed:?}\n{said}");
            }
        };
        // What comes later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, addresses, printed, log }
    }

    /// The address of a listener: `api`, `dp`, `http`, `https`, `status`.
    #[must_use]
    pub fn address(&self, name: &str) -> &str {
        self.addresses.get(name).unwrap_or_else(|| panic!("no `{name}` in {:?}", self.addresses))
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// SIGKILL: no chance to tidy up.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// SIGTERM, then waits for the end.
    pub async fn stop(self) -> ExitStatus {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM reaches process {pid}");
        self.ended().await
    }

    /// Waits for an end that was brought about in another way.
    pub async fn ended(mut self) -> ExitStatus {
        let pid = self.pid();
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{pid} did not stop: {}", self.log()))
            .expect("an exit status")
    }
}

fn parse(addresses: &str) -> HashMap<String, String> {
    addresses
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect()
}
