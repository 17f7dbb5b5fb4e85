//! TCP listeners: bytes both ways, each end where it was, and every cut told (R158).

use crate::harness::nginx::free_port;
use crate::harness::peer::{prepare, reset};
use crate::harness::{Client, Ending, Folder, Gate, Io, Origin, PATIENCE, Peer, Ringway, pause, wait_until};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

/// Ringway with the TCP listener `db` before the given endpoints.
#[track_caller]
fn start(endpoints: &[SocketAddr], (top, tcp, upstream): (&str, &str, &str), io: Io) -> Ringway {
    Ringway::start(&text(endpoints, (top, tcp, upstream)), io)
}

fn text(endpoints: &[SocketAddr], (top, tcp, upstream): (&str, &str, &str)) -> String {
    let endpoints: String = endpoints.iter().map(|addr| format!("endpoint \"{addr}\"\n")).collect();
    format!(
        "{top}\ntcp \"db\" {{ bind \"127.0.0.1:0\"; upstream \"origin\"; {tcp} }}\n\
         upstream \"origin\" {{ {endpoints}\n{upstream}\n}}\n"
    )
}

const PLAIN: (&str, &str, &str) = ("", "", "");

#[track_caller]
fn connect(ringway: &Ringway) -> TcpStream {
    let stream = TcpStream::connect(ringway.address("db")).expect("Ringway accepts");
    prepare(&stream);
    stream
}

/// Bytes that show where they belong.
fn pattern(len: usize) -> Vec<u8> {
    let unit: Vec<u8> = (0..251).collect();
    let mut bytes = unit.repeat(len / unit.len() + 1);
    bytes.truncate(len);
    bytes
}

#[track_caller]
fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("the bytes arrive");
    assert!(got == expected, "other bytes arrived");
}

/// Everything until the end.
#[track_caller]
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an orderly end");
    got
}

/// The connection ends with a reset, and nothing more comes before.
#[track_caller]
fn expect_reset(stream: &mut TcpStream) {
    let mut bytes = [0; 1];
    match stream.read(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("a reset was expected, not {other:?}"),
    }
}

both! {
    fn r158_bytes_pass_both_ways_and_each_side_ends_on_its_own(io) {
        let peer = Peer::start(|mut stream| {
            expect(&mut stream, b"question");
            assert!(rest(&mut stream).is_empty(), "the end of the client's side");
            stream.write_all(b"answer after the end").expect("the client still reads");
        });
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        client.write_all(b"question").expect("sent");
        client.shutdown(Shutdown::Write).expect("ended");
        assert_eq!(rest(&mut client), b"answer after the end");
        let record = ringway.records(1).remove(0);
        for (member, expected) in [
            ("protocol", "TCP".into()),
            ("listener", "db".into()),
            ("upstream", "origin".into()),
            ("endpoint", peer.address().to_string().into()),
            ("cause", "flow_closed".into()),
            ("client", "127.0.0.1".into()),
            ("attempts", serde_json::Value::from(1)),
            ("bytes_in", 8.into()),
            ("bytes_out", 20.into()),
        ] {
            assert_eq!(record[member], expected, "{member} of {record}");
        }
        ringway.stop_after((client, peer));
    }

    fn r158_an_endpoint_that_ends_first_still_gets_the_rest(io) {
        let peer = Peer::start(|mut stream| {
            stream.write_all(b"greeting").expect("sent");
            stream.shutdown(Shutdown::Write).expect("ended");
            assert_eq!(rest(&mut stream), pattern(300_000));
        });
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        assert_eq!(rest(&mut client), b"greeting");
        client.write_all(&pattern(300_000)).expect("the other direction goes on");
        drop(client);
        assert_eq!(ringway.records(1)[0]["cause"], "flow_closed");
        assert_eq!(ringway.records(1)[0]["bytes_in"], 300_000);
        ringway.stop_after(peer);
    }

    fn r158_a_connection_without_a_byte_is_one_too(io) {
        let peer = Peer::echo();
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        client.shutdown(Shutdown::Write).expect("ended");
        assert!(rest(&mut client).is_empty());
        let record = ringway.records(1).remove(0);
        assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&0.into(), &0.into()));
        assert_eq!(record["cause"], "flow_closed");
        ringway.stop_after((client, peer));
    }

    fn r158_a_reset_is_passed_on_whoever_sends_it(io) {
        let peer = Peer::start(|mut stream| {
            let mut first = [0; 1];
            stream.read_exact(&mut first).expect("one byte says what to do");
            match first[0] {
                b'r' => reset(stream),
                _ => expect_reset(&mut stream),
            }
        });
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        client.write_all(b"r").expect("sent");
        expect_reset(&mut client);
        assert_eq!(ringway.records(1)[0]["cause"], "upstream_gone");
        let mut client = connect(&ringway);
        client.write_all(b"w").expect("sent");
        wait_until("the endpoint has the byte", || peer.connections() == 2);
        let moved = || ringway.counted("ringway_tcp_received_bytes");
        wait_until("the byte has passed", || moved() == 2);
        reset(client);
        assert_eq!(ringway.records(2)[1]["cause"], "client_gone");
        ringway.stop_after(peer);
    }
}

both! {
    fn bulk_passes_through_the_kernel_and_small_messages_are_copied(io) {
        let peer = Peer::start(|mut stream| {
            stream.write_all(&pattern(32 << 20)).expect("the client reads");
            let mut byte = [0; 1];
            while let Ok(1) = stream.read(&mut byte) {
                stream.write_all(&byte).expect("the client reads");
            }
        });
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        expect(&mut client, &pattern(32 << 20));
        let flows = flows(&ringway);
        let spliced = flows["spliced_bytes"].as_u64().expect("a number");
        assert!(spliced > 30 << 20, "{flows}");
        assert_eq!(flows["switches"]["bulk"], 1, "{flows}");
        for _ in 0..100 {
            client.write_all(b"x").expect("sent");
            expect(&mut client, b"x");
        }
        let flows = self::flows(&ringway);
        assert_eq!(flows["switches"]["small"], 1, "{flows}");
        let since = flows["spliced_bytes"].as_u64().expect("a number") - spliced;
        assert!(since < 20, "{since} of 200 small messages went through a pipe");
        assert_eq!((&flows["open"], &flows["sent_bytes"]), (&1.into(), &((32u64 << 20) + 100).into()));
        let metrics = ringway.admin("/metrics").text();
        for line in [
            "ringway_tcp_flows_open{listener=\"db\"} 1",
            "ringway_tcp_switches_total{listener=\"db\",reason=\"bulk\"} 1",
            "ringway_tcp_received_bytes_total{listener=\"db\"} 100",
        ] {
            assert!(metrics.contains(line), "{line} is missing");
        }
        ringway.stop_after((client, peer));
    }

    fn r158_a_side_that_does_not_read_holds_up_the_other_and_no_memory(io) {
        const STALLED: usize = 60;
        let peer = Peer::start(|mut stream| {
            let bytes = vec![b'.'; 1 << 20];
            while stream.write_all(&bytes).is_ok() {}
        });
        let ringway = start(&[peer.address()], ("workers 1\n", "", ""), io);
        let before = ringway.resident_bytes();
        let clients: Vec<Client> = (0..STALLED).map(|_| Client::connect_slow(ringway.address("db"))).collect();
        let sent = || flows(&ringway)["sent_bytes"].as_u64().expect("a number");
        let mut last = (sent(), 0);
        wait_until("nothing moves any more", || {
            pause();
            let now = sent();
            last = (now, if now == last.0 { last.1 + 1 } else { 0 });
            last.0 > 0 && last.1 >= 20
        });
        // What waits is one pipe or buffer per flow, and what the kernel holds.
        let grown = ringway.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for {STALLED} stalled flows");
        let pipes = ringway.status()["workers"][0]["leases"].as_u64().expect("a number");
        assert!(pipes <= STALLED as u64, "{pipes} buffers are lent");
        drop(clients);
        wait_until("the flows are over", || flows(&ringway)["open"] == 0);
        ringway.stop_after(peer);
    }

    fn r158_idle_flows_hold_little_memory_and_no_buffer(io) {
        const FLOWS: usize = 3000;
        let held = std::sync::Mutex::new(Vec::new());
        let peer = Peer::start(move |mut stream| {
            expect(&mut stream, b"x");
            stream.write_all(b"y").expect("the client is there");
            held.lock().expect("nobody panics").push(stream);
        });
        let ringway = start(&[peer.address()], ("workers 1\n", "", ""), io);
        let open = |count: usize| -> Vec<TcpStream> {
            let one = |_| {
                let mut client = connect(&ringway);
                client.write_all(b"x").expect("sent");
                expect(&mut client, b"y");
                client
            };
            (0..count).map(one).collect()
        };
        let first = open(FLOWS / 10);
        let before = ringway.resident_bytes();
        let second = open(FLOWS);
        let grown = ringway.resident_bytes().saturating_sub(before) / FLOWS as u64;
        // 2.6 KiB of two sockets and a task; what an allocator keeps in reserve comes on top.
        assert!(grown < 4 << 10, "{grown} bytes per idle flow");
        assert_eq!(ringway.status()["workers"][0]["leases"], 0);
        ringway.stop_after((first, second, peer));
    }

    fn r158_a_silent_connection_ends_when_it_was_idle_for_long_enough(io) {
        let peer = Peer::start(|mut stream| expect_reset(&mut stream));
        let ringway = start(&[peer.address()], ("", "timeouts { idle \"200ms\"; }", ""), io);
        let mut client = connect(&ringway);
        expect_reset(&mut client);
        assert_eq!(ringway.records(1)[0]["cause"], "flow_idle");
        ringway.stop_after((client, peer));
    }

    fn r158_half_a_connection_waits_for_less_than_a_whole_one(io) {
        let gate = Gate::default();
        let done = gate.clone();
        let peer = Peer::start(move |mut stream| {
            assert!(rest(&mut stream).is_empty());
            assert!(done.wait(), "the flow is never cut");
        });
        let tcp = "timeouts { idle \"1h\"; half-closed \"200ms\"; }";
        let ringway = start(&[peer.address()], ("", tcp, ""), io);
        let mut client = connect(&ringway);
        client.shutdown(Shutdown::Write).expect("ended");
        expect_reset(&mut client);
        gate.open();
        assert_eq!(ringway.records(1)[0]["cause"], "half_closed");
        ringway.stop_after((client, peer));
    }

    fn r158_another_endpoint_is_tried_when_one_does_not_accept(io) {
        let peer = Peer::named("here");
        let ringway = start(&[free_address(), peer.address()], ("", "", "balance \"round-robin\""), io);
        for _ in 0..12 {
            let mut client = connect(&ringway);
            client.write_all(b"early").expect("sent");
            expect(&mut client, b"hereearly");
        }
        let records = ringway.records(12);
        let retried = records.iter().filter(|record| record["attempts"] == 2).count();
        assert!((1..=5).contains(&retried), "after five failures it is left out: {retried} retries");
        assert!(records.iter().all(|record| record["endpoint"] == peer.address().to_string()));
        assert_eq!(ringway.upstream()["endpoints"][0]["state"], "ejected", "{}", ringway.upstream());
        ringway.stop_after(peer);
    }

    fn r158_without_an_endpoint_the_client_is_told_at_once(io) {
        let ringway = start(&[free_address(), free_address()], PLAIN, io);
        let mut client = connect(&ringway);
        expect_reset(&mut client);
        let record = ringway.records(1).remove(0);
        assert_eq!(record["cause"], "connect_refused");
        assert_eq!((&record["attempts"], &record["bytes_in"]), (&2.into(), &0.into()), "{record}");
        let flows = flows(&ringway);
        assert_eq!((&flows["failed"], &flows["ended"]["connect_refused"]), (&1.into(), &1.into()));
        ringway.stop_after(client);
    }

    fn r158_one_address_has_so_many_connections_and_the_others_their_own(io) {
        let peer = Peer::echo();
        let ringway = start(&[peer.address()], ("", "limits { connections-per-client 2; }", ""), io);
        let from = |last: u8| {
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
            Client::connect_from(ringway.address("db"), from).expect("the kernel accepts")
        };
        let echoes = |client: &mut Client| client.send("x").exactly(1) == b"x";
        let (mut first, mut second) = (from(7), from(7));
        assert!(echoes(&mut first) && echoes(&mut second));
        assert_eq!(from(7).expect_end(), Ending::Reset);
        assert!(echoes(&mut from(8)), "another client");
        drop(first);
        wait_until("the place is free", || flows(&ringway)["open"] == 1);
        assert!(echoes(&mut from(7)));
        ringway.stop_after((second, peer));
    }

    fn a_flow_waits_for_a_place_at_its_upstream_and_its_bytes_with_the_kernel(io) {
        let peer = Peer::echo();
        let limits = "limits { connections 1; queue 5; queue-timeout \"9s\"; }";
        let ringway = start(&[peer.address()], ("", "", limits), io);
        let mut first = connect(&ringway);
        first.write_all(b"first").expect("sent");
        expect(&mut first, b"first");
        let mut second = connect(&ringway);
        second.write_all(b"second").expect("the kernel takes it");
        wait_until("the second one waits", || flows(&ringway)["open"] == 2);
        assert_eq!(peer.connections(), 1);
        assert_eq!(flows(&ringway)["received_bytes"], 5, "nothing of the second one was taken");
        drop(first);
        expect(&mut second, b"second");
        assert_eq!(peer.connections(), 2);
        ringway.stop_after((second, peer));
    }

    fn a_flow_that_waits_too_long_for_a_place_is_reset(io) {
        let peer = Peer::echo();
        let limits = "limits { connections 1; queue 5; queue-timeout \"100ms\"; }";
        let ringway = start(&[peer.address()], ("", "", limits), io);
        let mut first = connect(&ringway);
        first.write_all(b"x").expect("sent");
        expect(&mut first, b"x");
        let mut second = connect(&ringway);
        expect_reset(&mut second);
        assert_eq!(ringway.records(1)[0]["cause"], "queue_timeout");
        ringway.stop_after((first, second, peer));
    }

    fn a_client_keeps_its_endpoint_where_its_address_decides(io) {
        let peers = ["a", "b", "c", "d"].map(Peer::named);
        let endpoints = peers.each_ref().map(Peer::address);
        let upstream = "balance \"maglev\"; hash-key \"client.ip\"";
        let ringway = start(&endpoints, ("", "", upstream), io);
        let mut names: Vec<u8> = Vec::new();
        for _ in 0..10 {
            let mut name = [0; 1];
            connect(&ringway).read_exact(&mut name).expect("the endpoint says its name");
            names.push(name[0]);
        }
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        ringway.stop_after(peers);
    }

    fn an_open_flow_keeps_no_generation_alive(io) {
        let peer = Peer::echo();
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        client.write_all(b"x").expect("sent");
        expect(&mut client, b"x");
        for weight in 2..5 {
            let path = format!("/v1/upstreams/origin/endpoints/{}", peer.address());
            let changed = ringway.change(&path, &format!("{{\"weight\":{weight}}}"));
            assert_eq!(changed.status, 200, "{}", changed.text());
        }
        wait_until("one generation is left", || ringway.status()["generations"]["alive"] == 1);
        client.write_all(b"still here").expect("sent");
        expect(&mut client, b"still here");
        let open = &ringway.upstream()["endpoints"][0]["in_flight"];
        assert_eq!(*open, 1, "the flow is still counted");
        drop(client);
        wait_until("it is not any more", || ringway.upstream()["endpoints"][0]["in_flight"] == 0);
        ringway.stop_after(peer);
    }

    fn r158_a_stop_lets_open_flows_end_by_themselves(io) {
        let peer = Peer::echo();
        let ringway = start(&[peer.address()], PLAIN, io);
        let mut client = connect(&ringway);
        client.write_all(b"before").expect("sent");
        expect(&mut client, b"before");
        ringway.signal("TERM");
        let refused = || TcpStream::connect(ringway.address("db")).is_err();
        wait_until("nothing new is accepted", refused);
        client.write_all(&pattern(1 << 20)).expect("sent");
        expect(&mut client, &pattern(1 << 20));
        client.shutdown(Shutdown::Write).expect("ended");
        assert!(rest(&mut client).is_empty());
        ringway.expect_clean_exit();
    }

    fn r158_connections_beyond_the_limit_wait_in_the_kernel(io) {
        let peer = Peer::echo();
        let ringway = start(&[peer.address()], ("workers 1\n", "limits { connections 1; }", ""), io);
        let mut first = connect(&ringway);
        first.write_all(b"1").expect("sent");
        expect(&mut first, b"1");
        let mut second = connect(&ringway);
        second.write_all(b"2").expect("the kernel takes it");
        wait_until("accepting pauses", || ringway.counted("ringway_accept_pauses") > 0);
        assert_eq!(flows(&ringway)["open"], 1);
        drop(first);
        expect(&mut second, b"2");
        ringway.stop_after((second, peer));
    }

    fn unix_sockets_are_passed_through_like_others(io) {
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name);
        let listener = UnixListener::bind(path("back.sock")).expect("the folder is ours");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("Ringway connects");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("an orderly end");
            stream.write_all(&got).expect("the other direction goes on");
        });
        let (front, back) = (path("front.sock"), path("back.sock"));
        let (front, back) = (front.display(), back.display());
        let text = format!(
            "tcp \"db\" {{ bind \"unix:{front}\"; upstream \"origin\"; }}\n\
             upstream \"origin\" {{ endpoint \"unix:{back}\"; }}\n"
        );
        let ringway = Ringway::start(&text, io);
        let mut client = UnixStream::connect(path("front.sock")).expect("Ringway accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
        client.write_all(&pattern(2 << 20)).expect("sent");
        client.shutdown(Shutdown::Write).expect("ended");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("an orderly end");
        assert!(got == pattern(2 << 20));
        server.join().expect("the server has seen what it should");
        assert_eq!(ringway.records(1)[0]["cause"], "flow_closed");
        drop(client);
        ringway.stop();
    }

    fn http_and_tcp_share_an_upstream(io) {
        let origin = Origin::ok("through both");
        let top = "listener \"web\" { bind \"127.0.0.1:0\"; }\nsite \"*\" { route \"/\" upstream=\"origin\"; }\n";
        let ringway = start(&[origin.address()], (top, "", ""), io);
        assert_eq!(ringway.client().get("/").text(), "through both");
        let mut through = Client::connect(ringway.address("db"));
        assert_eq!(through.get("/").text(), "through both");
        drop(through);
        let records = ringway.records(2);
        let mut protocols: Vec<_> = records.iter().map(|record| record["protocol"].as_str()).collect();
        protocols.sort_unstable(); // two workers, two rings
        assert_eq!(protocols, [Some("HTTP/1.1"), Some("TCP")]);
        ringway.stop_after(origin);
    }
}

/// What `/v1/status` says of the flows of the listener.
#[track_caller]
fn flows(ringway: &Ringway) -> Value {
    let status = ringway.status();
    let mut listeners = status["listeners"].as_array().expect("a list").iter();
    let db = listeners.find(|listener| listener["name"] == "db").expect("the listener of the test");
    assert_eq!(db["kind"], "tcp");
    db["flows"].clone()
}

/// Where nobody listens.
fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}
