//! Futures may be dropped at any time: no byte, no descriptor and no memory is lost.

use super::*;
use std::future::poll_fn;
use std::task::Poll;

/// Polls once and drops.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn a_receive_dropped_at_any_point_loses_no_byte() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(200_000);
        let sent = bytes.clone();
        rt.spawn(async move {
            for chunk in sent.chunks(777) {
                client.write(|out| out.extend_from_slice(chunk));
                client.flushed(20_000).await.expect("sent");
            }
            client.shutdown_write();
            client.flushed(0).await.expect("sent");
        });
        let mut got = Vec::new();
        let mut rng = base::Rng::new(1);
        loop {
            // Each kind of receive is started, dropped unfinished, and its result found by the next one.
            let result = match rng.below(3) {
                0 => poll_once(server.recv()).await,
                1 => poll_once(server.recv_into(rt.relay_buf(16 << 10))).await,
                _ => Some(server.recv().await),
            };
            match result {
                None => rt.yield_now().await,
                Some(buf) => {
                    let buf = buf.expect("received");
                    if buf.is_empty() {
                        break;
                    }
                    got.extend_from_slice(&buf);
                }
            }
        }
        assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
    });
}

#[test]
fn streams_dropped_in_every_state_are_closed() {
    on_each_driver(|rt| async move {
        for state in 0..60 {
            let (client, server) = pair(&rt).await;
            match state % 6 {
                0 => client.watch(),
                1 => drop(poll_once(client.recv()).await),
                2 => drop(poll_once(client.recv_into(rt.relay_buf(64 << 10))).await),
                3 => client.write_buf(Buf::from_vec(vec![1; 4 << 20])),
                4 => {
                    client.write_buf(Buf::from_vec(vec![1; 4 << 20]));
                    client.watch();
                    rt.yield_now().await;
                }
                _ => {
                    server.write(|out| out.extend_from_slice(b"unread"));
                    rt.yield_now().await;
                    client.watch();
                    rt.yield_now().await;
                }
            }
            if state % 2 == 0 {
                rt.yield_now().await;
            }
            drop(client);
            if state % 3 == 0 {
                rt.yield_now().await;
            }
            drop(server);
        }
        until(&rt, || rt.gauges().sockets == 0).await;
        let gauges = rt.gauges();
        assert_eq!(
            (gauges.live_ops <= 1, gauges.leases_out, gauges.relay_buffer_bytes),
            (true, 0, 0),
            "{gauges:?}"
        );
    });
}

#[test]
fn a_connection_attempt_is_given_up_at_its_deadline_and_leaves_nothing() {
    on_each_driver(|rt| async move {
        // A queue of one that nobody empties: the kernel drops further attempts, which then wait.
        let bound =
            bind(&loopback(), BindOptions { backlog: 0, ..BindOptions::default() }).expect("a free port");
        let mut waiting = Vec::new();
        let timer = rt.timer();
        let mut timed_out = false;
        for _ in 0..4 {
            timer.set(rt.now() + Duration::from_millis(50));
            match race(rt.connect(bound.addr(), ConnectOptions::default()), &timer).await {
                Some(stream) => waiting.push(stream.expect("connected")),
                None => timed_out = true,
            }
        }
        assert!(timed_out);
        drop(waiting);
        until(&rt, || rt.gauges().sockets == 0).await;
    });
}

#[test]
fn descriptors_return_to_the_baseline_after_races_of_accept_and_drop() {
    on_each_driver(|rt| async move {
        let mut rng = base::Rng::new(7);
        for _ in 0..150 {
            let listener = listen(&rt);
            let clients: Vec<_> =
                (0..rng.below(4)).map(|_| rt.connect(listener.addr(), ConnectOptions::default())).collect();
            for _ in 0..rng.below(3) {
                rt.yield_now().await;
            }
            let server = poll_once(listener.accept()).await;
            for _ in 0..rng.below(3) {
                rt.yield_now().await;
            }
            match rng.below(3) {
                0 => drop((listener, clients, server)),
                1 => drop((clients, server, listener)),
                _ => drop((server, listener, clients)),
            }
        }
        until(&rt, || rt.gauges().sockets == 0).await;
    });
}
