//! TCP listeners: bytes both ways, each end where it was, and every cut told (R158).

use crate::harness::peer::{prepare, reset};
use crate::harness::{Io, Peer, Ringway, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

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
        let moved = || counted(&ringway, "ringway_tcp_received_bytes");
        wait_until("the byte has passed", || moved() == 2);
        reset(client);
        assert_eq!(ringway.records(2)[1]["cause"], "client_gone");
        ringway.stop_after(peer);
    }
}

/// A counter, of all its series together.
#[track_caller]
fn counted(ringway: &Ringway, name: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let of = |line: &str| {
        line.strip_prefix(name)?.strip_prefix("_total{")?.rsplit_once(' ')?.1.parse::<u64>().ok()
    };
    text.lines().filter_map(of).sum()
}
