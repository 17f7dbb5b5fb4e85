//! Whose quota a request is charged to.

use crate::filter::Visit;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address, cut to [`Prefixes`].
    ClientIp,
    /// The value of a field; several lines count as they stand.
    Header(Box<[u8]>),
    /// The caller by name: the consumer, or policy and subject.
    Consumer,
    /// Policy and subject, even of consumers.
    Credential,
    /// A claim of the caller's token.
    Claim(Box<str>),
    /// The host of the request.
    Host,
    /// The method of the request.
    Method,
    /// The canonical path of the request.
    Path,
    /// The rule that was chosen.
    Route,
    /// Nothing: one quota for all.
    Everyone,
}

impl KeyPart {
    /// Whether only authentication can tell.
    pub fn needs_caller(&self) -> bool {
        matches!(self, KeyPart::Consumer | KeyPart::Credential | KeyPart::Claim(_))
    }
}

/// How much of an address counts, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Default 32.
    pub v4: u8,
    /// Default 64: what one customer is usually given.
    pub v6: u8,
}

/// What becomes of a request that lacks a part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// All of them share one quota.
    Shared,
    /// The limit does not apply.
    Skip,
    /// 400.
    Deny,
}

/// How the key of a limit is found.
#[derive(Clone, Debug)]
pub struct Key {
    pub parts: Vec<KeyPart>,
    pub prefixes: Prefixes,
    pub absent: Absent,
    /// Keyed by chance at the start of the process: nobody outside can choose keys that fall together.
    pub secret: RandomState,
}

/// A part is missing, and the limit says what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Skip,
    Deny,
}

impl Key {
    /// The key of this request; never 0.
    pub(super) fn of(&self, visit: &Visit<'_, '_>) -> Result<u64, Missing> {
        let mut hasher = self.secret.build_hasher();
        for part in &self.parts {
            if !self.feed(part, visit, &mut hasher) {
                match self.absent {
                    Absent::Shared => hasher.write_u8(0),
                    Absent::Skip => return Err(Missing::Skip),
                    Absent::Deny => return Err(Missing::Deny),
                }
            }
        }
        Ok(hasher.finish().max(1))
    }

    /// Whether the request has the part. Texts carry their lengths, so that no two combinations look the same.
    fn feed(&self, part: &KeyPart, visit: &Visit<'_, '_>, hasher: &mut impl Hasher) -> bool {
        let mut text = |text: &[u8]| {
            hasher.write_usize(text.len() + 1);
            hasher.write(text);
        };
        let request = visit.request;
        match part {
            KeyPart::ClientIp => hasher.write_u128(self.prefixes.cut(visit.client)),
            KeyPart::Header(name) => {
                let fields = request.head.fields.iter();
                let mut own = fields
                    .filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name))
                    .map(|field| field.value.of(request.bytes))
                    .peekable();
                if own.peek().is_none_or(|first| first.is_empty()) {
                    return false;
                }
                own.for_each(text);
            }
            KeyPart::Consumer => match visit.caller.primary() {
                Some(identity) => match &identity.consumer {
                    Some(consumer) => text(consumer.name.as_bytes()),
                    None => {
                        text(identity.policy.as_bytes());
                        text(identity.subject.as_bytes());
                    }
                },
                None => return false,
            },
            KeyPart::Credential => match visit.caller.primary() {
                Some(identity) => {
                    text(identity.policy.as_bytes());
                    text(identity.subject.as_bytes());
                }
                None => return false,
            },
            KeyPart::Claim(name) => {
                match visit.caller.identities().find_map(|identity| identity.claim_text(name)) {
                    Some(value) => text(value.as_bytes()),
                    None => return false,
                }
            }
            KeyPart::Host => text(&request.host().to_ascii_lowercase()),
            KeyPart::Method => text(request.method()),
            KeyPart::Path => text(request.path()),
            KeyPart::Route => hasher.write_u32(visit.route.0),
            KeyPart::Everyone => {}
        }
        true
    }
}

impl Prefixes {
    /// IPv4 where no IPv6 network is assigned (`::ffff:0:0/96` is its mapped form).
    fn cut(self, address: IpAddr) -> u128 {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = u32::MAX.checked_shl(32 - u32::from(self.v4.min(32))).unwrap_or(0);
                0xffff << 32 | u128::from(v4.to_bits() & bits)
            }
            IpAddr::V6(v6) => {
                let bits = u128::MAX.checked_shl(128 - u32::from(self.v6.min(128))).unwrap_or(0);
                v6.to_bits() & bits
            }
        }
    }
}
