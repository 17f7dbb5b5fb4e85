//! A second request while the first one is still unanswered.

use crate::literal::{DurationText, duration};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// When a request that may be repeated and has no body (GET, HEAD, OPTIONS) is sent to a second endpoint, although the
/// first one has not failed. The first complete response head wins; the other request is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Hedge {
    /// How long the first endpoint may take for its response head before the second one is asked.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub after: Duration,
    /// Further endpoints that are asked; only 1.
    pub max: u8,
}
