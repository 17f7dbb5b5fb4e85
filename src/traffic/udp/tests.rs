use super::*;
use base::Instant;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::time::Duration;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn at(millis: u64) -> Instant {
    START + Duration::from_millis(millis)
}

fn tuple(client: u8, port: u16) -> Tuple {
    let ip = Ipv4Addr::new(10, 0, 0, client);
    Tuple { client: SocketAddr::from((ip, port)), local: None }
}

fn table(flows: u32) -> FlowTable<u32> {
    FlowTable::new(Bounds { flows, idle: Duration::from_secs(30) }, 42)
}

/// As the data plane does it: what has to go goes first. The number of the flow that went, if one did.
fn add(
    table: &mut FlowTable<u32>,
    tuple: Tuple,
    now: Instant,
    value: u32,
) -> Result<Option<(u32, Eviction)>, Full> {
    add_within(table, u32::MAX, tuple, now, value)
}

/// The same for clients that may have so many flows.
fn add_within(
    table: &mut FlowTable<u32>,
    quota: u32,
    tuple: Tuple,
    now: Instant,
    value: u32,
) -> Result<Option<(u32, Eviction)>, Full> {
    let evicted = table.admit(tuple.client.ip(), quota, now)?;
    let evicted = evicted.map(|(id, why)| (table.remove(id).expect("it is there").1, why));
    table.insert(tuple, now, value).expect("there is room now");
    Ok(evicted)
}

#[test]
fn a_flow_is_found_by_all_of_its_addresses() {
    let mut table = table(8);
    let base = tuple(1, 5000);
    let others = [tuple(2, 5000), tuple(1, 5001), Tuple { local: Some(Ipv4Addr::LOCALHOST.into()), ..base }];
    add(&mut table, base, at(0), 0).expect("room");
    for (value, other) in (1..).zip(others) {
        assert_eq!(table.find(&other), None);
        add(&mut table, other, at(0), value).expect("room");
    }
    for (value, tuple) in [base].into_iter().chain(others).enumerate() {
        let id = table.find(&tuple).expect("it is there");
        assert_eq!(table.get(id), u32::try_from(value).ok().as_ref());
        assert_eq!(table.tuple(id), Some(&tuple));
    }
}

#[test]
fn an_id_of_a_flow_that_ended_finds_nothing_else() {
    let mut table = table(1);
    add(&mut table, tuple(1, 1), at(0), 1).expect("room");
    let id = table.find(&tuple(1, 1)).expect("it is there");
    assert_eq!(FlowId::from_u64(id.to_u64()), id);
    table.remove(id);
    add(&mut table, tuple(1, 1), at(0), 2).expect("room");
    assert_eq!(table.get(id), None);
    assert_eq!((table.remove(id), table.len()), (None, 1));
}

#[test]
fn a_client_that_has_enough_gives_up_what_it_used_least_recently() {
    let mut table = table(100);
    for port in 1..=3 {
        add(&mut table, tuple(1, port), at(port.into()), port.into()).expect("room");
    }
    add(&mut table, tuple(2, 1), at(4), 9).expect("room");
    let oldest = table.find(&tuple(1, 1)).expect("it is there");
    table.touch(oldest, at(10));
    assert_eq!(add_within(&mut table, 3, tuple(1, 4), at(11), 4), Ok(Some((2, Eviction::ClientQuota))));
    assert_eq!(table.find(&tuple(1, 2)), None);
    assert!(table.find(&tuple(2, 1)).is_some(), "others are not asked");
}

#[test]
fn an_ipv6_network_is_one_client() {
    let mut table = table(100);
    let of = |last: u16, port: u16| {
        let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last);
        Tuple { client: SocketAddr::from((ip, port)), local: None }
    };
    add(&mut table, of(1, 1), at(0), 1).expect("room");
    add(&mut table, of(2, 1), at(1), 2).expect("room");
    assert_eq!(add_within(&mut table, 2, of(3, 1), at(2), 3), Ok(Some((1, Eviction::ClientQuota))));
}

#[test]
fn r160_forged_addresses_only_drive_each_other_out() {
    let mut table = table(10);
    add(&mut table, tuple(1, 1), at(0), 1).expect("room");
    let established = table.find(&tuple(1, 1)).expect("it is there");
    table.prove(established);
    for n in 0..1000_u16 {
        let evicted =
            add(&mut table, tuple(2, n), at(2000 + u64::from(n)), 1000 + u32::from(n)).expect("room");
        assert!(evicted.is_none_or(|(value, _)| value >= 1000), "the established one stays");
        assert!(table.len() <= 10);
    }
    assert!(table.get(established).is_some());
}

#[test]
fn a_table_full_of_flows_in_use_takes_no_more_until_one_rests() {
    let mut table = table(2);
    for client in 1..=2 {
        add(&mut table, tuple(client, 1), at(0), client.into()).expect("room");
        let id = table.find(&tuple(client, 1)).expect("it is there");
        table.prove(id);
    }
    assert_eq!(add(&mut table, tuple(3, 1), at(999), 3), Err(Full));
    let second = table.find(&tuple(2, 1)).expect("it is there");
    table.touch(second, at(900));
    assert_eq!(add(&mut table, tuple(3, 1), at(1000), 3), Ok(Some((1, Eviction::TableFull))));
}

#[test]
fn flows_end_when_nothing_has_come_for_a_while() {
    let mut table = table(10);
    add(&mut table, tuple(1, 1), at(0), 1).expect("room");
    add(&mut table, tuple(2, 1), at(10), 2).expect("room");
    let proven = table.find(&tuple(1, 1)).expect("it is there");
    table.prove(proven);
    assert_eq!(table.next_expiry(), Some(at(30_000)));
    table.touch(proven, at(20));
    assert_eq!((table.next_expiry(), table.expired(at(30_009))), (Some(at(30_010)), None));
    let expired = table.expired(at(30_010)).expect("the other one");
    assert_eq!(table.remove(expired).map(|(_, value)| value), Some(2));
    assert_eq!(table.expired(at(30_020)), Some(proven));
    table.remove(proven);
    assert_eq!((table.next_expiry(), table.any(), table.is_empty()), (None, None, true));
}

#[test]
fn other_bounds_change_nothing_for_flows_that_are_there() {
    let mut table = table(2);
    add(&mut table, tuple(1, 1), at(0), 1).expect("room");
    add(&mut table, tuple(2, 1), at(0), 2).expect("room");
    table.set_bounds(Bounds { flows: 50, idle: Duration::from_secs(5) });
    for client in 3..=50 {
        assert_eq!(add(&mut table, tuple(client, 1), at(0), client.into()), Ok(None));
    }
    for client in 1..=50 {
        let id = table.find(&tuple(client, 1)).expect("it is there");
        assert_eq!(table.get(id), Some(&client.into()));
    }
    table.set_bounds(Bounds { flows: 3, idle: Duration::from_secs(5) });
    assert_eq!(table.len(), 50, "nobody is thrown out");
    let id = table.admit(tuple(60, 1).client.ip(), 2, at(1)).expect("the oldest goes").expect("one goes").0;
    table.remove(id);
    assert_eq!(table.insert(tuple(60, 1), at(1), 60), Err(60), "there are still more than there may be");
}

/// The same with lists and searches.
#[derive(Default)]
struct Naive {
    /// Least recently used first.
    flows: Vec<(Tuple, Instant, bool, u32)>,
}

impl Naive {
    fn add(
        &mut self,
        tuple: Tuple,
        now: Instant,
        value: u32,
        quota: u32,
        bounds: &Bounds,
    ) -> Result<Option<(u32, Eviction)>, Full> {
        let own = |flow: &&(Tuple, Instant, bool, u32)| flow.0.client.ip() == tuple.client.ip();
        let goes = if self.flows.iter().filter(own).count() >= quota as usize {
            self.flows.iter().position(|flow| own(&flow)).map(|at| (at, Eviction::ClientQuota))
        } else if self.flows.len() >= bounds.flows as usize {
            let unproven = self.flows.iter().position(|flow| !flow.2);
            let rests = self.flows.iter().position(|flow| now.since(flow.1) >= table::SPARED);
            Some((unproven.or(rests).ok_or(Full)?, Eviction::TableFull))
        } else {
            None
        };
        let evicted = goes.map(|(at, why)| (self.flows.remove(at).3, why));
        self.flows.push((tuple, now, false, value));
        Ok(evicted)
    }

    fn position(&self, tuple: &Tuple) -> Option<usize> {
        self.flows.iter().position(|flow| flow.0 == *tuple)
    }
}

#[derive(Clone, Debug)]
enum Act {
    Use { client: u8, port: u16 },
    Prove { client: u8, port: u16 },
    End { client: u8, port: u16 },
    Wait { millis: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let client = 0..6_u8;
    let port = 0..8_u16;
    let act = prop_oneof![
        6 => (client.clone(), port.clone()).prop_map(|(client, port)| Act::Use { client, port }),
        2 => (client.clone(), port.clone()).prop_map(|(client, port)| Act::Prove { client, port }),
        1 => (client, port).prop_map(|(client, port)| Act::End { client, port }),
        2 => (1..2000_u64).prop_map(|millis| Act::Wait { millis }),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    /// Bound, quota, order of use and expiry, against lists and searches.
    #[test]
    fn the_table_agrees_with_a_naive_one(
        acts in acts(),
        flows in 1..20_u32,
        per_client in 1..6_u32,
        secret in any::<u64>(),
    ) {
        let bounds = Bounds { flows, idle: Duration::from_secs(3) };
        let (mut table, mut naive) = (FlowTable::new(bounds, secret), Naive::default());
        let (mut now, mut next) = (at(0), 0);
        for act in acts {
            // Time goes on with each act, so that the order of use is one.
            now = now + Duration::from_millis(1);
            match act {
                Act::Use { client, port } => {
                    let tuple = tuple(client, port);
                    let known = table.find(&tuple);
                    prop_assert_eq!(known.is_some(), naive.position(&tuple).is_some());
                    if let (Some(id), Some(at)) = (known, naive.position(&tuple)) {
                        table.touch(id, now);
                        let mut flow = naive.flows.remove(at);
                        flow.1 = now;
                        naive.flows.push(flow);
                    } else {
                        next += 1;
                        let expected = naive.add(tuple, now, next, per_client, &bounds);
                        prop_assert_eq!(add_within(&mut table, per_client, tuple, now, next), expected);
                    }
                }
                Act::Prove { client, port } => {
                    let tuple = tuple(client, port);
                    if let (Some(id), Some(at)) = (table.find(&tuple), naive.position(&tuple)) {
                        table.touch(id, now);
                        table.prove(id);
                        let mut flow = naive.flows.remove(at);
                        (flow.1, flow.2) = (now, true);
                        naive.flows.push(flow);
                    }
                }
                Act::End { client, port } => {
                    let tuple = tuple(client, port);
                    let value = table.find(&tuple).and_then(|id| table.remove(id)).map(|(_, value)| value);
                    let expected = naive.position(&tuple).map(|at| naive.flows.remove(at).3);
                    prop_assert_eq!(value, expected);
                }
                Act::Wait { millis } => {
                    now = now + Duration::from_millis(millis);
                    while let Some(id) = table.expired(now) {
                        let value = table.remove(id).map(|(_, value)| value);
                        prop_assert_eq!(value, Some(naive.flows.remove(0).3));
                    }
                    prop_assert!(naive.flows.first().is_none_or(|flow| flow.1 + bounds.idle > now));
                }
            }
            prop_assert_eq!(table.len(), naive.flows.len());
            prop_assert!(table.len() <= flows as usize);
            prop_assert_eq!(table.next_expiry(), naive.flows.first().map(|flow| flow.1 + bounds.idle));
        }
        for flow in &naive.flows {
            let id = table.find(&flow.0);
            prop_assert_eq!(id.and_then(|id| table.get(id)), Some(&flow.3));
        }
    }
}
