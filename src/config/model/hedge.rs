//! A second request while the first one is still unanswered.

use crate::literal::{Literal, Misread, print_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// When a request that may be repeated and has no body (GET, HEAD, OPTIONS) is sent to a second endpoint, although the
/// first one has not failed. The first complete response head wins; the other request is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Hedge {
    /// How long the first endpoint may take for its response head before the second one is asked.
    pub after: HedgeAfter,
    /// Further endpoints that are asked; only 1.
    pub max: u8,
}

/// How long the first endpoint may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    Time(Duration),
    /// The time within which so many of 100 requests of the route are answered, 50 to 99; learned while serving.
    Percentile(u8),
}

impl HedgeAfter {
    /// The time, if it is a fixed one.
    pub fn time(self) -> Option<Duration> {
        match self {
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::Percentile(_) => None,
        }
    }
}

impl Literal for HedgeAfter {
    const EXPECTED: &'static str = "a duration such as \"50ms\", or a percentile from \"p50\" to \"p99\"";

    fn read(text: &str) -> Result<Self, Misread> {
        match text.strip_prefix('p') {
            Some(digits) => match digits.parse() {
                Ok(percent @ 50..=99) => Ok(HedgeAfter::Percentile(percent)),
                _ => Err(Misread::Form),
            },
            None => Duration::read(text).map(HedgeAfter::Time),
        }
    }
}

impl fmt::Display for HedgeAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HedgeAfter::Time(time) => f.write_str(&print_duration(time)),
            HedgeAfter::Percentile(percent) => write!(f, "p{percent}"),
        }
    }
}

impl Serialize for HedgeAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HedgeAfter {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrPercentile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h)|p[5-9][0-9])$" })
    }
}
