//! What can stop a comparison. A run that cannot be trusted ends here rather than in a table.

use std::fmt;
use std::io;

/// Why no result was written.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was not understood; carries the text to show.
    Usage(String),
    /// A file, directory or `/proc` entry could not be used.
    File { path: String, source: io::Error },
    /// A program is not installed or could not be started.
    Spawn { program: String, source: io::Error },
    /// A contender ended, or never answered, before it was measured.
    NotServing { name: String, detail: String },
    /// A tool answered something that we cannot read.
    Unreadable { what: &'static str, text: String },
    /// A connection of our own to a contender failed.
    Connection { name: String, source: io::Error },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => write!(f, "{text}"),
            Failure::File { path, source } => write!(f, "{path}: {source}"),
            Failure::Spawn { program, source } => {
                write!(f, "cannot start `{program}`: {source}; `perf/run` installs what is missing")
            }
            Failure::NotServing { name, detail } => write!(f, "{name} does not serve: {detail}"),
            Failure::Unreadable { what, text } => write!(f, "cannot read {what} from: {text}"),
            Failure::Connection { name, source } => write!(f, "connection to {name}: {source}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Attaches the path to an error of the file system.
pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |source| Failure::File { path, source }
}
