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

    /// In the form of the problems that are found earlier. It knows the place, but not the text there.
    pub fn to_error(&self) -> config::Problem {
        let hint = (!self.hint.is_empty()).then(|| self.hint.clone());
        let what = format!("{}: {}", self.origin, self.what);
        config::Problem { hint, ..config::Problem::error(config::Code::Value, None, what) }
    }

    /// The same for one that the configuration loads with.
    pub fn to_warning(&self) -> config::Problem {
        config::Problem { severity: config::Severity::Warning, ..self.to_error() }
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
