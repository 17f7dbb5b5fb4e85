//! Entry points for UDP.

use super::{Decoder, Scope};
use crate::document::{Literal as Raw, Object};
use crate::model::{Count, Udp, UdpLimits};
use std::time::Duration;

/// More flows than a machine has ports and descriptors for.
const FLOWS_MAX: u32 = 1_000_000;

impl Decoder<'_> {
    pub(super) fn udp(&mut self, scope: &Scope<'_>) -> Udp {
        if !scope.has("bind") {
            self.missing(scope, "the udp listener has no address", "add bind \"0.0.0.0:53\"");
        }
        if !scope.has("upstream") {
            self.missing(scope, "the udp listener has no upstream", "add upstream \"name\"");
        }
        let nothing = Object::default();
        let limits = scope.member("limits").unwrap_or_else(|| Scope::new(&nothing, String::new()));
        let default = UdpLimits::default();
        Udp {
            name: self.name(scope, "udp"),
            binds: self.literals(scope, "bind"),
            upstream: self.text(scope, "upstream").unwrap_or_default(),
            flow_idle: self.positive(scope, "flow-idle", Duration::from_secs(30)),
            responses: self.count(scope, "responses", Count::Off),
            reply_ratio: self.count(scope, "reply-ratio", Count::Off),
            limits: UdpLimits {
                flows: self.number(&limits, "flows", 1..=FLOWS_MAX, default.flows),
                flows_per_client: self.count(&limits, "flows-per-client", default.flows_per_client),
            },
            origin: self.origin(scope),
        }
    }

    /// A number or "off".
    fn count(&mut self, scope: &Scope<'_>, key: &str, default: Count) -> Count {
        let Some(scalar) = scope.scalar(key) else { return default };
        match &scalar.value {
            Raw::Text(text) if text == "off" => Count::Off,
            Raw::Text(_) if scalar.reference.is_none() => {
                self.wrong(key, scalar, &format!("\"off\" or a whole number from 1 to {}", Count::MAX));
                default
            }
            _ => self.as_number(key, scalar, 1..=Count::MAX).map_or(default, Count::At),
        }
    }
}
