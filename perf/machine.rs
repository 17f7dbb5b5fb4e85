//! Where and with what the numbers were taken: they mean nothing without it.

use std::process::Command;

use serde_json::{Value, json};

/// Machine, kernel, versions and commit, as facts for the report.
pub(crate) fn describe() -> Value {
    json!({
        "date": date(),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "memory_gib": memory_gib(),
        "kernel": first_line(&["uname", "-srv"]),
        "distribution": distribution(),
        "nginx": first_line(&["nginx", "-v"]),
        "haproxy": first_line(&["haproxy", "-v"]),
        "wrk": first_line(&["wrk", "-v"]),
        "rustc": first_line(&["rustc", "--version"]),
    })
}

/// Today, `YYYY-MM-DD` in UTC.
pub(crate) fn date() -> String {
    first_line(&["date", "-u", "+%F"])
}

fn commit() -> String {
    let commit = first_line(&["git", "rev-parse", "--short=12", "HEAD"]);
    let changed = first_line(&["git", "status", "--porcelain", "--untracked-files=no"]);
    if changed.is_empty() { commit } else { commit + " with uncommitted changes" }
}

/// First line that a command prints, on either stream; empty when it cannot be run.
fn first_line(command: &[&str]) -> String {
    let Some((program, args)) = command.split_first() else { return String::new() };
    let Ok(output) = Command::new(program).args(args).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_string()
}

fn cpu_model() -> String {
    field("/proc/cpuinfo", "model name", ':')
}

fn distribution() -> String {
    field("/etc/os-release", "PRETTY_NAME", '=').trim_matches('"').to_string()
}

fn memory_gib() -> u64 {
    let text = field("/proc/meminfo", "MemTotal", ':');
    text.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20
}

fn field(path: &str, name: &str, separator: char) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_string())
        .unwrap_or_default()
}
