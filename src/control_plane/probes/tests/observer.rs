//! What is seen of all endpoints of an upstream together.

use super::super::observer::Observer;
use super::{at, facts, in_force};
use crate::compile;
use crate::node::Node;
use base::Instant;
use config::{Format, Sealed};
use std::sync::Arc;
use std::time::Duration;
use traffic::health::{Health, Outcome};
use traffic::snapshot::Upstream;

/// A node with an upstream of `endpoints` endpoints.
fn node(endpoints: u16, written: &str) -> Node {
    let list: String = (1..=endpoints).map(|port| format!("endpoint \"10.0.0.1:{port}\"; ")).collect();
    let text = format!(
        "listener \"web\" {{ bind \"127.0.0.1:8080\" }}\nsite \"*\" {{ route \"/\" upstream=\"api\" }}\n\
         upstream \"api\" {{ {list} {written} }}"
    );
    let config = config::parse(&text, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = Arc::new(compile(&config, 1, None).unwrap().snapshot);
    Node::new(
        facts(),
        Vec::new(),
        || Instant::ZERO,
        None,
        snapshot,
        in_force(config),
        crate::process::channel().0,
    )
}

/// A thousand attempts on each endpoint, of which every `of`th fails, by endpoint; never two in a row.
fn serve(upstream: &Upstream, failing: &[usize], now: Instant) {
    for (endpoint, &every) in upstream.endpoints.iter().zip(failing) {
        for attempt in 1..=1000 {
            let fails = every != 0 && attempt % every == 0;
            let outcome = if fails { Outcome::GatewayError } else { Outcome::Success };
            endpoint.cell.begin();
            endpoint.cell.observe(now, Duration::from_millis(1), outcome, &upstream.ejection);
            endpoint.cell.end();
        }
    }
}

fn states(node: &Node, now: Instant) -> Vec<&'static str> {
    node.snapshot().upstreams[0].endpoints.iter().map(|endpoint| endpoint.cell.state_name(now)).collect()
}

#[test]
fn an_endpoint_that_fails_every_third_request_is_ejected_after_one_interval() {
    let (node, mut observer) = (node(6, ""), Observer::default());
    let snapshot = node.snapshot();
    observer.look(&node, at(1));
    serve(&snapshot.upstreams[0], &[0, 3, 0, 0, 100, 0], at(5));
    observer.look(&node, at(9));
    assert_eq!(states(&node, at(9)), ["up"; 6], "the interval is not over");
    observer.look(&node, at(11));
    assert_eq!(states(&node, at(11)), ["up", "ejected", "up", "up", "up", "up"]);
    observer.look(&node, at(21));
    assert_eq!(states(&node, at(21))[1], "slow-start", "an interval without requests changes nothing");
}

#[test]
fn success_rates_never_eject_more_than_the_share_that_is_allowed() {
    let (node, mut observer) =
        (node(10, "outlier { success-rate deviation=\"0.5\"; max-ejected \"20%\" }"), Observer::default());
    let snapshot = node.snapshot();
    observer.look(&node, at(1));
    serve(&snapshot.upstreams[0], &[2, 3, 2, 0, 0, 0, 0, 0, 0, 0], at(5));
    observer.look(&node, at(11));
    let ejected: Vec<usize> =
        (0..10).filter(|at_place| states(&node, at(11))[*at_place] == "ejected").collect();
    assert_eq!(ejected.len(), 2);
    assert!(!ejected.contains(&1), "the worst two");
}

#[test]
fn r144_an_interval_with_a_gap_in_it_judges_nobody() {
    let (node, mut observer) = (node(6, ""), Observer::default());
    let snapshot = node.snapshot();
    observer.look(&node, at(1));
    serve(&snapshot.upstreams[0], &[0, 2, 0, 0, 0, 0], at(5));
    observer.look(&node, at(40));
    assert_eq!(states(&node, at(40)), ["up"; 6]);
}

#[test]
fn what_is_off_ejects_nobody() {
    let (node, mut observer) = (node(6, "outlier \"off\""), Observer::default());
    let snapshot = node.snapshot();
    observer.look(&node, at(1));
    serve(&snapshot.upstreams[0], &[0, 1, 0, 0, 0, 0], at(5));
    observer.look(&node, at(11));
    assert_eq!(states(&node, at(11)), ["up"; 6]);
}

#[test]
fn r119_the_beginning_of_panic_is_counted_once() {
    let (node, mut observer) = (node(4, "panic \"50%\""), Observer::default());
    let snapshot = node.snapshot();
    let down = |places: std::ops::Range<usize>, health| {
        for endpoint in &snapshot.upstreams[0].endpoints[places] {
            endpoint.cell.set_health(health, at(1), Duration::ZERO);
        }
    };
    let mut begun = |seconds| {
        observer.look(&node, at(seconds));
        node.panics.begun("api")
    };
    down(0..2, Health::Down);
    assert_eq!(begun(1), 0, "half is enough");
    down(2..3, Health::Down);
    assert_eq!((begun(2), begun(3)), (1, 1));
    down(0..4, Health::Up);
    assert_eq!(begun(4), 1);
    down(0..4, Health::Down);
    assert_eq!(begun(5), 2);
}
