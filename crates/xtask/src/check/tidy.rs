//! House rules that no linter knows: sizes, leftovers, and what must not be in tracked files.

use std::path::Path;

use super::report;
use crate::shell::{self, Outcome};

/// Lines a file may have.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, with the reason. This list may only shrink.
const LONGER: &[(&str, &str)] = &[];

/// Text that must not be in any tracked file, with the reason.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "open an issue instead"),
    (concat!("FIX", "ME"), "open an issue instead"),
    (concat!("#[ig", "nore"), "a test runs or goes"),
    (concat!("todo", "!("), "a stub is not done"),
    (concat!("unimplemented", "!("), "a stub is not done"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

pub fn run() -> Outcome {
    let mut findings = Vec::new();
    for file in shell::output("git", &["ls-files"])?.lines() {
        if let Ok(text) = std::fs::read_to_string(shell::root().join(file)) {
            look(file, &text, &mut findings);
        }
    }
    report(&findings)
}

fn look(file: &str, text: &str, findings: &mut Vec<String>) {
    let code =
        Path::new(file).extension().is_some_and(|end| end == "rs" || end == "ts" || end == "tsx");
    let generated = file.contains("/gen/");
    if code && !generated && file != "crates/xtask/src/check/tidy.rs" {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX && !LONGER.iter().any(|(longer, _)| *longer == file) {
            findings
                .push(format!("{file}: {lines} lines, at most {FILE_LINES_MAX}: split it by noun"));
        }
        for (number, line) in text.lines().enumerate() {
            for (forbidden, why) in FORBIDDEN {
                if line.contains(forbidden) {
                    findings.push(format!("{file}:{}: `{forbidden}`: {why}", number + 1));
                }
            }
        }
    }
    if file.ends_with("Cargo.lock")
        && text.lines().any(|line| {
            line.starts_with("source = \"registry")
                && !line.contains("github.com/rust-lang/crates.io-index")
        })
    {
        findings.push(format!("{file}: holds the address of a registry other than crates.io"));
    }
    if file.ends_with("mod.rs") {
        return;
    }
    let twin = shell::root().join(file).with_extension("");
    if code && twin.is_dir() && file.ends_with(".rs") {
        findings.push(format!("{file}: stands next to a folder of its name: make it its mod.rs"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        look(file, text, &mut findings);
        findings
    }

    #[test]
    fn leftovers_and_long_files_are_found() {
        assert_eq!(findings("crates/x/src/a.rs", "fn a() {}\n"), Vec::<String>::new());
        assert_eq!(findings("crates/x/src/a.rs", concat!("// TO", "DO later\n")).len(), 1);
        assert_eq!(findings("crates/x/src/a.rs", &"\n".repeat(501)).len(), 1);
        assert_eq!(findings("crates/x/src/gen/a.rs", &"\n".repeat(501)).len(), 0);
    }
}
