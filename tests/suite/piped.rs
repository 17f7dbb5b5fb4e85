//! Long responses, which pass from socket to socket: every byte, no byte more, and every end as it was (R104, R105).

use crate::harness::{Broken, Client, Origin, Reply, Ringway, Setup, wait_until};

/// Bytes that show where they belong.
fn pattern(len: usize) -> Vec<u8> {
    let unit: Vec<u8> = (0..251).collect();
    let mut bytes = unit.repeat(len / unit.len() + 1);
    bytes.truncate(len);
    bytes
}

/// A complete response of that length.
fn long(len: usize) -> Reply {
    Reply::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")).then(pattern(len))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

both! {
    fn a_long_body_arrives_byte_for_byte_and_is_not_copied(io) {
        let origin = Origin::start(|_| long(64 << 20));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        assert!(client.get("/").body == pattern(64 << 20));
        let (spliced, copied) = (ringway.counted("ringway_spliced_bytes"), ringway.counted("ringway_copied_bytes"));
        assert!(spliced > 63 << 20 && copied < 1 << 20, "{spliced} bytes spliced, {copied} copied");
        assert_eq!(ringway.counted("ringway_sent_bytes"), 64 << 20);
        assert_eq!(ringway.records(1)[0]["bytes_out"], 64 << 20);
        ringway.stop_after((client, origin));
    }

    fn long_and_short_bodies_follow_each_other_on_the_same_connections(io) {
        let origin = Origin::start(|request| match request.target() {
            "/long" => long(700_001),
            _ => Reply::ok("short"),
        });
        let ringway = Setup { top: "workers 1\n", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        for _ in 0..10 {
            assert!(client.get("/long").body == pattern(700_001));
            assert_eq!(client.get("/short").text(), "short");
        }
        // The next request may come while the body is on its way.
        let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(request("/long") + &request("/short") + &request("/long"));
        assert!(client.response("GET").body == pattern(700_001));
        assert_eq!(client.response("GET").text(), "short");
        assert!(client.response("GET").body == pattern(700_001));
        assert_eq!(origin.connections(), 1, "the upstream connection is used again after each of them");
        ringway.stop_after((client, origin));
    }

    fn r104_a_long_body_cut_short_never_looks_complete(io) {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
        let origin = Origin::start(move |request| {
            let cut = Reply::bytes(head).then(pattern(5_000_000));
            if request.target() == "/reset" { cut.then_reset() } else { cut.then_close() }
        });
        let ringway = Setup::to(origin.address()).start(io);
        for target in ["/close", "/reset"] {
            let mut client = ringway.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            match client.try_response("GET") {
                Ok(response) => panic!("{target} looked complete: {} bytes", response.body.len()),
                Err(Broken::Closed(_) | Broken::Reset) => {}
                Err(other) => panic!("{target}: {}", other.describe()),
            }
        }
        let records = ringway.records(2);
        assert!(records.iter().all(|record| record["cause"] == "upstream_truncated"), "{records:?}");
        assert!(ringway.counted("ringway_spliced_bytes") > 0);
        ringway.stop_after(origin);
    }

    fn r105_what_follows_a_long_body_never_answers_another_request(io) {
        // In one write: what comes later than the next request is for nobody to tell apart.
        let answer = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n",
            pattern(300_000).as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        ]
        .concat();
        let origin = Origin::start(move |_| Reply::bytes(&answer));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for number in 1..=20 {
            assert!(client.get("/").body == pattern(300_000), "request {number}");
            assert_eq!(origin.connections(), number, "no connection with excess bytes is used again");
        }
        ringway.stop_after((client, origin));
    }

    fn a_body_that_lasts_until_the_end_passes_too_and_its_cut_is_told(io) {
        let origin = Origin::start(|request| {
            let body = Reply::bytes("HTTP/1.0 200 OK\r\n\r\n").then(pattern(3_000_000));
            if request.target() == "/reset" { body.then_reset() } else { body.then_close() }
        });
        let ringway = Setup::to(origin.address()).start(io);
        let get = |target: &str| {
            let mut client = ringway.client();
            client.send(format!("GET {target} HTTP/1.0\r\nHost: x\r\n\r\n"));
            // The status line of the answer has a version of its own.
            client.try_response("GET")
        };
        let whole = get("/whole").expect("the end of the connection is the end of the body");
        assert!(whole.body == pattern(3_000_000));
        assert!(ringway.counted("ringway_spliced_bytes") > 2_000_000);
        match get("/reset") {
            Ok(response) => panic!("a cut looked complete: {} bytes", response.body.len()),
            Err(Broken::Reset) => {}
            Err(other) => panic!("{}", other.describe()),
        }
        ringway.stop_after(origin);
    }

    fn r112_a_client_that_leaves_within_a_long_body_ends_it_upstream_as_well(io) {
        let origin = Origin::start(|_| long(24 << 20));
        let ringway = Setup::to(origin.address()).start(io);
        for number in 1..=4 {
            let mut client = Client::connect_slow(ringway.address("web"));
            client.send(GET);
            client.head().expect("the head has been sent");
            client.reset();
            let records = ringway.records(number);
            assert_eq!(records[number - 1]["cause"], "client_gone", "{records:?}");
            wait_until("the upstream connection is closed", || origin.open_connections() == 0);
        }
        ringway.stop_after(origin);
    }

    fn without_descriptors_for_pipes_long_bodies_are_copied(io) {
        let origin = Origin::start(|_| long(2_000_000));
        let setup = Setup { top: "workers 4\n", ..Setup::to(origin.address()) };
        // 4 % of them make less than one pipe for each worker.
        let ringway = Ringway::start_through(&["prlimit", "--nofile=128", "--"], &setup.text(), io);
        let mut client = ringway.client();
        assert!(client.get("/").body == pattern(2_000_000));
        assert_eq!(ringway.counted("ringway_spliced_bytes"), 0);
        assert_eq!(ringway.counted("ringway_splice_no_pipe"), 1);
        assert!(ringway.counted("ringway_copied_bytes") > 1_900_000);
        ringway.stop_after((client, origin));
    }

    fn a_long_request_body_arrives_byte_for_byte_and_is_not_copied(io) {
        let origin = Origin::start(|request| Reply::ok(&request.head.all("content-length").join(",")));
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for method in ["POST", "PUT"] {
            let body = pattern(8_000_000);
            client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
            // The next request stands behind the body.
            client.send(&body).send(GET);
            assert_eq!(client.response(method).text(), "8000000");
            assert_eq!(client.response("GET").text(), "");
        }
        let requests = origin.requests();
        assert!(requests.iter().filter(|request| request.method() != "GET").all(|request| request.body == pattern(8_000_000)));
        assert_eq!(origin.connections(), 1);
        let (spliced, copied) = (ringway.counted("ringway_spliced_bytes"), ringway.counted("ringway_copied_bytes"));
        assert!(spliced > 15_000_000 && copied < 1_000_000, "{spliced} bytes spliced, {copied} copied");
        ringway.stop_after((client, origin));
    }

    fn an_answer_before_the_end_of_a_long_request_body_ends_the_upload(io) {
        let origin = Origin::start(|_| Reply::ok("early").before_body());
        let ringway = Setup::to(origin.address()).start(io);
        for _ in 0..5 {
            let mut client = ringway.client();
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n");
            client.send(pattern(200_000));
            assert_eq!(client.response("POST").text(), "early");
        }
        ringway.stop_after(origin);
    }
}
