//! What a run prints, and whether it was good.

use std::collections::BTreeMap;
use std::fmt;

use crate::oracle::Verdict;

/// The verdict and what endpoints did.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    pub(crate) counts: BTreeMap<String, u64>,
}

/// Violations that are shown in full; the first ones tell most.
const SHOWN: usize = 20;

impl Report {
    /// An error with the first things that are wrong.
    pub(crate) fn result(&self, seed: u64) -> Result<(), String> {
        let wrong = &self.verdict.wrong;
        if wrong.is_empty() {
            return Ok(());
        }
        let first: Vec<&str> = wrong.iter().take(SHOWN).map(String::as_str).collect();
        Err(format!("seed {seed}: {} things are wrong:\n{}", wrong.len(), first.join("\n")))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  outcomes:")?;
        for (kind, count) in &self.verdict.outcomes {
            writeln!(f, "    {count:>8} {kind}")?;
        }
        writeln!(f, "  what endpoints did:")?;
        for (kind, count) in &self.counts {
            writeln!(f, "    {count:>8} {kind}")?;
        }
        let Verdict { repeated, attempts, unseen, unplanned_timeouts, wrong, .. } = &self.verdict;
        write!(
            f,
            "  {attempts} attempts, {repeated} requests repeated, {unseen} attempts that no endpoint saw, \
             {unplanned_timeouts} timeouts that nobody planned\n  {} things wrong",
            wrong.len()
        )
    }
}
