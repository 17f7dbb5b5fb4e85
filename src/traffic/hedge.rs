//! Hedging: a request that its endpoint has not answered after a while is sent to a second one as well, and the first
//! complete response head wins.
//!
//! It shortens the slowest responses at the price of more requests, so it is off unless a route asks for it, it is done
//! for requests only that may be sent twice, and each second request is taken from the upstream's retry budget.

use std::time::Duration;
use wire::http::{BodyLength, Method, RequestHead};

/// What a route says about hedging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeRules {
    /// How long the first endpoint may take for its response head before the second one is asked.
    pub after: Duration,
}

impl HedgeRules {
    /// Whether the request may be with two endpoints at once: idempotent, without a body that would have to be sent
    /// twice, and no upgrade, of which only one can have the connection afterwards.
    pub fn apply_to(&self, head: &RequestHead) -> bool {
        matches!(head.method, Method::Get | Method::Head | Method::Options)
            && head.body == BodyLength::None
            && head.upgrade.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::http::Span;

    #[test]
    fn only_what_is_harmless_to_send_twice_is_hedged() {
        let rules = HedgeRules { after: Duration::from_millis(50) };
        let of = |method| RequestHead { method, ..RequestHead::default() };
        for method in [Method::Get, Method::Head, Method::Options] {
            assert!(rules.apply_to(&of(method)), "{method:?}");
            let body = RequestHead { body: BodyLength::Length(1), ..of(method) };
            let chunked = RequestHead { body: BodyLength::Chunked, ..of(method) };
            let upgrade = RequestHead { upgrade: Some(Span::EMPTY), ..of(method) };
            assert!([body, chunked, upgrade].iter().all(|head| !rules.apply_to(head)), "{method:?}");
        }
        for method in
            [Method::Post, Method::Put, Method::Delete, Method::Patch, Method::Connect, Method::Trace]
        {
            assert!(!rules.apply_to(&of(method)), "{method:?}");
        }
        assert!(!rules.apply_to(&of(Method::Other(Span::EMPTY))));
    }
}
