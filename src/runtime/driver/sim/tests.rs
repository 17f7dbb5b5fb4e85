use super::*;
use std::net::SocketAddr;

use crate::{ConnectOptions, Runtime};

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
