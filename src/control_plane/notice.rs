//! Lines for the operator on standard error: what changed by itself while the process runs.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes one line. Unlike `eprintln!` it survives a closed standard error: a health check must not end with it.
pub(crate) fn notice(line: Arguments<'_>) {
    // If even this fails there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
