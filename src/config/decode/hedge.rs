//! `hedge after="50ms"`.

use super::{Decoder, Scope};
use crate::model::{Hedge, HedgeAfter};
use crate::problem::Code;
use std::time::Duration;

impl Decoder<'_> {
    pub(super) fn hedge(&mut self, scope: &Scope<'_>) -> Hedge {
        if !scope.has("after") {
            self.missing(scope, "the hedge has no time", "write hedge after=\"50ms\" or hedge after=\"p95\"");
        }
        let after = self.literal_or(scope, "after", HedgeAfter::Percentile(95));
        if after == HedgeAfter::Time(Duration::ZERO)
            && let Some(scalar) = scope.scalar("after")
        {
            self.error(Code::Value, scalar.span, "\"after\" cannot be zero", None);
        }
        Hedge { after, max: self.number(scope, "max", 1..=1, 1) }
    }
}
