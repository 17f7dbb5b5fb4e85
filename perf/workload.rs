//! What is asked of the proxies: one entry per workload, and one run of `wrk` against one of them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;
use crate::h2load;
use crate::process::{Process, cpu_of, machine_busy};

/// A way to load a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// 128 B answers over 64 keep-alive connections.
    Small64,
    /// 128 B answers over 512 keep-alive connections.
    Small512,
    /// 16 KiB files over 64 keep-alive connections.
    Body16k,
    /// 128 KiB files over 64 keep-alive connections.
    Body128k,
    /// 1 MiB files over 32 keep-alive connections.
    Body1m,
    /// 128 B answers, a new client connection for each; the upstream side stays pooled.
    Close,
    /// Small64 again, with and without an access log.
    LogOn,
    /// 128 B answers over HTTP/2 in clear text: 4 connections with 32 streams each, by `h2load`.
    Http2,
    /// Small64 over TLS.
    TlsSmall,
    /// 128 B answers over TLS, a new connection and a full handshake for each.
    TlsHandshake,
    /// Memory of connections that have served one request and now wait.
    Idle,
    /// Small64 through TCP passthrough.
    TcpSmall,
    /// Body1m through TCP passthrough.
    TcpBulk,
    /// As Idle, through TCP passthrough: both sides of each connection stay open.
    TcpIdle,
}

impl Workload {
    /// Every workload, in the order in which they are run.
    pub(crate) const ALL: [Workload; 14] = [
        Workload::Small64,
        Workload::Small512,
        Workload::Body16k,
        Workload::Body128k,
        Workload::Body1m,
        Workload::Close,
        Workload::LogOn,
        Workload::Http2,
        Workload::TlsSmall,
        Workload::TlsHandshake,
        Workload::Idle,
        Workload::TcpSmall,
        Workload::TcpBulk,
        Workload::TcpIdle,
    ];

    /// Name on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Small64 => "small64",
            Workload::Small512 => "small512",
            Workload::Body16k => "16k",
            Workload::Body128k => "128k",
            Workload::Body1m => "1m",
            Workload::Close => "close",
            Workload::LogOn => "logon",
            Workload::Http2 => "h2",
            Workload::TlsSmall => "tls-small",
            Workload::TlsHandshake => "tls-handshake",
            Workload::Idle => "idle",
            Workload::TcpSmall => "tcp-small",
            Workload::TcpBulk => "tcp-bulk",
            Workload::TcpIdle => "tcp-idle",
        }
    }

    /// One line for the report.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Workload::Small64 => "128 B answers, 64 keep-alive connections",
            Workload::Small512 => "128 B answers, 512 keep-alive connections",
            Workload::Body16k => "16 KiB files, 64 keep-alive connections",
            Workload::Body128k => "128 KiB files, 64 keep-alive connections",
            Workload::Body1m => "1 MiB files, 32 keep-alive connections",
            Workload::Close => "128 B answers, a new client connection per request, 64 at a time",
            Workload::LogOn => "as small64, with (-log) and without an access log",
            Workload::Http2 => "128 B answers over HTTP/2, 4 connections with 32 streams each",
            Workload::TlsSmall => "128 B answers over TLS 1.3, 64 keep-alive connections",
            Workload::TlsHandshake => {
                "128 B answers over TLS 1.3, a full handshake per request, 64 at a time"
            }
            Workload::Idle => "memory per idle keep-alive connection",
            Workload::TcpSmall => "TCP passthrough, 128 B answers, 64 keep-alive connections",
            Workload::TcpBulk => "TCP passthrough, 1 MiB files, 32 keep-alive connections",
            Workload::TcpIdle => "memory per idle connection that is passed through",
        }
    }

    /// Largest CPU time per request that we accept, relative to the best peer.
    pub(crate) fn target_ratio(self) -> Option<f64> {
        match self {
            Workload::Small64 | Workload::Close => Some(0.90),
            Workload::Small512 | Workload::Body1m => Some(0.80),
            Workload::TcpSmall => Some(0.97),
            Workload::TcpBulk => Some(0.62),
            Workload::Body16k | Workload::Body128k | Workload::LogOn | Workload::Http2 => None,
            Workload::TlsSmall | Workload::TlsHandshake => None,
            Workload::Idle | Workload::TcpIdle => None,
        }
    }

    /// Whether it goes to the port with TLS.
    pub(crate) fn is_secured(self) -> bool {
        matches!(self, Workload::TlsSmall | Workload::TlsHandshake)
    }

    /// Whether it goes to the port behind the first one.
    pub(crate) fn has_second_port(self) -> bool {
        self == Workload::Http2 || self.is_secured()
    }

    /// True where connections are passed through without a look at what they carry.
    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Workload::TcpSmall | Workload::TcpBulk | Workload::TcpIdle)
    }

    /// True where connections are weighed instead of loaded.
    pub(crate) fn is_idle(self) -> bool {
        matches!(self, Workload::Idle | Workload::TcpIdle)
    }

    fn connections(self) -> u32 {
        match self {
            Workload::Small512 => 512,
            Workload::Body1m | Workload::TcpBulk => 32,
            _ => 64,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Workload::Body16k => "/16k",
            Workload::Body128k => "/128k",
            Workload::Body1m | Workload::TcpBulk => "/1m",
            _ => "/s",
        }
    }
}

/// One measured run.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Requests answered with 2xx or 3xx while the clock ran.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Median latency, microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of latency, microseconds.
    pub(crate) p99_us: f64,
    /// CPU time of the proxy per request, microseconds.
    pub(crate) cpu_us: f64,
    /// Share of its core that the proxy used.
    pub(crate) busy: f64,
    /// Cores that everybody but proxy, origin and wrk kept busy meanwhile.
    pub(crate) foreign: f64,
    /// Failed connections, reads, writes, time-outs and answers outside 2xx/3xx.
    pub(crate) errors: u64,
}

/// Where wrk runs and how it reports.
pub(crate) struct Wrk<'a> {
    /// The core that wrk shares with the origin.
    pub(crate) core: usize,
    /// Lua file that makes wrk print its figures in a form that can be read back.
    pub(crate) script: &'a Path,
}

impl Wrk<'_> {
    /// Loads `port` for `length` and reads what that cost `proxy`.
    pub(crate) fn measure(
        &self,
        workload: Workload,
        port: u16,
        length: Duration,
        proxy: &Process,
        origin: &Process,
    ) -> Result<Sample, Failure> {
        let before = Clocks::read(proxy, origin)?;
        let report = self.load(workload, port, length)?;
        let after = Clocks::read(proxy, origin)?;
        let [requests, duration_us, connect, read, write, status, timeout, p50_us, p99_us] = report;
        let seconds = duration_us / 1e6;
        let cpu = after.proxy.saturating_sub(before.proxy);
        let ours = cpu
            + after.origin.saturating_sub(before.origin)
            + after.wrk_and_us.saturating_sub(before.wrk_and_us);
        let busy = after.machine.saturating_sub(before.machine);
        Ok(Sample {
            requests: whole(requests),
            rate: requests / seconds,
            p50_us,
            p99_us,
            cpu_us: cpu.as_secs_f64() * 1e6 / requests.max(1.0),
            busy: cpu.as_secs_f64() / seconds,
            foreign: busy.saturating_sub(ours).as_secs_f64() / seconds,
            errors: whole(connect + read + write + status + timeout),
        })
    }

    /// Runs wrk without reading any clock; also used as warm-up.
    pub(crate) fn load(&self, workload: Workload, port: u16, length: Duration) -> Result<[f64; 9], Failure> {
        if workload == Workload::Http2 {
            let url = format!("http://127.0.0.1:{port}{}", workload.path());
            return h2load::load(self.core, &url, length, &self.script.with_extension("h2load"));
        }
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core.to_string(), "wrk", "-t1", "--timeout", "10s"]);
        command.arg(format!("-c{}", workload.connections())).arg(format!("-d{}s", length.as_secs()));
        command.arg("-s").arg(self.script);
        if matches!(workload, Workload::Close | Workload::TlsHandshake) {
            command.args(["-H", "Connection: close"]);
        }
        let scheme = if workload.is_secured() { "https" } else { "http" };
        command.arg(format!("{scheme}://127.0.0.1:{port}{}", workload.path()));
        let output = command.output().map_err(|source| Failure::Spawn { program: "wrk".into(), source })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse_report(&text).ok_or_else(|| Failure::Unreadable {
            what: "wrk's report",
            text: text + &String::from_utf8_lossy(&output.stderr),
        })
    }
}

/// Makes wrk end with one line of numbers; a script without `request` costs nothing while the load runs.
pub(crate) const REPORT_SCRIPT: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("REPORT %d %d %d %d %d %d %d %.1f %.1f\n", summary.requests, summary.duration,
    e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;

fn parse_report(text: &str) -> Option<[f64; 9]> {
    let line = text.lines().find_map(|line| line.strip_prefix("REPORT "))?;
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    numbers.try_into().ok()
}

/// A count that a tool printed as a number: never negative, far below 2^52.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

struct Clocks {
    proxy: Duration,
    origin: Duration,
    wrk_and_us: Duration,
    machine: Duration,
}

impl Clocks {
    fn read(proxy: &Process, origin: &Process) -> Result<Clocks, Failure> {
        let us = cpu_of("self").map(|cpu| cpu.own + cpu.waited_for).unwrap_or_default();
        Ok(Clocks { proxy: proxy.cpu(), origin: origin.cpu(), wrk_and_us: us, machine: machine_busy()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_line_is_found_among_what_wrk_prints() {
        let text = "Running 3s test\n  1 threads\nREPORT 10 3000000 0 1 0 2 0 730.0 1500.5\n";
        assert_eq!(parse_report(text), Some([10.0, 3e6, 0.0, 1.0, 0.0, 2.0, 0.0, 730.0, 1500.5]));
    }

    #[test]
    fn a_truncated_report_is_no_report() {
        assert_eq!(parse_report("REPORT 10 3000000 0"), None);
        assert_eq!(parse_report("unable to connect"), None);
    }
}
