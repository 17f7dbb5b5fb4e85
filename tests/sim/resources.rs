//! What runs out: descriptors, receive buffers, the patience of readers (R134, R140).

use crate::client::{Ask, Demand, session};
use crate::exchanges::clients;
use crate::upstream::{self, Manner};
use crate::world::{
    ONE_ENDPOINT, THREE_ENDPOINTS, client_host, each_seed, endpoint, faulty, front, simulate, smooth,
};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn accepting_pauses_while_descriptors_are_exhausted_and_goes_on_afterwards() {
    each_seed(|seed| {
        simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::ZERO });
            world.settle().await;
            world.net.exhaust_descriptors(front(), 4);
            let turns = world.net.turns();
            let blocked = Rc::clone(&world);
            world.rt.spawn(async move {
                session(&blocked, client_host(1), &[Ask::get("waits")], Demand::Everything).await;
            });
            // 50 + 100 + 200 + 400 ms of pauses.
            world.pause(Duration::from_millis(700)).await;
            let turns = world.net.turns() - turns;
            if world.ledger.was_seen("waits") || turns > 600 {
                world.ledger.broken(format!("{turns} turns while nothing could be accepted"));
            }
            clients(&world, 4, 2, Demand::Everything, Ask::any).await;
            if world.stats.accept_pauses.get() != 4 || !world.ledger.was_seen("waits") {
                world.ledger.broken(format!("{} pauses", world.stats.accept_pauses.get()));
            }
        });
    });
}

#[test]
fn three_receive_buffers_serve_twenty_clients() {
    each_seed(|seed| {
        let mut options = faulty(seed);
        options.runtime.lease_count = 3;
        simulate(options, THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::ZERO });
            world.settle().await;
            clients(&world, 20, 1, Demand::Everything, |_, id| Ask::post(id, 700)).await;
        });
    });
}

#[test]
fn slow_readers_of_large_bodies_do_not_slow_a_small_request() {
    simulate(smooth(11), ONE_ENDPOINT, |world| async move {
        let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
        let rt = world.rt.clone();
        world.rt.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                rt.spawn(async move {
                    while let Ok(buf) = stream.recv().await {
                        if buf.is_empty() {
                            return;
                        }
                        let small = buf.starts_with(b"GET /r/small");
                        drop(buf);
                        let len = if small { 5 } else { 64 << 20 };
                        let head = format!("HTTP/1.1 200 OK\r\nX-Id: small\r\nContent-Length: {len}\r\n\r\n");
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
        let mut slow = Vec::new();
        for number in 0..40 {
            let stream = world.dial(client_host(number)).await.expect("connected");
            stream.write(|out| out.extend_from_slice(b"GET /r/big HTTP/1.1\r\nHost: a\r\n\r\n"));
            slow.push(stream);
        }
        // All of them hold as much as they ever will.
        world.pause(Duration::from_secs(2)).await;
        let gauges = world.rt.gauges();
        // One receive buffer holds the head of each request that is being answered.
        if gauges.leases_out > 40 || gauges.relay_buffer_bytes > 40 * (256 << 10) {
            world.ledger.broken(format!("forty slow readers hold {gauges:?}"));
        }
        let stream = world.dial(client_host(99)).await.expect("connected");
        let since = world.rt.now();
        stream.write(|out| out.extend_from_slice(b"GET /r/small HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut incoming = crate::peer::Incoming::new(&stream);
        let reply = incoming.reply("GET").await;
        let spent = world.rt.now().since(since);
        if !reply.is_ok_and(|reply| reply.body == b"xxxxx") || spent > Duration::from_millis(10) {
            world.ledger.broken(format!("the small request took {spent:?}"));
        }
    });
}
