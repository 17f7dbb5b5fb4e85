//! Exit statuses, and the one way in which failures are printed.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Good,
    /// It could not be done here and now; under `--strict`: there are warnings.
    Failed,
    /// The command line or the configuration is wrong; trying again will not help.
    Refused,
    /// A worker stopped on an internal error; the status of a Rust program that panics.
    Panicked,
}

impl Exit {
    pub(crate) const fn status(self) -> u8 {
        match self {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::Panicked => 101,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// Prints `error: WHAT` on standard error, in the form of the problems of a configuration; a next step stands on a line
/// of its own.
pub(crate) fn complain(exit: Exit, what: impl fmt::Display, next_step: Option<&str>) -> Exit {
    say(format_args!("error: {what}"));
    if let Some(step) = next_step {
        say(format_args!("  hint: {step}"));
    }
    exit
}

/// One line on standard error. A closed standard error does not stop a server.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints the result of a command. A reader that closed the pipe has seen what it wanted.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Good,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Good,
        Err(error) => complain(Exit::Failed, format_args!("standard output: {error}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_help() {
        assert_eq!(
            [Exit::Good, Exit::Failed, Exit::Refused, Exit::Panicked].map(Exit::status),
            [0, 1, 2, 101]
        );
    }
}
