//! Who the client is: networks, and the walk through `X-Forwarded-For` (R67).
//!
//! Not access control: routes use [`CidrSet`] for their `source` predicate, listeners for their trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::http::{Known, Request};

/// Hops that `X-Forwarded-For` may name; a longer list is not believed at all.
pub const HOPS_MAX: usize = 32;

/// A set of networks. IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`) count as the IPv4 address that they carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    /// First and last address of each network: sorted, disjoint.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl CidrSet {
    /// The set of `networks`, each an address and a prefix length. Longer prefixes than the address has bits count as
    /// the single address; bits behind the prefix are ignored.
    pub fn from_cidrs(networks: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let mut set = CidrSet::default();
        for (addr, bits) in networks {
            match (addr, canonical(addr)) {
                (IpAddr::V6(mapped), IpAddr::V4(_)) if bits < 96 => set.push_v6(mapped, bits),
                (IpAddr::V6(_), IpAddr::V4(v4)) => set.push_v4(v4, bits - 96),
                (_, IpAddr::V4(v4)) => set.push_v4(v4, bits),
                (_, IpAddr::V6(v6)) => set.push_v6(v6, bits),
            }
        }
        merge(&mut set.v4, |last| last.checked_add(1));
        merge(&mut set.v6, |last| last.checked_add(1));
        set
    }

    /// Whether `addr` lies in one of the networks.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match canonical(addr) {
            IpAddr::V4(addr) => holds(&self.v4, addr.to_bits()),
            IpAddr::V6(addr) => holds(&self.v6, addr.to_bits()),
        }
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn push_v4(&mut self, addr: Ipv4Addr, bits: u8) {
        let behind = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
        self.v4.push((addr.to_bits() & !behind, addr.to_bits() | behind));
    }

    fn push_v6(&mut self, addr: Ipv6Addr, bits: u8) {
        let behind = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
        self.v6.push((addr.to_bits() & !behind, addr.to_bits() | behind));
    }
}

/// Joins ranges that overlap or touch.
fn merge<T: Copy + Ord>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges.iter() {
        match merged.last_mut() {
            Some(open) if next(open.1).is_none_or(|after| first <= after) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    *ranges = merged;
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= value);
    after > 0 && ranges[after - 1].1 >= value
}

/// The IPv4 address for an IPv4-mapped one, any other address as it is.
pub fn canonical(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(addr, IpAddr::V4),
        IpAddr::V4(_) => addr,
    }
}

/// What is believed of where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedFacts {
    /// The client: the peer, or what trusted proxies say of it.
    pub client: IpAddr,
    /// The peer is a trusted proxy: the forwarding fields that it sent are kept and appended to. They are dropped
    /// otherwise.
    pub trusted: bool,
    /// A trusted peer sent an `X-Forwarded-For` that is too long or not a list of addresses: it counts for nothing and
    /// must not be passed on.
    pub refused: bool,
    /// `http` or `https`, when a trusted peer says so with a single `X-Forwarded-Proto`.
    pub proto: Option<&'static str>,
}

/// Finds the client of `request`, which arrived from `peer`: `X-Forwarded-For` is walked from the right, and the first
/// address that is not `trusted` is the client. Nothing is believed from an untrusted peer. A list of more than
/// [`HOPS_MAX`] hops, or one with anything but addresses in it, is ignored as a whole and the peer is the client.
pub fn client_address(peer: IpAddr, request: Request<'_>, trusted: &CidrSet) -> ForwardedFacts {
    let peer = canonical(peer);
    if trusted.is_empty() || !trusted.contains(peer) {
        return ForwardedFacts { client: peer, trusted: false, refused: false, proto: None };
    }
    let proto = forwarded_proto(request);
    match walk(peer, request, trusted) {
        Some(client) => ForwardedFacts { client, trusted: true, refused: false, proto },
        None => ForwardedFacts { client: peer, trusted: true, refused: true, proto },
    }
}

/// The client according to the list; `None` when the list is not believable. Every hop is read, those left of the client
/// too, because a list that is broken anywhere is not the work of a proxy.
fn walk(peer: IpAddr, request: Request<'_>, trusted: &CidrSet) -> Option<IpAddr> {
    let mut client = peer;
    let mut found = false;
    let mut hops = 0;
    for field in request.head.fields.iter().rev().filter(|field| field.known == Known::XForwardedFor) {
        for hop in field.value.of(request.bytes).rsplit(|&byte| byte == b',') {
            let hop = hop.trim_ascii();
            if hop.is_empty() {
                continue; // RFC 9110 §5.6.1: empty list elements are ignored.
            }
            hops += 1;
            if hops > HOPS_MAX {
                return None;
            }
            let addr = parse_hop(hop)?;
            if !found {
                client = addr;
                found = !trusted.contains(addr);
            }
        }
    }
    Some(client)
}

/// An address, with or without port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !(after.is_empty() || after.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        return inside.parse::<Ipv6Addr>().ok().map(|addr| canonical(IpAddr::V6(addr)));
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(canonical(addr));
    }
    let (addr, port) = text.split_once(':')?;
    if !is_port(port) {
        return None;
    }
    addr.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Two of these fields, or a list, say two things: neither is believed.
fn forwarded_proto(request: Request<'_>) -> Option<&'static str> {
    let mut fields = request.head.fields.iter().filter(|field| field.known == Known::XForwardedProto);
    let value = fields.next()?.value.of(request.bytes);
    if fields.next().is_some() {
        return None;
    }
    ["http", "https"].into_iter().find(|proto| value.eq_ignore_ascii_case(proto.as_bytes()))
}

#[cfg(test)]
mod tests;
