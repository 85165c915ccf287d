//! The OpenID provider that tests sign in with: `crates/testkit/oidc`, installed from npm into the
//! user's cache in the versions that its lock file names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Outcome, root};

const FILES: &[&str] = &["package.json", "package-lock.json", "provider.js"];
const LOCK: &str = "package-lock.json";

/// The folder with the provider; installed if it is not there or another version is.
pub fn install() -> Outcome<PathBuf> {
    let source = root().join("crates/testkit/oidc");
    let folder = shell::cache()?.join("identity-provider");
    let installed = folder.join("node_modules/oidc-provider").is_dir()
        && read(&folder.join(LOCK)).ok() == Some(read(&source.join(LOCK))?);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for file in FILES {
        fs::copy(source.join(file), folder.join(file))
            .map_err(|error| format!("{}: {error}", folder.join(file).display()))?;
    }
    if !installed {
        eprintln!("installing an OpenID provider for tests into {}", folder.display());
        let place = folder.display().to_string();
        shell::run(
            "npm",
            &["ci", "--prefix", &place, "--no-audit", "--no-fund", "--loglevel=error"],
        )?;
    }
    Ok(folder)
}

fn read(file: &Path) -> Outcome<String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}
