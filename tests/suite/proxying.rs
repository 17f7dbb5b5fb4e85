//! What a proxy is for: requests and answers of every framing arrive whole, in order and on kept connections.

use crate::harness::{Ending, Gate, Nginx, Origin, Reply, Setup};

fn head(start: &str, fields: &str) -> String {
    format!("{start}\r\nHost: suite.example\r\n{fields}\r\n")
}

both! {
    fn a_request_reaches_the_origin_and_its_answer_the_client(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 201 Made\r\nContent-Length: 5\r\nX-From: origin\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhello",
            )
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(
            head("PUT /path/a%20b?q=1&r HTTP/1.1", "Content-Length: 3\r\nX-To: origin\r\nCookie: c=3\r\n")
                + "abc",
        );
        let response = client.response("PUT");
        assert_eq!((response.status, response.text().as_str()), (201, "hello"));
        assert_eq!(response.head.get("x-from"), Some("origin"));
        assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
        let request = origin.only_request();
        assert_eq!(request.head.start, "PUT /path/a%20b?q=1&r HTTP/1.1");
        assert_eq!(request.body, b"abc");
        assert_eq!(request.head.get("x-to"), Some("origin"));
        assert_eq!(request.head.get("cookie"), Some("c=3"));
        assert_eq!(request.head.get("host"), Some("suite.example"));
        ringway.stop_after((client, origin));
    }

    fn both_sides_keep_their_connection(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for _ in 0..50 {
            assert!(!client.get("/").closes());
        }
        assert_eq!(origin.connections(), 1);
        ringway.stop_after((client, origin));
    }

    fn a_client_that_asks_for_close_is_closed_and_the_upstream_is_kept(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { top: "workers 1\n", ..Setup::to(origin.address()) }.start(io);
        for _ in 0..5 {
            let mut client = ringway.client();
            let response = client.send(head("GET / HTTP/1.1", "Connection: close\r\n")).response("GET");
            assert!(response.closes());
            assert_eq!(client.expect_end(), Ending::Closed);
        }
        assert_eq!(origin.connections(), 1);
        ringway.stop_after(origin);
    }

    fn an_upstream_that_closes_does_not_close_the_client(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx").then_close()
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for _ in 0..5 {
            assert!(!client.get("/").closes());
        }
        assert_eq!(origin.connections(), 5);
        ringway.stop_after((client, origin));
    }

    fn pipelined_requests_are_answered_in_order(io) {
        let origin = Origin::start(|request| Reply::ok(request.target()));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let post = head("POST /b HTTP/1.1", "Content-Length: 5\r\n") + "GET /";
        client.send(
            head("GET /a HTTP/1.1", "")
                + &post
                + &head("HEAD /c HTTP/1.1", "")
                + &head("GET /d HTTP/1.1", ""),
        );
        assert_eq!(client.response("GET").text(), "/a");
        assert_eq!(client.response("POST").text(), "/b");
        assert_eq!(client.response("HEAD").head.get("content-length"), Some("2"));
        assert_eq!(client.response("GET").text(), "/d");
        assert_eq!(origin.requests()[1].body, b"GET /");
        ringway.stop_after((client, origin));
    }

    fn answers_without_a_body_leave_the_connection_at_a_border(io) {
        let origin = Origin::start(|request| match request.target() {
            "/204" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
            "/304" => Reply::bytes("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 500\r\n\r\n"),
            "/empty" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for _ in 0..3 {
            assert_eq!(client.get("/204").status, 204);
            assert_eq!(client.get("/304").head.get("etag"), Some("\"a\""));
            let length = client
                .send(head("HEAD /h HTTP/1.1", ""))
                .response("HEAD")
                .head
                .get("content-length")
                .map(str::to_string);
            assert_eq!(length.as_deref(), Some("500"));
            assert_eq!(client.get("/empty").text(), "");
        }
        assert_eq!(origin.connections(), 1);
        ringway.stop_after((client, origin));
    }

    fn trailers_of_chunked_bodies_pass_to_whoever_takes_them(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n3\r\nabc\r\n")
                .then_in_pieces("10;x=y\r\n0123456789abcdef\r\n0\r\nX-Trailer: 1\r\n\r\n", 1)
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(head("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n") + "1\r\na\r\n");
        client.send("2\r\nbc\r\n0\r\nX-Trailer: 1\r\n\r\n");
        let response = client.response("POST");
        assert_eq!(response.text(), "abc0123456789abcdef");
        assert!(response.trailers.is_empty(), "nobody said that they are taken");
        assert_eq!(response.head.get("trailer"), None);
        let received = origin.only_request();
        assert_eq!(received.body, b"abc");
        assert_eq!(received.trailers, [("X-Trailer".to_string(), "1".to_string())]);
        assert_eq!(received.head.get("te"), None);
        client.send(head("GET / HTTP/1.1", "TE: gzip;q=1, Trailers\r\nConnection: te\r\n"));
        let response = client.response("GET");
        assert_eq!(response.text(), "abc0123456789abcdef");
        assert_eq!(response.trailers, [("X-Trailer".to_string(), "1".to_string())]);
        assert_eq!(response.head.get("trailer"), Some("X-Trailer"));
        let received = origin.requests().pop().expect("two requests");
        assert_eq!((received.head.get("te"), received.head.get("connection")), (Some("trailers"), Some("TE")));
        assert_eq!(client.get("/").status, 200);
        ringway.stop_after((client, origin));
    }

    fn the_first_bytes_of_a_body_do_not_wait_for_the_rest(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").then_wait(&held).then("def")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(head("GET / HTTP/1.1", ""));
        assert_eq!(client.head().map(|h| h.start).ok().as_deref(), Some("HTTP/1.1 200 OK"));
        assert_eq!(client.exactly(3), b"abc");
        gate.open();
        assert_eq!(client.exactly(3), b"def");
        ringway.stop_after((client, origin));
    }

    fn a_body_that_ends_with_the_connection_reaches_old_and_new_clients(io) {
        let origin = Origin::start(|_| Reply::bytes("HTTP/1.0 200 OK\r\n\r\nuntil the end").then_close());
        let ringway = Setup::to(origin.address()).start(io);
        let mut new = ringway.client();
        assert_eq!(new.get("/").text(), "until the end");
        assert_eq!(new.get("/").text(), "until the end", "chunked for HTTP/1.1, so the connection stays");
        let mut old = ringway.client();
        let response = old.send("GET / HTTP/1.0\r\nHost: x\r\n\r\n").response("GET");
        assert_eq!(response.text(), "until the end");
        assert!(response.head.all("transfer-encoding").is_empty(), "{response:?}");
        ringway.stop_after((new, old, origin));
    }

    fn http_1_0_clients_are_closed_unless_they_ask_for_keep_alive(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.0\r\nHost: x\r\n\r\n").response("GET");
        client.expect_end();
        drop(client);
        let mut client = ringway.client();
        for _ in 0..3 {
            let response =
                client.send("GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n").response("GET");
            assert!(response.head.lists("connection", "keep-alive"), "{response:?}");
        }
        assert!(origin.requests().iter().all(|r| r.head.start.ends_with("HTTP/1.1")));
        ringway.stop_after((client, origin));
    }

    fn we_ask_for_the_body_only_when_it_is_wanted(io) {
        let origin = Origin::ok("x");
        let ringway =
            Setup { routes: "route \"/fixed\" { respond 403 body=\"no\" }", ..Setup::to(origin.address()) }
                .start(io);
        let expect = "Expect: 100-continue\r\nContent-Length: 5\r\n";
        let mut client = ringway.client();
        client.send(head("POST / HTTP/1.1", expect));
        assert_eq!(client.head().map(|h| h.start).ok().as_deref(), Some("HTTP/1.1 100 Continue"));
        assert_eq!(client.send("hello").response("POST").status, 200);
        assert_eq!(origin.only_request().body, b"hello");
        drop(client);
        let mut client = ringway.client();
        let response = client.send(head("POST /fixed HTTP/1.1", expect)).response("POST");
        assert_eq!((response.status, response.interim.len()), (403, 0));
        ringway.stop_after((client, origin));
    }

    fn a_body_sent_without_waiting_for_continue_is_taken(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(head("POST / HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n") + "hello");
        assert_eq!(client.response("POST").status, 200);
        assert_eq!(client.get("/").status, 200);
        assert_eq!(origin.requests()[0].body, b"hello");
        ringway.stop_after((client, origin));
    }

    fn a_websocket_is_a_tunnel_after_its_handshake(io) {
        // Key and answer of RFC 6455 §1.3.
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .then_echo()
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let handshake = head(
            "GET /chat HTTP/1.1",
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        let response = client.send(handshake).response("GET");
        assert_eq!(response.status, 101);
        assert_eq!(response.head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(response.head.lists("connection", "upgrade") && response.head.lists("upgrade", "websocket"));
        let request = origin.only_request();
        assert_eq!(request.head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(request.head.lists("connection", "upgrade"));
        assert_eq!(client.send(frame).exactly(frame.len()), frame);
        let long = vec![0x5a; 1 << 20];
        std::thread::scope(|scope| {
            let mut writer = client.second();
            let bytes = &long;
            scope.spawn(move || {
                writer.send(bytes);
            });
            assert!(client.exactly(long.len()) == long);
        });
        client.finish_sending();
        assert_eq!(client.expect_end(), Ending::Closed);
        ringway.stop_after((client, origin));
    }

    fn a_tunnel_passes_bulk_through_the_kernel_and_tells_of_its_cut(io) {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let bulk = vec![b'.'; 8 << 20];
        let sent = bulk.clone();
        let origin = Origin::start(move |request| {
            let bulk = Reply::bytes(switching).then(&sent);
            if request.target() == "/reset" { bulk.then_reset() } else { bulk.then_close() }
        });
        let ringway = Setup::to(origin.address()).start(io);
        let upgrade = |target: &str| {
            let mut client = ringway.client();
            client.send(head(&format!("GET {target} HTTP/1.1"), "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
            assert_eq!(client.response("GET").status, 101);
            client
        };
        let mut client = upgrade("/close");
        assert!(client.exactly(bulk.len()) == bulk);
        assert_eq!(client.expect_end(), Ending::Closed);
        client.finish_sending();
        let mut cut = upgrade("/reset");
        assert_eq!(cut.expect_end_after_bytes(), Ending::Reset);
        let causes: Vec<_> = ringway.records(2).iter().map(|record| record["cause"].clone()).collect();
        assert!(causes.contains(&"upstream_gone".into()), "{causes:?}");
        let metrics = ringway.admin("/metrics").text();
        let spliced = metrics.lines().find_map(|line| line.strip_prefix("ringway_tunnel_spliced_bytes_total "));
        let spliced: u64 = spliced.and_then(|number| number.parse().ok()).expect("there is such a metric");
        assert!(spliced > 4 << 20, "{spliced} bytes through pipes");
        ringway.stop_after((client, cut, origin));
    }

    fn bytes_sent_with_the_handshake_reach_the_tunnel(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfrom",
            )
            .then_echo()
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(head("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n") + "early");
        assert_eq!(client.response("GET").status, 101);
        assert_eq!(client.exactly(9), b"fromearly");
        ringway.stop_after((client, origin));
    }

    fn large_bodies_arrive_whole_in_both_directions(io) {
        let nginx = Nginx::start("files");
        let ringway = Setup::to(nginx.address()).start(io);
        let mut client = ringway.client();
        for (target, bytes) in
            [("/128b", 128), ("/16k", 16 << 10), ("/1m", 1 << 20), ("/64m", 64 << 20), ("/128b", 128)]
        {
            assert_eq!(client.get(target).body.len(), bytes, "{target}");
        }
        ringway.stop_after((client, nginx));
        let origin = Origin::start(|request| Reply::ok(&request.head.all("content-length").join(",")));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        client.send(head("POST / HTTP/1.1", &format!("Content-Length: {}\r\n", body.len()))).send(&body);
        assert_eq!(client.response("POST").text(), body.len().to_string());
        assert!(origin.only_request().body == body);
        ringway.stop_after((client, origin));
    }

    fn routes_answer_redirect_and_miss_by_themselves(io) {
        let text = "listener \"web\" { bind \"127.0.0.1:0\" }
site \"a.example\" {
    route \"/health\" { respond 200 body=\"ok\" }
    route \"/old/\" { redirect 308 to=\"/new/\" }
}
";
        let ringway = crate::harness::Ringway::start(text, io);
        let mut client = ringway.client();
        let mut get = |target: &str, host: &str| {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).response("GET")
        };
        assert_eq!(get("/health", "a.example").text(), "ok");
        let moved = get("/old/x", "A.Example");
        assert_eq!((moved.status, moved.head.get("location")), (308, Some("/new/")));
        assert_eq!(get("/other", "a.example").status, 404);
        assert_eq!(get("/health", "b.example").status, 404);
        ringway.stop_after(client);
    }

    fn requests_are_spread_over_the_endpoints(io) {
        let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
        let endpoints = origins.iter().map(Origin::address).collect();
        let ringway = Setup { endpoints, upstream: "balance \"round-robin\"", ..Setup::default() }.start(io);
        let mut client = ringway.client();
        for _ in 0..30 {
            assert_eq!(client.get("/").status, 200);
        }
        assert_eq!(origins.each_ref().map(|origin| origin.requests().len()), [10, 10, 10]);
        ringway.stop_after((client, origins));
    }
}
