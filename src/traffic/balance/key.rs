//! What requests are hashed by, and the hash: stable over restarts, nodes and versions.

use crate::route::{cookie_values, header_values, query_values};
use std::net::{IpAddr, SocketAddr};
use wire::http::Request;

/// The part of a request that decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client.
    ClientIp,
    /// The address and the port of the client; of a request, the address alone.
    ClientIpPort,
    /// The first header field of the name.
    Header(Box<[u8]>),
    /// The first cookie of the name.
    Cookie(Box<[u8]>),
    /// The first query parameter of the name, as it was sent.
    Query(Box<[u8]>),
    /// The canonical path, without query.
    Path,
}

impl HashKey {
    /// The hash of the key; `None` when the request does not have it.
    pub(super) fn hash(&self, request: Request<'_>, client: IpAddr) -> Option<u64> {
        match self {
            HashKey::ClientIp | HashKey::ClientIpPort => Some(address_hash(client)),
            HashKey::Header(name) => header_values(request, name).next().map(stable_hash),
            HashKey::Cookie(name) => cookie_values(request, name).next().map(stable_hash),
            HashKey::Query(name) => query_values(request, name).next().map(stable_hash),
            HashKey::Path => Some(stable_hash(request.path())),
        }
    }
}

impl HashKey {
    /// The same of datagrams, which have nothing but addresses.
    pub(super) fn hash_datagram(&self, client: SocketAddr) -> Option<u64> {
        match self {
            HashKey::ClientIp => Some(address_hash(client.ip())),
            HashKey::ClientIpPort => {
                Some(mix(address_hash(client.ip()) ^ stable_hash(&client.port().to_be_bytes())))
            }
            HashKey::Header(_) | HashKey::Cookie(_) | HashKey::Query(_) | HashKey::Path => None,
        }
    }
}

fn address_hash(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(addr) => stable_hash(&addr.octets()),
        IpAddr::V6(addr) => stable_hash(&addr.octets()),
    }
}

/// FNV-1a, finished by murmur's mixer so that the upper bits are as good as the lower ones. Never changes: two nodes
/// with the same endpoints must agree.
pub(super) fn stable_hash(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(sum)
}

/// Spreads every bit over the whole word (murmur3's finaliser).
pub(super) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}
