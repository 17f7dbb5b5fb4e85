//! Whose announcements of clients are believed, and what endpoints are told (PROXY protocol).
//!
//! The bytes are `wire::proxy_protocol`'s affair; reading and writing them on connections is the data plane's.

use crate::source::CidrSet;
use std::net::IpAddr;
use std::time::Duration;

/// Headers that a listener reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveRules {
    /// Peers that announce clients.
    pub from: CidrSet,
    /// So does whoever connects over a Unix socket.
    pub from_unix: bool,
    pub strictness: Strictness,
    /// A complete header, from the accept. Default 2 s.
    pub timeout: Duration,
}

/// What is expected of peers that announce clients, and of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// A header; others are served as who they are.
    Required,
    /// A header or none; others are served as who they are.
    Optional,
    /// A header; others are closed.
    Only,
}

/// What is expected of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It begins with a header, or is closed.
    Header,
    /// It begins with a header or without.
    Either,
    /// Its first bytes are payload, whatever they look like (R155).
    Payload,
    /// It is closed unread.
    Nothing,
}

impl ReceiveRules {
    /// What is expected of a connection from `peer`; `None` is a Unix socket.
    pub fn expected(&self, peer: Option<IpAddr>) -> Expected {
        let may_announce = match peer {
            Some(peer) => self.from.contains(peer),
            None => self.from_unix,
        };
        match (may_announce, self.strictness) {
            (true, Strictness::Optional) => Expected::Either,
            (true, Strictness::Required | Strictness::Only) => Expected::Header,
            (false, Strictness::Only) => Expected::Nothing,
            (false, Strictness::Required | Strictness::Optional) => Expected::Payload,
        }
    }
}

/// Headers that endpoints get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRules {
    pub version: Version,
    /// The host name that the client asked for, where it is known; version 2 only, as all that follow.
    pub authority: bool,
    /// The protocol above the connection, where it is known.
    pub alpn: bool,
    /// The id of the connection in our log.
    pub unique_id: bool,
    pub checksum: bool,
}

/// Which form headers have.
pub use wire::proxy_protocol::Version;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r155_only_listed_peers_are_asked_for_a_header() {
        let office: IpAddr = "192.0.2.7".parse().expect("an address");
        let stranger: IpAddr = "198.51.100.1".parse().expect("an address");
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().expect("an address");
        let rules = |strictness| ReceiveRules {
            from: CidrSet::from_cidrs([("192.0.2.0".parse().expect("an address"), 24)]),
            from_unix: strictness == Strictness::Only,
            strictness,
            timeout: Duration::from_secs(2),
        };
        let cases = [
            (Strictness::Required, office, Expected::Header),
            (Strictness::Required, mapped, Expected::Header),
            (Strictness::Required, stranger, Expected::Payload),
            (Strictness::Optional, office, Expected::Either),
            (Strictness::Optional, stranger, Expected::Payload),
            (Strictness::Only, office, Expected::Header),
            (Strictness::Only, stranger, Expected::Nothing),
        ];
        for (strictness, peer, expected) in cases {
            assert_eq!(rules(strictness).expected(Some(peer)), expected, "{strictness:?} {peer}");
        }
        assert_eq!(rules(Strictness::Required).expected(None), Expected::Payload);
        assert_eq!(rules(Strictness::Only).expected(None), Expected::Header);
    }
}
