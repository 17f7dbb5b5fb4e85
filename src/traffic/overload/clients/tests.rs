use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(network: u16, host: u64) -> IpAddr {
    Ipv6Addr::from(u128::from(0x2001_0db8_0000_0000 | u64::from(network)) << 64 | u128::from(host)).into()
}

#[test]
fn r92_an_address_at_its_limit_is_refused_and_others_are_not() {
    let clients = Clients::default();
    let mut open: Vec<_> = (0..3).map(|_| clients.enter(v4(1), 3).expect("below the limit")).collect();
    assert_eq!(clients.enter(v4(1), 3), Err(TooMany));
    assert!(clients.enter(v4(2), 3).is_ok_and(|admitted| admitted.is_counted()));
    assert_eq!(clients.totals(), (2, 4));
    clients.leave(open.pop().expect("three were let in"));
    assert!(clients.enter(v4(1), 3).is_ok());
}

#[test]
fn r92_hosts_of_one_ipv6_network_of_64_bits_share_a_limit() {
    let clients = Clients::default();
    assert!(clients.enter(v6(1, 1), 1).is_ok());
    assert_eq!(clients.enter(v6(1, 2), 1), Err(TooMany));
    assert!(clients.enter(v6(2, 1), 1).is_ok(), "another network");
    let mapped: IpAddr = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into();
    assert!(clients.enter(mapped, 1).is_ok());
    assert_eq!(clients.enter(v4(1), 1), Err(TooMany), "one address in two spellings");
}

#[test]
fn r92_when_a_group_is_full_connections_are_let_in_uncounted() {
    let clients = Clients::with(1, [7, 9]);
    let open: Vec<_> = (0..40).map(|last| clients.enter(v4(last), 1).expect("nobody is refused")).collect();
    let counted = open.iter().filter(|admitted| admitted.is_counted()).count();
    assert_eq!(counted, 2 * WAYS, "the table is full");
    open.into_iter().for_each(|admitted| clients.leave(admitted));
    assert_eq!(clients.totals(), (0, 0));
}

#[test]
fn r92_ten_thousand_addresses_find_a_place_of_their_own() {
    let clients = Clients::default();
    let address = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n));
    let open: Vec<_> = (0..10_000).map(|n| clients.enter(address(n), 1).expect("alone")).collect();
    let counted = open.iter().filter(|admitted| admitted.is_counted()).count();
    assert!(counted > 9_950, "{counted} of 10,000 are counted");
    open.into_iter().for_each(|admitted| clients.leave(admitted));
    assert_eq!(clients.totals(), (0, 0));
}

#[test]
fn keys_of_ipv4_are_no_ipv6_network_that_exists() {
    assert_eq!(key_of(v4(1)) >> 32, 0x0000_ffff);
    assert_eq!(key_of(v6(3, 9)), 0x2001_0db8_0000_0003);
}

proptest! {
    /// Whatever comes and goes, one worker alone counts like a map does.
    #[test]
    fn the_table_agrees_with_a_map(
        events in prop::collection::vec((0u8..12, any::<bool>()), 0..400),
        max in 1u32..5,
    ) {
        let clients = Clients::default();
        let mut open: HashMap<u8, Vec<Admitted>> = HashMap::new();
        for (last, comes) in events {
            let mine = open.entry(last).or_default();
            if comes {
                match clients.enter(v4(last), max) {
                    Ok(admitted) => mine.push(admitted),
                    Err(TooMany) => prop_assert_eq!(mine.len(), max as usize),
                }
                prop_assert!(mine.len() <= max as usize || mine.iter().any(|one| !one.is_counted()));
            } else if let Some(admitted) = mine.pop() {
                clients.leave(admitted);
            }
        }
        open.into_values().flatten().for_each(|admitted| clients.leave(admitted));
        prop_assert_eq!(clients.totals(), (0, 0));
    }

    #[test]
    fn no_two_keys_have_the_same_place_and_mark(a in any::<u64>(), b in any::<u64>(), secret in any::<[u64; 2]>()) {
        prop_assume!(a != b);
        let clients = Clients { words: Box::default(), secret, group_bits: GROUP_BITS };
        prop_assert_ne!(clients.place(a), clients.place(b));
    }
}
