//! `hedge after="50ms"`.

use super::{Decoder, Scope};
use crate::model::Hedge;
use std::time::Duration;

impl Decoder<'_> {
    pub(super) fn hedge(&mut self, scope: &Scope<'_>) -> Hedge {
        if !scope.has("after") {
            self.missing(scope, "the hedge has no time", "write hedge after=\"50ms\"");
        }
        Hedge {
            after: self.positive(scope, "after", Duration::from_secs(1)),
            max: self.number(scope, "max", 1..=1, 1),
        }
    }
}
