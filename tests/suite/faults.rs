//! Upstreams that refuse, break off, lie or dawdle: what the client gets, and what is never reused (R102 to R113).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::harness::{Broken, Client, Gate, Io, Origin, Reply, Setup, message, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// An address on loopback where nobody listens.
fn closed_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// The answer to a GET when the only endpoint answers with exactly these bytes and closes.
#[track_caller]
fn each_gives(io: Io, status: u16, answers: Vec<Vec<u8>>) {
    let count = answers.len();
    let origin = Origin::start(move |request| {
        let number: usize = request.target()[1..].parse().unwrap_or(0);
        Reply::bytes(&answers[number]).then_close()
    });
    let ringway = Setup::to(origin.address()).start(io);
    for number in 0..count {
        let mut client = ringway.client();
        let response = client.get(&format!("/{number}"));
        assert_eq!(response.status, status, "vector {number}: {response:?}");
        assert!(response.head.all("x-leaked").is_empty(), "vector {number} leaked a partial head");
    }
    ringway.stop_after(origin);
}

/// Reads one answer that must turn out broken, and returns how.
#[track_caller]
fn broken(client: &mut Client) -> Broken {
    match client.try_response("GET") {
        Ok(response) => panic!("a truncated answer looked complete: {response:?}"),
        Err(broken) => broken,
    }
}

both! {
    fn r102_a_refused_connection_is_502_and_the_log_says_why(io) {
        let ringway = Setup::to(closed_address()).start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 502);
        assert_eq!(ringway.records(1)[0]["cause"], "connect_refused");
        ringway.stop_after(client);
    }

    fn r102_another_endpoint_is_tried_when_one_refuses(io) {
        let origin = Origin::ok("alive");
        let endpoints = vec![closed_address(), origin.address()];
        let ringway = Setup { endpoints, upstream: "balance \"round-robin\"", ..Setup::default() }.start(io);
        let mut client = ringway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "alive");
            let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
            assert_eq!(
                client.send(post).response("POST").status,
                200,
                "nothing was sent: any method may go on"
            );
        }
        ringway.stop_after((client, origin));
    }

    fn r102_an_endpoint_that_does_not_accept_is_504(io) {
        // A full backlog: the kernel drops further connection requests.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
        socket.listen(0).expect("listen");
        let address = socket.local_addr().expect("address").as_socket().expect("an IP address");
        let limit = std::time::Duration::from_millis(100);
        let fillers: Vec<_> =
            (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, limit).ok()).collect();
        let upstream = "timeouts { connect \"300ms\" }";
        let ringway = Setup { upstream, ..Setup::to(address) }.start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 504);
        assert_eq!(ringway.records(1)[0]["cause"], "connect_timeout");
        ringway.stop_after((client, fillers));
    }

    fn r103_a_head_cut_at_any_byte_is_502_and_never_leaks(io) {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Leaked: yes\r\nServer: fup\r\n\r\n";
        each_gives(io, 502, (0..head.len()).map(|cut| head[..cut].to_vec()).collect());
    }

    fn r103_a_reset_before_the_answer_is_502(io) {
        let origin = Origin::start(|_| Reply::default().then_reset());
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(client.send(post).response("POST").status, 502);
        assert_eq!(origin.requests().len(), 1, "a POST that may have been read is never sent again");
        ringway.stop_after((client, origin));
    }

    fn r104_a_body_cut_short_never_looks_complete(io) {
        let origin = Origin::start(|request| match request.target() {
            "/length" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").then_close(),
            "/length-reset" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").then_reset(),
            "/chunk" => {
                Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc").then_close()
            }
            "/last" => {
                Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").then_close()
            }
            "/end" => Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
                .then_close(),
            _ => Reply::bytes("HTTP/1.0 200 OK\r\n\r\nabc").then_reset(),
        });
        let ringway = Setup::to(origin.address()).start(io);
        let targets = ["/length", "/length-reset", "/chunk", "/last", "/end", "/until-close"];
        for target in targets {
            let mut client = ringway.client();
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let outcome = client.send(request).try_response("GET");
            // A reset may overtake the head; then 502 is as honest.
            match outcome {
                Ok(response) => assert_eq!(response.status, 502, "{target} looked complete: {response:?}"),
                Err(Broken::Closed(_) | Broken::Reset) => {}
                Err(other) => panic!("{target}: {}", other.describe()),
            }
        }
        let records = ringway.records(targets.len());
        assert!(records.iter().all(|r| !r["cause"].is_null()), "{records:?}");
        ringway.stop_after(origin);
    }

    fn r105_excess_bytes_never_answer_another_request(io) {
        let origin = Origin::start(|request| {
            let own = format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{:>6}", &request.target()[1..]);
            Reply::bytes(own + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for number in 0..300 {
            assert_eq!(client.get(&format!("/{number}")).text().trim(), number.to_string());
        }
        assert_eq!(origin.connections(), 300, "no connection with excess bytes is used again");
        ringway.stop_after((client, origin));
    }

    fn r106_an_idle_connection_that_speaks_or_ends_is_not_used_again(io) {
        for ending in ["HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", ""] {
            let gate = Gate::default();
            let held = gate.clone();
            let origin = Origin::start(move |request| match request.target() {
                "/first" => Reply::ok("first").then_wait(&held).then(ending).then_close(),
                _ => Reply::ok("second"),
            });
            let ringway = Setup::to(origin.address()).start(io);
            let mut client = ringway.client();
            assert_eq!(client.get("/first").text(), "first");
            gate.open();
            wait_until("the upstream connection is over", || origin.open_connections() == 0);
            let post = "POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(client.send(post).response("POST").text(), "second");
            assert_eq!(origin.connections(), 2);
            ringway.stop_after((client, origin));
        }
    }

    fn r106_a_stale_connection_fails_no_idempotent_request(io) {
        let origin = Origin::start(|_| Reply::ok("x").then_close());
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for number in 0..100 {
            assert_eq!(client.get("/").status, 200, "request {number}");
        }
        ringway.stop_after((client, origin));
    }

    fn r107_answers_that_are_not_http_are_502(io) {
        let mut answers: Vec<Vec<u8>> = [
            "hello\r\n\r\n",
            "<html></html>",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 1000 High\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 600 No\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        answers.push(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(2 << 20)).into_bytes());
        answers.push(format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(10_000)).into_bytes());
        each_gives(io, 502, answers);
    }

    fn r107_malformed_chunks_of_an_answer_break_it_off(io) {
        let bodies = [
            "x\r\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "3\nabc\n0\n\n",
            "ffffffffffffffffff\r\nabc",
            "3 \r\nabc\r\n0\r\n\r\n",
        ];
        let origin = Origin::start(move |request| {
            let number: usize = request.target()[1..].parse().unwrap_or(0);
            Reply::bytes(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", bodies[number]))
        });
        let ringway = Setup::to(origin.address()).start(io);
        for number in 0..bodies.len() {
            let mut client = ringway.client();
            let outcome =
                client.send(format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")).try_response("GET");
            assert!(!matches!(&outcome, Ok(r) if r.status == 200), "vector {number}: {outcome:?}");
        }
        assert_eq!(origin.connections(), bodies.len(), "none is used again");
        ringway.stop_after(origin);
    }

    fn r108_early_hints_are_forwarded_and_continue_is_not(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 100 Continue\r\n\r\n")
                .then("HTTP/1.1 103 Early Hints\r\nLink: </s>; rel=preload\r\n\r\n")
                .then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let response = client.get("/");
        assert_eq!(response.text(), "ok");
        assert_eq!(response.interim.len(), 1, "{:?}", response.interim);
        assert_eq!(response.interim[0].get("link"), Some("</s>; rel=preload"));
        // HTTP/1.0 knows no interim answers.
        let mut old = ringway.client();
        old.send("GET / HTTP/1.0\r\nHost: x\r\n\r\n");
        assert!(old.response("GET").interim.is_empty());
        ringway.stop_after((client, old, origin));
    }

    fn r108_too_many_or_framed_interim_answers_are_502(io) {
        let hint = "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let origin = Origin::start(move |request| match request.target() {
            "/many" => Reply::bytes(hint.repeat(1000) + last),
            "/framed" => Reply::bytes(format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{last}")),
            _ => {
                Reply::bytes(format!("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n{last}"))
            }
        });
        let ringway = Setup::to(origin.address()).start(io);
        for target in ["/many", "/framed", "/chunked"] {
            assert_eq!(ringway.client().get(target).status, 502, "{target}");
        }
        ringway.stop_after(origin);
    }

    fn r109_bodies_where_none_may_be_are_dropped_with_their_connection(io) {
        let origin = Origin::start(|request| match request.target() {
            "/204" => Reply::bytes(
                "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            ),
            "/304" => Reply::bytes("HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"),
            "/next" => Reply::ok("right"),
            _ => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for (method, target, status) in [("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304)] {
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(client.response(method).status, status);
            assert_eq!(client.get("/next").text(), "right", "after {method} {target}");
        }
        ringway.stop_after((client, origin));
    }

    fn r110_an_answer_before_the_end_of_the_body_is_relayed_at_once(io) {
        let origin = Origin::start(|request| match request.target() {
            "/upload" => {
                Reply::bytes("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").before_body()
            }
            _ => Reply::ok("other"),
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbeginning");
        let response = client.response("POST");
        assert_eq!((response.status, response.text().as_str()), (413, "big"));
        assert_eq!(ringway.client().get("/other").text(), "other");
        assert_eq!(origin.connections(), 2, "the connection that still owes a body is not used again");
        ringway.stop_after((client, origin));
    }

    fn r110_an_early_answer_is_not_destroyed_by_the_rest_of_the_body(io) {
        const ANSWER: usize = 200 << 10;
        let head = format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {ANSWER}\r\n\r\n");
        let answer = [head.into_bytes(), vec![b'x'; ANSWER]].concat();
        let origin = Origin::start(move |_| Reply::bytes(&answer).before_body());
        let ringway = Setup::to(origin.address()).start(io);
        // Begins to read when Ringway has done its part, and most of the answer still waits in its kernel.
        let mut client = Client::connect_slow(ringway.address("web"));
        let mut sender = client.second();
        let sending = std::thread::spawn(move || {
            sender.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
            sender.send(vec![b'y'; 1_000_000]);
        });
        ringway.records(1);
        let response = client.response("POST");
        assert_eq!((response.status, response.body.len()), (413, ANSWER));
        drop(client);
        sending.join().expect("the sender does not panic");
        ringway.stop_after(origin);
    }

    fn r111_a_request_is_answered_after_the_client_ends_its_side(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send(GET).finish_sending();
        origin.wait_for_requests(1);
        gate.open();
        assert_eq!(client.response("GET").text(), "ok");
        client.expect_end();
        ringway.stop_after((client, origin));
    }

    fn r112_the_upstream_is_let_go_when_the_client_resets(io) {
        let origin = Origin::start(|request| match request.target() {
            "/silent" => Reply::silence(),
            _ => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbeginning").then_echo(),
        });
        let ringway = Setup::to(origin.address()).start(io);
        for target in ["/silent", "/body"] {
            let before = origin.requests().len();
            let mut client = ringway.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            origin.wait_for_requests(before + 1);
            client.reset();
            wait_until("the upstream connection is closed", || origin.open_connections() == 0);
        }
        let records = ringway.records(2);
        assert!(records.iter().all(|r| r["cause"] == "client_gone"), "{records:?}");
        ringway.stop_after(origin);
    }

    fn r113_an_endpoint_that_does_not_answer_in_time_is_504(io) {
        let origin = Origin::start(|_| Reply::silence());
        let upstream = "timeouts { response-header \"300ms\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 504);
        wait_until("the silent connection is closed", || origin.open_connections() == 0);
        assert_eq!(ringway.records(1)[0]["cause"], "upstream_timeout");
        ringway.stop_after((client, origin));
    }

    fn r113_an_exchange_that_takes_too_long_in_all_is_504(io) {
        let origin = Origin::start(|_| Reply::silence());
        let route = "timeouts { total \"300ms\" }";
        let ringway = Setup { route, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 504);
        assert_eq!(ringway.records(1)[0]["cause"], "total_timeout");
        ringway.stop_after((client, origin));
    }

    fn r113_a_body_that_stops_coming_breaks_the_answer_off(io) {
        let origin =
            Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").then_echo());
        let upstream = "timeouts { idle \"300ms\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.send(GET);
        assert!(matches!(broken(&mut client), Broken::Closed(_) | Broken::Reset));
        assert_eq!(ringway.records(1)[0]["cause"], "upstream_body_timeout");
        ringway.stop_after((client, origin));
    }

    fn problem_documents_name_the_cause_and_no_upstream_address(io) {
        let closed = closed_address();
        let ringway = Setup::to(closed).start(io);
        let mut client = ringway.client();
        let response = client.get("/");
        assert_eq!(response.head.get("content-type"), Some("application/problem+json"));
        assert!(
            response.head.get("proxy-status").is_some_and(|v| v.contains("connection_refused")),
            "{response:?}"
        );
        assert!(response.text().contains("connect_refused"), "{}", response.text());
        let port = closed.port().to_string();
        assert!(
            !response.text().contains(&port)
                && message::find(format!("{:?}", response.head).as_bytes(), port.as_bytes()).is_none()
        );
        client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n");
        let plain = client.response("GET");
        assert!(plain.head.get("content-type").is_some_and(|v| v.starts_with("text/plain")), "{plain:?}");
        ringway.stop_after(client);
    }
}
