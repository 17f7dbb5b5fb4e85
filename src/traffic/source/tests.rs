use super::*;
use crate::testing::parse;
use proptest::prelude::*;

fn set(networks: &[&str]) -> CidrSet {
    CidrSet::from_cidrs(networks.iter().map(|text| {
        let (addr, bits) = text.split_once('/').unwrap();
        (addr.parse().unwrap(), bits.parse().unwrap())
    }))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn facts(peer: &str, fields: &[(&str, &str)]) -> ForwardedFacts {
    let parsed = parse("GET", "a", "/", fields);
    client_address(ip(peer), parsed.request(), &set(&["10.0.0.0/8", "2001:db8::/32"]))
}

fn client(peer: &str, list: &str) -> IpAddr {
    facts(peer, &[("X-Forwarded-For", list)]).client
}

#[test]
fn networks_hold_their_first_and_last_address_and_no_other() {
    let set = set(&["10.1.2.3/8", "192.0.2.128/25", "2001:db8::/33", "203.0.113.7/32"]);
    for inside in
        ["10.0.0.0", "10.255.255.255", "192.0.2.128", "2001:db8:7fff::1", "203.0.113.7", "::ffff:10.1.1.1"]
    {
        assert!(set.contains(ip(inside)), "{inside}");
    }
    for outside in
        ["9.255.255.255", "11.0.0.0", "192.0.2.127", "2001:db8:8000::", "203.0.113.8", "::10.1.1.1", "::"]
    {
        assert!(!set.contains(ip(outside)), "{outside}");
    }
}

#[test]
fn all_of_one_family_is_nothing_of_the_other() {
    assert!(set(&["0.0.0.0/0"]).contains(ip("255.255.255.255")));
    assert!(!set(&["0.0.0.0/0"]).contains(ip("::1")));
    assert!(!set(&["::/0"]).contains(ip("127.0.0.1")));
    assert!(set(&["::ffff:10.0.0.0/104"]).contains(ip("10.9.9.9")), "a mapped network is an IPv4 one");
}

#[test]
fn r67_nothing_is_believed_from_an_untrusted_peer() {
    let fields = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")];
    let facts = facts("203.0.113.9", &fields);
    assert_eq!(
        facts,
        ForwardedFacts { client: ip("203.0.113.9"), trusted: false, refused: false, proto: None }
    );
}

#[test]
fn r67_the_first_untrusted_address_from_the_right_is_the_client() {
    assert_eq!(client("10.0.0.1", "192.0.2.1"), ip("192.0.2.1"));
    assert_eq!(client("::ffff:10.0.0.1", "198.51.100.66, 192.0.2.1, 10.0.0.7"), ip("192.0.2.1"));
    assert_eq!(client("10.0.0.1", "10.0.0.3,10.0.0.2"), ip("10.0.0.3"), "all trusted: the leftmost");
    assert_eq!(client("10.0.0.1", ""), ip("10.0.0.1"));
    let lines = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2, 10.0.0.2")];
    assert_eq!(facts("10.0.0.1", &lines).client, ip("192.0.2.2"), "the last line is the rightmost part");
}

#[test]
fn r67_addresses_may_carry_ports_and_brackets() {
    for (hop, addr) in [
        ("192.0.2.1:1234", "192.0.2.1"),
        ("[2001:db9::1]:1234", "2001:db9::1"),
        ("[2001:db9::1]", "2001:db9::1"),
        ("2001:db9::1", "2001:db9::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(client("10.0.0.1", hop), ip(addr), "{hop}");
    }
}

#[test]
fn r67_junk_or_too_many_hops_make_the_whole_list_void() {
    for junk in [
        "unknown",
        "192.0.2.1, nonsense",
        "junk, 192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:99999",
        "192.0.2.1:+1",
        "[192.0.2.1]",
        "[::1",
        "[::1]x",
        "1.2.3",
        "192.0.2.1 192.0.2.2",
        "_hidden",
        "\"192.0.2.1\"",
        "192.0.2.\u{ff}",
    ] {
        let facts = facts("10.0.0.1", &[("X-Forwarded-For", junk)]);
        assert_eq!((facts.client, facts.trusted, facts.refused), (ip("10.0.0.1"), true, true), "{junk}");
    }
    let hops = |n: usize| vec!["192.0.2.1"; n].join(", ");
    assert_eq!(client("10.0.0.1", &hops(HOPS_MAX)), ip("192.0.2.1"));
    assert_eq!(client("10.0.0.1", &hops(HOPS_MAX + 1)), ip("10.0.0.1"));
}

#[test]
fn the_scheme_is_believed_when_a_trusted_peer_names_it_once() {
    let proto = |values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|&value| ("X-Forwarded-Proto", value)).collect();
        facts("10.0.0.1", &fields).proto
    };
    assert_eq!(proto(&["HTTPS"]), Some("https"));
    assert_eq!(proto(&["http"]), Some("http"));
    assert_eq!(proto(&["https", "http"]), None);
    assert_eq!(proto(&["https, http"]), None);
    assert_eq!(proto(&["gopher"]), None);
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn membership_equals_comparing_every_network(
        networks in prop::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..8),
        addrs in prop::collection::vec(any::<[u8; 4]>(), 1..16),
        wide in prop::collection::vec((any::<u128>(), 0u8..=128), 0..8),
        wide_addrs in prop::collection::vec(any::<u128>(), 1..16),
    ) {
        let v4 = networks.iter().map(|&(addr, bits)| (IpAddr::from(addr), bits));
        // Outside the IPv4-mapped range, which the other list covers.
        let v6 = wide.iter().map(|&(addr, bits)| (IpAddr::V6(Ipv6Addr::from_bits(addr | 1 << 127)), bits));
        let set = CidrSet::from_cidrs(v4.chain(v6));
        let near = networks.iter().map(|&(addr, _)| addr);
        for addr in addrs.iter().copied().chain(near) {
            let bits_of = |addr: [u8; 4]| u64::from(u32::from_be_bytes(addr));
            let naive = networks.iter().any(|&(net, bits)| bits_of(net) >> (32 - bits) == bits_of(addr) >> (32 - bits));
            prop_assert_eq!(set.contains(IpAddr::from(addr)), naive);
        }
        for addr in wide_addrs.iter().map(|addr| addr | 1 << 127).chain(wide.iter().map(|&(net, _)| net | 1 << 127)) {
            let same = |net: u128, bits: u8| ((net | 1 << 127) ^ addr).leading_zeros() >= u32::from(bits);
            let naive = wide.iter().any(|&(net, bits)| same(net, bits));
            prop_assert_eq!(set.contains(IpAddr::V6(Ipv6Addr::from_bits(addr))), naive);
        }
    }

    /// R67 from the other side: whatever an outsider puts in front, the client is what the trusted proxy appended, or
    /// (when the list is void) the peer.
    #[test]
    fn an_outsider_cannot_choose_its_address(claims in prop::collection::vec("[0-9a-z.: ]{0,12}", 0..40)) {
        let claimed: Vec<&str> = claims.iter().map(|claim| claim.trim()).collect();
        let list = format!("{}, 192.0.2.77, 10.0.0.2", claimed.join(","));
        let client = client("10.0.0.1", &list);
        prop_assert!(client == ip("192.0.2.77") || client == ip("10.0.0.1"), "{client}");
    }
}
