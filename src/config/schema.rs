//! `ringway config schema`: the JSON Schema of the JSON encoding, for editors and other tools.
//!
//! Derived from the model, so that it cannot fall behind. The model is what a configuration is after its defaults are
//! filled in; here we say which members may be left out and where a reference may stand for a string.

use crate::literal::Bytes;
use crate::model::{
    AccessLog, Admin, Basic, Cache, Consumer, Decisions, DnsSettings, ForwardAuth, HashKey, Introspect, Io,
    Jwt, Keys, Limit, Listener, Mtls, Overload, Site, SiteName, StatusSet, Tcp, Udp, Upstream, Workers,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Members without a default, by type.
const REQUIRED: [(&str, &[&str]); 31] = [
    ("Jwt", &["name", "algorithms"]),
    ("Keys", &["name", "file"]),
    ("Consumer", &["name"]),
    ("Cache", &["name"]),
    ("Basic", &["name", "file"]),
    ("ForwardAuth", &["name", "url"]),
    ("Mtls", &["name"]),
    ("Introspect", &["name", "url", "client-id"]),
    ("Credential", &["subject"]),
    ("ClaimHeader", &["claim", "header"]),
    ("Method", &["name"]),
    ("ClaimMatch", &["name", "value"]),
    ("Listener", &["name", "bind"]),
    ("Tcp", &["name", "bind"]),
    ("TcpRoute", &["upstream"]),
    ("Udp", &["name", "bind", "upstream"]),
    ("UdpCheck", &["send"]),
    ("Upstream", &["name", "endpoints"]),
    ("Endpoint", &["address"]),
    ("ListenerTls", &["certificates"]),
    ("Certificate", &["cert", "key"]),
    ("ClientAuth", &["mode"]),
    ("HttpCheck", &["path"]),
    ("Site", &["names", "routes"]),
    ("NameMatch", &["name"]),
    ("Share", &["name", "weight"]),
    ("Respond", &["status"]),
    ("Redirect", &["status", "to"]),
    ("HeaderPair", &["name", "value"]),
    ("ProxyProtocol", &["from"]),
    ("SendProxy", &["version"]),
];

/// The JSON Schema (draft 2020-12) of a configuration in JSON.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut properties = Map::new();
    let mut property = |name: &str, schema: Schema| properties.insert(name.to_owned(), schema.into());
    property("$schema", json_schema!({ "type": "string" }));
    property("workers", generator.subschema_for::<Workers>());
    property("io", generator.subschema_for::<Io>());
    property("memory", generator.subschema_for::<Bytes>());
    property("overload", generator.subschema_for::<Overload>());
    property("zone", json_schema!({ "type": "string" }));
    property("admin", generator.subschema_for::<Admin>());
    property("access-log", generator.subschema_for::<AccessLog>());
    property("decisions", generator.subschema_for::<Decisions>());
    property("dns", generator.subschema_for::<DnsSettings>());
    property("listeners", generator.subschema_for::<Vec<Listener>>());
    property("tcp", generator.subschema_for::<Vec<Tcp>>());
    property("udp", generator.subschema_for::<Vec<Udp>>());
    property("upstreams", generator.subschema_for::<Vec<Upstream>>());
    property("jwt", generator.subschema_for::<Vec<Jwt>>());
    property("keys", generator.subschema_for::<Vec<Keys>>());
    property("basic", generator.subschema_for::<Vec<Basic>>());
    property("forward-auth", generator.subschema_for::<Vec<ForwardAuth>>());
    property("introspect", generator.subschema_for::<Vec<Introspect>>());
    property("mtls", generator.subschema_for::<Vec<Mtls>>());
    property("consumers", generator.subschema_for::<Vec<Consumer>>());
    property("limit", generator.subschema_for::<Vec<Limit>>());
    property("caches", generator.subschema_for::<Vec<Cache>>());
    property("sites", generator.subschema_for::<Vec<Site>>());
    let mut definitions = generator.take_definitions(true);
    for (name, definition) in &mut definitions {
        let required = REQUIRED.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, members)| *members);
        if let Some(object) = definition.as_object_mut().filter(|object| object.contains_key("properties")) {
            object.remove("required");
            if !required.is_empty() {
                object.insert("required".to_owned(), json!(required));
            }
            object.remove("additionalProperties");
            object.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
        }
        refer(definition);
    }
    definitions.insert("Reference".to_owned(), reference());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ringway configuration",
        "type": "object",
        "properties": properties,
        "anyOf": [{ "required": ["listeners", "sites"] }, { "required": ["tcp"] }, { "required": ["udp"] }],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn reference() -> Value {
    json!({
        "description": "A string from outside the text.",
        "type": "object",
        "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    })
}

/// Lets a reference stand wherever a string does.
fn refer(schema: &mut Value) {
    let Value::Object(object) = schema else {
        if let Value::Array(items) = schema {
            items.iter_mut().for_each(refer);
        }
        return;
    };
    let is_const = |item: &Value| item.get("const").is_some_and(Value::is_string);
    let is_words =
        object.get("oneOf").and_then(Value::as_array).is_some_and(|items| items.iter().all(is_const));
    if object.get("type").is_some_and(|of| of == "string") || is_words {
        let inner = std::mem::take(object);
        *schema = json!({ "anyOf": [inner, { "$ref": "#/$defs/Reference" }] });
        return;
    }
    object.values_mut().for_each(refer);
}

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
    HashKey = "HashKey", "^(client\\.ip(-port)?|path|(header|cookie|query):.+)$";
    SiteName = "SiteName", "^(\\*|(\\*\\.)?[^*]+)$";
    StatusSet = "StatusSet", "^[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*$";
}
