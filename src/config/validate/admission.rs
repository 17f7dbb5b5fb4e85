//! Do the limits of an upstream mean what they seem to?

use super::Check;
use crate::model::{Upstream, UpstreamLimits};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn admission(&mut self, upstream: &Upstream) {
        let limits = &upstream.limits;
        let bounds =
            [limits.connections, limits.requests, limits.endpoint_connections, limits.endpoint_requests];
        let is_limited = bounds.iter().any(Option::is_some) || upstream.adaptive_concurrency.is_some();
        if limits.queue.is_some() && !is_limited {
            let what = "\"queue\" has no effect: nothing is limited that a request could wait for".to_owned();
            let hint = Some("add one of the other limits, or adaptive-concurrency".to_owned());
            self.warning(Code::Contradiction, &upstream.origin, "/limits/queue", what, hint);
        }
        if limits.queue.is_none() && limits.queue_timeout != UpstreamLimits::default().queue_timeout {
            let what = "\"queue-timeout\" has no effect without \"queue\"".to_owned();
            let hint = Some("add queue: how many requests may wait".to_owned());
            self.warning(Code::Contradiction, &upstream.origin, "/limits/queue-timeout", what, hint);
        }
        for (word, of_endpoint, all) in [
            ("endpoint-connections", limits.endpoint_connections, limits.connections),
            ("endpoint-requests", limits.endpoint_requests, limits.requests),
        ] {
            if of_endpoint.zip(all).is_some_and(|(of_endpoint, all)| of_endpoint > all) {
                let what = format!("\"{word}\" is larger than what all endpoints together may have");
                self.warning(Code::Contradiction, &upstream.origin, &format!("/limits/{word}"), what, None);
            }
        }
        let Some(adaptive) = &upstream.adaptive_concurrency else { return };
        if adaptive.min > adaptive.max {
            let at = self.nearest_written(
                &upstream.origin,
                &["/adaptive-concurrency/min", "/adaptive-concurrency/max"],
            );
            let what = format!("\"min\" ({}) is larger than \"max\" ({})", adaptive.min, adaptive.max);
            self.error(Code::Contradiction, &upstream.origin, &at, what, None);
        }
    }
}
