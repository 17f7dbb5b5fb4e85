//! What is known of a caller whose credential was good.

use crate::json::{Json, Object};
use std::fmt;
use std::sync::Arc;

/// Which kind of credential a caller showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Jwt,
    Keys,
    Basic,
    ForwardAuth,
    Introspection,
    Mtls,
}

impl Scheme {
    /// As the configuration and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Jwt => "jwt",
            Scheme::Keys => "keys",
            Scheme::Basic => "basic",
            Scheme::ForwardAuth => "forward-auth",
            Scheme::Introspection => "introspect",
            Scheme::Mtls => "mtls",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody with one or more credentials, as the configuration describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    pub name: Box<str>,
    pub groups: Vec<Box<str>>,
    /// What limits may depend on.
    pub tier: Option<Box<str>>,
}

/// The result of one accepted credential. Shared: a worker remembers it for as long as the credential is good.
#[derive(Clone, Debug)]
pub struct Identity {
    pub scheme: Scheme,
    /// Name of the policy that accepted it.
    pub policy: Arc<str>,
    /// Who it is in the terms of the policy: a claim of the token, the id of a key, a user.
    pub subject: Box<str>,
    /// Whom the configuration or the file of keys knows under that subject.
    pub consumer: Option<Arc<Consumer>>,
    /// Groups of the credential itself; those of the consumer come on top.
    pub groups: Vec<Box<str>>,
    pub scopes: Vec<Box<str>>,
    /// Claims of the token; empty for other schemes.
    pub claims: Object,
    /// Fields for the upstream that the policy derives from claims, ready to be written.
    pub fields: Vec<(Box<str>, Box<str>)>,
}

impl Identity {
    /// Somebody of whom nothing but the subject is known.
    pub fn new(
        scheme: Scheme,
        policy: Arc<str>,
        subject: Box<str>,
        consumer: Option<Arc<Consumer>>,
    ) -> Identity {
        Identity {
            scheme,
            policy,
            subject,
            consumer,
            groups: Vec::new(),
            scopes: Vec::new(),
            claims: Object::default(),
            fields: Vec::new(),
        }
    }

    /// One name for limits and logs: the consumer, or `policy/subject`, so that subjects of two issuers differ.
    pub fn name(&self) -> String {
        match &self.consumer {
            Some(consumer) => consumer.name.to_string(),
            None => format!("{}/{}", self.policy, self.subject),
        }
    }

    /// The claim as a text: of texts, numbers, booleans, and lists of them.
    pub fn claim_text(&self, path: &str) -> Option<String> {
        self.claims.at(path).and_then(claim_text)
    }

    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| &**own == scope)
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.all_groups().any(|own| own == group)
    }

    /// Groups of the credential and of the consumer.
    pub fn all_groups(&self) -> impl Iterator<Item = &str> {
        let of_consumer = self.consumer.iter().flat_map(|consumer| &consumer.groups);
        self.groups.iter().chain(of_consumer).map(|group| &**group)
    }
}

/// A text as it can stand in a header field and be told apart from every other: printable ASCII stays, what else there
/// is (and `%` and `,` themselves) is percent-encoded. `None` for a text with control characters.
pub fn field_text(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..=0x1f | 0x7f => return None,
            b'%' | b',' | 0x80.. => out.push_str(&format!("%{byte:02X}")),
            // A space at an end would not survive.
            _ => out.push(char::from(byte)),
        }
    }
    if out.starts_with(' ') || out.ends_with(' ') {
        out = out.replace(' ', "%20");
    }
    Some(out)
}

/// The value of a claim for a header field: a text, number or boolean, or a list of those with commas between.
pub(crate) fn claim_text(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => field_text(text),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::List(items) if !items.iter().any(|item| matches!(item, Json::List(_))) => {
            items.iter().map(claim_text).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j10_claims_become_values_that_cannot_break_a_line_or_a_list() {
        let claims = Object::parse(
            r#"{"a":"plain text","b":"é,%","c":"x\r\nX-Admin: 1","d":["r1","r,2",3,true],"e":{"f":1},"g":null,
                "h":" x ","i":[["a"]],"j":["ok","\u0000"]}"#
                .as_bytes(),
        )
        .unwrap();
        let text = |name: &str| claim_text(claims.get(name).unwrap());
        assert_eq!(text("a").as_deref(), Some("plain text"));
        assert_eq!(text("b").as_deref(), Some("%C3%A9%2C%25"));
        assert_eq!(text("d").as_deref(), Some("r1,r%2C2,3,true"));
        assert_eq!(text("h").as_deref(), Some("%20x%20"));
        for name in ["c", "e", "g", "i", "j"] {
            assert_eq!(text(name), None, "{name}");
        }
    }
}
