//! Where an endpoint is: an address, or a name that stands for some.

use super::{Address, Literal, Misread, NoAddress};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Of a name without its final dot (RFC 1035 §2.3.4), and of one of its labels.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// An address, `api.internal:3001` or `srv:_http._tcp.api.internal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Address(Address),
    /// The addresses of a host, all with this port.
    Host {
        name: String,
        port: u16,
    },
    /// The hosts of a service with their ports, weights and priorities (RFC 2782).
    Service {
        name: String,
    },
}

impl Target {
    /// The address, if it is one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Target::Address(address) => Some(address),
            Target::Host { .. } | Target::Service { .. } => None,
        }
    }

    /// The name of the host or, for a service, of its domain (RFC 6125 §6.4); `None` for an address.
    pub fn host(&self) -> Option<&str> {
        match self {
            Target::Address(_) => None,
            Target::Host { name, .. } => Some(name),
            Target::Service { name } => name.splitn(3, '.').nth(2),
        }
    }

    /// Whether it has to be resolved.
    pub fn is_name(&self) -> bool {
        self.address().is_none()
    }
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Target::Address(address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Host { name, port } => write!(f, "{name}:{port}"),
            Target::Service { name } => write!(f, "srv:{name}"),
        }
    }
}

impl Literal for Target {
    const EXPECTED: &'static str = "an address such as \"10.0.0.1:8080\" or \"unix:/run/web.sock\", or a name such as \"api.internal:8080\" or \"srv:_http._tcp.api.internal\"";

    fn read(text: &str) -> Result<Self, Misread> {
        if let Some(name) = text.strip_prefix("srv:") {
            return name_of(name).map(|name| Target::Service { name });
        }
        match Address::read(text) {
            // A host may be called "fd".
            Ok(Address::Passed(port)) => match port.parse() {
                Ok(port) if port > 0 => Ok(Target::Host { name: "fd".to_owned(), port }),
                _ => Err(Misread::Because("only a listener can have a passed socket".into())),
            },
            // It has the form of a name and a port.
            Err(Misread::Later) => {
                let (name, port) = text.rsplit_once(':').ok_or(Misread::Form)?;
                let port = port.parse().map_err(|_| Misread::Form)?;
                if port == 0 {
                    return Err(Misread::Because("port 0 cannot be reached".into()));
                }
                Ok(Target::Host { name: name_of(name)?, port })
            }
            Err(Misread::Form) if is_bare_name(text) => Err(Misread::Because("it has no port".into())),
            address => address.map(Target::Address),
        }
    }
}

/// A name of DNS in lower case; a final dot, which keeps search domains away, stays.
fn name_of(text: &str) -> Result<String, Misread> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let char = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(char)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if bare.len() > NAME_BYTES_MAX || !bare.split('.').all(label) {
        return Err(Misread::Because(format!("\"{text}\" is no name of DNS")));
    }
    Ok(text.to_ascii_lowercase())
}

/// A name without the port that it needs.
fn is_bare_name(text: &str) -> bool {
    name_of(text).is_ok() && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// For endpoints on the command line.
impl FromStr for Target {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        Target::read(text).map_err(|misread| NoAddress::new::<Target>(text, misread))
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let examples = ["10.0.0.1:8080", "api.internal:8080", "srv:_http._tcp.api.internal"];
        json_schema!({ "type": "string", "examples": examples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_names_and_services_read_and_print_back() {
        for text in [
            "127.0.0.1:80",
            "[::1]:80",
            "unix:/run/x.sock",
            "api.internal:3001",
            "localhost:1",
            "api.internal.:80",
            "api_1.internal:80",
            "srv:_http._tcp.api.internal",
        ] {
            assert_eq!(Target::read(text).map(|target| target.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Target::read("API.Internal:80"), Target::read("api.internal:80"));
        assert!(Target::read("api.internal:80").is_ok_and(|target| target.is_name()));
        assert!(Target::read("10.0.0.1:80").is_ok_and(|target| !target.is_name()));
    }

    #[test]
    fn what_cannot_be_resolved_or_reached_is_refused() {
        let long = format!("{}.example:80", "a".repeat(64));
        let longer = format!("{}example:80", "abcdefghi.".repeat(26));
        for text in [
            "",
            "api.internal",
            "api.internal:0",
            "api.internal:65536",
            "api..internal:80",
            "-api.internal:80",
            "api-.internal:80",
            "a b:80",
            "srv:",
            "srv:_http._tcp.api.internal:80",
            "http://api.internal:80",
            "256.1.1.1:80",
            &long,
            &longer,
        ] {
            assert!(matches!(Target::read(text), Err(Misread::Form | Misread::Because(_))), "{text}");
        }
    }
}
