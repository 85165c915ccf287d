//! Databases to throw away: a file of SQLite, or a database on the PostgreSQL that `make test` starts.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a test keeps its data. Dropping it drops the database.
pub enum Database {
    /// In the test's own data folder.
    Sqlite,
    Postgres {
        url: String,
        server: String,
        name: String,
    },
}

impl Database {
    /// An empty database on the server that `GANTRY_TEST_POSTGRES` names.
    #[must_use]
    pub fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var_os("GANTRY_TEST_POSTGRES")
            .and_then(|url| url.into_string().ok())
            .expect("tests on PostgreSQL need GANTRY_TEST_POSTGRES=postgres://…: run `make test`");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("gantry_test_{}_{number}", std::process::id());
        psql(&server, &format!("drop database if exists {name}"));
        psql(&server, &format!("create database {name}"));
        let (base, _) = server.rsplit_once('/').expect("a URL that ends in /database");
        Self::Postgres { url: format!("{base}/{name}"), server, name }
    }

    /// What to give as `--database`; nothing for SQLite.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres { url, .. } => Some(url),
        }
    }

    /// All of it as PostgreSQL's own tool writes it; nothing for SQLite, whose files can be read.
    #[must_use]
    pub fn dump(&self) -> Option<String> {
        let output = Command::new("pg_dump")
            .arg(self.url()?)
            .output()
            .expect("`pg_dump` of the package postgresql-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { server, name, .. } = self {
            psql(server, &format!("drop database if exists {name} with (force)"));
        }
    }
}

fn psql(server: &str, statement: &str) {
    let output = Command::new("psql")
        .args([server, "-q", "-v", "ON_ERROR_STOP=1", "-c", statement])
        .output()
        .expect("`psql` of the package postgresql-client");
    if !output.status.success() && !std::thread::panicking() {
        panic!("psql: {}", String::from_utf8_lossy(&output.stderr));
    }
}
