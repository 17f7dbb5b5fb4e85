//! The command line: by hand, as a test program for cargo and nextest, and as an endpoint of a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use crate::chaos::{self, Size};
use crate::endpoint::process;
use crate::harness::{Io, ringway};
use crate::proof;
use crate::scenario::{idle, kill, overload, storm};
use crate::stage;

/// A scenario in its short form, as cargo and nextest run it.
struct Case {
    name: &'static str,
    run: fn() -> Result<(), String>,
}

const CASES: &[Case] = &[
    Case {
        name: "proof::the_oracle_notices_every_kind_of_lie",
        run: proof::the_oracle_notices_every_kind_of_lie,
    },
    Case { name: "proof::the_same_seed_is_the_same_run", run: proof::the_same_seed_is_the_same_run },
    Case { name: "storm::io_uring", run: || storm::run(Io::Uring, 7, 500.0, Duration::from_secs(5)) },
    Case { name: "kill::io_uring", run: || kill::run(Io::Uring, 7, 400.0, Duration::from_secs(6)) },
    Case { name: "kill::epoll", run: || kill::run(Io::Epoll, 8, 400.0, Duration::from_secs(6)) },
    Case { name: "idle::io_uring", run: || idle::run(Io::Uring, 7, idle::SHORT) },
    Case { name: "idle::epoll", run: || idle::run(Io::Epoll, 8, idle::SHORT) },
    Case { name: "chaos::io_uring", run: || chaos::run(Io::Uring, 7, chaos::FAULTS, short(20_000)) },
    Case { name: "chaos::epoll", run: || chaos::run(Io::Epoll, 8, chaos::FAULTS, short(10_000)) },
    Case { name: "chaos::any_seed", run: any_seed },
];

fn short(requests: u32) -> Size {
    Size { requests, connections: 48 }
}

/// A run that nobody has seen before; the seed is printed and repeats it.
fn any_seed() -> Result<(), String> {
    let seed = stage::any_seed();
    let io = if seed.is_multiple_of(2) { Io::Uring } else { Io::Epoll };
    chaos::run(io, seed, chaos::FAULTS, short(10_000))
}

const HELP: &str = "\
ledger run SCENARIO [--io io_uring|epoll] [--ringway PATH] [--seed N] ...
    chaos     [--requests N] [--connections N] [--faults PERMILLE]
    storm     [--rate PER_SECOND] [--seconds N]
    kill      [--rate PER_SECOND] [--seconds N]
    idle      [--age MILLISECONDS] [--bursts N] [--width N] [--learning BURSTS] [--most FAILURES]
    overload  [--upstream NODES] [--judge true]
ledger [NAME]    the short forms, all or those whose names contain NAME";

pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("run") => end(by_hand(&words[1..])),
        Some("endpoint") => end(process::live(&words[1..]).ok_or_else(|| HELP.to_string())),
        Some("help") => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => as_test(&words),
    }
}

fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// Options that were given by hand; each scenario takes those that it knows.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(words: &[String]) -> Result<Options, String> {
        let pairs = words.chunks(2).map(|pair| match pair {
            [name, value] => Ok((name.clone(), value.clone())),
            _ => Err(HELP.to_string()),
        });
        Ok(Options(pairs.collect::<Result<_, _>>()?))
    }

    /// The value of an option, which is then used up.
    fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else { return Ok(default) };
        let (_, value) = self.0.remove(at);
        value.parse().map_err(|_| format!("{name} {value}: not understood\n{HELP}"))
    }

    fn io(&mut self) -> Result<Io, String> {
        let name = self.take("--io", Io::Uring.name().to_string())?;
        let found = [Io::Uring, Io::Epoll].into_iter().find(|io| io.name() == name);
        found.ok_or_else(|| format!("--io {name}: not understood\n{HELP}"))
    }

    fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name}: not an option of this scenario\n{HELP}")),
        }
    }
}

fn by_hand(words: &[String]) -> Result<(), String> {
    let (scenario, options) = words.split_first().ok_or(HELP)?;
    let mut options = Options::read(options)?;
    let io = options.io()?;
    let seed = options.take("--seed", stage::any_seed())?;
    let binary = options.take("--ringway", String::new())?;
    if !binary.is_empty() {
        ringway::use_binary(&binary);
    }
    match scenario.as_str() {
        "chaos" => {
            let faults = options.take("--faults", chaos::FAULTS)?;
            let requests = options.take("--requests", 100_000)?;
            let size = Size { requests, connections: options.take("--connections", 64)? };
            options.end()?;
            chaos::run(io, seed, faults, size)
        }
        "storm" | "kill" => {
            let rate = options.take("--rate", 2000.0)?;
            let time = Duration::from_secs(options.take("--seconds", 20)?);
            options.end()?;
            let run = if scenario == "kill" { kill::run } else { storm::run };
            run(io, seed, rate, time)
        }
        "idle" => {
            let age = Duration::from_millis(options.take("--age", 5000)?);
            let (bursts, width) = (options.take("--bursts", 20)?, options.take("--width", 64)?);
            let (learning, most) = (options.take("--learning", 3)?, options.take("--most", 0)?);
            options.end()?;
            idle::run(io, seed, idle::Form { age, bursts, width, learning, most })
        }
        "overload" => {
            let upstream = options.take("--upstream", overload::LIMITS.to_string())?;
            let judge = options.take("--judge", false)?;
            options.end()?;
            overload::run(io, seed, &upstream, judge)
        }
        _ => Err(format!("no scenario {scenario:?}\n{HELP}")),
    }
}

/// The part of libtest's command line that cargo and nextest use.
fn as_test(words: &[String]) -> ExitCode {
    let has = |word: &str| words.iter().any(|given| given == word);
    let mut names = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--format" | "--test-threads" | "--color" | "--logfile" | "--skip" => drop(rest.next()),
            _ if word.starts_with('-') => {}
            _ => names.push(word.as_str()),
        }
    }
    let fits = |case: &&Case| {
        let fits = |name: &&str| if has("--exact") { case.name == *name } else { case.name.contains(name) };
        names.is_empty() || names.iter().any(fits)
    };
    let chosen = CASES.iter().filter(fits);
    if has("--list") {
        // Nothing here is ever ignored.
        for case in chosen.filter(|_| !has("--ignored")) {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for case in chosen {
        let result = catch_unwind(AssertUnwindSafe(case.run)).unwrap_or_else(|_| Err("it panicked".into()));
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {} ... {word}", case.name);
        match result {
            Ok(()) => passed += 1,
            Err(what) => {
                println!("{what}");
                failed += 1;
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
