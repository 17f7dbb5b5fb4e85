//! One run of `h2load`, with the figures that `wrk` gives for HTTP/1.1.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;

/// Connections, and streams on each.
const CONNECTIONS: &str = "4";
const STREAMS: &str = "32";

/// Requests, duration in microseconds, five kinds of errors, median and 99th percentile of latency in microseconds.
pub(crate) fn load(core: usize, url: &str, length: Duration, log: &Path) -> Result<[f64; 9], Failure> {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), "h2load", "-t1", "-c", CONNECTIONS, "-m", STREAMS]);
    command.arg("-D").arg(length.as_secs().to_string()).arg(format!("--log-file={}", log.display())).arg(url);
    let _ = std::fs::remove_file(log);
    let output = command.output().map_err(|source| Failure::Spawn { program: "h2load".into(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let requests = std::fs::read_to_string(log).unwrap_or_default();
    parse(&text, &requests, length).ok_or_else(|| Failure::Unreadable {
        what: "h2load's report",
        text: text + &String::from_utf8_lossy(&output.stderr),
    })
}

/// `text` is what h2load prints, `requests` its log: start, status and microseconds of each request.
fn parse(text: &str, requests: &str, length: Duration) -> Option<[f64; 9]> {
    let line = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let count = |what: &str| -> Option<f64> {
        let part = line.split(", ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse().ok()
    };
    let status = text.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let refused: f64 =
        status.split(", ").skip(2).filter_map(|part| part.split(' ').next()?.parse::<f64>().ok()).sum();
    let mut latencies: Vec<f64> =
        requests.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    latencies.sort_by(f64::total_cmp);
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied();
    Some([
        count("succeeded")?,
        length.as_secs_f64() * 1e6,
        count("failed")?,
        count("errored")?,
        0.0,
        refused,
        count("timeout")?,
        at(50)?,
        at(99)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_and_the_log_are_read() {
        let text = "finished in 1.11s, 4512.38 req/s\nrequests: 50 total, 50 started, 50 done, 48 succeeded, 2 failed, \
                    0 errored, 1 timeout\nstatus codes: 46 2xx, 2 3xx, 0 4xx, 2 5xx\n";
        let log = "1 200 300\n2 200 100\n3 200 200\n";
        let figures = parse(text, log, Duration::from_secs(2));
        assert_eq!(figures, Some([48.0, 2e6, 2.0, 0.0, 0.0, 2.0, 1.0, 200.0, 300.0]));
    }

    #[test]
    fn a_truncated_report_is_no_report() {
        assert_eq!(parse("unable to connect", "", Duration::from_secs(1)), None);
    }
}
