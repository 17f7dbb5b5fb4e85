//! Drops what a client says about itself in fields that only we may write (G5, R67).
//!
//! Stands before everything else, on every route whose upstream is told by any route who calls: an endpoint that
//! believes `X-Consumer` must not get one from a stranger through a route without authentication.

use super::{FilterStage, Hooks, HttpFilter, Verdict, Visit};

/// See the module.
#[derive(Debug, Default)]
pub struct Anonymize {
    /// Further names, in lower case, with `-` for `_`: fields that policies derive from claims.
    pub names: Vec<Box<[u8]>>,
}

/// Every field whose name begins with it is ours.
const OURS: &[u8] = b"x-consumer";

impl HttpFilter for Anonymize {
    const STAGE: FilterStage = FilterStage::Anonymize;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: true, response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        for field in &visit.request.head.fields {
            let name = field.name.of(visit.request.bytes);
            let begins = name.len() >= OURS.len() && folded(&name[..OURS.len()], OURS);
            if begins || self.names.iter().any(|ours| folded(name, ours)) {
                visit.outgoing.edits.remove(name);
            }
        }
        Verdict::Continue
    }
}

/// Whether applications that make variables of fields could take one name for the other: case, and `_` for `-`.
fn folded(name: &[u8], ours: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == ours.len() && name.iter().map(fold).eq(ours.iter().copied())
}
