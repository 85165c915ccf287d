//! What the figures were taken on, and whether it had nothing else to do.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// Share of processor time that must be idle before anything is measured.
const IDLE_MIN: f64 = 0.9;

/// How long the idle time is watched.
const WATCH: Duration = Duration::from_secs(3);

/// Processor, memory, kernel, and the versions of everybody who takes part.
pub fn facts(gantry: &str) -> String {
    let mut text = String::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |file: &str, name: &str| {
        let line = file.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let _ = writeln!(text, "cpu      {cores} x {}", field(&read("/proc/cpuinfo"), "model name"));
    let _ = writeln!(text, "memory   {}", field(&read("/proc/meminfo"), "MemTotal"));
    let _ = writeln!(text, "kernel   {}", read("/proc/sys/kernel/osrelease").trim());
    for (name, program, argument) in [
        ("gantry", gantry, "--version"),
        ("nginx", "nginx", "-v"),
        ("haproxy", "haproxy", "-v"),
        ("etcd", "etcd", "--version"),
    ] {
        let _ = writeln!(text, "{name:<8} {}", version(program, argument));
    }
    text
}

fn version(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "not installed".into();
    };
    // nginx answers on standard error.
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").to_owned()
}

/// Whether the machine is free for measurements; the error says what is against it.
pub async fn quiet() -> Result<(), String> {
    let before = processor_times();
    tokio::time::sleep(WATCH).await;
    let after = processor_times();
    let total = after.0.saturating_sub(before.0).max(1);
    let idle = after.1.saturating_sub(before.1) as f64 / total as f64;
    if idle < IDLE_MIN {
        let (idle, wanted) = (idle * 100.0, IDLE_MIN * 100.0);
        return Err(format!("the processors are {idle:.0} % idle, {wanted:.0} % are needed"));
    }
    Ok(())
}

/// All ticks of all processors so far, and the idle ones among them.
fn processor_times() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|number| number.parse().ok())
        .collect();
    (ticks.iter().sum(), ticks.get(3).copied().unwrap_or_default())
}

/// Seconds of processor time a process and its children have used.
pub fn processor_seconds(pid: u32) -> f64 {
    let ticks: u64 = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| ticks_of(&stat, pid))
        .sum();
    // Linux counts these in hundredths on every platform it is used on.
    ticks as f64 / 100.0
}

/// Bytes of memory a process and its children hold, shared pages counted for each.
pub fn resident_bytes(pid: u32) -> u64 {
    let pages = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        ticks_of(&stat, pid)?;
        let memory = std::fs::read_to_string(entry.path().join("statm")).ok()?;
        memory.split(' ').nth(1)?.parse::<u64>().ok()
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    // Linux on the platforms it is used on here has pages of 4 KiB.
    entries.filter_map(pages).sum::<u64>() * 4096
}

/// Ticks of a process if it is `pid` or a child of it (proc(5), `/proc/pid/stat`).
fn ticks_of(stat: &str, pid: u32) -> Option<u64> {
    let (own, rest) = stat.split_once(' ')?;
    // The name may hold anything but ends at the last parenthesis.
    let fields: Vec<&str> = rest.rsplit_once(')')?.1.split_whitespace().collect();
    let parent: u32 = fields.get(1)?.parse().ok()?;
    if own.parse() != Ok(pid) && parent != pid {
        return None;
    }
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(number(11)? + number(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_user_and_system_time() {
        let stat = "77 (ng) inx) S 42 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 9";
        assert_eq!(ticks_of(stat, 77), Some(300));
        assert_eq!(ticks_of(stat, 42), Some(300));
        assert_eq!(ticks_of(stat, 5), None);
    }
}
