//! What keeps a configuration from being compiled, or what an operator should know although it was.

use config::model::Origin;
use std::fmt;

/// Place, problem and next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object that the problem is about.
    pub origin: Origin,
    /// Lower case, without a full stop.
    pub what: String,
    /// What to do about it; empty when `what` says it.
    pub hint: String,
}

impl Problem {
    pub(super) fn new(origin: &Origin, what: impl Into<String>) -> Self {
        Problem { origin: origin.clone(), what: what.into(), hint: String::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}
