//! Sets, adds and removes header fields. Names and values are validated when the configuration is loaded.

use super::{FieldEdits, FilterStage, Hooks, HttpFilter, ResponseEdits, Verdict, Visit};

/// One edit as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldRule {
    /// Replaces all fields of the name.
    Set(Box<[u8]>, Box<[u8]>),
    /// Appends a field.
    Add(Box<[u8]>, Box<[u8]>),
    /// Drops all fields of the name.
    Remove(Box<[u8]>),
}

impl FieldRule {
    fn apply(&self, edits: &mut FieldEdits) {
        match self {
            FieldRule::Set(name, value) => edits.set(name, value),
            FieldRule::Add(name, value) => edits.add(name, value),
            FieldRule::Remove(name) => edits.remove(name),
        }
    }
}

/// The edits of a route, in the order in which they stand in the configuration.
#[derive(Debug, Default)]
pub struct Headers {
    pub request: Vec<FieldRule>,
    pub response: Vec<FieldRule>,
}

impl HttpFilter for Headers {
    const STAGE: FilterStage = FilterStage::Transform;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: !self.request.is_empty(), response_head: !self.response.is_empty() }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        self.request.iter().for_each(|rule| rule.apply(&mut visit.outgoing.edits));
        Verdict::Continue
    }

    fn on_response_head(&self, _status: u16, response: &mut ResponseEdits) {
        self.response.iter().for_each(|rule| rule.apply(response));
    }
}
