use super::*;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::task::Poll;

use base::Rng;

use super::super::{Event, Received};
use crate::{Arrivals, Batch, ConnectOptions, Listener, Runtime, Stream};

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, last], 80))
}

/// Echoes one connection; returns the trace's hash and what came back.
fn echo(seed: u64, faults: Faults) -> (u64, Vec<u8>) {
    let (rt, net) =
        Runtime::simulated(SimOptions { seed, faults, ..SimOptions::default() }).expect("a world");
    let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
    rt.spawn(async move {
        let stream = listener.accept().await.expect("accepted");
        loop {
            let buf = stream.recv().await.expect("received");
            if buf.is_empty() {
                break;
            }
            stream.write_buf(buf);
            stream.flushed(0).await.expect("sent");
        }
        stream.shutdown_write();
    });
    let rt2 = rt.clone();
    let got = rt
        .block_on(async move {
            let stream = rt2.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
            let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
            let mut got = Vec::new();
            for chunk in sent.chunks(10_000) {
                stream.write(|out| out.extend_from_slice(chunk));
                while got.len() < (sent.len() / 2).min(got.len() + 1) && got.len() < chunk.len() {
                    got.extend_from_slice(&stream.recv().await.expect("received"));
                }
            }
            stream.shutdown_write();
            loop {
                let buf = stream.recv().await.expect("received");
                if buf.is_empty() {
                    break;
                }
                got.extend_from_slice(&buf);
            }
            assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
            got
        })
        .expect("the world goes on");
    rt.shutdown();
    assert!(rt.gauges().is_quiet(), "{:?}", rt.gauges());
    assert_eq!(net.descriptors(), 0);
    (net.trace_hash(), got)
}

#[test]
fn an_echo_comes_back_whole_through_every_kind_of_fault() {
    for seed in 0..50 {
        let faults = Faults::random(&mut base::Rng::new(seed));
        echo(seed, faults);
    }
}

#[test]
fn the_same_seed_repeats_every_step_and_another_does_not() {
    let faults = Faults::random(&mut base::Rng::new(3));
    assert_eq!(echo(3, faults).0, echo(3, faults).0);
    assert_ne!(echo(3, faults).0, echo(4, faults).0);
}

/// Races of everything that can be cancelled.
fn racing(seed: u64) -> SimOptions {
    let faults = Faults { cancel_races: 1, any_order: true, starvation: 5, ..Faults::NONE };
    SimOptions { seed, faults, jitter: Duration::from_micros(200), ..SimOptions::default() }
}

/// Polls a future for so many turns of the loop, then drops it.
async fn for_turns<F: Future>(rt: &Runtime, turns: u64, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..=turns {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_micros(30));
        timer.wait().await;
    }
    None
}

/// Ends the world and checks that it holds nothing (R135).
fn nothing_is_left(rt: &Runtime, net: &Net, seed: u64) {
    rt.shutdown();
    let gauges = rt.gauges();
    assert_eq!(net.failures_left(), 0);
    assert!(gauges.is_quiet() && net.descriptors() == 0, "seed {seed}: {gauges:?}, {}", net.descriptors());
}

#[test]
fn an_operation_dropped_at_any_point_leaves_nothing_and_loses_no_byte() {
    for seed in 0..300 {
        let (rt, net) = Runtime::simulated(racing(seed)).expect("a world");
        let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
        let inner = rt.clone();
        let test = async move {
            let rt = inner;
            let mut rng = Rng::new(seed);
            // An attempt that is given up, before or after it has succeeded.
            let attempt = rt.connect(&addr(1).into(), ConnectOptions::default());
            drop(for_turns(&rt, rng.below(15), attempt).await);
            let client = rt.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
            let mut server = listener.accept().await.expect("accepted");
            if server.peer() != client.local() {
                server = listener.accept().await.expect("accepted");
            }
            client.write(|out| out.extend_from_slice(&[7; 5000]));
            let mut got = 0;
            while got < 5000 {
                let result = match rng.below(2) {
                    0 => for_turns(&rt, rng.below(6), server.recv()).await,
                    _ => for_turns(&rt, rng.below(6), server.recv_into(rt.relay_buf(16 << 10))).await,
                };
                got += result.map_or(0, |buf| buf.expect("received").len());
            }
            assert_eq!(got, 5000);
            // Each of these is closed with operations pending.
            drop(for_turns(&rt, rng.below(6), server.recv()).await);
            client.write_buf(crate::Buf::from_vec(vec![1; 1 << 20]));
            drop(for_turns(&rt, rng.below(6), client.flushed(0)).await);
            drop(for_turns(&rt, rng.below(6), listener.accept()).await);
        };
        rt.block_on(test).expect("the world goes on");
        nothing_is_left(&rt, &net, seed);
    }
}

#[test]
fn connections_accepted_after_the_cancellation_are_closed_and_counted() {
    let mut late = 0;
    for seed in 0..300 {
        let (rt, net) = Runtime::simulated(racing(seed)).expect("a world");
        let inner = (rt.clone(), net.clone());
        let test = async move {
            let (rt, net) = inner;
            let mut rng = Rng::new(seed);
            for _ in 0..5 {
                let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
                let clients: Vec<_> = (0..rng.below(4))
                    .map(|_| rt.connect(&addr(1).into(), ConnectOptions::default()))
                    .collect();
                let server = for_turns(&rt, rng.below(9), listener.accept()).await;
                match rng.below(3) {
                    0 => drop((listener, clients, server)),
                    1 => drop((clients, server, listener)),
                    _ => drop((server, listener, clients)),
                }
                // The address is free once the cancellation has ended.
                let timer = rt.timer();
                timer.set(rt.now() + Duration::from_millis(2));
                timer.wait().await;
            }
        };
        rt.block_on(test).expect("the world goes on");
        nothing_is_left(&rt, &net, seed);
        late += rt.gauges().late_accepts;
    }
    assert!(late > 0, "the race must have been there");
}

#[test]
fn an_event_for_an_earlier_owner_of_a_slot_releases_what_it_carries_and_does_nothing_else() {
    let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
    let inner = rt.clone();
    let test = async move {
        let rt = inner;
        let first = rt.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
        let _server = listener.accept().await.expect("accepted");
        let stale = rt.core.sockets.borrow().keys().into_iter().last().expect("a socket");
        drop((first, _server));
        let client = rt.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
        let server = listener.accept().await.expect("accepted");
        let reused = rt.core.sockets.borrow().keys().into_iter().any(|key| key.index() == stale.index());
        assert!(reused && !rt.core.sockets.borrow().contains(stale));

        let fd = rt.core.driver.borrow_mut().open(libc::AF_INET).expect("a descriptor");
        let carried = rt.core.buffers.pooled();
        let events = [
            Event::Received(Ok(Received::Pooled(carried))),
            Event::Received(Err(libc::ECONNRESET)),
            Event::Sent(Ok(5)),
            Event::Accepted { result: Ok(fd), more: true },
            Event::Connected(Err(libc::ETIMEDOUT)),
        ];
        let before = rt.gauges();
        for event in events {
            assert!(rt.core.complete(Completion { token: stale, event }).is_none());
        }
        assert_eq!(rt.gauges().stale_completions, before.stale_completions + 5);
        assert_eq!(rt.gauges().leases_out, before.leases_out - 1);
        client.write(|out| out.extend_from_slice(b"still here"));
        assert_eq!(&server.recv().await.expect("received")[..], b"still here");
    };
    rt.block_on(test).expect("the world goes on");
    nothing_is_left(&rt, &net, 0);
}

/// Runs `test` with a connected pair and a listener, then checks that nothing is left.
fn with_pair<F: Future<Output = ()>>(test: impl FnOnce(Runtime, Net, Listener, Stream, Stream) -> F) {
    let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
    let (inner, hand) = (rt.clone(), net.clone());
    let body = async move {
        let client = inner.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
        let server = listener.accept().await.expect("accepted");
        // The listener goes on accepting; the next accept is to be a new operation.
        listener.pause();
        inner.yield_now().await;
        listener.resume();
        test(inner, hand, listener, client, server).await;
    };
    rt.block_on(body).expect("the world goes on");
    nothing_is_left(&rt, &net, 0);
}

#[test]
fn every_result_of_every_operation_is_handled() {
    // Nothing was received: whoever waits goes on waiting, and gets what comes.
    for errno in [libc::EAGAIN, libc::EINTR] {
        with_pair(|_, net, _, client, server| async move {
            net.fail_next(Call::Receive, errno);
            client.write(|out| out.extend_from_slice(b"x"));
            assert_eq!(&server.recv().await.expect("received")[..], b"x");
        });
    }
    // The connection has failed: every receive says so, and so does nothing else by accident.
    for errno in [libc::ECONNRESET, libc::ETIMEDOUT, libc::ECANCELED, libc::EIO] {
        with_pair(|_, net, _, _client, server| async move {
            net.fail_next(Call::Receive, errno);
            for _ in 0..2 {
                assert_eq!(server.recv().await.expect_err("it failed").raw_os_error(), Some(errno));
            }
            assert!(!server.is_quiet());
        });
        with_pair(|_, net, _, client, _server| async move {
            net.fail_next(Call::Send, errno);
            for _ in 0..2 {
                client.write(|out| out.extend_from_slice(b"x"));
                assert_eq!(client.flushed(0).await.expect_err("it failed").raw_os_error(), Some(errno));
            }
            assert_eq!((client.pending(), client.sent_bytes()), (0, 0));
        });
    }
    // A multishot that ended says nothing about the next connection, which is accepted by a new one.
    for errno in [libc::ECANCELED, libc::ECONNABORTED, libc::EINTR, libc::EAGAIN] {
        with_pair(|rt, net, listener, _client, _server| async move {
            net.fail_next(Call::Accept, errno);
            let _second = rt.connect(&addr(1).into(), ConnectOptions::default());
            listener.accept().await.expect("accepted");
        });
    }
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        with_pair(|rt, net, listener, _client, _server| async move {
            net.fail_next(Call::Accept, errno);
            let _second = rt.connect(&addr(1).into(), ConnectOptions::default());
            let failed = listener.accept().await.err().expect("it failed");
            assert_eq!(failed.raw_os_error(), Some(errno));
            listener.accept().await.expect("accepted later");
        });
    }
    for errno in [libc::ECONNREFUSED, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::EADDRNOTAVAIL] {
        with_pair(|rt, net, _, _client, _server| async move {
            net.fail_next(Call::Connect, errno);
            let failed =
                rt.connect(&addr(1).into(), ConnectOptions::default()).await.err().expect("it failed");
            assert_eq!(failed.raw_os_error(), Some(errno));
        });
    }
}

#[test]
fn starved_receives_are_served_in_the_order_of_their_arrival() {
    let mut options = SimOptions::default();
    options.runtime.lease_count = 2;
    let (rt, net) = Runtime::simulated(options).expect("a world");
    let listener = rt.listen(net.bind(addr(1)).expect("free")).expect("listening");
    let inner = rt.clone();
    let order: Rc<RefCell<Vec<u8>>> = Rc::default();
    let seen = Rc::clone(&order);
    let test = async move {
        let rt = inner;
        let held = [rt.core.buffers.pooled(), rt.core.buffers.pooled()];
        let mut clients = Vec::new();
        for n in 0..6_u8 {
            let client = rt.connect(&addr(1).into(), ConnectOptions::default()).await.expect("connected");
            let server = listener.accept().await.expect("accepted");
            let seen = Rc::clone(&seen);
            rt.spawn(async move {
                let buf = server.recv().await.expect("received");
                seen.borrow_mut().push(buf[0]);
            });
            client.write(|out| out.push(n));
            clients.push(client);
            let timer = rt.timer();
            timer.set(rt.now() + Duration::from_millis(1));
            timer.wait().await;
        }
        assert_eq!((seen.borrow().len(), rt.gauges().starved), (0, 6), "nobody has a buffer, nobody spins");
        drop(held);
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(1));
        timer.wait().await;
    };
    rt.block_on(test).expect("the world goes on");
    assert_eq!(*order.borrow(), [0, 1, 2, 3, 4, 5]);
    nothing_is_left(&rt, &net, 0);
}

#[test]
fn a_lost_wake_up_and_a_loop_without_progress_are_found() {
    let (rt, _net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let error = rt.block_on(std::future::pending::<()>()).expect_err("nobody will wake it");
    assert!(error.to_string().starts_with("nothing can happen"), "{error}");
    let (rt, _net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let inner = rt.clone();
    let spinning = async move {
        loop {
            inner.yield_now().await;
        }
    };
    let error = rt.block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>(Box::pin(spinning));
    assert!(error.expect_err("it spins").to_string().starts_with("the loop turns without end"));
}

/// Sends `count` numbered datagrams to an echo and returns what came back.
fn datagrams(seed: u64, faults: Faults, count: u32) -> (u64, Vec<u32>) {
    let (rt, net) =
        Runtime::simulated(SimOptions { seed, faults, ..SimOptions::default() }).expect("a world");
    let arrivals = Arrivals::new();
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 53));
    let server = rt.datagrams(net.bind_datagrams(anywhere).expect("free"), &arrivals, 0).expect("there");
    let client = rt.connect_datagrams(addr(9).ip_port(53), ConnectOptions::default(), &arrivals, 1);
    let client = client.expect("there");
    let rt2 = rt.clone();
    let got = rt.block_on(async move {
        let mut batch = Batch::new(rt2.datagram_offload());
        let mut got = Vec::new();
        for n in 0..count {
            batch.clear();
            batch.push(&n.to_le_bytes(), None, None);
            client.send(&mut batch, 0..1);
        }
        let patience = rt2.timer();
        loop {
            patience.set(rt2.now() + Duration::from_millis(50));
            let Some(tag) = crate::race(poll_fn(|cx| arrivals.poll_next(cx)), &patience).await else { break };
            batch.clear();
            if tag == 0 {
                let received = server.recv(&mut batch, Batch::SLOTS).expect("no error");
                for at in 0..received {
                    assert_eq!(batch.get(at).local.map(|local| local.ip), Some(addr(9).ip()));
                    server.send(&mut batch, at..at + 1);
                }
            } else {
                for at in 0..client.recv(&mut batch, Batch::SLOTS).expect("no error") {
                    let bytes = batch.get(at).bytes.try_into().expect("as sent");
                    got.push(u32::from_le_bytes(bytes));
                }
            }
        }
        got
    });
    rt.shutdown();
    assert!(rt.gauges().is_quiet(), "{:?}", rt.gauges());
    assert_eq!(net.descriptors(), 0);
    (net.trace_hash(), got.expect("the world goes on"))
}

trait IpPort {
    fn ip_port(self, port: u16) -> SocketAddr;
}

impl IpPort for SocketAddr {
    fn ip_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}

#[test]
fn datagrams_arrive_in_order_where_nothing_goes_wrong() {
    assert_eq!(datagrams(1, Faults::NONE, 200).1, (0..200).collect::<Vec<_>>());
}

#[test]
fn datagrams_are_lost_repeated_and_out_of_order_as_asked() {
    let all: Vec<u32> = (0..200).collect();
    let lossy = datagrams(2, Faults { lost_datagrams: 4, ..Faults::NONE }, 200).1;
    assert!(lossy.len() < 180 && lossy.is_sorted(), "{}", lossy.len());
    let repeated = datagrams(2, Faults { repeated_datagrams: 4, ..Faults::NONE }, 200).1;
    assert!(repeated.len() > 220 && all.iter().all(|n| repeated.contains(n)), "{}", repeated.len());
    let mut mixed = datagrams(2, Faults { reordered_datagrams: 2, ..Faults::NONE }, 200).1;
    assert!(!mixed.is_sorted());
    mixed.sort_unstable();
    assert_eq!(mixed, all);
    let blocked = datagrams(2, Faults { blocked_datagrams: 4, ..Faults::NONE }, 200).1;
    assert!(blocked.len() < 180, "{}", blocked.len());
    let short = datagrams(2, Faults { short_batches: 1, false_readiness: 2, ..Faults::NONE }, 200).1;
    assert_eq!(short, all);
    let faults = Faults::random_with_datagrams(&mut base::Rng::new(5));
    assert_eq!(datagrams(5, faults, 100), datagrams(5, faults, 100), "the same seed repeats every step");
}

#[test]
fn a_connected_socket_hears_that_nobody_listens() {
    let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let arrivals = Arrivals::new();
    let to = addr(1).ip_port(53);
    let server = rt.datagrams(net.bind_datagrams(to).expect("free"), &arrivals, 0).expect("there");
    let client = rt.connect_datagrams(to, ConnectOptions::default(), &arrivals, 1).expect("there");
    net.kill(to.ip());
    let done = rt.block_on(async move {
        let mut batch = Batch::new(Default::default());
        batch.push(b"hello?", None, None);
        client.send(&mut batch, 0..1);
        assert_eq!(poll_fn(|cx| arrivals.poll_next(cx)).await, 1);
        let error = client.recv(&mut batch, 1).expect_err("it is dead");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(server);
    });
    done.expect("the world goes on");
    rt.shutdown();
    assert!(rt.gauges().is_quiet() && net.descriptors() == 0);
}
