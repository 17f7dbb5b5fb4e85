//! The command line: parses arguments, runs one subcommand, turns its outcome into an exit status.
//!
//! ```text
//!   args, help     the words                     run ─▶ start ─▶ workers, signals    demo    upstreams, live figures
//!   check, show    a configuration, no effects   status, endpoint ─▶ ask (admin API) exit    statuses
//! ```
//!
//! What is asked for goes to standard output; everything about how it went goes to standard error.
#![forbid(unsafe_code)]

mod args;
mod ask;
mod budget;
mod capacity;
mod check;
mod cpu;
mod demo;
mod doctor;
mod drain;
mod egress;
mod endpoint;
mod exit;
mod explain;
mod flows;
mod help;
mod history;
mod keys;
mod limits;
mod listen;
mod memory;
mod notify;
mod passed;
mod plan;
mod prove;
mod reload;
mod restart;
mod run;
#[cfg(test)]
mod scratch;
mod serve;
mod shelf;
mod show;
mod start;
mod status;
mod table;
mod top;
mod version;
mod why;
mod workers;

use args::{Command, CommandLine};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

/// Runs the command line of this process; the exit status is documented in `ringway --help`.
pub fn main() -> ExitCode {
    match CommandLine::try_parse() {
        Ok(line) => perform(line.command).into(),
        Err(error) => {
            // Help and version go to standard output with status 0, misuse to standard error with status 2.
            let exit = if error.use_stderr() { Exit::Refused } else { Exit::Good };
            // Nobody is left to be told when even this cannot be printed.
            let _ = error.print();
            exit.into()
        }
    }
}

fn perform(command: Command) -> Exit {
    match command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::demo(args),
        Command::Check(args) => check::check(&args),
        Command::Prove(args) => prove::prove(&args),
        Command::Config(args) => show::show(&args),
        Command::Status(args) => status::status(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Apply(args) => history::apply(&args),
        Command::Confirm(args) => history::confirm(&args),
        Command::Rollback(args) => history::rollback(&args),
        Command::History(args) => history::history(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Endpoint(args) => endpoint::endpoint(&args),
        Command::Keys(args) => keys::keys(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Top(args) => top::top(&args),
        Command::Why(args) => why::why(&args),
        Command::Version(args) => version::version(&args),
    }
}
