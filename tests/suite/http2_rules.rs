//! The rules of HTTP/2 (RFC 9113), one by one: what breaks one is refused on its stream or ends the connection, as the
//! rule says, and nothing of it reaches an origin.

use crate::harness::http2::{
    Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, HEADERS, Http2Client, Line,
    PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, request, request_with,
};
use crate::harness::{Gate, Origin, Reply, Ringway, Setup, wait_until};
use std::time::Duration;

fn start(origin: &Origin, io: crate::harness::Io) -> Ringway {
    Setup { listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io)
}

fn client(ringway: &Ringway) -> Http2Client {
    Http2Client::connect(ringway.address("web"))
}

/// A counter of `/metrics`.
pub(crate) fn metric(ringway: &Ringway, series: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Connections that ended for `cause`.
pub(crate) fn ended(ringway: &Ringway, cause: &str) -> u64 {
    metric(ringway, &format!("ringway_connections_ended_total{{cause=\"{cause}\""))
}

/// Requests without a route to the origin for `cause`.
pub(crate) fn caused(ringway: &Ringway, cause: &str) -> u64 {
    metric(ringway, &format!("ringway_causes_total{{cause=\"{cause}\""))
}

/// Whether the stream, or the whole connection, has come to an end.
fn has_answered(client: &Http2Client, stream: u32) -> bool {
    let answered = client.peek(stream).is_some_and(|answer| answer.ended || answer.reset.is_some());
    answered || !client.goaways.is_empty()
}

/// The pseudo-header fields given, nothing else.
fn bare(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "suite.example");
const PATH: (&str, &str) = (":path", "/");

/// A request, what is wrong with it.
fn malformed() -> Vec<(&'static str, Vec<(String, String)>)> {
    let ordinary = |more: &[(&str, &str)]| request_with("GET", "/", more);
    vec![
        ("an upper-case name (8.2)", ordinary(&[("X-Upper", "v")])),
        ("Connection (8.2.2)", ordinary(&[("connection", "close")])),
        ("Transfer-Encoding (8.2.2)", ordinary(&[("transfer-encoding", "chunked")])),
        ("Upgrade (8.2.2)", ordinary(&[("upgrade", "h2c")])),
        ("Keep-Alive (8.2.2)", ordinary(&[("keep-alive", "timeout=5")])),
        ("Proxy-Connection (8.2.2)", ordinary(&[("proxy-connection", "close")])),
        ("TE other than trailers (8.2.2)", ordinary(&[("te", "gzip")])),
        ("a name with a colon (8.2.1)", ordinary(&[("x:y", "v")])),
        ("a name with a space (8.2.1)", ordinary(&[("x y", "v")])),
        ("an empty name (8.2.1)", ordinary(&[("", "v")])),
        ("CR in a value (8.2.1)", ordinary(&[("x", "a\rb")])),
        ("LF in a value (8.2.1)", ordinary(&[("x", "a\nb")])),
        ("NUL in a value (8.2.1)", ordinary(&[("x", "a\0b")])),
        (
            "a second request in a value (8.2.1)",
            ordinary(&[("x", "a\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")]),
        ),
        ("a value that begins with a space (8.2.1)", ordinary(&[("x", " v")])),
        ("a value that ends with a tab (8.2.1)", ordinary(&[("x", "v\t")])),
        ("no :method (8.3.1)", bare(&[SCHEME, AUTHORITY, PATH])),
        ("no :scheme (8.3.1)", bare(&[METHOD, AUTHORITY, PATH])),
        ("no :path (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY])),
        ("an empty :path (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY, (":path", "")])),
        ("a :path without a slash (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY, (":path", "page")])),
        ("a :path with a space (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY, (":path", "/a b")])),
        ("a :path with CRLF (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY, (":path", "/ HTTP/1.1\r\nX: y")])),
        ("an asterisk for GET (8.3.1)", bare(&[METHOD, SCHEME, AUTHORITY, (":path", "*")])),
        ("a :method with a space (8.3.1)", bare(&[(":method", "GET /evil"), SCHEME, AUTHORITY, PATH])),
        (
            "a :method with CRLF (8.3.1)",
            bare(&[(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"), SCHEME, AUTHORITY, PATH]),
        ),
        ("a :scheme of another kind (8.3.1)", bare(&[METHOD, (":scheme", "ftp"), AUTHORITY, PATH])),
        ("a :scheme that is none (8.3.1)", bare(&[METHOD, (":scheme", "http://evil/?"), AUTHORITY, PATH])),
        (
            "an :authority with user information (8.3.1)",
            bare(&[METHOD, SCHEME, (":authority", "me@suite.example"), PATH]),
        ),
        (
            "an :authority with a slash (8.3.1)",
            bare(&[METHOD, SCHEME, (":authority", "suite.example/x"), PATH]),
        ),
        ("an empty :authority (8.3.1)", bare(&[METHOD, SCHEME, (":authority", ""), PATH])),
        ("neither :authority nor Host (8.3.1)", bare(&[METHOD, SCHEME, PATH])),
        (":authority and another Host (8.3.1)", ordinary(&[("host", "other.example")])),
        (":method twice (8.3)", bare(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH])),
        (":path twice (8.3)", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/evil")])),
        (":authority twice (8.3)", bare(&[METHOD, SCHEME, AUTHORITY, (":authority", "other.example"), PATH])),
        (":path after a field (8.3)", bare(&[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH])),
        ("an unknown pseudo-header field (8.3)", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":evil", "v")])),
        (":status in a request (8.3)", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")])),
        (
            ":protocol without CONNECT (RFC 8441 4)",
            bare(&[METHOD, (":protocol", "websocket"), SCHEME, AUTHORITY, PATH]),
        ),
        ("two lengths (8.1.1)", ordinary(&[("content-length", "0"), ("content-length", "1")])),
        ("a length that is no number (8.1.1)", ordinary(&[("content-length", "+0")])),
        ("a length but no body (8.1.1)", ordinary(&[("content-length", "5")])),
        ("look-alikes of framing (R12)", ordinary(&[("content_length", "5")])),
    ]
}

both! {
    fn r34_r35_malformed_requests_are_refused_and_nothing_is_forwarded(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        for (what, fields) in malformed() {
            let mut client = client(&ringway);
            let stream = client.ask(&fields);
            client.read_until(what, |client| has_answered(client, stream));
            let answer = client.peek(stream).cloned().unwrap_or_default();
            let refused = (400..500).contains(&answer.status()) || answer.reset == Some(PROTOCOL_ERROR);
            assert!(refused || !client.goaways.is_empty(), "{what}: {answer:?}");
            if client.goaways.is_empty() {
                assert_eq!(client.get("/next").status(), 200, "after {what}");
            }
        }
        let evil: Vec<_> = origin.requests().into_iter().filter(|request| request.target() != "/next").collect();
        assert!(evil.is_empty() && origin.refused().is_empty(), "{evil:?} {:?}", origin.refused());
        assert!(caused(&ringway, "http2_stream") > 10);
        ringway.stop_after(origin);
    }

    fn r34_every_byte_of_a_value_is_forwarded_as_it_is_or_refused(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        for byte in 0..=255u8 {
            let mut client = client(&ringway);
            let mut fields: Vec<(Vec<u8>, Vec<u8>)> = request("GET", "/")
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
                .collect();
            fields.push((b"x-byte".to_vec(), vec![b'a', byte, b'b']));
            let stream = client.ask(&fields);
            client.read_until("an answer", |client| has_answered(client, stream));
            let is_allowed = matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
            let status = client.peek(stream).map_or(0, Answer::status);
            assert_eq!(status == 200, is_allowed, "byte {byte:#x}");
        }
        assert_eq!(origin.requests().len(), 1 + 95 + 128);
        ringway.stop_after(origin);
    }

    fn r34_every_byte_of_a_name_is_a_lower_case_token_or_refused(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        for byte in 0..=255u8 {
            let mut client = client(&ringway);
            let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
                request("GET", "/").into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            fields.push((vec![b'x', byte, b'y'], b"v".to_vec()));
            let stream = client.ask(&fields);
            client.read_until("an answer", |client| has_answered(client, stream));
            let is_allowed = matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&byte);
            let status = client.peek(stream).map_or(0, Answer::status);
            assert_eq!(status == 200, is_allowed, "byte {byte:#x}");
        }
        ringway.stop_after(origin);
    }

    fn connect_is_refused(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        let stream = client.open(&bare(&[(":method", "CONNECT"), (":authority", "suite.example:443")]), 0);
        assert_eq!(client.answer(stream).status(), 405);
        let other = [(":method", "CONNECT"), (":protocol", "connect-udp"), SCHEME, AUTHORITY, PATH];
        let stream = client.open(&bare(&other), 0);
        assert_eq!(client.answer(stream).status(), 405);
        assert!(origin.requests().is_empty());
        ringway.stop_after((client, origin));
    }

    fn r36_a_body_of_another_length_than_announced_never_completes(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        for (what, announced, pieces) in [
            ("short", "10", &[&b"12345"[..], b""][..]),
            ("long in one frame", "3", &[b"12345"]),
            ("long in two frames", "5", &[b"12345", b"6"]),
            ("long by a later frame", "5", &[b"12", b"345", b"6789"]),
        ] {
            let mut client = client(&ringway);
            let stream = client.open(&request_with("POST", "/", &[("content-length", announced)]), 0);
            for (place, piece) in pieces.iter().enumerate() {
                client.data(stream, piece, place + 1 == pieces.len());
            }
            client.read_until(what, |client| client.peek(stream).is_some_and(|answer| answer.reset.is_some()));
            assert_eq!(client.peek(stream).and_then(|answer| answer.reset), Some(PROTOCOL_ERROR), "{what}");
            assert_eq!(client.peek(stream).map(Answer::status), Some(0), "{what}");
        }
        assert!(origin.requests().is_empty(), "{:?}", origin.requests());
        wait_until("no connection that owes a body is kept", || origin.open_connections() == 0);
        ringway.stop_after(origin);
    }

    fn r36_a_body_that_ends_later_than_its_last_byte_is_complete(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        let stream = client.open(&request_with("POST", "/", &[("content-length", "5")]), 0);
        client.data(stream, b"12345", false);
        client.ping();
        assert!(origin.requests().is_empty(), "not before the stream has ended");
        client.data(stream, b"", true);
        assert_eq!(client.answer(stream).status(), 200);
        assert_eq!(origin.only_request().body, b"12345");
        ringway.stop_after((client, origin));
    }

    fn r22_trailers_of_requests_end_them_and_pass_where_the_framing_lets_them(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        for announced in [&[][..], &[("content-length", "4")]] {
            let stream = client.open(&request_with("POST", "/", announced), 0);
            client.data(stream, b"body", false);
            let trailers = block(&[("x-trailer", "1"), ("authorization", "evil")]);
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers));
            assert_eq!(client.answer(stream).status(), 200);
        }
        for received in origin.requests() {
            assert_eq!(received.body, b"body");
            assert_eq!(received.head.get("authorization"), None);
            // A body of HTTP/1.1 that is announced with a length has no room for them.
            let is_chunked = received.head.get("content-length").is_none();
            let expected = is_chunked.then(|| ("x-trailer".to_string(), "1".to_string()));
            assert_eq!(received.trailers, Vec::from_iter(expected));
        }
        ringway.stop_after((client, origin));
    }

    fn r37_streams_beyond_the_limit_are_refused_and_the_others_go_on(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        });
        let ringway = Setup {
            listener: "http2 \"cleartext\"; limits { streams 4; }",
            ..Setup::to(origin.address())
        }
        .start(io);
        let mut client = client(&ringway);
        client.ping();
        assert_eq!(client.settings.get(&3), Some(&4), "MAX_CONCURRENT_STREAMS");
        let open: Vec<_> = (0..4).map(|_| client.ask(&request("GET", "/"))).collect();
        origin.wait_for_requests(4);
        let refused = client.ask(&request("GET", "/"));
        assert_eq!(client.answer(refused).reset, Some(REFUSED_STREAM));
        gate.open();
        for stream in open {
            assert_eq!(client.answer(stream).text(), "x");
        }
        assert_eq!(client.get("/").text(), "x");
        ringway.stop_after((client, origin));
    }

    fn frames_that_break_the_connection_end_it_with_a_reason(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let ordinary = block(&request("GET", "/"));
        let head = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &ordinary);
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("DATA without a stream (6.1)", frame(DATA, 0, 0, b"x")),
            ("DATA on an idle stream (5.1)", frame(DATA, 0, 1, b"x")),
            ("padding longer than the frame (6.1)", [head(1), frame(DATA, 8, 1, &[200, 1])].concat()),
            ("HEADERS without a stream (6.2)", frame(HEADERS, END_HEADERS | END_STREAM, 0, &ordinary)),
            ("HEADERS of an even stream (5.1.1)", head(2)),
            ("a stream that goes back (5.1.1)", [head(5), head(3)].concat()),
            ("RST_STREAM of an idle stream (6.4)", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
            ("RST_STREAM of another length (6.4)", [head(1), frame(RST_STREAM, 0, 1, &[0, 0, 8])].concat()),
            ("PRIORITY without a stream (6.3)", frame(PRIORITY, 0, 0, &[0; 5])),
            ("SETTINGS of a stream (6.5)", frame(SETTINGS, 0, 1, &[])),
            ("SETTINGS of another length (6.5)", frame(SETTINGS, 0, 0, &[0, 1, 0])),
            ("an acknowledgement with content (6.5)", frame(SETTINGS, 1, 0, &[0, 1, 0, 0, 0, 0])),
            ("ENABLE_PUSH of 2 (6.5.2)", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
            ("INITIAL_WINDOW_SIZE above 2^31-1 (6.5.2)", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
            ("MAX_FRAME_SIZE below 2^14 (6.5.2)", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x10, 0])),
            ("PUSH_PROMISE of a client (8.4)", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
            ("PING of another length (6.7)", frame(PING, 0, 0, b"short")),
            ("PING of a stream (6.7)", frame(PING, 0, 1, &[0; 8])),
            ("WINDOW_UPDATE of an idle stream (6.9)", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
            ("WINDOW_UPDATE of nothing (6.9)", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0])),
            ("WINDOW_UPDATE of another length (6.9)", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
            ("CONTINUATION of nothing (6.10)", frame(CONTINUATION, END_HEADERS, 1, &ordinary)),
            ("another frame within a head (6.10)", [frame(HEADERS, END_STREAM, 1, &ordinary), frame(PING, 0, 0, &[0; 8])].concat()),
            ("CONTINUATION of another stream (6.10)", [frame(HEADERS, END_STREAM, 1, &ordinary), frame(CONTINUATION, END_HEADERS, 3, b"")].concat()),
            ("a frame above 2^14 (4.2)", frame(DATA, 0, 1, &[0; (1 << 14) + 1])),
            ("index 0 (RFC 7541 6.1)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
            ("an index beyond the tables (RFC 7541 2.3.3)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x80, 0x01])),
            ("an index that overflows (RFC 7541 5.1)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 12])),
            ("a table above what is allowed (RFC 7541 6.3)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xe1, 0xff, 0x7f])),
            ("a new table size after a field (RFC 7541 4.2)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x20])),
            ("a text longer than the block (RFC 7541 5.2)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 0x7f, 0x10])),
            ("Huffman code of EOS (RFC 7541 5.2)", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'x'])),
        ];
        let count = cases.len() as u64;
        for (what, bytes) in cases {
            let mut client = client(&ringway);
            client.send(bytes);
            let code = client.ending();
            assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
        }
        wait_until("every end has its cause", || ended(&ringway, "http2_protocol") == count);
        let forwarded = origin.requests().len();
        assert!(forwarded <= 4, "only what came before a mistake: {forwarded}");
        ringway.stop_after(origin);
    }

    fn a_window_beyond_its_bound_is_an_error_of_flow_control(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"));
        let ringway = start(&origin, io);
        let mut stream_error = client(&ringway);
        let stream = stream_error.ask(&request("GET", "/"));
        stream_error.window(stream, 0x7fff_ffff);
        assert_eq!(stream_error.answer(stream).reset, Some(FLOW_CONTROL_ERROR));
        let mut connection_error = client(&ringway);
        connection_error.window(0, 0x7fff_ffff);
        assert_eq!(connection_error.ending(), Some(FLOW_CONTROL_ERROR));
        gate.open();
        ringway.stop_after((stream_error, origin));
    }

    fn what_is_unknown_or_optional_is_ignored(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        client.send(frame(0x42, 0xff, 0, b"an unknown frame"));
        client.send(frame(SETTINGS, 0, 0, &[0xff, 0xf0, 0, 0, 0, 1]));
        client.send(frame(PRIORITY, 0, 7, &[0, 0, 0, 3, 16]));
        let stream = client.take_stream();
        let block = block(&request_with("POST", "/", &[("content-length", "4")]));
        // Padding and a priority, and the head in three pieces.
        let (first, rest) = block.split_at(10);
        let (second, third) = rest.split_at(1);
        let padded = [&[3, 0, 0, 0, 0, 9][..], first, &[0; 3]].concat();
        client.send(frame(HEADERS, 0x08 | 0x20, stream, &padded));
        client.send(frame(CONTINUATION, 0, stream, second));
        client.send(frame(CONTINUATION, END_HEADERS, stream, third));
        client.send(frame(DATA, 0x08 | END_STREAM, stream, &[[2].as_slice(), b"body", &[0; 2]].concat()));
        assert_eq!(client.answer(stream).text(), "x");
        assert_eq!(origin.only_request().body, b"body");
        ringway.stop_after((client, origin));
    }

    fn a_preface_that_goes_wrong_is_no_http2(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = Http2Client::bare(ringway.address("web"));
        client.send(&PREFACE[..20]).send(b"oops");
        assert!(matches!(client.read_for(Duration::from_secs(5)), Line::Closed | Line::Reset));
        let mut client = Http2Client::bare(ringway.address("web"));
        client.send(PREFACE).send(frame(PING, 0, 0, &[0; 8]));
        let code = client.ending();
        assert_ne!(code, Some(0), "SETTINGS come first (3.4)");
        wait_until("its cause", || ended(&ringway, "http2_protocol") == 1);
        assert!(origin.requests().is_empty());
        ringway.stop_after(origin);
    }
}
