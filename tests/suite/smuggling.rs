//! Requests on whose borders two readers could disagree: refused before anything is forwarded (R1 to R9, R19 to
//! R27; malformed heads are in `heads`).

use std::time::Duration;

use crate::harness::{Client, Ending, Io, Origin, Reply, Ringway, Setup};

/// Sends each request on a connection of its own. It has to be answered with one of the statuses, the
/// connection has to end, and the origin must not have seen a single byte.
#[track_caller]
pub(crate) fn refused<B: AsRef<[u8]>>(io: Io, statuses: &[u16], requests: impl IntoIterator<Item = B>) {
    let origin = Origin::ok("forwarded");
    let ringway = Setup::to(origin.address()).start(io);
    let web = ringway.address("web");
    for request in requests {
        let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
        let mut client = Client::connect(web);
        // A body that a refused head is followed by may still be on its way when the answer is read.
        client.send(request.as_ref()).finish_sending();
        match client.try_response("GET") {
            Ok(response) => {
                assert!(statuses.contains(&response.status), "{shown:?} answered with {response:?}");
                assert!(response.closes(), "{shown:?} must close: {response:?}");
            }
            Err(broken) => panic!("{shown:?}: {}", broken.describe()),
        }
        client.expect_end();
        assert_eq!(String::from_utf8_lossy(&origin.raw()), "", "forwarded after {shown:?}");
    }
    ringway.stop_after(origin);
}

/// Requests whose head is fine and whose body is not: the origin may see the beginning, never a whole request.
#[track_caller]
fn never_completed<B: AsRef<[u8]>>(io: Io, bodies: impl IntoIterator<Item = B>) {
    let origin = Origin::ok("completed");
    let ringway = Setup::to(origin.address()).start(io);
    let web = ringway.address("web");
    for body in bodies {
        let shown = String::from_utf8_lossy(body.as_ref()).into_owned();
        let mut client = Client::connect(web);
        client.send("POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(body.as_ref()).finish_sending();
        if let Ok(response) = client.try_response("POST") {
            assert_eq!(response.status, 400, "{shown:?} answered with {response:?}");
        }
        assert!(origin.requests().is_empty(), "{shown:?} reached the origin as a whole request");
    }
    ringway.stop_after(origin);
}

/// One request that is forwarded, and what the origin saw of it.
pub(crate) fn forwarded(
    origin: &Origin,
    ringway: &Ringway,
    request: impl AsRef<[u8]>,
) -> crate::harness::Received {
    let before = origin.requests().len();
    let mut client = ringway.client();
    let method = String::from_utf8_lossy(request.as_ref()).split(' ').next().unwrap_or("").to_string();
    let response = client.send(request.as_ref()).response(&method);
    assert_eq!(response.status, 200, "{:?}: {}", String::from_utf8_lossy(request.as_ref()), response.text());
    origin.requests().into_iter().nth(before).expect("one more request at the origin")
}

pub(crate) fn get_with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

fn post_with(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}")
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

both! {
    fn r1_length_beside_transfer_encoding_is_refused(io) {
        let (length, coding) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
        let fields = [
            format!("{length}{coding}"),
            format!("{coding}{length}"),
            format!("content-length: 4\r\n{coding}"),
            "CONTENT-LENGTH: 4\r\nTRANSFER-ENCODING: CHUNKED\r\n".into(),
            format!("{length}Transfer-Encoding: Chunked\r\n"),
            format!("Content-Length: 0\r\n{coding}"),
            format!("{coding}X-A: b\r\n{length}"),
            "Transfer-Encoding:\tchunked\r\nContent-Length:\t4\r\n".into(),
        ];
        let bodies = ["0\r\n\r\n".to_string(), format!("0\r\n\r\n{SMUGGLED}")];
        refused(io, &[400], fields.iter().flat_map(|f| bodies.iter().map(|b| post_with(f, b))));
    }

    fn r2_lengths_that_are_not_plain_numbers_are_refused(io) {
        let values = [
            "",
            "+5",
            "-0",
            "-5",
            "0x5",
            "5 0",
            "5,6",
            "5;",
            "5.0",
            "1e1",
            "٣",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999",
            "5\t0",
            "\"5\"",
            "5 ,",
        ];
        refused(io, &[400], values.map(|v| post_with(&format!("Content-Length: {v}\r\n"), "hello")));
    }

    fn r3_a_repeated_length_is_refused(io) {
        let fields = [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5,5\r\n",
        ];
        refused(io, &[400], fields.map(|f| post_with(f, "hello")));
    }

    fn r4_transfer_codings_other_than_chunked_are_refused(io) {
        let values = [
            "",
            "identity",
            "xchunked",
            "chunkedx",
            "gzip",
            "gzip, chunked",
            "chunked, gzip",
            "chunked, chunked",
            "chunked, identity",
            "chunked;q=1",
            "chunked; a",
            ", chunked",
            "chunked,",
            "\"chunked\"",
            "'chunked'",
            "chunked\x0b",
            "\x0bchunked",
            "chunked\x0c",
            "chun ked",
            "chunked\0",
        ];
        let one = values.map(|v| post_with(&format!("Transfer-Encoding: {v}\r\n"), "0\r\n\r\n"));
        let twice = post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
        let split = post_with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
        refused(io, &[400, 501], one.into_iter().chain([twice, split]));
    }

    fn r5_transfer_encoding_on_http_1_0_is_refused(io) {
        let head = "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
        let endings =
            ["\r\n0\r\n\r\n", "Connection: keep-alive\r\n\r\n0\r\n\r\n", "Content-Length: 5\r\n\r\nhello"];
        refused(io, &[400], endings.map(|e| format!("{head}{e}")));
    }

    fn r6_bytes_after_a_request_without_length_are_the_next_request(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(format!("POST /first HTTP/1.1\r\nHost: x\r\n\r\n{SMUGGLED}"));
        client.response("POST");
        client.response("GET");
        let requests = origin.requests();
        assert_eq!(requests.iter().map(|r| r.target()).collect::<Vec<_>>(), ["/first", "/smuggled"]);
        assert!(requests.iter().all(|r| r.body.is_empty()));
        ringway.stop_after((client, origin));
    }

    fn r7_malformed_chunk_sizes_never_make_a_request(io) {
        never_completed(
            io,
            [
                "+5\r\nhello\r\n0\r\n\r\n",
                "-5\r\nhello\r\n0\r\n\r\n",
                "0x5\r\nhello\r\n0\r\n\r\n",
                "5_0\r\nhello\r\n0\r\n\r\n",
                " 5\r\nhello\r\n0\r\n\r\n",
                "5 \r\nhello\r\n0\r\n\r\n",
                "00000000000000005\r\nhello\r\n0\r\n\r\n",
                "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
                "10000000000000000\r\nhello\r\n0\r\n\r\n",
                "\r\nhello\r\n0\r\n\r\n",
                "g\r\nhello\r\n0\r\n\r\n",
                "5\r\nhello0\r\n\r\n",
                "5\r\nhello\n0\r\n\r\n",
                "5\r\nhello\r\nXX0\r\n\r\n",
                "5\nhello\r\n0\r\n\r\n",
            ],
        );
    }

    fn r8_malformed_chunk_extensions_never_make_a_request(io) {
        let long = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(300));
        let many =
            "1;aaaaaaaaaaaaaaaaaaaa=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nx\r\n".repeat(200) + "0\r\n\r\n";
        let fixed = [
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5;\x01\r\nhello\r\n0\r\n\r\n",
            "5;=v\r\nhello\r\n0\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
        ];
        never_completed(io, fixed.map(str::to_string).into_iter().chain([long, many]));
    }

    fn r8_valid_chunk_extensions_are_dropped(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let chunked = "Transfer-Encoding: chunked\r\n";
        let request = post_with(chunked, "5;name=value\r\nhello\r\n1;q=\"a b\"\r\n!\r\n0;last\r\n\r\n");
        let received = forwarded(&origin, &ringway, request);
        assert_eq!(received.body, b"hello!");
        assert!(origin.refused().is_empty(), "{:?}", origin.refused());
        ringway.stop_after(origin);
    }

    fn r8b_incomplete_units_cost_no_cpu_while_nothing_comes(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let beginnings = [
            "GET / HT",
            "GET / HTTP/1.1\r\nHost: x\r\nX",
            "POST / HTTP/1.1\r\nHost: x\r\n\
            Transfer-Encoding: chunked\r\n\r\n5;ab",
        ];
        let mut held: Vec<Client> = Vec::new();
        for number in 0..200 {
            let mut client = ringway.client();
            client.send(beginnings[number % beginnings.len()]);
            held.push(client);
        }
        let before = ringway.cpu();
        // Watching one of them is how two seconds pass.
        assert_eq!(held[0].ending_within(Duration::from_secs(2)), Ending::Open);
        let used = ringway.cpu() - before;
        assert!(used < Duration::from_millis(200), "{used:?} of CPU in two seconds of silence");
        ringway.stop_after((held, origin));
    }

    fn r9_bare_line_feeds_are_refused(io) {
        refused(
            io,
            &[400],
            [
                "GET / HTTP/1.1\nHost: x\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: x\n\r\n",
                "GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: x\r\n\n",
                "GET / HTTP/1.1\nHost: x\n\n",
                "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            ],
        );
    }

    fn r9_bare_line_feeds_in_a_chunked_body_never_make_a_request(io) {
        never_completed(
            io,
            [
                "5\nhello\r\n0\r\n\r\n",
                "5\r\nhello\n0\r\n\r\n",
                "5\r\nhello\r\n0\n\r\n",
                "5\r\nhello\r\n0\r\n\n",
                "5\r\nhello\r\n0\r\nA: b\n\r\n",
            ],
        );
    }

    fn r19_bytes_after_a_declined_upgrade_are_the_next_request_on_a_new_upstream_connection(io) {
        let origin = Origin::ok("no");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let upgrade = get_with("Connection: Upgrade\r\nUpgrade: websocket\r\n");
        client.send(format!("{upgrade}{SMUGGLED}"));
        assert_eq!(client.response("GET").status, 200);
        assert_eq!(client.response("GET").status, 200);
        let requests = origin.requests();
        assert_eq!(requests[1].target(), "/smuggled");
        assert_ne!(requests[0].connection, requests[1].connection, "not pooled after an upgrade attempt");
        ringway.stop_after((client, origin));
    }

    fn r19_an_upgrade_that_nobody_asked_for_is_no_tunnel(io) {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let origin = Origin::start(move |_| Reply::bytes(switch).then_echo());
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 502);
        let other = get_with("Connection: Upgrade\r\nUpgrade: other\r\n");
        assert_eq!(ringway.client().send(other).response("GET").status, 502);
        ringway.stop_after((client, origin));
    }

    fn r20_a_body_that_nobody_reads_is_never_a_request(io) {
        let origin = Origin::ok("x");
        let routes =
            "route \"/fixed\" { respond 200 body=\"ok\" }\nroute \"/moved\" { redirect 308 to=\"/new\" }";
        let ringway = Setup { routes, ..Setup::to(origin.address()) }.start(io);
        for target in ["/fixed", "/moved"] {
            let mut client = ringway.client();
            let length = SMUGGLED.len();
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
            ));
            let response = client.response("POST");
            assert!([200, 308].contains(&response.status));
            if response.closes() {
                client.expect_end();
            } else {
                assert_eq!(client.get("/after").status, 200);
            }
        }
        assert!(origin.requests().iter().all(|r| r.target() == "/after"), "{:?}", origin.requests());
        ringway.stop_after(origin);
    }

    fn r20_a_connection_is_kept_only_if_the_rest_of_a_chunked_body_can_be_read(io) {
        let origin = Origin::ok("x");
        let routes = "route \"/fixed\" { respond 200 body=\"ok\" }";
        let ringway = Setup { routes, ..Setup::to(origin.address()) }.start(io);
        let head = "POST /fixed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

        let mut client = ringway.client();
        client.send(format!("{head}3\r\nabc\r\n0\r\n\r\n"));
        assert!(!client.response("POST").closes(), "the body was there and is gone");
        assert_eq!(client.get("/after").status, 200);
        drop(client);

        let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        let mut client = ringway.client();
        client.send(head).send(chunk.repeat(10)).send("0\r\n\r\n");
        let response = client.response("POST");
        if response.closes() {
            client.expect_end();
        } else {
            assert_eq!(client.get("/after").status, 200, "what a response promises is kept");
        }
        ringway.stop_after((client, origin));
    }

    fn r21_only_the_exact_expectation_is_understood(io) {
        refused(
            io,
            &[417],
            ["y 100-continue", "100-continu", "200-ok", "100-continue, x"]
                .map(|value| post_with(&format!("Expect: {value}\r\nContent-Length: 1\r\n"), "")),
        );
    }

    fn r22_trailers_are_not_merged_into_fields(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let trailers = "Content-Length: 9\r\nHost: evil\r\nAuthorization: a\r\nX-Forwarded-For: 6.6.6.6\r\n\
                        X_Forwarded_For: 6.6.6.6\r\nSet-Cookie: a\r\nX-Own: 1\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        let received =
            forwarded(&origin, &ringway, post_with(chunked, &format!("1\r\na\r\n0\r\n{trailers}\r\n")));
        assert_eq!(received.trailers, [("X-Own".to_string(), "1".to_string())]);
        assert_eq!(received.head.get("host"), Some("x"));
        assert_eq!(received.head.get("authorization"), None);
        ringway.stop_after(origin);
    }

    fn r24_a_thousand_pipelined_requests_are_answered_in_order(io) {
        let origin = Origin::start(|request| Reply::ok(request.target()));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let all: String = (0..1000).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        client.send(all + "BROKEN\r\n\r\n");
        for number in 0..1000 {
            assert_eq!(client.response("GET").text(), format!("/{number}"));
        }
        assert_eq!(client.response("GET").status, 400);
        client.expect_end();
        ringway.stop_after((client, origin));
    }

    fn r25_bodies_of_get_and_delete_are_forwarded_framed(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        for method in ["GET", "DELETE", "OPTIONS"] {
            let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(forwarded(&origin, &ringway, request).body, b"hello");
        }
        ringway.stop_after(origin);
        refused(io, &[413, 400], ["GET / HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"]);
    }

    fn r26_single_bytes_give_the_same_request_as_the_whole(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let request = "POST /p?q=1 HTTP/1.1\r\nHost: x\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n\
                       4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n";
        let whole = forwarded(&origin, &ringway, request);
        for size in [1, 2, 3, 7] {
            let mut client = ringway.client();
            assert_eq!(client.send_in_pieces(request, size).response("POST").status, 200);
            let pieces = origin.requests().pop().expect("a request");
            let without_id = |mut head: crate::harness::message::Head| {
                head.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("x-request-id"));
                head
            };
            assert_eq!(without_id(pieces.head), without_id(whole.head.clone()));
            assert_eq!(pieces.body, whole.body);
        }
        ringway.stop_after(origin);
    }

    fn r27_what_is_forwarded_is_written_anew(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let received = forwarded(&origin, &ringway, get_with("A:b\r\nC: \t d \t\r\nE:\r\n"));
        assert_eq!(received.head.get("a"), Some("b"));
        assert_eq!(received.head.get("c"), Some("d"));
        assert_eq!(received.head.get("e"), Some(""));
        let raw = String::from_utf8(origin.raw()).expect("ASCII");
        assert!(raw.contains("A: b\r\n") && raw.contains("C: d\r\n"), "{raw}");
        assert!(origin.refused().is_empty(), "{:?}", origin.refused());
        ringway.stop_after(origin);
    }
}
