//! JSON Schemas of the types whose encoding is a single string or number.

use crate::model::{HashKey, SiteName, StatusSet, Workers};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] })
    }
}

macro_rules! text {
    ($($of:ty = $name:literal, $pattern:literal;)+) => {$(
        impl JsonSchema for $of {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

text! {
    HashKey = "HashKey", "^(client\\.ip|path|(header|cookie|query):.+)$";
    SiteName = "SiteName", "^(\\*|(\\*\\.)?[^*]+)$";
    StatusSet = "StatusSet", "^[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*$";
}
