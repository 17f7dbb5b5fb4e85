//! What the node may use and what it does when that runs out.

use super::{Decoder, Scope};
use crate::document::Literal as Raw;
use crate::literal::Bytes;
use crate::model::PerClient;
use crate::problem::Code;

/// Less than the smallest node needs; what a configuration needs is found out when it starts.
const MEMORY_MIN: Bytes = Bytes(16 << 20);

impl Decoder<'_> {
    /// The memory that the operator grants; `None` when the machine or the control group decides.
    pub(super) fn memory(&mut self, scope: &Scope<'_>) -> Option<Bytes> {
        let memory = self.literal::<Bytes>(scope, "memory")?;
        if memory < MEMORY_MIN
            && let Some(scalar) = scope.scalar("memory")
        {
            let hint = Some(format!("expected a size of at least {MEMORY_MIN}"));
            self.error(Code::Value, scalar.span, format!("\"memory\" cannot be {memory}"), hint);
        }
        Some(memory)
    }

    /// `connections-per-client` of a listener: a number or "off".
    pub(super) fn per_client(&mut self, scope: &Scope<'_>) -> PerClient {
        const KEY: &str = "connections-per-client";
        let default = PerClient::default();
        let Some(scalar) = scope.scalar(KEY) else { return default };
        match &scalar.value {
            Raw::Text(text) if text == "off" => PerClient::Off,
            Raw::Text(_) if scalar.reference.is_none() => {
                let expected = format!("\"off\" or a whole number from 1 to {}", PerClient::MAX);
                self.wrong(KEY, scalar, &expected);
                default
            }
            _ => self.as_number(KEY, scalar, 1..=PerClient::MAX).map_or(default, PerClient::At),
        }
    }
}
