//! Long runs: worlds in which everything goes wrong at once, one after the other, until enough has happened.
//!
//! `SIM_STEPS=10000000` asks for so many steps of the network (300,000 if it says nothing). Seeds are new in every run
//! and printed with a failure; `SIM_SEED=x` repeats one world. All rules of `main.rs` hold in each of them, and between
//! any two milliseconds no worker holds more memory than its bounds allow.

use crate::aborts::leave_early;
use crate::client::{Ask, Demand};
use crate::exchanges::clients;
use crate::upstream::{self, Manner};
use crate::world::{World, endpoint, faulty, front, simulate};
use base::Rng;
use runtime::sim::{Call, Faults};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

const STEPS_DEFAULT: u64 = 300_000;

#[test]
fn whatever_happens_in_whatever_order_no_rule_is_broken() {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        run(seed);
        return;
    }
    let (enough, base) = (number("SIM_STEPS").unwrap_or(STEPS_DEFAULT), RandomState::new().hash_one(0));
    let (mut worlds, mut steps) = (0, 0);
    while steps < enough {
        // Below a quadrillion, so that it can be copied by hand.
        steps += run(base.wrapping_add(worlds) % 1_000_000_000_000_000);
        worlds += 1;
    }
    println!("{steps} steps in {worlds} worlds");
}

/// One world; returns how much has happened in it.
fn run(seed: u64) -> u64 {
    let mut rng = Rng::new(seed ^ 0x10c6);
    let options = faulty(seed);
    let bounds = Bounds {
        leases: u64::from(options.runtime.lease_count),
        relay_bytes: options.runtime.relay_buffers_bytes_max,
    };
    let endpoints = 1 + rng.index(4);
    let kdl = configuration(&mut rng, endpoints);
    let kdl_again = configuration(&mut rng, endpoints);
    let world = simulate(options, &kdl, move |world| async move {
        for number in 1..=endpoints {
            start(&world, number);
        }
        world.settle().await;
        let over = Rc::new(Cell::new(false));
        watch_bounds(&world, &over, bounds);
        let mishaps = Rc::new(Cell::new(world.random_size(8)));
        misfortune(&world, &mishaps, endpoints);
        let deployed = again(&world, &kdl_again);
        let leavers = Rc::new(Cell::new(world.random_size(6)));
        for number in 0..leavers.get() {
            let (inner, left) = (Rc::clone(&world), Rc::clone(&leavers));
            world.rt.spawn(async move {
                inner.pause(Duration::from_micros(inner.random(400_000))).await;
                leave_early(&inner, 100 + number).await;
                left.set(left.get() - 1);
            });
        }
        let (count, asks) = (1 + world.random_size(6), 1 + world.random_size(10));
        clients(&world, count, asks, Demand::Truth, Ask::any).await;
        while mishaps.get() + leavers.get() > 0 || !deployed.get() {
            world.pause(Duration::from_millis(10)).await;
        }
        over.set(true);
        // What was to fail and did not find its victim would hit the books.
        world.net.forget_failures();
    });
    world.net.steps()
}

/// A random configuration over so many endpoints.
fn configuration(rng: &mut Rng, endpoints: usize) -> String {
    let pick = |rng: &mut Rng, of: &[&'static str]| of[rng.index(of.len())];
    let balance =
        pick(rng, &["round-robin", "random", "least-connections", "p2c-ewma", "ring-hash", "maglev"]);
    let retry = pick(
        rng,
        &[
            "",
            "retry attempts=0",
            "retry attempts=2 on=\"connect,reset,timeout,503\"",
            "retry attempts=1 on=\"connect\" idempotency-key=#true",
        ],
    );
    let timeouts = pick(
        rng,
        &["", "timeouts { total \"20s\"; per-try \"6s\"; }", "timeouts { response-header \"2s\"; }"],
    );
    let requests = pick(rng, &["", "limits { requests-per-connection 3; }"]);
    let hedge = pick(rng, &["", "", "hedge after=\"5ms\"", "hedge after=\"p95\""]);
    let limits = pick(
        rng,
        &[
            "",
            "",
            "limits { requests 3; queue 3; queue-timeout \"200ms\"; endpoint-requests 2; }",
            "limits { connections 4; endpoint-connections 2; queue 8; queue-timeout \"1s\"; }",
        ],
    );
    let guard = pick(
        rng,
        &[
            "",
            "",
            "circuit-breaker { error-rate \"50%\"; requests 5; window \"1s\"; open-for \"300ms\"; probes 2; }",
            "adaptive-concurrency { min 2; max 20; }",
            "outlier { consecutive-errors 3; eject-for \"500ms\"; }",
        ],
    );
    let idle = pick(rng, &["", "timeouts { keep-alive \"40ms\"; connect \"300ms\"; }"]);
    let endpoints: String = (1..=endpoints)
        .map(|number| {
            let weight = 1 + rng.index(3);
            let tier = if rng.one_in(4) { "backup" } else { "primary" };
            format!("    endpoint \"10.0.1.{number}:80\" weight={weight} tier=\"{tier}\"\n")
        })
        .collect();
    format!(
        "listener \"web\" {{\n    bind \"10.0.0.1:8080\"\n    {requests}\n}}\n\
         upstream \"app\" {{\n{endpoints}    balance \"{balance}\"\n    {idle}\n    {limits}\n    {guard}\n}}\n\
         site \"*\" {{\n    route \"/\" upstream=\"app\" {{\n    {retry}\n    {timeouts}\n    {hedge}\n    }}\n}}\n"
    )
}

fn address(number: usize) -> std::net::SocketAddr {
    endpoint(u8::try_from(number).unwrap_or(u8::MAX))
}

fn start(world: &Rc<World>, number: usize) {
    let manner = match world.random(4) {
        0 => Manner::Honest { think_max: Duration::from_millis(200) },
        1 => Manner::Terse { think_max: Duration::from_millis(30) },
        2 if world.random(4) == 0 => Manner::Bulky,
        _ => Manner::Hostile,
    };
    upstream::start(world, address(number), manner);
}

/// Another configuration over the same endpoints comes into force at some moment, in every third world.
fn again(world: &Rc<World>, kdl: &str) -> Rc<Cell<bool>> {
    let done = Rc::new(Cell::new(world.random(3) > 0));
    if !done.get() {
        let (world, is_done, kdl) = (Rc::clone(world), Rc::clone(&done), kdl.to_owned());
        world.rt.clone().spawn(async move {
            world.pause(Duration::from_micros(world.random(2_000_000))).await;
            world.deploy(&kdl);
            is_done.set(true);
        });
    }
    done
}

/// One misfortune after the other, `left` in all: endpoints die and come back, links go dark, calls fail.
fn misfortune(world: &Rc<World>, left: &Rc<Cell<usize>>, endpoints: usize) {
    let (world, left) = (Rc::clone(world), Rc::clone(left));
    world.rt.clone().spawn(async move {
        while left.get() > 0 {
            world.pause(Duration::from_micros(world.random(600_000))).await;
            let number = 1 + world.random_size(endpoints);
            match world.random(6) {
                0 => {
                    world.net.kill(address(number).ip());
                    world.pause(Duration::from_millis(world.random(2000))).await;
                    start(&world, number);
                }
                1 => {
                    world.net.set_blackholed(address(number).ip(), true);
                    world.pause(Duration::from_millis(world.random(3000))).await;
                    world.net.set_blackholed(address(number).ip(), false);
                }
                2 => world.net.set_faults(Faults::random(&mut world.rng.borrow_mut())),
                3 => world.net.exhaust_descriptors(front(), 1 + u32::try_from(world.random(3)).unwrap_or(0)),
                call => {
                    world.ledger.expect_resets();
                    world.net.fail_next(if call == 4 { Call::Send } else { Call::Receive }, ECONNRESET);
                }
            }
            left.set(left.get() - 1);
        }
    });
}

const ECONNRESET: i32 = 104;

#[derive(Clone, Copy)]
struct Bounds {
    leases: u64,
    relay_bytes: u64,
}

/// Compares what the worker holds with its bounds, every millisecond, until it is over.
fn watch_bounds(world: &Rc<World>, over: &Rc<Cell<bool>>, bounds: Bounds) {
    let (world, over) = (Rc::clone(world), Rc::clone(over));
    world.rt.clone().spawn(async move {
        while !over.get() {
            let held = world.rt.gauges();
            if held.leases_out > bounds.leases || held.relay_buffer_bytes > bounds.relay_bytes + SMALL_RELAY {
                world.ledger.broken(format!("more is held than may be: {held:?}"));
                return;
            }
            world.pause(Duration::from_millis(1)).await;
        }
    });
}

/// Relay buffers of 16 KiB are not counted against the bound; each connection of a world has two of them at most.
const SMALL_RELAY: u64 = 64 * 2 * (16 << 10);

#[test]
fn a_world_repeats_exactly() {
    let mut rng = Rng::new(5);
    for _ in 0..3 {
        let seed = rng.below(1 << 40);
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
