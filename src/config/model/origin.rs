//! Where an object of the configuration was written.

use std::fmt;
use std::sync::Arc;

/// File, line and column of the word that opens an object; printed as `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// As it was named on the command line or by `include`; `command line` for a configuration without a file.
    pub file: Arc<str>,
    /// Counts from 1; 0 when there is no text.
    pub line: u32,
    /// In characters, counts from 1; 0 when there is no text.
    pub column: u32,
    /// JSON pointer of the object, the key into `Provenance`.
    pub(crate) pointer: Arc<str>,
}

impl Origin {
    /// The origin of what no file says.
    pub fn command_line() -> Origin {
        Origin { file: "command line".into(), line: 0, column: 0, pointer: "".into() }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Origin::command_line()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}
