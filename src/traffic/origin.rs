//! Where in the configuration a compiled object comes from.

use std::fmt;
use std::sync::Arc;

/// Place of the node that an object was compiled from. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl Origin {
    /// For objects that no file names: built-in defaults and command-line arguments.
    pub fn built_in(what: &str) -> Self {
        Origin { file: Arc::from(what), line: 0, column: 0 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
