//! Stores of responses.

use super::{Decoder, Scope};
use crate::literal::Bytes;
use crate::model::Cache;

const MEMORY: Bytes = Bytes(64 << 20);
/// Below it hardly any response would be kept.
const MEMORY_MIN: Bytes = Bytes(1 << 20);
const MEMORY_MAX: Bytes = Bytes(1 << 40);

impl Decoder<'_> {
    pub(super) fn cache(&mut self, scope: &Scope<'_>) -> Cache {
        let name = self.name(scope, "cache");
        if let Some(scalar) = scope.scalar("name").filter(|_| name == Cache::OFF) {
            self.wrong("name", scalar, "another name: \"off\" is what a route without a cache says");
        }
        let memory = self.literal_or(scope, "memory", MEMORY);
        if let Some(scalar) = scope.scalar("memory").filter(|_| !(MEMORY_MIN..=MEMORY_MAX).contains(&memory))
        {
            self.wrong("memory", scalar, "a size from \"1MiB\" to \"1TiB\"");
        }
        Cache { name, memory, origin: self.origin(scope) }
    }
}
