//! What a fresh machine lacks: installed from Debian's packages when root, named otherwise. What comes
//! from npm goes into the user's cache and needs no root.

use crate::shell::{self, Outcome, has};

/// A program and the Debian package that brings it.
type Need = (&'static str, &'static str);

const BUILD: &[Need] = &[("cc", "gcc"), ("git", "git")];
const TEST: &[Need] = &[
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("curl", "curl"),
    ("redis-server", "redis-server"),
    ("prometheus", "prometheus"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("lua5.1", "lua5.1"),
];
const FUZZ: &[Need] = &[("python3", "python3-venv")];
const BENCH: &[Need] = &[("etcd", "etcd-server"), ("nginx", "nginx-light"), ("haproxy", "haproxy")];

/// Makes sure that `make <word>` finds what it needs.
pub fn run(word: &str) -> Outcome {
    let needs = match word {
        "test" => [BUILD, TEST].concat(),
        "test-fuzz" => [BUILD, FUZZ].concat(),
        "bench" => [BUILD, BENCH].concat(),
        _ => BUILD.to_vec(),
    };
    let mut packages: Vec<&str> = needs
        .iter()
        .filter(|(program, _)| !present(program))
        .map(|(_, package)| *package)
        .collect();
    if word == "test" && crate::postgres::programs().is_none() {
        packages.push("postgresql");
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    if word == "test" { crate::identity_provider::install().map(|_| ()) } else { Ok(()) }
}

/// Servers live in sbin, which is not on everybody's path.
fn present(program: &str) -> bool {
    has(program) || std::path::Path::new("/usr/sbin").join(program).is_file()
}

fn install(packages: &[&str]) -> Outcome {
    let line = packages.join(" ");
    let root = shell::output("id", &["-u"]).is_ok_and(|id| id.trim() == "0");
    if !(root && has("apt-get")) {
        return Err(format!(
            "missing: {line}. Install them, on Debian with\n  sudo apt-get install {line}"
        ));
    }
    eprintln!("installing from Debian's packages: {line}");
    let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
    shell::run_with("apt-get", &["update", "-qq"], &quiet)?;
    let arguments = [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat();
    shell::run_with("apt-get", &arguments, &quiet)
}
