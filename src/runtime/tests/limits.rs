//! What happens at the bounds: no free buffer, a full completion queue, an event for somebody who is gone.

use super::*;
use crate::driver::{Completion, Event, Received, Token};
use std::os::fd::IntoRawFd;

/// `count` connections.
async fn pairs(runtime: &Runtime, count: usize) -> Vec<(Stream, Stream)> {
    let listener = listen(runtime);
    let mut pairs = Vec::new();
    for _ in 0..count {
        let client = runtime.connect(listener.addr(), ConnectOptions::default());
        let server = listener.accept().await.expect("accepted");
        pairs.push((client.await.expect("connected"), server));
    }
    pairs
}

#[test]
fn receives_without_a_free_buffer_wait_in_order_and_all_end() {
    let options = Options { lease_count: 8, ..Options::default() };
    for selection in selections() {
        let runtime = Runtime::new(&selection, options.clone()).expect("the probe has passed");
        let rt = runtime.clone();
        let spent = runtime.block_on(async move {
            let pairs = pairs(&rt, 200).await;
            for round in 0..5_u8 {
                for (client, server) in &pairs {
                    server.watch();
                    client.write(|out| out.extend_from_slice(&[round; 2000]));
                }
                for (_, server) in &pairs {
                    assert_eq!(receive(server, 2000).await, [round; 2000]);
                }
            }
            (rt.gauges().starved, rt.gauges().live_ops)
        });
        let (starved, _) = spent.expect("turns");
        assert_eq!(starved > 0, selection.kind == DriverKind::IoUring, "{}", selection.kind);
        quiesce(&runtime);
    }
}

#[test]
fn a_starved_receive_can_be_cancelled() {
    let options = Options { lease_count: 5, turn_budget: 2, ..Options::default() };
    with_options(options, |rt| async move {
        let pairs = pairs(&rt, 50).await;
        for (client, server) in &pairs {
            server.watch();
            client.write(|out| out.extend_from_slice(&[1; 100]));
        }
        for _ in 0..5 {
            rt.yield_now().await;
        }
        drop(pairs);
        until(&rt, || rt.gauges().sockets == 0).await;
        assert_eq!(rt.gauges().leases_out, 0);
    });
}

#[test]
fn more_completions_than_the_queue_holds_are_all_delivered() {
    let options = Options { ring_entries: 8, turn_budget: 4, ..Options::default() };
    for selection in selections() {
        let runtime = Runtime::new(&selection, options.clone()).expect("the probe has passed");
        let rt = runtime.clone();
        let gauges = runtime.block_on(async move {
            let pairs = pairs(&rt, 300).await;
            for (client, server) in &pairs {
                server.watch();
                client.write(|out| out.extend_from_slice(b"all at once"));
            }
            for (_, server) in &pairs {
                assert_eq!(receive(server, 11).await, b"all at once");
            }
            rt.gauges()
        });
        let overflows = gauges.expect("turns").cq_overflows;
        assert_eq!(overflows > 0, selection.kind == DriverKind::IoUring, "{}", selection.kind);
        quiesce(&runtime);
    }
}

#[test]
fn an_event_for_an_earlier_owner_of_a_slot_releases_what_it_carries_and_nothing_else() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let current = rt.core.sockets.borrow().keys();
        let file = std::fs::File::open("/proc/self/stat").expect("there on Linux").into_raw_fd();
        for token in current {
            // As many generations ago as there can be, and one ago.
            for generation in [token.generation() + 1, token.generation().wrapping_sub(1)] {
                let token = Token::from_parts(token.index(), generation);
                let events = [
                    Event::Received(Ok(Received::Pooled(rt.core.buffers.pooled()))),
                    Event::Received(Ok(Received::Owned(100))),
                    Event::Received(Err(libc::ECONNRESET)),
                    Event::Sent(Ok(100)),
                    Event::Connected(Err(libc::ECONNREFUSED)),
                ];
                for event in events {
                    assert!(rt.core.complete(Completion { token, event }).is_none());
                }
            }
        }
        let token = Token::from_parts(9999, 1);
        rt.core.complete(Completion { token, event: Event::Accepted { result: Ok(file), more: true } });
        // Other tests open files meanwhile, so the number may be taken again, but not by this file.
        let link = std::fs::read_link(format!("/proc/self/fd/{file}"));
        assert!(link.map_or(true, |to| !to.ends_with("stat")), "closed");
        let gauges = rt.gauges();
        assert!(gauges.stale_completions >= 21 && gauges.leases_out == 0, "{gauges:?}");
        client.write(|out| out.extend_from_slice(b"unharmed"));
        assert_eq!(receive(&server, 8).await, b"unharmed");
        assert!(client.is_quiet());
    });
}

#[test]
fn a_connection_accepted_after_the_cancellation_is_closed() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        select2(listener.accept(), rt.yield_now()).await;
        let token = rt.core.sockets.borrow().keys()[0];
        drop(listener);
        // The ring reports the end of the accept later, and may report connections before it; epoll has closed already.
        let file = std::fs::File::open("/proc/self/status").expect("there on Linux").into_raw_fd();
        rt.core.complete(Completion { token, event: Event::Accepted { result: Ok(file), more: true } });
        let link = std::fs::read_link(format!("/proc/self/fd/{file}"));
        assert!(link.map_or(true, |to| !to.ends_with("status")), "closed");
        let gauges = rt.gauges();
        assert_eq!(gauges.late_accepts + gauges.stale_completions, 1);
    });
}

#[test]
fn a_socket_that_already_listens_is_put_into_the_mode_its_driver_needs() {
    on_each_driver(|rt| async move {
        for nonblocking in [false, true] {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            socket.set_nonblocking(nonblocking).expect("set");
            let bound = Bound::from_owned_fd(socket.into()).expect("it listens");
            let listener = rt.listen(bound).expect("taken over");
            let timer = rt.timer();
            timer.set(rt.now() + Duration::from_millis(2));
            assert!(race(listener.accept(), &timer).await.is_none(), "nobody is there, and that is no error");
            let client = rt.connect(listener.addr(), ConnectOptions::default());
            listener.accept().await.expect("accepted");
            client.await.expect("connected");
        }
    });
}

#[test]
fn sends_of_many_parts_keep_their_order() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let mut expected = Vec::new();
        for n in 0..100_u8 {
            let head = [n; 7];
            let body = vec![n.wrapping_add(1); 1 + usize::from(n) * 97];
            client.write(|out| out.extend_from_slice(&head));
            client.write_buf(Buf::from_vec(body.clone()));
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&body);
        }
        assert_eq!(client.pending(), expected.len());
        assert!(receive(&server, expected.len()).await == expected);
    });
}

#[test]
fn a_panic_of_a_writer_harms_nobody_else() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        client.write_buf(Buf::from_vec(pattern(3 << 20)));
        rt.yield_now().await;
        let write = std::panic::AssertUnwindSafe(|| client.write(|_| panic!("a bug in the caller")));
        assert!(std::panic::catch_unwind(write).is_err());
        assert!(receive(&server, 3 << 20).await == pattern(3 << 20));
    });
}
