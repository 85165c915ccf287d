//! A PostgreSQL server of our own for one test run: temporary folder, free port, gone afterwards.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::shell::{self, Outcome};

/// A running server; stopped and deleted when dropped.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// The folder with `initdb` and `pg_ctl`, the newest version if there are several.
pub fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop()
}

impl Postgres {
    pub fn start() -> Outcome<Self> {
        let programs = programs().ok_or("PostgreSQL's `initdb` is not in /usr/lib/postgresql")?;
        let folder = std::env::temp_dir().join(format!("gantry-test-pg-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let port = free_port()?;
        let server = Self { programs, folder, port };
        if is_root()? {
            shell::run("chown", &["postgres", &server.folder.display().to_string()])?;
        }
        let data = server.data();
        server.call("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync"])?;
        // The data is thrown away, so nothing has to survive a power cut: no fsync.
        let options = format!(
            "-p {port} -k {} -c listen_addresses=127.0.0.1 -c max_connections=400 -c fsync=off",
            server.folder.display()
        );
        let log = server.folder.join("log").display().to_string();
        server.call("pg_ctl", &["-D", &data, "-o", &options, "-l", &log, "-w", "start"])?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// PostgreSQL refuses to run as root, so root becomes `postgres` for it.
    fn call(&self, program: &str, arguments: &[&str]) -> Outcome {
        let program = self.programs.join(program).display().to_string();
        let said = if is_root()? {
            let start = ["-u", "postgres", "--", &program];
            shell::output("runuser", &[&start, arguments].concat())
        } else {
            shell::output(&program, arguments)
        };
        said.map(|_| ())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(why) =
            self.call("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"])
        {
            eprintln!("PostgreSQL did not stop: {why}");
        }
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} stays behind: {error}", folder.display());
    }
}

fn is_root() -> Outcome<bool> {
    Ok(shell::output("id", &["-u"])?.trim() == "0")
}

fn free_port() -> Outcome<u16> {
    let listener =
        TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}
