//! Many connections at once, each behaving at random: bytes stay in order, nothing is left behind.
//!
//! Small bounds everywhere, so that starving, overflowing and short turns happen all the time.

use super::*;
use base::Rng;
use std::future::poll_fn;
use std::task::Poll;

const CONNECTIONS: u64 = 40;

/// Sends pattern bytes in random pieces; ends properly, or cuts the stream anywhere.
async fn send(rt: Runtime, stream: Rc<Stream>, mut rng: Rng) -> usize {
    let total = rng.index(120_000);
    let bytes = pattern(total);
    let mut at = 0;
    while at < total {
        let len = (1 + rng.index(9000)).min(total - at);
        let piece = &bytes[at..at + len];
        match rng.below(3) {
            0 => stream.write_buf(Buf::copied(piece)),
            1 => piece.iter().for_each(|&byte| stream.write(|out| out.push(byte))),
            _ => stream.write(|out| out.extend_from_slice(piece)),
        }
        at += len;
        let failed = match rng.below(4) {
            0 => stream.flushed(0).await.is_err(),
            1 => stream.flushed(30_000).await.is_err(),
            2 => {
                // Started, and given up at once.
                select2(stream.flushed(0), std::future::ready(())).await;
                false
            }
            _ => {
                rt.yield_now().await;
                false
            }
        };
        if failed || rng.one_in(400) {
            return at;
        }
    }
    stream.shutdown_write();
    let _ = stream.flushed(0).await;
    total
}

/// Receives in random ways and checks every byte; returns how many came.
async fn receive_all(rt: Runtime, stream: Rc<Stream>, mut rng: Rng) -> usize {
    let mut at = 0;
    loop {
        if rng.one_in(10) {
            stream.watch();
            rt.yield_now().await;
        }
        let result = match rng.below(4) {
            0 => Some(stream.recv().await),
            1 => Some(stream.recv_into(rt.relay_buf(rng.index(100_000))).await),
            2 => once(stream.recv()).await,
            _ => once(stream.recv_into(rt.relay_buf(16 << 10))).await,
        };
        let mut buf = match result {
            None => {
                rt.yield_now().await;
                continue;
            }
            Some(Ok(buf)) if !buf.is_empty() => buf,
            Some(_) => return at,
        };
        let taken = if rng.one_in(5) { 1 + rng.index(buf.len()) } else { buf.len() };
        for &byte in &buf[..taken] {
            assert_eq!(byte, (at % 251) as u8, "byte {at}");
            at += 1;
        }
        buf.consume(taken);
        stream.unread(buf);
        if rng.one_in(300) {
            return at;
        }
    }
}

async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn run(seed: u64) {
    let options = Options {
        lease_count: 8,
        lease_bytes: 2048,
        ring_entries: 16,
        turn_budget: 7,
        relay_buffers_bytes_max: 300 << 10,
        ..Options::default()
    };
    with_options(options, move |rt| async move {
        let mut rng = Rng::new(seed);
        let done = Rc::new(Cell::new(0));
        for _ in 0..CONNECTIONS {
            let (client, server) = pair(&rt).await;
            let (client, server) = (Rc::new(client), Rc::new(server));
            for stream in [client, server] {
                let (rt_send, rt_receive) = (rt.clone(), rt.clone());
                let (send_rng, receive_rng) = (Rng::new(rng.next_u64()), Rng::new(rng.next_u64()));
                let (other, done) = (Rc::clone(&stream), Rc::clone(&done));
                let resets = rng.one_in(8);
                rt.spawn(async move {
                    let sending = send(rt_send, Rc::clone(&other), send_rng);
                    let receiving = receive_all(rt_receive, stream, receive_rng);
                    // The first to end decides in one of eight; else both run to their end.
                    match resets {
                        true => drop(select2(sending, receiving).await),
                        false => both(sending, receiving).await,
                    }
                    if let Some(stream) = Rc::into_inner(other).filter(|_| resets) {
                        stream.reset();
                    }
                    done.set(done.get() + 1);
                });
            }
        }
        until(&rt, || done.get() == 2 * CONNECTIONS).await;
        until(&rt, || rt.gauges().sockets == 0).await;
        let gauges = rt.gauges();
        assert_eq!((gauges.leases_out, gauges.relay_buffer_bytes), (0, 0), "seed {seed}: {gauges:?}");
    });
}

/// Runs both to their end.
async fn both<A: Future, B: Future>(a: A, b: B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    poll_fn(|cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn connections_that_behave_at_random_keep_their_bytes_in_order_and_leave_nothing() {
    for seed in 0..3 {
        run(seed);
    }
}
