//! When traffic alone takes an endpoint out.

use crate::literal::{Bound, DurationText, Percent, Ratio, duration, words};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// Ejection by what traffic shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Outlier {
    /// Default: on.
    pub mode: Switch,
    /// Failed attempts in a row that eject an endpoint. Default 5.
    pub consecutive_errors: ErrorsInARow,
    /// First ejection; each one that follows is twice as long. Default 10 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub eject_for: Duration,
    /// Longest ejection. Default 5 min.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub eject_longest: Duration,
    /// Share of a tier that may be ejected at once. Default 30%.
    pub max_ejected: Percent,
    pub success_rate: SuccessRate,
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier {
            mode: Switch::On,
            consecutive_errors: ErrorsInARow(Bound::At(5)),
            eject_for: Duration::from_secs(10),
            eject_longest: Duration::from_secs(300),
            max_ejected: Percent::whole(30),
            success_rate: SuccessRate::default(),
        }
    }
}

/// Ejection of endpoints that fail far more often than the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SuccessRate {
    /// Default: on.
    pub mode: Switch,
    /// Standard deviations below the mean of all endpoints. Default 1.9.
    pub deviation: Ratio,
    /// Length of an interval, after each of which endpoints are compared. Default 10 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub every: Duration,
    /// Attempts in an interval that an endpoint needs to be compared. Default 100.
    pub requests: u32,
    /// Endpoints with so many attempts that a comparison needs. Default 5.
    pub endpoints: u16,
}

impl Default for SuccessRate {
    fn default() -> Self {
        SuccessRate {
            mode: Switch::On,
            deviation: Ratio::hundredths(190),
            every: Duration::from_secs(10),
            requests: 100,
            endpoints: 5,
        }
    }
}

words! {
    /// Whether something is done.
    pub enum Switch {
        On = "on",
        Off = "off",
    }
    default On;
}

/// A number of failures, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorsInARow(pub Bound<u16>);

impl Serialize for ErrorsInARow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Bound::Off => serializer.serialize_str("off"),
            Bound::At(errors) => serializer.serialize_u16(errors),
        }
    }
}

impl JsonSchema for ErrorsInARow {
    fn schema_name() -> Cow<'static, str> {
        "ErrorsInARow".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [{ "const": "off" }, { "type": "integer", "minimum": 1, "maximum": 1000 }]
        })
    }
}
