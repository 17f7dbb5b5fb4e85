//! What `bench/counts` runs under callgrind: one case, a known number of times.
//!
//! ```text
//! counts list                 names of the cases that are counted
//! counts run NAME TIMES       prepares the case, warms it up, repeats it TIMES times in `counted_repetitions`
//! ```
//! Callgrind collects only between entry and exit of that function, so that preparation does not count. What a case
//! does once per call falls out because the script subtracts the counts of two numbers of repetitions.
#![forbid(unsafe_code)]

use bench::{Operation, cases};
use std::process::ExitCode;

/// Repetitions before counting starts: buffers get their size, regular expressions their automaton.
const WARM_UP: u32 = 128;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["list"] => {
            cases().iter().filter(|case| case.is_counted).for_each(|case| println!("{case}"));
            ExitCode::SUCCESS
        }
        ["run", name, times] => {
            let Ok(times) = times.parse() else { return usage() };
            let Some(case) = cases().into_iter().find(|case| case.to_string() == name) else {
                eprintln!("no case named {name}");
                return ExitCode::from(2);
            };
            let mut operation = case.prepare();
            operation(WARM_UP);
            counted_repetitions(&mut operation, times);
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: counts list | counts run NAME TIMES");
    ExitCode::from(2)
}

/// The script names this function to callgrind.
#[inline(never)]
fn counted_repetitions(operation: &mut Operation, times: u32) {
    operation(times);
}
