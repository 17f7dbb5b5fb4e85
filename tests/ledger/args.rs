//! The command line: by hand, as a test program for cargo and nextest, and as an endpoint of a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::chaos::{self, Size};
use crate::endpoint::process;
use crate::harness::{Io, ringway};

/// A scenario in its short form, as cargo and nextest run it.
struct Case {
    name: &'static str,
    run: fn() -> Result<(), String>,
}

const CASES: &[Case] = &[
    Case { name: "chaos::io_uring", run: || chaos::run(Io::Uring, 7, chaos::FAULTS, short(20_000)) },
    Case { name: "chaos::epoll", run: || chaos::run(Io::Epoll, 8, chaos::FAULTS, short(10_000)) },
    Case { name: "chaos::any_seed", run: any_seed },
];

fn short(requests: u32) -> Size {
    Size { requests, connections: 48 }
}

/// A run that nobody has seen before; the seed is printed and repeats it.
fn any_seed() -> Result<(), String> {
    let seed = chaos::any_seed();
    let io = if seed.is_multiple_of(2) { Io::Uring } else { Io::Epoll };
    chaos::run(io, seed, chaos::FAULTS, short(10_000))
}

const HELP: &str = "\
ledger run SCENARIO [--seed N] [--requests N] [--connections N] [--faults PERMILLE] [--io io_uring|epoll]
                    [--ringway PATH]
    scenarios: chaos
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

/// What was asked for by hand.
struct Asked {
    seed: u64,
    size: Size,
    faults: u32,
    io: Io,
}

fn by_hand(words: &[String]) -> Result<(), String> {
    let (scenario, options) = words.split_first().ok_or(HELP)?;
    let size = Size { requests: 100_000, connections: 64 };
    let mut asked = Asked { seed: chaos::any_seed(), size, faults: chaos::FAULTS, io: Io::Uring };
    for pair in options.chunks(2) {
        let [name, value] = pair else { return Err(HELP.into()) };
        let bad = || format!("{name} {value}: not understood\n{HELP}");
        let number = || value.parse::<u32>().map_err(|_| bad());
        match name.as_str() {
            "--seed" => asked.seed = value.parse().map_err(|_| bad())?,
            "--requests" => asked.size.requests = number()?,
            "--connections" => asked.size.connections = number()?,
            "--faults" => asked.faults = number()?,
            "--io" => {
                asked.io = [Io::Uring, Io::Epoll].into_iter().find(|io| io.name() == value).ok_or_else(bad)?
            }
            "--ringway" => ringway::use_binary(value),
            _ => return Err(bad()),
        }
    }
    match scenario.as_str() {
        "chaos" => chaos::run(asked.io, asked.seed, asked.faults, asked.size),
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
