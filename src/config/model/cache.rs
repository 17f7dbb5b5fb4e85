//! Where responses are kept for other requests.

use super::Origin;
use crate::literal::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A store of responses, shared by all workers and by the routes that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Cache {
    /// Unique among caches; `off` is none.
    pub name: String,
    /// Bodies, heads and the table together. 1 MiB to 1 TiB; default 64 MiB.
    pub memory: Bytes,
    #[serde(skip)]
    pub origin: Origin,
}

impl Cache {
    /// What a route says that keeps nothing although its site does.
    pub const OFF: &'static str = "off";
}
