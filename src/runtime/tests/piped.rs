//! Bytes that pass from socket to socket through a pipe.

use super::*;
use std::future::poll_fn;
use std::task::Poll;

/// A sender and a receiver with a relay's two sockets between them.
struct Between {
    sender: Stream,
    from: Stream,
    to: Stream,
    receiver: Stream,
}

async fn between(rt: &Runtime) -> Between {
    let (sender, from) = pair(rt).await;
    let (to, receiver) = pair(rt).await;
    Between { sender, from, to, receiver }
}

/// The next bytes; panics when there are none to come.
async fn piped(from: &Stream, max: u64) -> Piped {
    match from.recv_piped(max).await.expect("received") {
        Arrived::Piped(piped) => piped,
        Arrived::End => panic!("the end"),
        Arrived::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// Relays until the end, which is passed on; returns how many bytes there were.
async fn relay(from: &Stream, to: &Stream) -> usize {
    let mut total = 0;
    loop {
        match from.recv_piped(u64::MAX).await.expect("received") {
            Arrived::Piped(mut piped) => {
                total += piped.len();
                to.send_piped(&mut piped).await.expect("sent");
                assert!(piped.is_empty());
            }
            Arrived::End => break,
            Arrived::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
    to.shutdown_write();
    total
}

/// Sends in odd pieces and ends.
async fn send_all(stream: &Stream, bytes: &[u8]) {
    for chunk in bytes.chunks(77_777) {
        stream.write_buf(Buf::copied(chunk));
        stream.flushed(200_000).await.expect("sent");
    }
    stream.shutdown_write();
    stream.flushed(0).await.expect("sent");
}

/// Polls once and drops.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn a_large_body_passes_whole_to_a_reader_that_takes_its_time() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        let bytes = pattern(16 << 20);
        let expected = bytes.clone();
        rt.spawn(async move { send_all(&sender, &bytes).await });
        let (done, seen) = flag();
        rt.spawn(async move {
            assert_eq!(relay(&from, &to).await, 16 << 20);
            assert_eq!((from.received_bytes(), to.sent_bytes()), (16 << 20, 16 << 20));
            to.flushed(0).await.expect("sent");
            done.set(true);
        });
        let mut got = Vec::new();
        loop {
            rt.yield_now().await;
            let buf = receiver.recv_into(rt.relay_buf(64 << 10)).await.expect("received");
            if buf.is_empty() {
                break;
            }
            got.extend_from_slice(&buf);
        }
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        until(&rt, || seen.get()).await;
        assert_eq!(rt.gauges().pipes_out, 0);
    });
}

#[test]
fn never_more_than_was_asked_for_is_taken_and_ordinary_operations_go_on_behind_it() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        sender.write(|out| out.extend_from_slice(&pattern(150_000)));
        let mut left = 100_000;
        while left > 0 {
            let mut part = piped(&from, left).await;
            left -= part.len() as u64;
            to.send_piped(&mut part).await.expect("sent");
        }
        until(&rt, || from.idle_state_now() == IdleState::Disturbed).await;
        to.write(|out| out.extend_from_slice(b"behind"));
        let got = receive(&receiver, 100_006).await;
        assert!(got[..100_000] == pattern(100_000) && got[100_000..] == *b"behind");
        assert!(receive(&from, 50_000).await == pattern(150_000)[100_000..]);
        assert!(from.idle_state_now() == IdleState::Quiet);
        // The sockets are in the mode that their driver needs: with nothing there they wait.
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(5));
        assert!(race(from.recv(), &timer).await.is_none());
        timer.set(rt.now() + Duration::from_millis(5));
        assert!(race(to.recv(), &timer).await.is_none());
        sender.write(|out| out.extend_from_slice(b"more"));
        receiver.write(|out| out.extend_from_slice(b"back"));
        assert_eq!((receive(&from, 4).await, receive(&to, 4).await), (b"more".to_vec(), b"back".to_vec()));
    });
}

#[test]
fn a_receiver_that_does_not_read_blocks_nobody_and_costs_no_turns() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        rt.spawn(async move { send_all(&sender, &pattern(32 << 20)).await });
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let (done, seen) = flag();
        rt.spawn(async move {
            let mut relaying = std::pin::pin!(relay(&from, &to));
            let total = poll_fn(|cx| {
                counted.set(counted.get() + 1);
                relaying.as_mut().poll(cx)
            });
            assert_eq!(total.await, 32 << 20);
            done.set(true);
        });
        // Once everything between the two is full, the relay is not even asked.
        let timer = rt.timer();
        let mut before = 0;
        loop {
            timer.set(rt.now() + Duration::from_millis(10));
            timer.wait().await;
            if std::mem::replace(&mut before, polls.get()) == polls.get() {
                break;
            }
        }
        assert!(!seen.get());
        assert_eq!((rt.gauges().pipes_out, rt.gauges().leases_out), (1, 0));
        let (client, server) = pair(&rt).await;
        for _ in 0..10 {
            client.write(|out| out.extend_from_slice(b"ping"));
            assert_eq!(receive(&server, 4).await, b"ping");
        }
        assert!(polls.get() <= before + 1, "{} polls of a relay that cannot move", polls.get() - before);
        assert!(receive(&receiver, 32 << 20).await == pattern(32 << 20));
        until(&rt, || seen.get()).await;
    });
}

#[test]
fn a_quiet_sender_holds_no_pipe_and_costs_no_turns() {
    on_each_driver(|rt| async move {
        let Between { sender, from, .. } = between(&rt).await;
        let mut polls = 0;
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(20));
        {
            let mut receiving = std::pin::pin!(from.recv_piped(100));
            let waiting = poll_fn(|cx| {
                polls += 1;
                receiving.as_mut().poll(cx)
            });
            assert!(race(waiting, &timer).await.is_none());
        }
        assert!(polls <= 3, "{polls} polls");
        assert_eq!((rt.gauges().pipes_out, rt.gauges().pipes), (0, 0));
        // The wait that was given up goes on, and the next one finds its result.
        sender.write(|out| out.extend_from_slice(b"at last"));
        assert_eq!(piped(&from, 100).await.len(), 7);
    });
}

#[test]
fn the_end_of_the_stream_is_told_then_and_ever_after() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        sender.write(|out| out.extend_from_slice(b"last words"));
        sender.shutdown_write();
        assert_eq!(relay(&from, &to).await, 10);
        assert_eq!(receive(&receiver, 100).await, b"last words");
        assert!(matches!(from.recv_piped(1).await, Ok(Arrived::End)));
        assert!(matches!(from.idle_state_now(), IdleState::Ended { .. }) && !from.is_quiet());
        assert!(from.recv().await.expect("the end stays").is_empty());
    });
}

#[test]
fn a_sender_that_resets_in_the_middle_is_an_error_and_not_an_end() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        sender.write(|out| out.extend_from_slice(&pattern(50_000)));
        let mut part = piped(&from, u64::MAX).await;
        to.send_piped(&mut part).await.expect("sent");
        sender.reset();
        let error = loop {
            match from.recv_piped(u64::MAX).await {
                Ok(Arrived::Piped(_)) => {}
                Ok(Arrived::End) => panic!("a cut looked like an end"),
                Ok(Arrived::Refused(refusal)) => panic!("{refusal:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert!(from.recv().await.is_err() && from.recv_piped(1).await.is_err(), "the error stays");
        drop(receiver);
    });
}

#[test]
fn a_receiver_that_resets_in_the_middle_ends_the_relay_and_its_bytes_are_gone() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        rt.spawn(async move {
            while sender.flushed(100_000).await.is_ok() {
                sender.write_buf(Buf::from_vec(vec![7; 64 << 10]));
            }
        });
        let mut waited = false;
        let mut receiver = Some(receiver);
        let failed = loop {
            let mut part = piped(&from, u64::MAX).await;
            let timer = rt.timer();
            timer.set(rt.now() + Duration::from_millis(20));
            match race(to.send_piped(&mut part), &timer).await {
                Some(Ok(())) => {}
                Some(Err(error)) => break error,
                None => {
                    waited = true;
                    receiver.take().expect("once").reset();
                    break to.send_piped(&mut part).await.expect_err("nobody reads it");
                }
            }
        };
        assert!(waited && matches!(failed.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE)), "{failed}");
        assert!(to.flushed(0).await.is_err() && !to.is_quiet());
        drop((from, to));
        until(&rt, || rt.gauges().pipes_out == 0 && rt.gauges().sockets == 0).await;
        assert_eq!(rt.gauges().pipes, 0, "a pipe with bytes in it is not used again");
    });
}

#[test]
fn waits_dropped_at_any_point_lose_no_byte() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        let bytes = pattern(3 << 20);
        let expected = bytes.clone();
        rt.spawn(async move { send_all(&sender, &bytes).await });
        let turns = rt.clone();
        rt.spawn(async move {
            let mut rng = base::Rng::new(5);
            loop {
                let arrived = loop {
                    match once(from.recv_piped(1 + rng.below(90_000))).await {
                        None => turns.yield_now().await,
                        Some(arrived) => break arrived.expect("received"),
                    }
                };
                let mut part = match arrived {
                    Arrived::Piped(part) => part,
                    Arrived::End => break,
                    Arrived::Refused(refusal) => panic!("{refusal:?}"),
                };
                while once(to.send_piped(&mut part)).await.is_none() {
                    turns.yield_now().await;
                }
            }
            to.shutdown_write();
            to.flushed(0).await.expect("sent");
        });
        let got = receive(&receiver, usize::MAX).await;
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    });
}

#[test]
fn streams_and_bytes_dropped_in_every_state_leave_nothing() {
    on_each_driver(|rt| async move {
        for state in 0..60 {
            let Between { sender, from, to, receiver } = between(&rt).await;
            sender.write_buf(Buf::from_vec(vec![1; 8 << 20]));
            let mut part = None;
            match state % 5 {
                0 => drop(once(from.recv_piped(1000)).await),
                1 => part = Some(piped(&from, 1000).await),
                2 => {
                    // Until the receiver's side is full and the wait for room has begun.
                    loop {
                        let mut more = piped(&from, u64::MAX).await;
                        if once(to.send_piped(&mut more)).await.is_none() {
                            part = Some(more);
                            break;
                        }
                    }
                }
                3 => {
                    part = Some(piped(&from, u64::MAX).await);
                    drop(once(from.recv_piped(1000)).await);
                }
                _ => {}
            }
            if state % 2 == 0 {
                rt.yield_now().await;
            }
            match state % 3 {
                0 => drop((from, part, to)),
                1 => drop((part, to, from)),
                _ => drop((to, from, part)),
            }
            drop((sender, receiver));
        }
        until(&rt, || rt.gauges().sockets == 0).await;
        let gauges = rt.gauges();
        assert!(gauges.live_ops <= 1 && gauges.pipes_out == 0, "{gauges:?}");
        rt.trim_pipes();
        rt.trim_pipes();
        assert_eq!(rt.gauges().pipes, 0);
    });
}

#[test]
fn without_a_pipe_nothing_is_taken_and_the_bytes_are_received_as_usual() {
    with_options(Options { pipes_max: 1, ..Options::default() }, |rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        sender.write(|out| out.extend_from_slice(b"0123456789"));
        let mut held = piped(&from, 4).await;
        assert!(matches!(from.recv_piped(4).await, Ok(Arrived::Refused(Refusal::NoPipe))));
        assert_eq!(receive(&from, 6).await, b"456789");
        to.send_piped(&mut held).await.expect("sent");
        sender.write(|out| out.extend_from_slice(b"again"));
        let mut held = piped(&from, 100).await;
        to.send_piped(&mut held).await.expect("sent");
        assert_eq!(receive(&receiver, 9).await, b"0123again");
        assert_eq!(rt.gauges().pipes, 1, "one pipe served both");
    });
}

#[test]
fn bytes_that_were_received_already_are_never_overtaken() {
    on_each_driver(|rt| async move {
        let Between { sender, from, .. } = between(&rt).await;
        let refused =
            || async { matches!(from.recv_piped(9).await, Ok(Arrived::Refused(Refusal::Received))) };
        from.watch();
        assert!(refused().await, "a receive is under way");
        sender.write(|out| out.extend_from_slice(b"first"));
        until(&rt, || !from.is_quiet()).await;
        assert!(refused().await && from.idle_state_now() == IdleState::Disturbed);
        assert_eq!(receive(&from, 5).await, b"first");
        sender.write(|out| out.extend_from_slice(b"second"));
        assert_eq!(piped(&from, 9).await.len(), 6);
        from.unread(Buf::copied(b"put back"));
        assert!(refused().await);
    });
}

#[test]
fn what_was_written_before_leaves_first() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        sender.write(|out| out.extend_from_slice(b"body"));
        let mut part = piped(&from, 9).await;
        to.write_buf(Buf::from_vec(pattern(6 << 20)));
        rt.spawn(async move {
            to.send_piped(&mut part).await.expect("sent");
            to.shutdown_write();
            to.flushed(0).await.expect("sent");
        });
        let got = receive(&receiver, usize::MAX).await;
        assert!(got[..6 << 20] == pattern(6 << 20) && got[6 << 20..] == *b"body");
    });
}

#[test]
fn urgent_data_is_not_taken_for_the_end() {
    on_each_driver(|rt| async move {
        let Between { sender, from, .. } = between(&rt).await;
        let fd = rt.core.with(sender.token, |socket, _| socket.fd);
        // SAFETY: one readable byte.
        assert_eq!(unsafe { libc::send(fd, b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
        sender.write(|out| out.extend_from_slice(b"behind"));
        until(&rt, || from.idle_state_now() == IdleState::Disturbed).await;
        match from.recv_piped(100).await {
            Ok(Arrived::Refused(Refusal::Unsupported)) => {
                assert_eq!(receive(&from, 6).await, b"behind");
            }
            Ok(Arrived::Piped(part)) => assert!(!part.is_empty()),
            Ok(Arrived::End) => panic!("the end, although more follows"),
            other => panic!("{:?}", other.err()),
        }
    });
}

#[test]
fn a_tunnel_is_two_relays_over_the_same_sockets() {
    on_each_driver(|rt| async move {
        let Between { sender, from, to, receiver } = between(&rt).await;
        let (done, seen) = flag();
        rt.spawn(async move {
            let (up, down) = (relay(&from, &to), relay(&to, &from));
            let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
            let mut totals = [None, None];
            poll_fn(|cx| {
                if totals[0].is_none()
                    && let Poll::Ready(total) = up.as_mut().poll(cx)
                {
                    totals[0] = Some(total);
                }
                if totals[1].is_none()
                    && let Poll::Ready(total) = down.as_mut().poll(cx)
                {
                    totals[1] = Some(total);
                }
                if totals.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert_eq!(totals, [Some(5 << 20), Some(4 << 20)]);
            from.flushed(0).await.expect("sent");
            to.flushed(0).await.expect("sent");
            done.set(true);
        });
        let (sender, receiver) = (Rc::new(sender), Rc::new(receiver));
        for (stream, len) in [(&sender, 5 << 20), (&receiver, 4 << 20)] {
            let stream = Rc::clone(stream);
            rt.spawn(async move { send_all(&stream, &pattern(len)).await });
        }
        let (back, seen_back) = flag();
        let reading = Rc::clone(&sender);
        rt.spawn(async move {
            assert!(receive(&reading, usize::MAX).await == pattern(4 << 20));
            back.set(true);
        });
        assert!(receive(&receiver, usize::MAX).await == pattern(5 << 20));
        until(&rt, || seen.get() && seen_back.get()).await;
    });
}

#[test]
fn unix_sockets_are_relayed_like_others() {
    let path = std::env::temp_dir().join(format!("ringway-piped-{}.sock", std::process::id()));
    let addr = Addr::Unix(path.clone());
    on_each_driver(|rt| {
        let addr = addr.clone();
        async move {
            let bound = bind(&addr, BindOptions::default()).expect("a free path");
            let listener = rt.listen(bound).expect("listening");
            let sender = rt.connect(&addr, ConnectOptions::default()).await.expect("connected");
            let from = listener.accept().await.expect("accepted");
            let (to, receiver) = pair(&rt).await;
            rt.spawn(async move { send_all(&sender, &pattern(1 << 20)).await });
            rt.spawn(async move {
                assert_eq!(relay(&from, &to).await, 1 << 20);
                to.flushed(0).await.expect("sent");
            });
            assert!(receive(&receiver, usize::MAX).await == pattern(1 << 20));
        }
    });
    std::fs::remove_file(path).expect("the file is there");
}
