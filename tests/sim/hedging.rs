//! Two attempts side by side, in inconvenient networks and with upstreams good and bad.

use crate::client::{Ask, Demand};
use crate::exchanges::clients;
use crate::peer::Incoming;
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, client_host, each_seed, endpoint, faulty, seeds, simulate, smooth};
use std::time::Duration;

fn hedged(policy: &str) -> String {
    THREE_ENDPOINTS.replace("upstream=\"app\"", &format!("upstream=\"app\" {{ {policy}; }}"))
}

#[test]
fn hedged_requests_are_answered_whole_and_once_through_any_network() {
    let (mut hedges, mut won) = (0, 0);
    for seed in seeds() {
        let world = simulate(faulty(seed), &hedged("hedge after=\"20ms\""), |world| async move {
            for last in 1..=3 {
                let manner = Manner::Honest { think_max: Duration::from_millis(60) };
                upstream::start(&world, endpoint(last), manner);
            }
            world.settle().await;
            clients(&world, 4, 6, Demand::Everything, Ask::any).await;
        });
        hedges += world.stats.hedges.get();
        won += world.stats.hedges_won.get();
    }
    assert!(won > 0 && hedges > won, "{won} of {hedges} hedges won");
}

#[test]
fn nothing_wrong_is_told_and_nothing_done_twice_by_hedging_whatever_upstreams_do() {
    let (mut hedges, mut whole) = (0, 0);
    for seed in seeds() {
        let eager = "hedge after=\"5ms\"; retry attempts=2 on=\"connect,reset,timeout,503\"";
        let policy = if seed % 2 == 0 { "hedge after=\"5ms\"" } else { eager };
        let world = simulate(faulty(seed), &hedged(policy), |world| async move {
            upstream::start_three(&world, Manner::Hostile);
            world.settle().await;
            clients(&world, 4, 6, Demand::Truth, Ask::any).await;
        });
        hedges += world.stats.hedges.get();
        whole += world.ledger.counted("whole");
    }
    assert!(hedges > 0 && whole > 0, "{hedges} hedges, {whole} whole responses");
}

#[test]
fn a_percentile_hedges_its_share_of_requests() {
    for seed in seeds().into_iter().take(20) {
        let world = simulate(smooth(seed), &hedged("hedge after=\"p90\""), |world| async move {
            upstream::start_three(&world, Manner::Terse { think_max: Duration::from_millis(20) });
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let mut incoming = Incoming::new(&stream);
            for n in 0..400 {
                let ask = Ask::get(&format!("n{n}"));
                stream.write(|out| out.extend_from_slice(&ask.bytes(&world).0));
                let reply = incoming.reply("GET").await.expect("an answer");
                world.ledger.judge(&ask, &reply);
            }
        });
        let hedges = world.stats.hedges.get();
        assert!((15..=90).contains(&hedges), "seed {seed}: {hedges} of 400 requests were hedged");
    }
}

#[test]
fn a_slow_endpoint_costs_no_more_than_the_delay_and_a_quick_answer() {
    each_seed(|seed| {
        let kdl = hedged("hedge after=\"50ms\"");
        let world = simulate(smooth(seed), &kdl, |world| async move {
            upstream::start(&world, endpoint(1), Manner::Terse { think_max: Duration::ZERO });
            upstream::start(&world, endpoint(2), Manner::Terse { think_max: Duration::ZERO });
            // This one takes everything and says nothing.
            upstream::start_silent(&world, endpoint(3));
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let mut incoming = Incoming::new(&stream);
            for n in 0..12 {
                let (ask, began) = (Ask::get(&format!("n{n}")), world.rt.now());
                stream.write(|out| out.extend_from_slice(&ask.bytes(&world).0));
                let reply = incoming.reply("GET").await.expect("an answer");
                let took = world.rt.now().since(began);
                if !world.ledger.judge(&ask, &reply) || took > Duration::from_millis(55) {
                    world.ledger.broken(format!("request {n}: {} after {took:?}", reply.status));
                }
            }
        });
        assert!(world.stats.hedges.get() >= 3, "every third request meets the silent one");
        assert_eq!(world.stats.hedges.get(), world.stats.hedges_won.get());
    });
}
