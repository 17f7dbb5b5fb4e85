//! How often a request may come, before anybody is asked who calls and after it.
//!
//! The two differ in their stage only. A request that a later limit stops is charged by none.

use super::{FilterStage, Hooks, HttpFilter, Verdict, Visit};
use crate::limit::{Limiter, Tally};
use std::sync::Arc;

/// Limits that need no caller.
#[derive(Debug)]
pub struct EarlyLimit {
    pub limits: Vec<Arc<Limiter>>,
    /// Nobody after it does: it tells the client where it stands.
    pub tells: bool,
}

/// Limits that may depend on the caller.
#[derive(Debug)]
pub struct LateLimit {
    pub limits: Vec<Arc<Limiter>>,
}

impl HttpFilter for EarlyLimit {
    const STAGE: FilterStage = FilterStage::EarlyLimit;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: !self.limits.is_empty(), response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        run(&self.limits, self.tells, visit)
    }
}

impl HttpFilter for LateLimit {
    const STAGE: FilterStage = FilterStage::Limit;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: !self.limits.is_empty(), response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        run(&self.limits, true, visit)
    }
}

fn run(limits: &[Arc<Limiter>], tells: bool, visit: &mut Visit<'_, '_>) -> Verdict {
    let charged = Tally::charge(limits, visit);
    if tells || charged.is_err() {
        visit.tally.write_fields(visit.response);
    }
    charged.map_or_else(Verdict::Respond, |()| Verdict::Continue)
}
