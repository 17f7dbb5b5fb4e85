//! The same two servers on several runtimes, to check what decision 0002 says: a byte echo, and a small HTTP proxy that
//! parses heads and forwards over kept connections. Neither logs, routes, limits or times anything.
//!
//! ```text
//! baseline serve CONTENDER echo|proxy PORT ORIGIN_PORT     one contender, until it is ended
//! baseline compare [OPTIONS]                               all of them, interleaved; started by `bench/baseline/run`
//! ```
//! What differs between contenders is in one file each (`on_*.rs`), what is the same in `echo.rs` and `proxy.rs`.
//! How processes are started and wrk is read is `perf`'s code.
#![forbid(unsafe_code)]

mod buffers;
mod compare;
mod connection;
mod echo;
mod on_monoio;
mod on_runtime;
mod on_tokio;
mod on_tokio_uring;
mod proxy;
mod table;

#[path = "../../perf/contender.rs"]
#[allow(dead_code, reason = "only its origin takes part here")]
mod contender;
#[path = "../../perf/failure.rs"]
mod failure;
#[path = "../../perf/h2load.rs"]
mod h2load;
#[path = "../../perf/machine.rs"]
mod machine;
#[path = "../../perf/passthrough.rs"]
#[allow(dead_code, reason = "only the origin of the contenders takes part here")]
mod passthrough;
#[path = "../../perf/peers.rs"]
#[allow(dead_code, reason = "only the origin of the contenders takes part here")]
mod peers;
#[path = "../../perf/process.rs"]
mod process;
#[path = "../../perf/workload.rs"]
#[allow(dead_code, reason = "only two of the workloads are used here")]
mod workload;

use std::io;
use std::process::ExitCode;

/// What a contender does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Sends back what it received.
    Echo,
    /// Forwards requests to the origin on this loopback port.
    Proxy { origin: u16 },
}

/// A runtime with the settings that it competes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    RuntimeUring,
    RuntimeEpoll,
    /// The ring that monoio sets up by default.
    Monoio,
    /// With `SINGLE_ISSUER | DEFER_TASKRUN`.
    MonoioDefer,
    /// Its default ring; it waits in epoll for a descriptor of the ring, which rules `DEFER_TASKRUN` out.
    TokioUring,
    /// Current-thread, epoll.
    Tokio,
}

impl Contender {
    /// The first is what ratios refer to.
    pub(crate) const ALL: [Contender; 6] = [
        Contender::RuntimeUring,
        Contender::RuntimeEpoll,
        Contender::MonoioDefer,
        Contender::Monoio,
        Contender::TokioUring,
        Contender::Tokio,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::RuntimeUring => "runtime-io_uring",
            Contender::RuntimeEpoll => "runtime-epoll",
            Contender::Monoio => "monoio",
            Contender::MonoioDefer => "monoio-defer",
            Contender::TokioUring => "tokio-uring",
            Contender::Tokio => "tokio",
        }
    }

    fn serve(self, job: Job, port: u16) -> io::Result<()> {
        match self {
            Contender::RuntimeUring => on_runtime::serve(runtime::IoChoice::IoUring, job, port),
            Contender::RuntimeEpoll => on_runtime::serve(runtime::IoChoice::Epoll, job, port),
            Contender::Monoio => on_monoio::serve(false, job, port),
            Contender::MonoioDefer => on_monoio::serve(true, job, port),
            Contender::TokioUring => on_tokio_uring::serve(job, port),
            Contender::Tokio => on_tokio::serve(job, port),
        }
    }
}

/// Submission entries of every ring.
pub(crate) const RING_ENTRIES: u32 = 1024;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["serve", name, job, port, origin] => serve(name, job, port, origin),
        ["compare", ref options @ ..] => compare::Options::parse(options)
            .and_then(|options| compare::run(&options).map_err(|e| e.to_string())),
        _ => Err(format!("usage: baseline serve CONTENDER echo|proxy PORT ORIGIN_PORT | {}", compare::USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("baseline: {message}");
            ExitCode::from(2)
        }
    }
}

fn serve(name: &str, job: &str, port: &str, origin: &str) -> Result<(), String> {
    let contender = Contender::ALL.into_iter().find(|contender| contender.name() == name);
    let contender = contender.ok_or_else(|| format!("no contender named {name}"))?;
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text} is not a port"));
    let job = match job {
        "echo" => Job::Echo,
        "proxy" => Job::Proxy { origin: number(origin)? },
        _ => return Err(format!("{job} is neither echo nor proxy")),
    };
    contender.serve(job, number(port)?).map_err(|error| format!("{name}: {error}"))
}
