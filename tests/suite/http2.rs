//! HTTP/2 from clients: everything that holds for a request over HTTP/1.1 holds for one over a stream, and more of them
//! go on at once.

use std::time::Duration;

use crate::harness::http2::{
    self, CANCEL, END_STREAM, Http2Client, INTERNAL_ERROR, Line, NO_ERROR, request, request_with,
};
use crate::harness::tls::Authority;
use crate::harness::{Gate, Origin, Reply, Ringway, Setup, wait_until};

/// A listener that speaks it.
const CLEARTEXT: &str = "http2 \"cleartext\"";

fn setup(origin: &Origin) -> Setup<'static> {
    Setup { listener: CLEARTEXT, ..Setup::to(origin.address()) }
}

fn client(ringway: &Ringway) -> Http2Client {
    Http2Client::connect(ringway.address("web"))
}

/// What a program writes to its standard output; it may take half a minute.
#[track_caller]
fn said_by(command: &[&str]) -> String {
    let output = std::process::Command::new("timeout").arg("30").args(command).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

both! {
    fn a_request_reaches_the_origin_and_its_answer_the_client_over_a_stream(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 201 Made\r\nContent-Length: 5\r\nX-From: origin\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                 Keep-Alive: timeout=50\r\nConnection: keep-alive\r\n\r\nhello",
            )
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.open(
            &request_with("PUT", "/path/a%20b?q=1&r", &[("content-length", "3"), ("x-to", "origin"), ("te", "trailers")]),
            0,
        );
        client.data(stream, b"abc", true);
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.text().as_str()), (201, "hello"));
        assert_eq!(answer.get("x-from"), Some("origin"));
        assert_eq!(answer.get("content-length"), Some("5"));
        let cookies: Vec<_> = answer.heads[0].iter().filter(|(name, _)| name == "set-cookie").collect();
        assert_eq!(cookies.len(), 2, "{answer:?}");
        for connection_field in ["connection", "keep-alive", "transfer-encoding"] {
            assert_eq!(answer.get(connection_field), None);
        }
        let received = origin.only_request();
        assert_eq!(received.head.start, "PUT /path/a%20b?q=1&r HTTP/1.1");
        assert_eq!(received.body, b"abc");
        assert_eq!(received.head.get("x-to"), Some("origin"));
        assert_eq!(received.head.get("host"), Some("suite.example"));
        assert_eq!(received.head.get("content-length"), Some("3"));
        let record = ringway.records(1).remove(0);
        assert_eq!(record["protocol"], "HTTP/2");
        assert_eq!((record["status"].as_u64(), record["bytes_in"].as_u64()), (Some(201), Some(3)));
        ringway.stop_after((client, origin));
    }

    fn trailers_of_responses_pass_behind_bodies_of_any_size(io) {
        let origin = Origin::start(|request| {
            let size: usize = request.target().trim_start_matches('/').parse().unwrap_or(0);
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n".to_vec();
            if size > 0 {
                bytes.extend(format!("{size:x}\r\n").bytes());
                bytes.resize(bytes.len() + size, b'b');
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nX-Sum: 7\r\nSet-Cookie: evil\r\nX-Secret: s\r\n\r\n");
            Reply::bytes(bytes)
        });
        let route = "headers { response { remove \"X-Secret\" } }";
        let ringway = Setup { route, ..setup(&origin) }.start(io);
        let mut client = client(&ringway);
        for size in [0, 1, 16 << 10, 1 << 20] {
            let stream = client.ask(&request("GET", &format!("/{size}")));
            let answer = client.answer(stream);
            assert_eq!((answer.status(), answer.body.len(), answer.reset), (200, size, None));
            assert_eq!(answer.get("trailer"), Some("X-Sum"));
            assert_eq!(answer.heads[1..], [vec![("x-sum".to_owned(), "7".to_owned())]], "{size}");
        }
        // Whoever asks for the head alone gets neither.
        let stream = client.ask(&request("HEAD", "/1"));
        assert_eq!(client.answer(stream).heads.len(), 1);
        ringway.stop_after((client, origin));
    }

    fn streams_go_on_beside_each_other_and_share_the_upstream_connections(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/slow" => Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"),
            target => Reply::ok(target),
        });
        let ringway = Setup { top: "workers 1\n", ..setup(&origin) }.start(io);
        let mut client = client(&ringway);
        let slow = client.ask(&request("GET", "/slow"));
        for turn in 0..20 {
            let path = format!("/{turn}");
            assert_eq!(client.get(&path).text(), path);
        }
        gate.open();
        assert_eq!(client.answer(slow).text(), "slow");
        assert_eq!(origin.connections(), 2, "one for the slow one, one for all others");
        ringway.stop_after((client, origin));
    }

    fn bodies_without_a_length_are_chunked_upstream_and_end_with_the_stream_downstream(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .then_in_pieces("10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n", 1)
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.open(&request("POST", "/"), 0);
        for piece in [&b"one "[..], b"", b"two ", b"three"] {
            client.data(stream, piece, false);
        }
        client.data(stream, b"", true);
        let answer = client.answer(stream);
        assert_eq!(answer.text(), "abc0123456789abcdef");
        assert_eq!(answer.get("transfer-encoding"), None);
        assert!(answer.ended && answer.reset.is_none());
        let received = origin.only_request();
        assert_eq!(received.head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(received.body, b"one two three");
        ringway.stop_after((client, origin));
    }

    fn a_body_that_lasts_until_the_origin_closes_ends_the_stream(io) {
        let origin = Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\n\r\nall of it").then_close());
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let answer = client.get("/");
        assert_eq!((answer.text().as_str(), answer.ended), ("all of it", true));
        ringway.stop_after((client, origin));
    }

    fn answers_without_a_body_end_with_their_head(io) {
        let origin = Origin::start(|request| match request.target() {
            "/204" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
            "/304" => Reply::bytes("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
            _ => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        assert_eq!(client.get("/204").status(), 204);
        assert_eq!(client.get("/304").get("etag"), Some("\"a\""));
        let stream = client.ask(&request("HEAD", "/h"));
        let answer = client.answer(stream);
        assert_eq!((answer.get("content-length"), answer.body.len(), answer.ended), (Some("500"), 0, true));
        ringway.stop_after((client, origin));
    }

    fn our_own_answers_and_redirects_come_over_streams_too(io) {
        let origin = Origin::ok("x");
        let ringway = Setup {
            routes: "route \"/fixed\" { respond 200 body=\"fixed\"; }; route \"/old/\" { redirect 308 to=\"/new/\"; }",
            ..setup(&origin)
        }
        .start(io);
        let mut client = client(&ringway);
        assert_eq!(client.get("/fixed").text(), "fixed");
        let moved = client.get("/old/page");
        assert_eq!(moved.status(), 308);
        assert!(moved.get("location").is_some_and(|to| to.contains("/new/")));
        drop(origin);
        let failed = client.get("/gone");
        assert_eq!((failed.status(), failed.get("content-type")), (502, Some("application/problem+json")));
        assert!(failed.text().contains("connect_refused"), "{failed:?}");
        ringway.stop_after(client);
    }

    fn expectations_and_early_hints_are_informational_answers_on_the_stream(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            )
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.open(&request_with("POST", "/", &[("expect", "100-continue"), ("content-length", "4")]), 0);
        client.read_until("100", |client| {
            let first = client.peek(stream).and_then(|answer| answer.heads.first());
            first.is_some_and(|head| http2::get(head, ":status") == Some("100"))
        });
        client.data(stream, b"body", true);
        let answer = client.answer(stream);
        let statuses: Vec<_> = answer.heads.iter().filter_map(|head| http2::get(head, ":status")).collect();
        assert_eq!(statuses, ["100", "103", "200"]);
        assert_eq!(http2::get(&answer.heads[1], "link"), Some("</a.css>"));
        assert_eq!(origin.only_request().body, b"body");
        ringway.stop_after((client, origin));
    }

    fn an_early_answer_ends_the_upload_and_nothing_else(io) {
        let origin = Origin::start(|request| match request.method() {
            "POST" => Reply::bytes("HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
                .before_body()
                .then_close(),
            _ => Reply::ok("still here"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.open(&request("POST", "/"), 0);
        client.data(stream, &[b'x'; 1000], false);
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
        client.read_until("the reset that says so", |client| {
            client.peek(stream).is_none_or(|answer| answer.reset == Some(NO_ERROR))
        });
        assert_eq!(client.get("/").text(), "still here");
        ringway.stop_after((client, origin));
    }

    fn a_cancelled_request_is_taken_back_from_the_origin(io) {
        let origin = Origin::start(|request| match request.target() {
            "/hang" => Reply::silence(),
            _ => Reply::ok("x"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.ask(&request("GET", "/hang"));
        origin.wait_for_requests(1);
        client.reset(stream, CANCEL);
        wait_until("the origin's connection has ended", || origin.open_connections() == 0);
        assert_eq!(client.get("/").text(), "x");
        let record = ringway.records(2).into_iter().find(|record| record["path"] == "/hang").expect("logged");
        assert_eq!((record["cause"].as_str(), record["status"].as_u64()), (Some("client_gone"), Some(499)));
        ringway.stop_after((client, origin));
    }

    fn a_truncated_answer_resets_its_stream_and_no_other(io) {
        let origin = Origin::start(|request| match request.target() {
            "/cut" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").then_close(),
            _ => Reply::ok("x"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let cut = client.get("/cut");
        assert_eq!((cut.status(), cut.reset, cut.ended), (200, Some(INTERNAL_ERROR), false));
        assert_eq!(client.get("/").text(), "x");
        let record = &ringway.records(1)[0];
        assert_eq!(record["cause"], "upstream_truncated");
        ringway.stop_after((client, origin));
    }

    fn flow_control_reaches_from_end_to_end(io) {
        let body = "x".repeat(4 << 20);
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let origin = Origin::start(move |request| match request.target() {
            "/big" => Reply::bytes(&text),
            _ => Reply::ok("small"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        client.gives_windows = false;
        let before = ringway.resident_bytes();
        let big = client.ask(&request("GET", "/big"));
        // The window of a stream is 65,535 bytes unless the client says otherwise.
        client.read_until("a full window", |client| client.peek(big).is_some_and(|answer| answer.body.len() == 65_535));
        assert_eq!(client.read_for(Duration::from_millis(200)), Line::Silent);
        assert_eq!(client.peek(big).map(|answer| answer.body.len()), Some(65_535));
        let grown = ringway.resident_bytes().saturating_sub(before);
        assert!(grown < 2 << 20, "{grown} bytes are held for a stream that stands still");
        // The window of the connection is used up as well; another stream gets what is given to both.
        client.window(0, 1 << 20);
        client.gives_windows = true;
        assert_eq!(client.get("/").text(), "small");
        client.window(big, 1 << 20);
        let answer = client.answer(big);
        assert_eq!((answer.body.len(), answer.ended), (4 << 20, true));
        ringway.stop_after((client, origin));
    }

    fn an_upload_goes_no_faster_than_the_origin_reads(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::default().before_body().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.open(&request("POST", "/"), 0);
        client.ping();
        let window = client.settings.get(&4).copied().expect("INITIAL_WINDOW_SIZE");
        assert_eq!(window, 256 << 10);
        for _ in 0..16 {
            client.data(stream, &[b'x'; 16 << 10], false);
        }
        client.ping();
        gate.open();
        client.data(stream, b"", true);
        let answer = client.answer(stream);
        assert_eq!(answer.status(), 200, "{answer:?}");
        ringway.stop_after((client, origin));
    }

    fn r34_cookies_in_pieces_become_one(io) {
        let origin = Origin::ok("x");
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.ask(&request_with("GET", "/", &[("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2"), ("cookie", "c=3")]));
        assert_eq!(client.answer(stream).status(), 200);
        assert_eq!(origin.only_request().head.all("cookie"), ["a=1; b=2; c=3"]);
        ringway.stop_after((client, origin));
    }

    fn both_versions_are_spoken_on_one_address(io) {
        let origin = Origin::ok("x");
        let ringway = setup(&origin).start(io);
        let mut old = ringway.client();
        let mut new = client(&ringway);
        assert_eq!(old.get("/").text(), "x");
        assert_eq!(new.get("/").text(), "x");
        // The first bytes of the preface could still become another method.
        let mut slow = ringway.client();
        slow.send_in_pieces("PRINT / HTTP/1.1\r\nHost: suite.example\r\n\r\n", 1);
        assert_eq!(slow.response("PRINT").text(), "x");
        let mut dripped = Http2Client::bare(ringway.address("web"));
        for byte in http2::PREFACE.iter().copied().chain(http2::frame(http2::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])) {
            dripped.send([byte]);
        }
        assert_eq!(dripped.get("/").text(), "x");
        ringway.stop_after((old, new, slow, dripped, origin));
    }

    fn r39_the_preface_is_refused_where_it_is_not_enabled(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(http2::PREFACE);
        assert!(matches!(client.response("PRI").status, 400 | 505));
        assert!(origin.raw().is_empty());
        ringway.stop_after((client, origin));
    }

    fn draining_says_goodbye_in_two_steps_and_finishes_what_is_open(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/slow" => Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"),
            _ => Reply::ok("x"),
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        client.is_polite = false;
        let slow = client.ask(&request("GET", "/slow"));
        origin.wait_for_requests(1);
        ringway.signal("TERM");
        client.read_until("the first GOAWAY", |client| !client.goaways.is_empty());
        assert_eq!(client.goaways[0].last_stream(), 0x7fff_ffff);
        // A request that was on its way then is still served.
        let late = client.ask(&request("GET", "/late"));
        assert_eq!(client.answer(late).text(), "x");
        client.is_polite = true;
        // The acknowledgement of the PING that went with it brings the second one.
        client.send(http2::frame(http2::PING, http2::ACK, 0, &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54]));
        client.read_until("the second GOAWAY", |client| client.goaways.len() == 2);
        assert_eq!((client.goaways[1].last_stream(), client.goaways[1].code()), (late, NO_ERROR));
        gate.open();
        assert_eq!(client.answer(slow).text(), "done");
        assert_eq!(client.ending(), Some(NO_ERROR));
        ringway.expect_clean_exit();
    }

    fn draining_ends_idle_connections_at_once(io) {
        let origin = Origin::ok("x");
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        assert_eq!(client.get("/").text(), "x");
        ringway.signal("TERM");
        assert_eq!(client.ending(), Some(NO_ERROR));
        ringway.expect_clean_exit();
    }

    fn a_connection_carries_as_many_requests_as_one_may_for_each_stream(io) {
        let origin = Origin::ok("x");
        let ringway = Setup {
            listener: "http2 \"cleartext\"; limits { requests-per-connection 1; streams 3; }",
            ..Setup::to(origin.address())
        }
        .start(io);
        let mut client = client(&ringway);
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "x");
        }
        assert_eq!(client.ending(), Some(NO_ERROR));
        assert_eq!(client.goaways.last().map(http2::Frame::last_stream), Some(5));
        ringway.stop_after((client, origin));
    }

    fn a_websocket_is_a_tunnel_over_a_stream(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: whatever\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            )
            .then_echo()
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        client.ping();
        assert_eq!(client.settings.get(&8), Some(&1), "ENABLE_CONNECT_PROTOCOL");
        let fields = request_with("CONNECT", "/chat", &[("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")]);
        let mut fields = fields;
        fields.insert(1, (":protocol".into(), "websocket".into()));
        let stream = client.open(&fields, 0);
        client.data(stream, b"hello", false);
        client.read_until("the echo", |client| client.peek(stream).is_some_and(|answer| answer.body == b"hello"));
        let answer = client.peek(stream).expect("just read");
        assert_eq!((answer.status(), answer.get("sec-websocket-protocol")), (200, Some("chat")));
        assert_eq!((answer.get("upgrade"), answer.get("sec-websocket-accept")), (None, None));
        let asked = origin.only_request();
        assert_eq!(asked.head.start, "GET /chat HTTP/1.1");
        assert_eq!(asked.head.get("sec-websocket-key").map(str::len), Some(24));
        assert!(asked.head.lists("connection", "upgrade") && asked.head.lists("upgrade", "websocket"));
        client.data(stream, b" again", true);
        let answer = client.answer(stream);
        assert_eq!((answer.text().as_str(), answer.ended), ("hello again", true));
        ringway.stop_after((client, origin));
    }

    fn server_sent_events_are_passed_on_as_they_come(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .then("9\r\ndata: 1\n\n\r\n")
                .then_wait(&held)
                .then("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        });
        let ringway = setup(&origin).start(io);
        let mut client = client(&ringway);
        let stream = client.ask(&request("GET", "/events"));
        client.read_until("the first event", |client| {
            client.peek(stream).is_some_and(|answer| answer.body == b"data: 1\n\n")
        });
        gate.open();
        assert_eq!(client.answer(stream).text(), "data: 1\n\ndata: 2\n\n");
        ringway.stop_after((client, origin));
    }

    fn limits_of_requests_hold_for_streams(io) {
        let origin = Origin::ok("x");
        let ringway = Setup {
            listener: "http2 \"cleartext\"; limits { header \"4KiB\"; header-line \"4KiB\"; header-fields 20; uri \"1KiB\"; }",
            route: "limits { body \"10B\"; }",
            ..Setup::to(origin.address())
        }
        .start(io);
        let mut client = client(&ringway);
        let mut status_of = |fields: &[(String, String)], body: &[u8]| {
            let stream = client.open(fields, if body.is_empty() { END_STREAM } else { 0 });
            if !body.is_empty() {
                client.data(stream, body, true);
            }
            client.answer(stream).status()
        };
        assert_eq!(status_of(&request("GET", "/"), b""), 200);
        assert_eq!(status_of(&request_with("GET", "/", &[("x-long", &"v".repeat(4 << 10))]), b""), 431);
        assert_eq!(status_of(&request_with("GET", "/", &[("x-n", "v"); 21]), b""), 431);
        assert_eq!(status_of(&request("GET", &format!("/{}", "u".repeat(1 << 10))), b""), 414);
        assert_eq!(status_of(&request_with("POST", "/", &[("content-length", "11")]), b"01234567890"), 413);
        assert_eq!(status_of(&request("POST", "/"), b"01234567890"), 413);
        assert_eq!(status_of(&request("POST", "/"), b"0123456789"), 200);
        ringway.stop_after((client, origin));
    }

    fn with_tls_the_handshake_decides(io) {
        let origin = Origin::ok("x");
        let authority = Authority::new();
        authority.issue("a", &["localhost"]);
        let (ca, listener) = (authority.ca(), authority.certificate("a"));
        let listener = format!("http2 #true; tls {{ {listener} }}");
        let ringway = Setup { listener: &listener, ..Setup::to(origin.address()) }.start(io);
        let port = ringway.address("web").port();
        let (url, to) = (format!("https://localhost:{port}/page"), format!("localhost:{port}:127.0.0.1"));
        let curl = |more: &[&str]| {
            let mut command = vec!["curl", "--silent", "--show-error", "--cacert", &ca, "--resolve", &to];
            command.extend_from_slice(more);
            command.push(&url);
            said_by(&command)
        };
        assert!(curl(&["--http2", "--include"]).starts_with("HTTP/2 200"));
        assert!(curl(&["--http1.1", "--include"]).starts_with("HTTP/1.1 200"));
        let big = "d".repeat(300_000);
        std::fs::write(authority.path("big"), &big).expect("a file");
        let file = format!("@{}", authority.path("big"));
        assert_eq!(curl(&["--http2", "--data-binary", &file]), "x");
        let load = said_by(&["h2load", "-n", "600", "-c", "3", "-m", "20", &format!("https://127.0.0.1:{port}/")]);
        assert!(load.contains("600 done"), "{load}");
        // Records of different workers come in any order.
        let records = ringway.records(603);
        let of_page = records.iter().filter(|record| record["path"] == "/page");
        let mut protocols: Vec<_> = of_page.map(|record| record["protocol"].as_str()).collect();
        protocols.sort_unstable();
        assert_eq!(protocols, [Some("HTTP/1.1"), Some("HTTP/2"), Some("HTTP/2")]);
        let forwarded = &origin.requests()[0];
        assert_eq!(forwarded.head.get("x-forwarded-proto"), Some("https"));
        assert_eq!(origin.requests()[2].body.len(), big.len());
        ringway.stop_after(origin);
    }

    fn curl_and_h2load_are_served(io) {
        let origin = Origin::start(|_| Reply::ok(&"x".repeat(1000)));
        let ringway = setup(&origin).start(io);
        let url = format!("http://{}/page", ringway.address("web"));
        let said = said_by(&["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--include", "--data", "0123456789", &url]);
        assert!(said.starts_with("HTTP/2 200") && said.ends_with("xxx"), "curl got {said}");
        assert_eq!(origin.only_request().body, b"0123456789");
        let said = said_by(&["h2load", "-n", "600", "-c", "3", "-m", "20", &url]);
        assert!(said.contains("600 succeeded, 0 failed, 0 errored"), "{said}");
        ringway.stop_after(origin);
    }
}
