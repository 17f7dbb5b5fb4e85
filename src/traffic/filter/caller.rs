//! What the filters of one exchange have found out about who calls.

use auth::Identity;
use std::sync::Arc;

/// The caller of an exchange. Empty where nobody asked.
#[derive(Debug, Default)]
pub struct Caller {
    /// Those whom the credentials name; the first one counts where one name is wanted.
    identities: Vec<Arc<Identity>>,
    /// The credential that was not accepted.
    refused: Option<Refused>,
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

    /// Forgets everybody and keeps the memory.
    pub fn clear(&mut self) {
        self.identities.clear();
        self.refused = None;
    }
}
