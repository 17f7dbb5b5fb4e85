//! A multiple of a fair share.

use super::{Literal, Misread};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// More than the whole, written `125%`; 101 to 1000 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFactor(pub u16);

const RANGE: std::ops::RangeInclusive<u16> = 101..=1000;

impl fmt::Display for LoadFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Literal for LoadFactor {
    const EXPECTED: &'static str = "a percentage from \"101%\" to \"1000%\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let digits = text.strip_suffix('%').ok_or(Misread::Form)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Misread::Form);
        }
        match digits.parse() {
            Ok(percent) if RANGE.contains(&percent) => Ok(LoadFactor(percent)),
            Ok(0..=100) => Err(Misread::Because("nothing would be left for an uneven moment".into())),
            _ => Err(Misread::Because("more than 1000%".into())),
        }
    }
}

impl Serialize for LoadFactor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for LoadFactor {
    fn schema_name() -> Cow<'static, str> {
        "LoadFactor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+%$", "examples": ["125%"] })
    }
}
