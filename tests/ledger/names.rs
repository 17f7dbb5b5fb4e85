//! Faults of DNS: the names that some endpoints come by change what they stand for, and cannot be resolved. The schedule
//! follows from the seed and counts requests, not time.
//!
//! ```text
//! pool.ledger:PORT              two endpoints that share a port
//! srv:_http._tcp.pool.ledger    one that is known nowhere else, and the first of those two once more
//! one.ledger, two.ledger        the targets of the service, which change as well
//! ```
//!
//! Each of them stands for an address where nobody listens now and then.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::harness::dns::{Data, Dns, Says, a, srv};
use crate::plan::{Plan, Purpose, number, pick};
use crate::talk::linger;

/// What a name says once so many requests have been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    at: u32,
    name: usize,
    state: State,
}

/// What is said about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Those of its records whose bits are set; the weight counts for services only.
    Records {
        chosen: u8,
        weight: u16,
        ttl: u32,
    },
    ServerFailure,
    NoSuchName,
    /// An answer without a record.
    Empty,
    Silence,
}

/// In the order of [`Change::name`].
const NAMES: [&str; 4] = ["pool.ledger", "_http._tcp.pool.ledger", "one.ledger", "two.ledger"];

/// Records that a name can have; the last one leads to nobody.
const RECORDS: u8 = 3;

/// From one change to the next, in requests: so much, and up to twice as much again. Ringway asks once a second, so
/// that of changes that are much closer it would miss most.
const APART: u32 = 150;

/// The changes of a run.
pub(crate) fn changes(plan: Plan, requests: u32) -> Vec<Change> {
    let mut dice = plan.dice(Purpose::Names, 0);
    let mut changes = Vec::new();
    let mut at = APART;
    while at < requests && plan.faults > 0 {
        let name = dice.index(NAMES.len());
        let chosen = pick(
            &mut dice,
            &[(0b001, 20), (0b010, 20), (0b011, 30), (0b100, 5), (0b101, 5), (0b110, 5), (0b111, 10)],
        );
        let weight = 1 + u16::try_from(dice.below(5)).expect("below five");
        let records = State::Records { chosen, weight, ttl: number(&mut dice, 3) };
        let failures = [
            (State::ServerFailure, 10),
            (State::NoSuchName, 10),
            (State::Empty, 10),
            (State::Silence, 10),
            (records, 60),
        ];
        changes.push(Change { at, name, state: pick(&mut dice, &failures) });
        at += APART + number(&mut dice, 2 * APART);
    }
    changes
}

/// The endpoints that come by names, and the server that knows them.
pub(crate) struct Names {
    dns: Dns,
    /// Share a port.
    pair: [SocketAddr; 2],
    other: SocketAddr,
    /// Nobody listens there, on any port.
    nobody: IpAddr,
}

impl Names {
    /// In the beginning all names stand for all endpoints.
    pub(crate) fn start(pair: [SocketAddr; 2], other: SocketAddr, nobody: IpAddr) -> Names {
        assert_eq!(pair[0].port(), pair[1].port(), "a name is written with one port");
        let names = Names { dns: Dns::start(&[]), pair, other, nobody };
        for (name, chosen) in [0b011, 0b011, 0b001, 0b001].into_iter().enumerate() {
            names.set(name, State::Records { chosen, weight: 1, ttl: 0 });
        }
        names
    }

    /// Nodes of the top of the configuration.
    pub(crate) fn resolver(&self) -> String {
        self.dns.node("timeout \"300ms\"")
    }

    /// Nodes of the upstream.
    pub(crate) fn endpoints(&self) -> String {
        let [pool, service, ..] = NAMES;
        format!("endpoint \"{pool}:{}\"\nendpoint \"srv:{service}\"\n", self.pair[0].port())
    }

    /// Carries the changes out until `begun` has reached `total`.
    pub(crate) fn direct(&self, changes: &[Change], begun: &AtomicU32, total: u32) {
        for change in changes {
            while begun.load(Ordering::Relaxed) < change.at.min(total) {
                linger(Duration::from_millis(2));
            }
            self.set(change.name, change.state);
        }
    }

    fn set(&self, name: usize, state: State) {
        let says = match state {
            State::Records { chosen, weight, ttl } => {
                let of = |record| self.record(name, record, weight);
                Says::Records(ttl, (0..RECORDS).filter(|record| chosen & 1 << record != 0).map(of).collect())
            }
            State::ServerFailure => Says::Code(2),
            State::NoSuchName => Says::Code(3),
            State::Empty => Says::Records(0, Vec::new()),
            State::Silence => Says::Silence,
        };
        self.dns.set(NAMES[name], says);
    }

    fn record(&self, name: usize, record: u8, weight: u16) -> Data {
        let [_, _, one, two] = NAMES;
        let ([first, second], other) = (self.pair, self.other);
        match (name, record) {
            (0, 0) | (3, 0) => a(first.ip()),
            (0, 1) | (3, 1) => a(second.ip()),
            (1, 0) => srv(1, weight, other.port(), one),
            (1, 1) => srv(1, 1, first.port(), two),
            // The port of one with the address of another.
            (1, _) => srv(1, 1, other.port(), two),
            (2, 0) => a(other.ip()),
            _ => a(self.nobody),
        }
    }
}
