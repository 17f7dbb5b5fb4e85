//! What the filters of one exchange have found out about who calls.

use crate::ask::Answered;
use auth::Identity;
use std::sync::Arc;

/// The caller of an exchange. Empty where nobody asked.
#[derive(Debug, Default)]
pub struct Caller {
    /// Those whom the credentials name; the first one counts where one name is wanted.
    identities: Vec<Arc<Identity>>,
    /// The credential that was not accepted.
    refused: Option<Refused>,
    /// What came of questions, by the place of the method that asked.
    answered: Vec<(usize, Answered)>,
    /// The credential could not be judged, and what was done about it.
    unjudged: Option<Unjudged>,
}

/// A credential that nobody could judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unjudged {
    /// `SCHEME:POLICY`.
    pub by: Arc<str>,
    pub why: &'static str,
    /// What became of the request: `denied`, `allowed` or `stale`.
    pub choice: &'static str,
}

/// A credential that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Place of the method among those of the route.
    pub method: usize,
    /// `SCHEME:POLICY`.
    pub by: Arc<str>,
    /// For logs, never for the caller.
    pub why: &'static str,
}

impl Caller {
    /// The one that limits and logs name.
    pub fn primary(&self) -> Option<&Identity> {
        self.identities.first().map(|identity| &**identity)
    }

    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.identities.iter().map(|identity| &**identity)
    }

    pub fn is_known(&self) -> bool {
        !self.identities.is_empty()
    }

    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    pub(super) fn add(&mut self, identity: Arc<Identity>) {
        self.identities.push(identity);
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        self.identities.clear();
        self.refused = Some(refused);
    }

    /// The filter that asked at `place` finds this when it is run again.
    pub fn answer(&mut self, place: usize, answered: Answered) {
        self.answered.push((place, answered));
    }

    /// Questions that were asked so far.
    pub fn asked(&self) -> usize {
        self.answered.len()
    }

    pub(super) fn answered(&self, place: usize) -> Option<&Answered> {
        self.answered.iter().rev().find(|(own, _)| *own == place).map(|(_, answered)| answered)
    }

    /// Nobody could judge the credential.
    pub fn unjudged(&self) -> Option<&Unjudged> {
        self.unjudged.as_ref()
    }

    pub(super) fn set_unjudged(&mut self, unjudged: Unjudged) {
        self.unjudged = Some(unjudged);
    }

    /// Forgets who was found, for another look at all of it.
    pub(super) fn look_again(&mut self) {
        self.identities.clear();
        self.refused = None;
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.look_again();
        self.answered.clear();
        self.unjudged = None;
    }
}
