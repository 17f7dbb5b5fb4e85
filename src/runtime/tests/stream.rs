//! Bytes arrive complete and in order, whatever their size and whoever is slow.

use std::io;

use super::*;

#[test]
fn an_echo_server_returns_what_it_gets() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let addr = listener.addr().clone();
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
        });
        let client = rt.connect(&addr, ConnectOptions::default()).await.expect("connected");
        assert_eq!(client.peer(), addr.ip());
        for round in 0..20_u8 {
            client.write(|out| out.extend_from_slice(&[round; 100]));
            assert_eq!(receive(&client, 100).await, [round; 100]);
        }
        assert_eq!((client.sent_bytes(), client.received_bytes()), (2000, 2000));
        client.shutdown_write();
        assert!(client.recv().await.expect("end").is_empty());
        assert!(client.recv().await.expect("the end stays").is_empty());
    });
}

#[test]
fn writes_of_one_byte_are_merged_and_arrive_in_order() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(5000);
        for byte in &bytes {
            client.write(|out| out.push(*byte));
        }
        assert_eq!(client.pending(), 5000);
        assert_eq!(receive(&server, 5000).await, bytes);
        client.flushed(0).await.expect("sent");
        assert_eq!(client.pending(), 0);
    });
}

#[test]
fn a_large_body_reaches_a_slow_reader_complete() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(8 << 20);
        let expected = bytes.clone();
        let (done, seen) = flag();
        rt.spawn(async move {
            for chunk in bytes.chunks(200_000) {
                let mut buf = Buf::from_vec(chunk.to_vec());
                buf.consume(0);
                server.write(|out| out.extend_from_slice(b""));
                server.write_buf(buf);
                server.flushed(300_000).await.expect("sent");
            }
            server.shutdown_write();
            server.flushed(0).await.expect("sent");
            done.set(true);
        });
        let mut got = Vec::new();
        loop {
            rt.yield_now().await;
            let buf = client.recv_into(rt.relay_buf(64 << 10)).await.expect("received");
            if buf.is_empty() {
                break;
            }
            got.extend_from_slice(&buf);
        }
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        until(&rt, || seen.get()).await;
    });
}

#[test]
fn each_direction_ends_on_its_own() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        client.write(|out| out.extend_from_slice(b"question"));
        client.shutdown_write();
        assert_eq!(receive(&server, 100).await, b"question");
        server.write(|out| out.extend_from_slice(b"answer"));
        assert_eq!(receive(&client, 6).await, b"answer");
        drop(server);
        assert!(client.recv().await.expect("end").is_empty());
    });
}

#[test]
fn a_reset_is_an_error_on_the_other_side() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        client.reset();
        let error = server.recv().await.expect_err("cut, not ended");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert!(server.recv().await.is_err(), "the error stays");
        assert!(!server.is_quiet());
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_ends_in_an_error_and_drops_the_rest() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        drop(client);
        let mut failed = false;
        for _ in 0..1000 {
            server.write(|out| out.extend_from_slice(&[0; 10_000]));
            if server.flushed(0).await.is_err() {
                failed = true;
                break;
            }
            rt.yield_now().await;
        }
        assert!(failed && server.pending() == 0);
    });
}

#[test]
fn bytes_put_back_come_first() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        client.write(|out| out.extend_from_slice(b"world"));
        server.watch();
        until(&rt, || !server.is_quiet()).await;
        server.unread(Buf::copied(b"hello "));
        assert_eq!(receive(&server, 11).await, b"hello world");
        assert_eq!(server.received_bytes(), 5);
        // Put back while a receive is armed: what arrives goes behind it.
        server.watch();
        rt.yield_now().await;
        server.unread(Buf::copied(b"first, "));
        client.write(|out| out.extend_from_slice(b"second"));
        until(&rt, || server.received_bytes() == 11).await;
        assert_eq!(receive(&server, 13).await, b"first, second");
    });
}

#[test]
fn a_watched_connection_tells_when_it_stops_being_quiet() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        server.watch();
        rt.yield_now().await;
        assert!(server.is_quiet());
        drop(client);
        until(&rt, || !server.is_quiet()).await;
        assert!(server.recv().await.expect("end").is_empty());
    });
}

#[test]
fn acknowledged_bytes_count_only_what_the_peer_took() {
    on_each_driver(|rt| async move {
        let (client, server) = pair(&rt).await;
        let before = server.acked_bytes();
        server.write(|out| out.extend_from_slice(&[1; 1000]));
        receive(&client, 1000).await;
        until(&rt, || server.acked_bytes() >= before + 1000).await;
    });
}

#[test]
fn stalled_readers_of_large_bodies_do_not_stop_a_small_exchange() {
    let options = Options { lease_count: 64, ..Options::default() };
    with_options(options, |rt| async move {
        let mut stalled = Vec::new();
        for _ in 0..40 {
            let (client, server) = pair(&rt).await;
            rt.spawn(async move {
                while server.flushed(100_000).await.is_ok() {
                    server.write_buf(Buf::from_vec(vec![7; 64 << 10]));
                }
            });
            stalled.push(client);
        }
        until(&rt, || stalled.iter().all(|client| client.is_quiet())).await;
        let (client, server) = pair(&rt).await;
        for _ in 0..10 {
            client.write(|out| out.extend_from_slice(b"ping"));
            assert_eq!(receive(&server, 4).await, b"ping");
            server.write(|out| out.extend_from_slice(b"pong"));
            assert_eq!(receive(&client, 4).await, b"pong");
        }
    });
}

#[test]
fn relays_that_stall_with_a_lease_each_do_not_starve_the_worker() {
    let options = Options { lease_count: 8, ..Options::default() };
    with_options(options, |rt| async move {
        let mut held = Vec::new();
        let mut ends = Vec::new();
        for n in 0..200_u8 {
            let (client, server) = pair(&rt).await;
            client.write(|out| out.extend_from_slice(&[n; 3000]));
            ends.push((client, server));
        }
        for (n, (_, server)) in ends.iter().enumerate() {
            let buf = server.recv().await.expect("received although the others hold their buffers");
            assert_eq!(buf[0], n as u8);
            held.push(buf);
        }
        assert!(rt.gauges().leases_out <= 8);
    });
}

#[test]
fn unix_sockets_carry_bytes_and_a_stale_file_is_replaced() {
    let path = std::env::temp_dir().join(format!("ringway-runtime-{}.sock", std::process::id()));
    let addr = Addr::Unix(path.clone());
    on_each_driver(|rt| {
        let addr = addr.clone();
        async move {
            drop(bind(&addr, BindOptions::default()).expect("a first socket leaves its file behind"));
            let bound = bind(&addr, BindOptions::default()).expect("the stale file is replaced");
            let taken = bind(&addr, BindOptions::default()).expect_err("somebody answers on it");
            assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
            let listener = rt.listen(bound).expect("listening");
            // The connection that looked whether somebody answers comes first, and has ended.
            let probe = listener.accept().await.expect("accepted");
            assert!(probe.recv().await.expect("end").is_empty());
            let client = rt.connect(&addr, ConnectOptions::default()).await.expect("connected");
            let server = listener.accept().await.expect("accepted");
            client.write(|out| out.extend_from_slice(b"over a path"));
            assert_eq!(receive(&server, 11).await, b"over a path");
            assert_eq!((client.peer(), client.acked_bytes()), (None, client.sent_bytes()));
        }
    });
    std::fs::remove_file(path).expect("the file is there");
}

/// A connection whose server is an ordinary socket of the test: what it does is done when the call returns.
async fn to_std_server(rt: &Runtime) -> (Stream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = Addr::Ip(listener.local_addr().expect("bound"));
    let client = rt.connect(&addr, ConnectOptions::default()).await.expect("connected");
    (client, listener.accept().expect("accepted").0)
}

#[test]
fn an_end_that_the_loop_has_not_reaped_is_seen_by_asking_the_kernel() {
    on_each_driver(|rt| async move {
        let (client, server) = to_std_server(&rt).await;
        client.watch();
        // Lets the receive reach the kernel.
        until(&rt, || true).await;
        rt.yield_now().await;
        assert_eq!(client.idle_state_now(), IdleState::Quiet);
        drop(server);
        assert_eq!(client.idle_state(), IdleState::Quiet, "not reaped");
        assert_eq!(client.idle_state_now(), IdleState::Ended { at: rt.now() });
        until(&rt, || client.idle_state() != IdleState::Quiet).await;
        assert!(matches!(client.idle_state(), IdleState::Ended { at } if at <= rt.now()));
    });
}

#[test]
fn bytes_and_resets_on_a_quiet_connection_are_seen_by_asking_the_kernel() {
    use std::io::Write;
    on_each_driver(|rt| async move {
        let (client, mut server) = to_std_server(&rt).await;
        client.watch();
        rt.yield_now().await;
        server.write_all(b"408").expect("sent");
        assert_eq!(client.idle_state_now(), IdleState::Disturbed);

        let (client, server) = to_std_server(&rt).await;
        client.watch();
        rt.yield_now().await;
        crate::sys::set_reset_on_close(std::os::fd::AsRawFd::as_raw_fd(&server));
        drop(server);
        assert_eq!(client.idle_state_now(), IdleState::Disturbed);
    });
}

/// What the kernel says about `question` after it was sent and the connection has ended.
async fn ended(rt: &Runtime, client: &Stream) -> (io::Result<usize>, Option<u64>) {
    client.flushed(0).await.ok();
    let end = client.recv().await.map(|buf| buf.len());
    // A reset may follow the end; its trace in the kernel must not change the answer.
    rt.yield_now().await;
    (end, client.unacked_bytes())
}

#[test]
fn a_peer_that_ended_before_it_was_sent_anything_has_acknowledged_none_of_it() {
    use std::io::{Read, Write};
    on_each_driver(|rt| async move {
        let (client, mut server) = to_std_server(&rt).await;
        client.write(|out| out.extend_from_slice(b"first"));
        client.flushed(0).await.expect("sent");
        server.read_exact(&mut [0; 5]).expect("read");
        server.write_all(b"answer").expect("sent");
        assert_eq!(receive(&client, 6).await, b"answer");
        // The end is on its way, or there, and nobody on our side knows.
        drop(server);
        client.write(|out| out.extend_from_slice(b"question"));
        let (end, unacked) = ended(&rt, &client).await;
        assert_eq!((end.expect("a clean end"), unacked), (0, Some(8)));
        // The kernel has had the reset by now, and still knows.
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(20));
        timer.wait().await;
        assert_eq!(client.unacked_bytes(), Some(8));
    });
}

#[test]
fn a_peer_that_ended_after_its_kernel_had_the_bytes_has_acknowledged_them() {
    use std::io::Read;
    on_each_driver(|rt| async move {
        // Read: an orderly end.
        let (client, mut server) = to_std_server(&rt).await;
        client.write(|out| out.extend_from_slice(b"question"));
        client.flushed(0).await.expect("sent");
        server.read_exact(&mut [0; 8]).expect("read");
        drop(server);
        let (end, unacked) = ended(&rt, &client).await;
        assert_eq!((end.expect("a clean end"), unacked), (0, Some(0)));
        // Not read: a reset, after which nothing that the kernel says is proof.
        let (client, server) = to_std_server(&rt).await;
        client.write(|out| out.extend_from_slice(b"question"));
        client.flushed(0).await.expect("sent");
        server.peek(&mut [0; 1]).expect("arrived");
        drop(server);
        let (end, _) = ended(&rt, &client).await;
        assert!(end.is_err(), "{end:?}");
    });
}

#[test]
fn a_reset_that_a_send_was_told_of_does_not_read_as_an_orderly_end() {
    use std::io::Read;
    on_each_driver(|rt| async move {
        let (client, mut server) = to_std_server(&rt).await;
        client.write(|out| out.extend_from_slice(b"question"));
        client.flushed(0).await.expect("sent");
        server.read_exact(&mut [0; 8]).expect("read");
        crate::sys::set_reset_on_close(std::os::fd::AsRawFd::as_raw_fd(&server));
        drop(server);
        // The kernel tells of a reset once, and this is the first to ask.
        client.write(|out| out.extend_from_slice(b"more"));
        assert!(client.flushed(0).await.is_err());
        let end = client.recv().await.map(|buf| buf.len());
        assert!(end.is_err(), "{end:?}");
    });
}
