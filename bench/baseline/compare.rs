//! Runs every contender with both jobs, interleaved, and weighs them with idle connections.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::contender::start_origin;
use crate::failure::{Failure, at};
use crate::process::Process;
use crate::table::{self, IdleRow, Row};
use crate::workload::{REPORT_SCRIPT, Sample, Workload, Wrk};
use crate::{Contender, machine};

pub(crate) const USAGE: &str = "compare [--rounds N] [--seconds N] [--idle CONNECTIONS] [--no-save]";

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);

/// Cores that others may keep busy during a run that is taken at once.
const FOREIGN_MAX: f64 = 0.2;
/// Runs of one contender in one round.
const TRIES_MAX: usize = 3;

/// How long and how often is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    rounds: u32,
    seconds: u64,
    idle: usize,
    save: bool,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options, String> {
        let mut options = Options { rounds: 5, seconds: 2, idle: 2000, save: true };
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            let mut number = |max: u32| {
                let value = args.next().and_then(|value| value.parse().ok());
                value.filter(|&n| (1..=max).contains(&n)).ok_or_else(|| format!("{arg} takes 1 to {max}"))
            };
            match arg {
                "--rounds" => options.rounds = number(20)?,
                "--seconds" => options.seconds = number(30)?.into(),
                "--idle" => options.idle = number(8000)? as usize,
                "--no-save" => options.save = false,
                _ => return Err(format!("usage: {USAGE}")),
            }
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobName {
    Echo,
    Proxy,
}

impl JobName {
    fn name(self) -> &'static str {
        match self {
            JobName::Echo => "echo",
            JobName::Proxy => "proxy",
        }
    }
}

/// A contender that serves.
struct Running {
    name: &'static str,
    port: u16,
    process: Process,
}

struct Stage {
    options: Options,
    dir: PathBuf,
    origin: Process,
    origin_port: u16,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("ringway-baseline-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    let (origin, origin_port) = start_origin(LOAD_CORE, &dir)?;
    let stage = Stage { options: *options, dir, origin, origin_port };
    let mut text = String::new();
    for (job, what) in [
        (JobName::Proxy, "proxy: heads parsed, forwarded over kept connections, answers of 128 B"),
        (JobName::Echo, "echo: 168 B sent back"),
    ] {
        let running = stage.start(job)?;
        for workload in [Workload::Small64, Workload::Small512] {
            let rows = stage.measure(job, workload, &running)?;
            let connections = if workload == Workload::Small64 { 64 } else { 512 };
            text += &table::costs(&format!("{what}, {connections} connections"), &rows);
        }
    }
    text += &table::idle(options.idle, &stage.weigh()?);
    println!("{text}");
    if options.save { save(options, &text) } else { Ok(()) }
}

impl Stage {
    fn start(&self, job: JobName) -> Result<Vec<Running>, Failure> {
        let program = std::env::current_exe().map_err(at(Path::new("the running program")))?;
        let start = |contender: &Contender| {
            let name = contender.name();
            let port = free_port().map_err(|source| Failure::Connection { name: name.into(), source })?;
            let (text, origin) = (port.to_string(), self.origin_port.to_string());
            let args = ["serve", name, job.name(), &text, &origin];
            let mut process = Process::start(name, SERVER_CORE, &program, &args, &self.dir)?;
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                match exchange(job, port) {
                    Ok(_) => return Ok(Running { name, port, process }),
                    Err(_) if Instant::now() < deadline && !process.ended() => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    Err(_) => return Err(process.not_serving()),
                }
            }
        };
        Contender::ALL.iter().map(start).collect()
    }

    /// Every round warms up and measures each contender once, starting with another one each time.
    fn measure(&self, job: JobName, workload: Workload, running: &[Running]) -> Result<Vec<Row>, Failure> {
        let script = self.dir.join(format!("{}.lua", job.name()));
        let request = match job {
            JobName::Echo => echo_script(),
            JobName::Proxy => String::new(),
        };
        fs::write(&script, REPORT_SCRIPT.to_string() + &request).map_err(at(&script))?;
        let wrk = Wrk { core: LOAD_CORE, script: &script };
        let mut rows: Vec<Row> = running.iter().map(|r| Row { name: r.name, samples: Vec::new() }).collect();
        for round in 0..self.options.rounds as usize {
            for turn in 0..running.len() {
                let index = (round * 5 + turn) % running.len();
                let contender = &running[index];
                let sample = self.least_disturbed(&wrk, workload, contender)?;
                eprintln!(
                    "{} {} {}: {:.2} us/request, {:.0}/s, foreign {:.2}, errors {}",
                    job.name(),
                    workload.name(),
                    contender.name,
                    sample.cpu_us,
                    sample.rate,
                    sample.foreign,
                    sample.errors
                );
                rows[index].samples.push(sample);
            }
        }
        Ok(rows)
    }

    /// One measured run after a warm-up. While the machine does much else it is repeated, a few times, and the run with
    /// the least of it counts, whatever it measured.
    fn least_disturbed(
        &self,
        wrk: &Wrk<'_>,
        workload: Workload,
        running: &Running,
    ) -> Result<Sample, Failure> {
        let length = Duration::from_secs(self.options.seconds);
        let mut best: Option<Sample> = None;
        for _ in 0..TRIES_MAX {
            wrk.load(workload, running.port, WARM_UP)?;
            let sample = wrk.measure(workload, running.port, length, &running.process, &self.origin)?;
            let least = best.as_ref().map_or(f64::INFINITY, |best| best.foreign);
            if sample.foreign < least {
                best = Some(sample);
            }
            if best.as_ref().is_some_and(|best| best.foreign <= FOREIGN_MAX) {
                break;
            }
        }
        best.ok_or(Failure::Unreadable { what: "foreign load", text: "/proc/stat".into() })
    }

    /// Growth per connection that has made one request through the proxy and now waits.
    fn weigh(&self) -> Result<Vec<IdleRow>, Failure> {
        let weigh = |contender: &Running| {
            let failed = |source| Failure::Connection { name: contender.name.into(), source };
            let hold = |count: usize| -> std::io::Result<Vec<TcpStream>> {
                (0..count).map(|_| exchange(JobName::Proxy, contender.port)).collect()
            };
            // The first requests make a process touch what it keeps for good, all buffers of a ring for example; that is
            // not per connection.
            for _ in 0..40 {
                drop(hold(20).map_err(failed)?);
            }
            let before = settled(&contender.process)?;
            let held = hold(self.options.idle).map_err(failed)?;
            let growth = settled(&contender.process)?.saturating_sub(before);
            Ok(IdleRow { name: contender.name, bytes: growth / held.len().max(1) as u64 })
        };
        self.start(JobName::Proxy)?.iter().map(weigh).collect()
    }
}

/// Makes wrk send what it takes for a response. It checks the first message that it gets from the script, before the
/// load, and wants a request there; that one is not sent.
fn echo_script() -> String {
    let asked = r#"if not asked then asked = true return "GET / HTTP/1.1\r\n\r\n" end"#;
    format!("local asked\nfunction request()\n  {asked}\n  return {:?}\nend\n", message())
}

/// What wrk takes for a response.
fn message() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n{}", "x".repeat(128))
}

/// One request and its answer on a new connection, which is returned.
fn exchange(job: JobName, port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    match job {
        JobName::Echo => stream.write_all(message().as_bytes())?,
        JobName::Proxy => stream.write_all(b"GET /s HTTP/1.1\r\nHost: baseline.example\r\n\r\n")?,
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.ends_with(&[b'x'; 128]) {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(stream)
}

/// Size once it stops changing.
fn settled(process: &Process) -> Result<u64, Failure> {
    let mut last = process.pss_bytes()?;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        let now = process.pss_bytes()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn save(options: &Options, tables: &str) -> Result<(), Failure> {
    let mut facts = String::new();
    for (key, value) in machine::describe().as_object().into_iter().flatten() {
        // The origin is the only nginx here, and no HAProxy takes part.
        if key != "haproxy" {
            facts +=
                &format!("- {key}: {}\n", value.as_str().map_or_else(|| value.to_string(), str::to_string));
        }
    }
    let text = format!(
        "# The runtimes compared\n\nWritten by `bench/baseline/run`; [decision 0002](../../docs/decisions/0002-own-driver.md) \
         rests on comparisons of this kind.\n\n{facts}- rounds: {} of {} s after {} s of warm-up, interleaved\n\
         - server on core {SERVER_CORE}, wrk (1 thread) and the origin (nginx) on core {LOAD_CORE}, loopback\n\
         - rings: {} entries; `monoio-defer` has SINGLE_ISSUER and DEFER_TASKRUN, `monoio` and `tokio-uring` the ring \
         that they set up by default\n\
         - CPU time: user and system time of the server / requests that wrk counted. Other work on the machine (column \
         \"foreign cores\") only ever adds to it. On loopback it holds the receiver's TCP work for everybody alike, \
         which compresses the ratios\n\
         - a run during which others kept more than {FOREIGN_MAX} cores busy was repeated, up to {TRIES_MAX} runs, and \
         the one with the least of it taken\n- ratio: median over the rounds of the ratio to `runtime-io_uring` within the round\n\n{tables}",
        options.rounds,
        options.seconds,
        WARM_UP.as_secs(),
        crate::RING_ENTRIES,
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("results.md");
    fs::write(&file, text.trim_end().to_string() + "\n").map_err(at(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_bounded_so_that_a_comparison_ends() {
        assert_eq!(Options::parse(&["--rounds", "3", "--no-save"]).unwrap().rounds, 3);
        assert!(Options::parse(&["--rounds", "0"]).is_err());
        assert!(Options::parse(&["--seconds", "31"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
    }
}
