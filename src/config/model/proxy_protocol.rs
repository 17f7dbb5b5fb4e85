//! The PROXY protocol: what a load balancer in front tells us about a connection, and what we tell endpoints.

use crate::literal::{Cidr, DurationText, Literal, Misread, duration, printed, words};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Who announces the clients of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProxyProtocol {
    /// Default: required.
    pub mode: ProxyMode,
    /// Peers whose headers are read, those of others never are.
    pub from: Senders,
    /// A complete header, from the accept. Default 2 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
}

impl ProxyProtocol {
    /// Default of [`ProxyProtocol::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(2);
}

words! {
    /// What is expected of the peers that may announce clients, and of the others.
    pub enum ProxyMode {
        /// They must send a header; others are served as who they are.
        Required = "required",
        /// They may send a header; others are served as who they are.
        Optional = "optional",
        /// They must send a header; others are closed.
        Only = "only",
    }
    default Required;
}

/// A peer that may announce clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Network(Cidr),
    /// Whoever connects to one of our Unix sockets.
    Unix,
}

/// Some of them, written `10.0.0.0/8,192.0.2.7,unix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders(pub Vec<Sender>);

impl Literal for Senders {
    const EXPECTED: &'static str =
        "address ranges such as \"10.0.0.0/8\", or \"unix\", with commas between them";

    fn read(text: &str) -> Result<Self, Misread> {
        let read = |word: &str| match word.trim_matches(' ') {
            "unix" => Ok(Sender::Unix),
            range => Cidr::read(range).map(Sender::Network),
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Senders)
    }
}

impl fmt::Display for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, sender) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match sender {
                Sender::Network(range) => range.fmt(f)?,
                Sender::Unix => f.write_str("unix")?,
            }
        }
        Ok(())
    }
}

/// What endpoints are told about the client of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SendProxy {
    pub version: ProxyVersion,
    /// Further facts, version 2 only. Default: none.
    #[serde(skip_serializing_if = "ProxyFacts::is_empty")]
    pub tlvs: ProxyFacts,
    /// What health checks send. Default: local.
    pub checks: ProxyChecks,
}

words! {
    /// Which form headers have.
    pub enum ProxyVersion {
        /// A line of text with the addresses.
        V1 = "v1",
        /// Binary, with room for further facts.
        V2 = "v2",
    }
    default V2;
}

words! {
    /// What health checks of an upstream with `send-proxy` begin with.
    pub enum ProxyChecks {
        /// A header that announces nobody: LOCAL in version 2, UNKNOWN in version 1.
        Local = "local",
        /// Nothing.
        Off = "off",
    }
    default Local;
}

/// Facts behind the addresses, written `authority,alpn,unique-id,crc32c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyFacts {
    /// The host name that the client asked for, where it is known.
    pub authority: bool,
    /// The protocol above the connection, where it is known.
    pub alpn: bool,
    /// The id of the connection in our log.
    pub unique_id: bool,
    /// A checksum over the header.
    pub crc32c: bool,
}

impl ProxyFacts {
    pub(crate) fn is_empty(&self) -> bool {
        *self == ProxyFacts::default()
    }
}

impl Literal for ProxyFacts {
    const EXPECTED: &'static str = "some of \"authority,alpn,unique-id,crc32c\", with commas between them";

    fn read(text: &str) -> Result<Self, Misread> {
        let mut facts = ProxyFacts::default();
        for word in text.split(',') {
            let fact = match word.trim_matches(' ') {
                "authority" => &mut facts.authority,
                "alpn" => &mut facts.alpn,
                "unique-id" => &mut facts.unique_id,
                "crc32c" => &mut facts.crc32c,
                _ => return Err(Misread::Form),
            };
            if std::mem::replace(fact, true) {
                return Err(Misread::Because(format!("\"{}\" stands there twice", word.trim_matches(' '))));
            }
        }
        Ok(facts)
    }
}

impl fmt::Display for ProxyFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.authority, "authority"),
            (self.alpn, "alpn"),
            (self.unique_id, "unique-id"),
            (self.crc32c, "crc32c"),
        ];
        for (index, (_, word)) in words.into_iter().filter(|(is_there, _)| *is_there).enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

printed! {
    Senders = "ProxySenders", { "examples": ["10.0.0.0/8,unix"] };
    ProxyFacts = "ProxyFacts", { "examples": ["authority,crc32c"] };
}
