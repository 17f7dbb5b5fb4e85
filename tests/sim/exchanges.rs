//! Requests and responses of every shape, through inconvenient networks and to upstreams good and bad (R105-R111, R117).

use crate::client::{Ask, Demand, Framing, session};
use crate::peer::Incoming;
use crate::upstream::{self, Manner};
use crate::world::{
    ONE_ENDPOINT, THREE_ENDPOINTS, World, client_host, each_seed, endpoint, faulty, simulate,
};
use base::limits::HttpLimits;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use wire::h1::BodyReader;

/// Runs clients side by side, each with its requests, until all have ended.
pub(crate) async fn clients(
    world: &Rc<World>,
    count: usize,
    asks: usize,
    demand: Demand,
    any: impl Fn(&World, &str) -> Ask,
) {
    let left = Rc::new(Cell::new(count));
    for client in 0..count {
        let asks: Vec<Ask> = (0..asks).map(|n| any(world, &format!("c{client}-{n}"))).collect();
        let (world, left) = (Rc::clone(world), Rc::clone(&left));
        let rt = world.rt.clone();
        rt.spawn(async move {
            world.pause(Duration::from_micros(world.random(50_000))).await;
            session(&world, client_host(client), &asks, demand).await;
            left.set(left.get() - 1);
        });
    }
    while left.get() > 0 {
        world.pause(Duration::from_millis(100)).await;
    }
}

#[test]
fn every_request_is_answered_whole_and_in_order_through_any_network() {
    each_seed(|seed| {
        simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::from_millis(30) });
            world.settle().await;
            clients(&world, 4, 6, Demand::Everything, Ask::any).await;
        });
    });
}

#[test]
fn nothing_wrong_is_told_and_nothing_done_twice_whatever_upstreams_do() {
    let mut whole = 0;
    for seed in crate::world::seeds() {
        // Every second world repeats whatever the rules let it.
        let eager = THREE_ENDPOINTS.replace(
            "upstream=\"app\"",
            "upstream=\"app\" { retry attempts=2 on=\"connect,reset,timeout,503\"; }",
        );
        let kdl = if seed % 2 == 0 { THREE_ENDPOINTS } else { &eager };
        let world = simulate(faulty(seed), kdl, |world| async move {
            upstream::start_three(&world, Manner::Hostile);
            world.settle().await;
            clients(&world, 4, 6, Demand::Truth, Ask::any).await;
        });
        whole += world.ledger.counted("whole");
    }
    assert!(whole > 0, "something must have come through");
}

#[test]
fn the_same_seed_repeats_a_whole_run() {
    let run = |seed| {
        let world = simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Hostile);
            clients(&world, 4, 6, Demand::Truth, Ask::any).await;
        });
        (world.net.trace_hash(), world.net.steps())
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

#[test]
fn killing_one_of_three_upstreams_fails_no_idempotent_request() {
    each_seed(|seed| {
        let mut options = faulty(seed);
        // A response of which a part was sent cannot be saved; these fit into one segment and are not cut.
        options.faults.cut_segments = 0;
        options.faults.dribbling_links = 0;
        options.faults.short_sends = 0;
        options.faults.short_receives = 0;
        options.faults.reset_discards = 0;
        options.send_capacity = 64 << 10;
        options.receive_capacity = 64 << 10;
        simulate(options, THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Terse { think_max: Duration::from_millis(30) });
            world.settle().await;
            let killer = Rc::clone(&world);
            let rt = world.rt.clone();
            rt.spawn(async move {
                killer.pause(Duration::from_micros(killer.random(500_000))).await;
                let victim = endpoint(1 + u8::try_from(killer.random(3)).unwrap_or(0));
                killer.net.kill(victim.ip());
                // It comes back, so that the end can be compared with the beginning.
                killer.pause(Duration::from_secs(1)).await;
                upstream::start(&killer, victim, Manner::Terse { think_max: Duration::from_millis(30) });
            });
            clients(&world, 6, 10, Demand::Truth, |_, id| Ask::get(id)).await;
            let failed: u32 = ["status 502", "status 503", "status 504", "unanswered"]
                .map(|what| world.ledger.counted(what))
                .iter()
                .sum();
            if failed > 0 {
                world.ledger.broken(format!("{failed} idempotent requests failed"));
            }
        });
    });
}

#[test]
fn a_request_that_is_repeated_carries_its_body_again() {
    each_seed(|seed| {
        simulate(faulty(seed), ONE_ENDPOINT, |world| async move {
            let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
            let server = Rc::clone(&world);
            world.rt.spawn(async move {
                let mut resets = 1;
                while let Ok(stream) = listener.accept().await {
                    if resets > 0 {
                        resets -= 1;
                        let mut incoming = Incoming::new(&stream);
                        let Ok(asked) = incoming.request().await else { continue };
                        let reader = BodyReader::new(asked.body, &HttpLimits::DEFAULT);
                        incoming.body(reader, &mut Vec::new()).await;
                        stream.reset();
                        continue;
                    }
                    let inner = Rc::clone(&server);
                    server.rt.spawn(async move {
                        upstream::serve(&inner, stream, Manner::Honest { think_max: Duration::ZERO }).await;
                    });
                }
            });
            world.settle().await;
            let framing = if world.random(2) == 0 { Framing::Length } else { Framing::Chunked };
            let put = |id: &str, len| Ask { method: "PUT", framing, ..Ask::post(id, len) };
            let asks = [put("first", 1 + world.random_size(20_000)), put("second", 100)];
            session(&world, client_host(1), &asks, Demand::Everything).await;
            if world.stats.retries.get() != 1 {
                world.ledger.broken(format!("{} retries", world.stats.retries.get()));
            }
        });
    });
}
