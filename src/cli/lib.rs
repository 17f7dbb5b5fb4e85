//! The command line: parses arguments and runs one subcommand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
