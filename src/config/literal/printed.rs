//! What is serialised as it is printed.

/// Serialisation and schema by the printed form; the braces hold what the schema says beside `"type": "string"`.
macro_rules! printed {
    ($($of:ty = $schema:literal, { $($said:tt)+ };)+) => {$(
        impl serde::Serialize for $of {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $of {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", $($said)+ })
            }
        }
    )+};
}
pub(crate) use printed;
