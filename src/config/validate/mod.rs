//! What a configuration says as a whole: names that meet, settings that agree, routes that can be reached.
//!
//! Each file answers one question about a decoded configuration and reports every violation; none stops at the first.

mod access;
mod admission;
mod balance;
mod cache;
mod entry;
mod health;
mod hedge;
mod limit;
mod names;
mod overlap;
mod protocol;
mod references;
mod routes;
mod settings;
mod sources;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use crate::document::Reference;
use crate::model::{Config, Origin};
use crate::problem::{Code, Problem, Severity};

/// All problems between the parts of a configuration, in no particular order.
///
/// `is_whole` is false when parts were left out because they could not be decoded: what is missing then proves nothing.
pub(crate) fn validate(config: &Config, is_whole: bool) -> Vec<Problem> {
    let mut check = Check { config, problems: Vec::new() };
    check.references(is_whole);
    check.entry(is_whole);
    check.routes();
    check.settings();
    check.access(is_whole);
    check.limits(is_whole);
    check.caches(is_whole);
    check.names();
    check.balance();
    check.tcp();
    check.udp();
    check.problems
}

/// A configuration and what was found in it so far.
struct Check<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// A string as a message may show it: what came from outside the text may be a secret.
    fn shown(&self, origin: &Origin, member: &str, text: &str) -> String {
        match self.config.provenance.reference(&format!("{}{member}", origin.pointer)) {
            Some(Reference::Environment(name)) => format!("as the environment variable {name} says"),
            Some(Reference::File(path)) => format!("as the file {path} says"),
            None => format!("{text:?}"),
        }
    }

    /// Whether the member stands in the text, rather than having its default.
    fn is_written(&self, origin: &Origin, member: &str) -> bool {
        self.config.provenance.is_written(&format!("{}{member}", origin.pointer))
    }

    /// The first of these members that is written; the object itself when none is.
    fn nearest_written(&self, origin: &Origin, members: &[&str]) -> String {
        members
            .iter()
            .find(|member| self.is_written(origin, member))
            .map_or_else(String::new, |m| (*m).to_owned())
    }

    /// Reports an error at a member of an object; `""` is the object itself.
    fn error(&mut self, code: Code, origin: &Origin, member: &str, what: String, hint: Option<String>) {
        self.report(Severity::Error, code, origin, member, what, hint);
    }

    fn warning(&mut self, code: Code, origin: &Origin, member: &str, what: String, hint: Option<String>) {
        self.report(Severity::Warning, code, origin, member, what, hint);
    }

    fn report(
        &mut self,
        severity: Severity,
        code: Code,
        origin: &Origin,
        member: &str,
        what: String,
        hint: Option<String>,
    ) {
        let place = self.config.provenance.place(origin, member);
        self.problems.push(Problem { severity, code, place, what, hint });
    }
}
