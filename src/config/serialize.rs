//! The JSON encoding of a configuration, and references in place of what they stand for.

use crate::document::Reference;
use crate::model::Config;
use crate::provenance::Provenance;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::fmt;

impl Config {
    /// The JSON encoding, with every default written out; [`crate::parse`] reads it back as the same configuration.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.to_value()).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The JSON encoding as a value. Strings from outside the text stand as `{"env": …}` or `{"file": …}`.
    pub fn to_value(&self) -> Value {
        let mut value = self.to_plain_value();
        if self.provenance.has_references() {
            refer(&mut value, &mut String::new(), &self.provenance);
        }
        value
    }

    /// The same with the values that references stand for: to compare, never to show.
    pub(crate) fn to_plain_value(&self) -> Value {
        let mut root = Map::new();
        let mut put = |key: &str, value: Result<Value, serde_json::Error>| {
            // The model has string keys and finite numbers only, so that nothing in it can be refused.
            root.insert(key.to_owned(), value.unwrap_or(Value::Null));
        };
        put("workers", serde_json::to_value(self.workers));
        put("io", serde_json::to_value(self.io));
        if let Some(memory) = self.memory {
            put("memory", serde_json::to_value(memory));
        }
        put("overload", serde_json::to_value(self.overload));
        if let Some(zone) = &self.zone {
            put("zone", serde_json::to_value(zone));
        }
        if !self.admin.binds.is_empty() {
            put("admin", serde_json::to_value(&self.admin));
        }
        put("access-log", serde_json::to_value(&self.access_log));
        put("decisions", serde_json::to_value(self.decisions));
        if !self.dns.is_empty() {
            put("dns", serde_json::to_value(&self.dns));
        }
        put("listeners", serde_json::to_value(&self.listeners));
        if !self.tcp.is_empty() {
            put("tcp", serde_json::to_value(&self.tcp));
        }
        if !self.udp.is_empty() {
            put("udp", serde_json::to_value(&self.udp));
        }
        put("upstreams", serde_json::to_value(&self.upstreams));
        if !self.jwt.is_empty() {
            put("jwt", serde_json::to_value(&self.jwt));
        }
        if !self.keys.is_empty() {
            put("keys", serde_json::to_value(&self.keys));
        }
        if !self.basic.is_empty() {
            put("basic", serde_json::to_value(&self.basic));
        }
        if !self.forward_auth.is_empty() {
            put("forward-auth", serde_json::to_value(&self.forward_auth));
        }
        if !self.introspect.is_empty() {
            put("introspect", serde_json::to_value(&self.introspect));
        }
        if !self.mtls.is_empty() {
            put("mtls", serde_json::to_value(&self.mtls));
        }
        if !self.consumers.is_empty() {
            put("consumers", serde_json::to_value(&self.consumers));
        }
        if !self.limit.is_empty() {
            put("limit", serde_json::to_value(&self.limit));
        }
        if !self.caches.is_empty() {
            put("caches", serde_json::to_value(&self.caches));
        }
        put("sites", serde_json::to_value(&self.sites));
        Value::Object(root)
    }

    /// Where the value of a JSON pointer stands in the text, as `file:line:column`; `None` for a default.
    pub(crate) fn written_at(&self, pointer: &str) -> Option<String> {
        self.provenance.written(pointer).map(|place| place.to_string())
    }
}

/// Puts references back in place of the values that they stand for.
fn refer(value: &mut Value, pointer: &mut String, provenance: &Provenance) {
    let length = pointer.len();
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                pointer.push('/');
                pointer.push_str(key);
                refer(member, pointer, provenance);
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                refer(item, pointer, provenance);
                pointer.truncate(length);
            }
        }
        _ => match provenance.reference(pointer) {
            Some(Reference::Environment(name)) => *value = json!({ "env": name }),
            Some(Reference::File(path)) => *value = json!({ "file": path }),
            None => {}
        },
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

/// The JSON encoding: like every dump, it shows references and not what they stand for.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}
