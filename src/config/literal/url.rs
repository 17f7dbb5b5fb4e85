//! Where a service of HTTP is that Ringway itself asks.

use super::{Literal, Misread, Target};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// `https://id.example.com/keys.json`: a scheme, a host with an optional port, a path with an optional query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    pub is_https: bool,
    /// As it stands in the text, with the port if one is written: for `Host`.
    pub authority: String,
    pub target: Target,
    /// Begins with a slash.
    pub path: String,
}

impl Url {
    /// The host without a port, for the name in a certificate.
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, _)) if !host.contains(':') || host.ends_with(']') => host,
            _ => &self.authority,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_https { "https" } else { "http" }, self.authority, self.path)
    }
}

impl Literal for Url {
    const EXPECTED: &'static str =
        "an address such as \"https://id.example.com/jwks.json\", without user, password and fragment";

    fn read(text: &str) -> Result<Self, Misread> {
        let (scheme, rest) = text.split_once("://").ok_or(Misread::Form)?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(Misread::Form),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\\"<>".contains(&byte));
        if authority.is_empty() || authority.contains('@') || !plain(authority) || !plain(&path) {
            return Err(Misread::Form);
        }
        let authority = authority.to_ascii_lowercase();
        let has_port = match authority.rsplit_once(':') {
            Some((host, port)) => (!host.contains(':') || host.ends_with(']')) && port.parse::<u16>().is_ok(),
            None => false,
        };
        let full = match (has_port, is_https) {
            (true, _) => authority.clone(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        };
        match Target::read(&full)? {
            target @ Target::Host { .. } => Ok(Url { is_https, authority, target, path }),
            Target::Address(super::Address::Ip(addr)) => {
                Ok(Url { is_https, authority, target: Target::Address(super::Address::Ip(addr)), path })
            }
            _ => Err(Misread::Form),
        }
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://[^@#]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_services_are_read_and_printed() {
        for text in [
            "https://id.example.com/jwks.json",
            "https://id.example.com:8443/a/b?c=d",
            "http://127.0.0.1:8080/",
            "https://[2001:db8::1]:9443/x",
        ] {
            assert_eq!(Url::read(text).unwrap().to_string(), text);
        }
        let url = Url::read("https://ID.example.com").unwrap();
        assert_eq!((url.to_string().as_str(), url.host()), ("https://id.example.com/", "id.example.com"));
        assert_eq!(url.target.to_string(), "id.example.com:443");
        assert_eq!(Url::read("https://[2001:db8::1]:9443/x").unwrap().host(), "[2001:db8::1]");
        assert_eq!(Url::read("http://a.example?x").unwrap().path, "/?x");
        for text in [
            "",
            "id.example.com",
            "ftp://a.example/",
            "https://",
            "https://user@a.example/",
            "https://a.example/#x",
            "https://a.example/a b",
            "https://a.example:0/",
            "https://a.example:99999/",
            "https://a_b\"c/",
            "https://unix:/run/x",
        ] {
            assert!(Url::read(text).is_err(), "{text}");
        }
    }
}
