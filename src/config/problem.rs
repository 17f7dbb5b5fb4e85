//! What is wrong with a configuration, where, and what to do about it.
//!
//! Every stage adds to one list; the operator sees all of it at once, in the order of the text.

use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration loads, but probably does not do what was meant.
    Warning,
    /// The configuration is refused.
    Error,
}

/// What kind of problem it is; stable, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The text is no KDL, or no JSON.
    Syntax,
    /// A word that means nothing at its place.
    Unknown,
    /// A word that a later version understands.
    Unsupported,
    /// Something is left out that has no default.
    Missing,
    /// Something stands where it cannot: too many arguments, children of a node that has none.
    Unexpected,
    /// A value of the wrong type or form.
    Value,
    /// The same thing twice.
    Duplicate,
    /// A name that nothing carries.
    Dangling,
    /// Something that nothing refers to.
    Unused,
    /// Two routes that could match one request, with nothing to decide between them.
    Tie,
    /// A route that no request can reach.
    Unreachable,
    /// Settings that exclude or defeat each other.
    Contradiction,
    /// A file that cannot be read, or an include that goes wrong.
    File,
    /// An environment variable that is not there.
    Environment,
    /// A bound of the loader is exceeded.
    Limit,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// As it was named on the command line or by `include`.
    #[serde(serialize_with = "plain")]
    pub file: Arc<str>,
    /// Counts from 1.
    pub line: u32,
    /// In characters, counts from 1.
    pub column: u32,
    /// In characters, at least 1, never past the end of the line.
    pub length: u32,
    /// The line itself, without its end.
    #[serde(rename = "source")]
    pub text: Box<str>,
    /// Source number and byte, for sorting.
    #[serde(skip)]
    pub(crate) order: (u32, u32),
}

fn plain<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub code: Code,
    /// `None` when it belongs to no text, such as a file that cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem that keeps the configuration from loading.
    pub fn error(code: Code, place: Option<Place>, what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Error, code, place, what: what.into(), hint: None }
    }

    /// A problem that the configuration loads with.
    pub fn warning(code: Code, place: Option<Place>, what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(code, place, what) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}

/// `file:line:column: error: what`, the line, a caret under the place, the hint; no line end after the last.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let Some(place) = &self.place else {
            write!(f, "{severity}: {}", self.what)?;
            return self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"));
        };
        writeln!(f, "{}:{}:{}: {severity}: {}", place.file, place.line, place.column, self.what)?;
        let margin = " ".repeat(place.line.to_string().len());
        let before = place.column.saturating_sub(1) as usize;
        // Tabs stay tabs, so that the caret stands under the place whatever a tab is worth.
        let indent: String =
            place.text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let shown: String =
            place.text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        writeln!(f, " {} | {shown}", place.line)?;
        write!(f, " {margin} | {indent}{}", "^".repeat(place.length as usize))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n {margin} = hint: {hint}"))
    }
}

/// All problems of a configuration, in the order of the text; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many of them keep the configuration from loading.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Far longer than any word that we know; the cost below is quadratic.
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

const WORD_BYTES_MAX: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let words = ["timeouts", "limits", "endpoint"];
        assert_eq!(nearest("timeout", words), Some("timeouts"));
        assert_eq!(nearest("enpdoint", words), Some("endpoint"));
        assert_eq!(nearest("Limits", words), Some("limits"));
        assert_eq!(nearest("certificate", words), None);
        assert_eq!(nearest("x", words), None);
    }
}
