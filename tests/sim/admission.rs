//! Upstreams with limits: nothing is exceeded, and every permit comes back, whatever clients and upstreams do (R115).

use crate::aborts::leave_early;
use crate::client::{Ask, Demand};
use crate::exchanges::clients;
use crate::upstream::{self, Manner};
use crate::world::{World, client_host, each_seed, endpoint, faulty, simulate, smooth};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use traffic::Snapshot;
use traffic::admission::Admission;

const LIMITED: &str = r#"
listener "web" { bind "10.0.0.1:8080"; }
upstream "app" {
    endpoint "10.0.1.1:80"
    endpoint "10.0.1.2:80"
    endpoint "10.0.1.3:80"
    limits { requests 4; connections 5; endpoint-requests 2; endpoint-connections 3; queue 4; queue-timeout "200ms"; }
    circuit-breaker { requests 6; window "1s"; open-for "100ms"; probes 2; }
    adaptive-concurrency { min 2; max 10; }
}
site "*" {
    route "/" upstream="app" { timeouts { total "20s"; }; retry attempts=2 on="connect,reset,timeout,503"; }
}
"#;

fn admission(snapshot: &Snapshot) -> &Admission {
    snapshot.upstreams[0].admission.as_ref().expect("it has limits")
}

/// Looks every millisecond until told to stop.
fn watch(world: &Rc<World>, done: &Rc<Cell<bool>>) {
    let (world, done) = (Rc::clone(world), Rc::clone(done));
    world.rt.clone().spawn(async move {
        while !done.get() {
            let snapshot = world.in_force();
            let gate = &admission(&snapshot).gate;
            let (in_flight, connections, waiting) =
                (gate.in_flight(), gate.connections(), gate.line.waiting());
            if in_flight > 4 || connections > 5 || waiting > 4 {
                world.ledger.broken(format!("{in_flight} in flight, {connections} open, {waiting} wait"));
            }
            for endpoint in &snapshot.upstreams[0].endpoints {
                let connections = endpoint.valve.as_ref().map_or(0, |valve| valve.state.connections());
                if endpoint.cell.in_flight() > 2 || connections > 3 {
                    world.ledger.broken(format!("{}: too much", endpoint.text));
                }
            }
            world.pause(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn limits_hold_and_every_permit_comes_back_whatever_happens() {
    each_seed(|seed| {
        simulate(faulty(seed), LIMITED, |world| async move {
            let think_max = Duration::from_millis(30);
            let manner = if world.random(2) == 0 { Manner::Hostile } else { Manner::Honest { think_max } };
            upstream::start_three(&world, manner);
            world.settle().await;
            let done = Rc::new(Cell::new(false));
            watch(&world, &done);
            let left = Rc::new(Cell::new(6));
            for number in 0..6 {
                let (world, left) = (Rc::clone(&world), Rc::clone(&left));
                world.rt.clone().spawn(async move {
                    world.pause(Duration::from_micros(world.random(100_000))).await;
                    leave_early(&world, number).await;
                    left.set(left.get() - 1);
                });
            }
            clients(&world, 10, 4, Demand::Truth, Ask::any).await;
            while left.get() > 0 {
                world.pause(Duration::from_millis(10)).await;
            }
            done.set(true);
            // Whatever was given up is noticed by then.
            world.pause(Duration::from_secs(100)).await;
            let snapshot = world.in_force();
            let gate = &admission(&snapshot).gate;
            let (in_flight, waiting) = (gate.in_flight(), gate.line.waiting() + gate.slots.waiting());
            let (connections, idle) = (gate.connections(), world.stats.pool_idle.get());
            if in_flight + waiting > 0 || u64::from(connections) != idle {
                world.ledger.broken(format!(
                    "left behind: {in_flight} in flight, {waiting} waiting, {connections} open of which {idle} idle"
                ));
            }
        });
    });
}

#[test]
fn waiting_in_the_queue_ends_to_the_millisecond() {
    let kdl = r#"
        listener "web" { bind "10.0.0.1:8080"; }
        upstream "app" { endpoint "10.0.1.1:80"; limits { requests 1; queue 5; queue-timeout "700ms"; }; }
        site "*" { route "/" upstream="app"; route "/short" upstream="app" { timeouts { total "300ms"; }; }; }
    "#;
    simulate(smooth(1), kdl, |world| async move {
        // Accepts and never answers: the first request keeps its permit until the response-head timeout.
        let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
        let rt = world.rt.clone();
        world.rt.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                rt.spawn(async move { while stream.recv().await.is_ok_and(|buf| !buf.is_empty()) {} });
            }
        });
        world.settle().await;
        let ask = async |target: &str, number| {
            let stream = world.dial(client_host(number)).await.expect("connected");
            stream.write(|out| {
                out.extend_from_slice(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            });
            stream
        };
        let first = ask("/", 1).await;
        world.pause(Duration::from_millis(5)).await;
        for (target, status, wait) in [("/", 503, 700), ("/short", 504, 300)] {
            let stream = ask(target, 2).await;
            let since = world.rt.now();
            let reply = crate::peer::Incoming::new(&stream).reply("GET").await;
            let spent = world.rt.now().since(since);
            if !reply.as_ref().is_ok_and(|reply| reply.status == status)
                || spent < Duration::from_millis(wait)
                || spent > Duration::from_millis(wait + 3)
            {
                world.ledger.broken(format!("{target}: {reply:?} after {spent:?}"));
            }
        }
        drop(first);
    });
}
