//! Header fields of the configuration: names, values and edits.
//!
//! What stands here goes to the wire without another look, so that nothing passes that could end a line, change the
//! framing of a message or the fate of a connection.

use super::{Decoder, Scope};
use crate::document::Scalar;
use crate::literal::Literal;
use crate::model::{HeaderEdits, HeaderPair, Headers, SiteName};
use crate::problem::Code;

/// Fields of RFC 9110 §7.6.1 and RFC 9112 §6 that belong to one connection or to the framing of one message, and
/// `Host`, which `rewrite` sets.
const OURS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A field value that fits into every default header limit.
const VALUE_BYTES_MAX: usize = 8 << 10;
const NAME_BYTES_MAX: usize = 256;

impl Decoder<'_> {
    pub(super) fn headers(&mut self, scope: &Scope<'_>) -> Headers {
        let Some(scope) = scope.member("headers") else { return Headers::default() };
        Headers { request: self.edits(&scope, "request"), response: self.edits(&scope, "response") }
    }

    fn edits(&mut self, scope: &Scope<'_>, key: &str) -> HeaderEdits {
        let Some(scope) = scope.member(key) else { return HeaderEdits::default() };
        let mut remove = Vec::new();
        for scalar in scope.scalars("remove") {
            remove.extend(self.field_name("remove", scalar));
        }
        HeaderEdits { set: self.pairs(&scope, "set"), add: self.pairs(&scope, "add"), remove }
    }

    /// The name and value pairs of a list.
    pub(super) fn pairs(&mut self, scope: &Scope<'_>, key: &str) -> Vec<HeaderPair> {
        scope.members(key).iter().filter_map(|pair| self.pair(pair)).collect()
    }

    fn pair(&mut self, scope: &Scope<'_>) -> Option<HeaderPair> {
        let (Some(name), Some(value)) = (scope.scalar("name"), scope.scalar("value")) else {
            self.missing(scope, "a header field needs a name and a value", "write \"X-Name\" \"value\"");
            return None;
        };
        let name = self.field_name("name", name);
        let value = self.field_value("value", value);
        Some(HeaderPair { name: name?, value: value? })
    }

    pub(super) fn field_name(&mut self, key: &str, scalar: &Scalar) -> Option<String> {
        let name = self.as_text(key, scalar)?;
        if !is_token(&name) || name.len() > NAME_BYTES_MAX {
            self.wrong(key, scalar, "the name of a header field (RFC 9110 §5.6.2)");
            return None;
        }
        if OURS.contains(&name.to_lowercase().as_str()) {
            let hint = match name.to_lowercase().as_str() {
                "host" => "use rewrite { host \"name\" }, or host=\"name\" of a check",
                _ => "it belongs to the connection or to the framing of the message",
            };
            let what = format!("the field \"{name}\" cannot be edited");
            self.error(Code::Value, scalar.span, what, Some(hint.to_owned()));
            return None;
        }
        Some(name)
    }

    fn field_value(&mut self, key: &str, scalar: &Scalar) -> Option<String> {
        let value = self.as_text(key, scalar)?;
        let plain = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if !plain || value.trim_matches([' ', '\t']) != value || value.len() > VALUE_BYTES_MAX {
            let expected =
                "the value of a header field: at most 8 KiB, no control characters, no space at its ends";
            self.wrong(key, scalar, expected);
            return None;
        }
        Some(value)
    }

    /// A host to send, with an optional port.
    pub(super) fn host(&mut self, scope: &Scope<'_>, key: &str) -> Option<String> {
        let scalar = scope.scalar(key)?;
        let host = self.as_text(key, scalar)?;
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
            _ => (host.as_str(), None),
        };
        let port_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        match SiteName::read(name) {
            Ok(SiteName::Exact(_)) if port_good => Some(host),
            _ => {
                self.wrong(key, scalar, "a host name such as \"api.internal\" or \"api.internal:8080\"");
                None
            }
        }
    }
}

/// A token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(tchar)
}
