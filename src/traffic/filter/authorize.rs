//! Who may: rules about the caller, where the request comes from and what it wants to do (Z1, Z3).
//!
//! Any `deny` that applies ends it. If there are `allow` rules, one must apply. Then scopes, groups and claims must all
//! be there. A site and its route may each have rules; both must agree.

use super::{Caller, FilterStage, Hooks, HttpFilter, Verdict, Visit};
use crate::Cause;
use crate::source::CidrSet;

/// A condition that applies when every part of it that is given does.
#[derive(Debug, Default)]
pub struct Rule {
    /// Networks of the client.
    pub sources: Option<CidrSet>,
    /// Methods, in upper case.
    pub methods: Vec<Box<[u8]>>,
    /// The caller is in one of them.
    pub groups: Vec<Box<str>>,
    /// The caller is one of them.
    pub consumers: Vec<Box<str>>,
}

impl Rule {
    fn applies(&self, visit: &Visit<'_, '_>) -> bool {
        let callers = || visit.caller.identities();
        let is =
            |name: &str| callers().any(|one| one.consumer.as_ref().is_some_and(|own| &*own.name == name));
        self.sources.as_ref().is_none_or(|sources| sources.contains(visit.client))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| **method == *visit.request.method()))
            && (self.groups.is_empty()
                || self.groups.iter().any(|group| callers().any(|caller| caller.is_in(group))))
            && (self.consumers.is_empty() || self.consumers.iter().any(|name| is(name)))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Authorize {
    pub deny: Vec<Rule>,
    pub allow: Vec<Rule>,
    /// All of them.
    pub scopes: Vec<Box<str>>,
    /// One of them; empty asks for none.
    pub groups: Vec<Box<str>>,
    /// Each claim must have one of its values.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
}

impl HttpFilter for Authorize {
    const STAGE: FilterStage = FilterStage::Authorize;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: true, response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        let is_denied = self.deny.iter().any(|rule| rule.applies(visit));
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|rule| rule.applies(visit));
        if is_denied || !is_allowed {
            return Verdict::Respond(Cause::Forbidden);
        }
        let asks = !(self.scopes.is_empty() && self.groups.is_empty() && self.claims.is_empty());
        if asks && !visit.caller.is_known() {
            // Nobody in particular: to say who one is may help.
            return Verdict::Respond(Cause::CredentialsMissing);
        }
        let caller = &visit.caller;
        if !self.scopes.iter().all(|scope| caller.identities().any(|one| one.has_scope(scope))) {
            return Verdict::Respond(Cause::InsufficientScope);
        }
        let in_group = |group: &str| caller.identities().any(|one| one.is_in(group));
        if !(self.groups.is_empty() || self.groups.iter().any(|group| in_group(group)))
            || !self.claims_hold(caller)
        {
            return Verdict::Respond(Cause::Forbidden);
        }
        Verdict::Continue
    }
}

impl Authorize {
    fn claims_hold(&self, caller: &Caller) -> bool {
        self.claims.iter().all(|(name, values)| {
            let claims = caller.identities().filter_map(|identity| identity.claims.at(name));
            claims.into_iter().any(|claim| values.iter().any(|value| claim.says(value)))
        })
    }
}
