//! Responses that come when there is something to say: server-sent events, and polls that are answered late. What the
//! endpoint sends is with the client at once, and silence in between is no reason to give up.

use crate::harness::http2::{Http2Client, request};
use crate::harness::{Client, Gate, Io, Origin, Reply, Ringway, Setup, elapse};
use std::time::Duration;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n";

/// An origin that says an event, waits for the gate, and says the next one, up to the last.
fn events(framing: &str, gates: &[Gate; 2]) -> Reply {
    let event = |number: usize| {
        let text = format!("data: {number}\n\n");
        if framing.is_empty() { text } else { format!("{:x}\r\n{text}\r\n", text.len()) }
    };
    let reply =
        Reply::bytes(format!("{HEAD}{framing}\r\n")).then(event(0)).then_wait(&gates[0]).then(event(1));
    let reply = reply.then_wait(&gates[1]).then(event(2));
    if framing.is_empty() { reply.then_close() } else { reply.then("0\r\n\r\n") }
}

fn start(io: Io, origin: &Origin) -> Ringway {
    Setup { listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io)
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

both! {
    /// The gate to the next event opens only when the one before has come: a buffer anywhere would wait for ever.
    fn events_are_with_the_client_as_soon_as_they_are_said(io) {
        for framing in [CHUNKED, ""] {
            let gates = [Gate::default(), Gate::default()];
            let held = gates.clone();
            let origin = Origin::start(move |_| events(framing, &held));
            let ringway = start(io, &origin);
            let mut client = ringway.client();
            client.send("GET /events HTTP/1.1\r\nHost: suite.example\r\n\r\n");
            let head = client.head().expect("a head");
            assert_eq!(head.get("content-type"), Some("text/event-stream"));
            for (number, gate) in gates.iter().enumerate() {
                assert_eq!(client.exactly(14), format!("9\r\ndata: {number}\n\n\r\n").into_bytes());
                gate.open();
            }
            assert_eq!(client.exactly(19), b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
            ringway.stop_after((client, origin));
        }
    }

    fn events_are_with_the_client_at_once_over_a_stream_too(io) {
        let gates = [Gate::default(), Gate::default()];
        let held = gates.clone();
        let origin = Origin::start(move |_| events(CHUNKED, &held));
        let ringway = start(io, &origin);
        let mut client = Http2Client::connect(ringway.address("web"));
        let stream = client.ask(&request("GET", "/events"));
        for (number, gate) in gates.iter().enumerate() {
            let last = format!("data: {number}\n\n");
            client.read_until("an event", |client| client.peek(stream).is_some_and(|answer| answer.text().ends_with(&last)));
            gate.open();
        }
        assert_eq!(client.answer(stream).text(), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
        ringway.stop_after((client, origin));
    }

    /// A sender of events may be silent for as long as a tunnel, any other not.
    fn silence_between_events_is_no_fault_of_the_endpoint(io) {
        let gates = [Gate::default(), Gate::default()];
        let held = gates.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/events" => events(CHUNKED, &held),
            _ => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").then_echo(),
        });
        let ringway = Setup { upstream: "timeouts { idle \"200ms\"; }", ..Setup::to(origin.address()) }.start(io);
        let mut other = ringway.client();
        let mut client = ringway.client();
        let ask = |client: &mut Client, target: &str| {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: suite.example\r\n\r\n"));
            client.head().expect("a head");
        };
        ask(&mut client, "/events");
        assert_eq!(client.exactly(14), b"9\r\ndata: 0\n\n\r\n");
        ask(&mut other, "/text");
        other.expect_end_after_bytes();
        assert_eq!(ringway.records(1)[0]["cause"], "upstream_body_timeout");
        elapse(Duration::from_millis(200));
        gates[0].open();
        assert_eq!(client.exactly(14), b"9\r\ndata: 1\n\n\r\n");
        gates[1].open();
        assert_eq!(client.exactly(19), b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
        ringway.stop_after((client, other, origin));
    }
}
