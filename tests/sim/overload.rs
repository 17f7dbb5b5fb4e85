//! What is shed when memory runs out, in which order, and that all of it comes back (R98); and what happens to deadlines
//! when the process stands still (R144).

use crate::client::{Ask, Demand, session};
use crate::exchanges::clients;
use crate::peer::Incoming;
use crate::upstream::{self, Manner};
use crate::world::{ONE_ENDPOINT, World, client_host, each_seed, endpoint, faulty, simulate, smooth};
use runtime::Stream;
use std::rc::Rc;
use std::time::Duration;
use traffic::Cause;

const SECOND: Duration = Duration::from_secs(1);

/// Makes so many thousandths of the memory resident, as the next measurement finds.
fn use_memory(world: &World, permille: u64) {
    world.node.set_resident((1 << 30) / 1000 * permille);
}

/// Connections that have been served once and wait for their next request.
async fn kept(world: &Rc<World>, count: usize) -> Vec<Stream> {
    let mut streams = Vec::new();
    for number in 0..count {
        let stream = world.dial(client_host(number)).await.expect("connected");
        if !is_served(&stream).await {
            world.ledger.broken("a first request was not served".to_owned());
        }
        streams.push(stream);
    }
    streams
}

/// Whether one request gets what the endpoint answers, whatever that is.
async fn is_served(stream: &Stream) -> bool {
    stream.write(|out| out.extend_from_slice(b"GET /r/x HTTP/1.1\r\nHost: a\r\nX-Id: x\r\n\r\n"));
    Incoming::new(stream).reply("GET").await.is_ok_and(|reply| reply.status < 500)
}

fn honest(world: &Rc<World>) {
    upstream::start(world, endpoint(1), Manner::Honest { think_max: Duration::ZERO });
}

fn expect(world: &World, holds: bool, what: &str) {
    if !holds {
        world.ledger.broken(format!("{what}; level {}", world.stats.shed.level.get()));
    }
}

#[test]
fn r98_idle_connections_are_kept_for_less_time_and_in_the_end_closed_oldest_first() {
    simulate(smooth(1), ONE_ENDPOINT, |world| async move {
        honest(&world);
        world.settle().await;
        let _kept = kept(&world, 60).await;
        let shed = |world: &World| world.stats.closes(Cause::Shed);
        use_memory(&world, 690);
        world.pause(20 * SECOND).await;
        expect(&world, shed(&world) == 0, "something was shed below 70 %");
        use_memory(&world, 800);
        world.pause(15 * SECOND).await;
        expect(&world, shed(&world) == 0, "55 % of 75 s have not passed");
        world.pause(13 * SECOND).await;
        expect(&world, shed(&world) == 60, "idle for 48 s at 80 %");
        use_memory(&world, 100);
        world.pause(3 * SECOND).await;
        expect(&world, world.stats.shed.level.get() == 0, "not calm again");
        let late = kept(&world, 60).await;
        use_memory(&world, 985);
        world.pause(SECOND + SECOND / 4).await;
        let open = |stream: &&Stream| stream.is_quiet();
        late.iter().for_each(Stream::watch);
        world.pause(SECOND).await;
        expect(&world, shed(&world) == 120 && late.iter().filter(open).count() == 0, "not all were evicted");
        use_memory(&world, 100);
        world.pause(3 * SECOND).await;
        expect(&world, world.stats.shed.idle_evicted.get() >= 50, "evicted");
        drop(kept(&world, 3).await);
    });
}

#[test]
fn r98_requests_are_refused_with_the_time_to_come_back_and_connections_are_not_kept() {
    simulate(smooth(2), ONE_ENDPOINT, |world| async move {
        honest(&world);
        world.settle().await;
        let crowd = kept(&world, 40).await;
        use_memory(&world, 960);
        world.pause(SECOND + SECOND / 2).await;
        let mut refused = 0;
        for stream in &crowd[..20] {
            stream.write(|out| out.extend_from_slice(b"GET /r/x HTTP/1.1\r\nHost: a\r\nX-Id: x\r\n\r\n"));
            let answer = stream.recv().await.map(|buf| String::from_utf8_lossy(&buf).into_owned());
            let answer = answer.unwrap_or_default();
            let after = answer.split_once("Retry-After: ").and_then(|(_, rest)| rest.chars().next());
            let sensible = after.is_some_and(|seconds| ('1'..='5').contains(&seconds));
            if answer.starts_with("HTTP/1.1 503 ") && sensible && answer.contains("Connection: close\r\n") {
                refused += 1;
            }
        }
        expect(&world, refused == 20, "all were answered");
        expect(&world, world.stats.cause(Cause::Overloaded) == 20, "counted");
        use_memory(&world, 100);
        world.pause(5 * SECOND).await;
        expect(&world, is_served(&crowd[39]).await, "served again within five seconds");
    });
}

#[test]
fn r98_a_reader_that_stalls_with_much_memory_is_reset_and_one_that_moves_is_not() {
    simulate(smooth(3), ONE_ENDPOINT, |world| async move {
        let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
        let rt = world.rt.clone();
        world.rt.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                rt.spawn(async move {
                    while let Ok(buf) = stream.recv().await {
                        if buf.is_empty() {
                            return;
                        }
                        let len = 64 << 20;
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
                        stream.write(|out| out.extend_from_slice(head.as_bytes()));
                        let mut left = len;
                        while left > 0 && stream.flushed(0).await.is_ok() {
                            let now = left.min(60_000);
                            stream.write(|out| out.resize(out.len() + now, b'x'));
                            left -= now;
                        }
                    }
                });
            }
        });
        world.settle().await;
        let begin = async |number| {
            let stream = world.dial(client_host(number)).await.expect("connected");
            stream.write(|out| out.extend_from_slice(b"GET /r/big HTTP/1.1\r\nHost: a\r\n\r\n"));
            stream
        };
        let (stalled, moving) = (begin(1).await, begin(2).await);
        world.pause(SECOND).await;
        use_memory(&world, 870);
        for _ in 0..30 {
            for _ in 0..4 {
                let _ = moving.recv().await;
            }
            world.pause(SECOND / 5).await;
        }
        expect(&world, world.stats.shed.stalled_reset.get() == 1, "exactly one was reset");
        expect(&world, world.stats.closes(Cause::Shed) == 1, "its connection ended for it");
        expect(&world, moving.recv().await.is_ok_and(|buf| !buf.is_empty()), "the other goes on");
        use_memory(&world, 100);
        world.pause(3 * SECOND).await;
        drop((stalled, moving));
    });
}

#[test]
fn r98_accepting_pauses_at_ninety_five_percent_and_goes_on_five_points_below() {
    each_seed(|seed| {
        simulate(faulty(seed), ONE_ENDPOINT, |world| async move {
            honest(&world);
            world.settle().await;
            let crowd = kept(&world, 12).await;
            use_memory(&world, 955);
            world.pause(2 * SECOND).await;
            let before = world.stats.connections_accepted.get();
            let waiting = world.dial(client_host(50)).await;
            world.pause(SECOND).await;
            // One that was accepted ahead may come through.
            expect(&world, world.stats.connections_accepted.get() <= before + 1, "accepted under pressure");
            expect(&world, world.stats.shed.paused_since.get() != 0, "paused");
            use_memory(&world, 895);
            world.pause(3 * SECOND).await;
            expect(&world, world.stats.shed.paused_since.get() == 0, "accepting again");
            use_memory(&world, 100);
            world.pause(3 * SECOND).await;
            drop((crowd, waiting));
            clients(&world, 4, 2, Demand::Everything, Ask::any).await;
        });
    });
}

#[test]
fn r144_a_process_that_stood_still_cuts_nobody_off() {
    let kdl = ONE_ENDPOINT.replace("8080\"; }", "8080\"; timeouts { keep-alive \"10s\"; header \"10s\"; } }");
    simulate(smooth(5), &kdl, |world| async move {
        honest(&world);
        world.settle().await;
        let idle = kept(&world, 20).await;
        let half = world.dial(client_host(1)).await.expect("connected");
        half.write(|out| out.extend_from_slice(b"GET /r/x HTTP/1.1\r\nHost: a\r\nX-Id: x\r\n"));
        world.pause(2 * SECOND).await;
        world.net.stop_process(Duration::from_secs(30));
        world.pause(SECOND).await;
        expect(&world, world.rt.gaps().count == 1, "the gap was noticed");
        expect(&world, world.stats.closes(Cause::IdleTimeout) == 0, "idle connections are kept");
        half.write(|out| out.extend_from_slice(b"\r\n"));
        let reply = Incoming::new(&half).reply("GET").await;
        expect(&world, reply.is_ok_and(|reply| reply.status < 500), "the half head can be completed");
        for stream in &idle {
            expect(&world, is_served(stream).await, "idle connections can be used");
        }
        session(&world, client_host(3), &[Ask::get("later")], Demand::Everything).await;
    });
}
