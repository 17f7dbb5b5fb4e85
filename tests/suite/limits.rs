//! Clients that take their time or ask for too much (R89 to R91, R97, R99).

use std::io::Write;
use std::net::TcpStream;

use crate::harness::{Client, Ending, Nginx, Origin, Reply, Setup, wait_until};

both! {
    fn r89_a_head_that_drips_in_is_408_at_the_deadline(io) {
        let origin = Origin::ok("x");
        let ringway =
            Setup { listener: "timeouts { header \"500ms\" }", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        // One byte at a time, each as soon as the one before is known not to have ended the wait.
        let mut written = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
        written.extend([b'a'; 1000]);
        let started = std::time::Instant::now();
        for byte in written {
            client.send([byte]);
            if client.ending_within(std::time::Duration::from_millis(20)) != Ending::Open {
                break;
            }
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "bytes must not extend the deadline");
        assert_eq!(client.response("GET").status, 408);
        client.expect_end();
        assert_eq!(origin.connections(), 0);
        ringway.stop_after((client, origin));
    }

    fn r89_a_client_that_never_speaks_is_closed_silently(io) {
        let origin = Origin::ok("x");
        let ringway =
            Setup { listener: "timeouts { header \"300ms\" }", ..Setup::to(origin.address()) }.start(io);
        assert_eq!(ringway.client().expect_end(), Ending::Closed);
        ringway.stop_after(origin);
    }

    fn an_idle_connection_is_closed_after_keep_alive(io) {
        let origin = Origin::ok("x");
        let ringway =
            Setup { listener: "timeouts { keep-alive \"300ms\" }", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.get("/");
        assert_eq!(client.expect_end(), Ending::Closed);
        ringway.stop_after((client, origin));
    }

    fn the_last_request_of_a_connection_is_announced(io) {
        let origin = Origin::ok("x");
        let listener = "limits { requests-per-connection 3 }";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        assert!(!client.get("/").closes());
        assert!(!client.get("/").closes());
        assert!(client.get("/").closes());
        client.expect_end();
        ringway.stop_after((client, origin));
    }

    fn r90_a_body_that_stops_is_408_and_the_upstream_is_let_go(io) {
        let origin = Origin::ok("x");
        let ringway =
            Setup { listener: "timeouts { body-idle \"500ms\" }", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbeginning");
        assert_eq!(client.response("POST").status, 408);
        client.expect_end();
        wait_until("the upstream connection is closed", || origin.open_connections() == 0);
        assert!(origin.requests().is_empty());
        ringway.stop_after((client, origin));
    }

    fn r91_a_client_that_stops_reading_is_let_go_and_so_is_its_upstream(io) {
        let nginx = Nginx::start("files");
        let ringway =
            Setup { listener: "timeouts { send-idle \"1s\" }", ..Setup::to(nginx.address()) }.start(io);
        let mut client = Client::connect_slow(ringway.address("web"));
        client.send("GET /64m HTTP/1.1\r\nHost: x\r\n\r\n");
        let records = ringway.records(1);
        assert_eq!(records[0]["cause"], "client_slow", "{records:?}");
        ringway.stop_after((client, nginx));
    }

    fn r97_an_announced_body_over_the_limit_is_413_before_the_upstream_is_touched(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { route: "limits { body \"1KiB\" }", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n");
        assert_eq!(client.response("POST").status, 413);
        assert_eq!(origin.connections(), 0);
        drop(client);
        let mut client = ringway.client();
        client
            .send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1024\r\n\r\n{}", "a".repeat(1024)));
        assert_eq!(client.response("POST").status, 200);
        ringway.stop_after((client, origin));
    }

    fn r97_a_chunked_body_is_cut_off_at_the_limit(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { route: "limits { body \"1KiB\" }", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("200\r\n{}\r\n", "a".repeat(512));
        client.send(chunk.repeat(3) + "0\r\n\r\n");
        assert_eq!(client.response("POST").status, 413);
        client.expect_end();
        assert!(origin.requests().is_empty(), "the origin never saw a whole request");
        wait_until("the upstream connection is closed", || origin.open_connections() == 0);
        ringway.stop_after((client, origin));
    }

    fn back_pressure_holds_the_upstream_while_the_client_does_not_read(io) {
        let origin = Origin::start(|request| match request.target() {
            "/big" => {
                Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n").then(vec![b'x'; 64 << 20])
            }
            _ => Reply::ok("small"),
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut other = ringway.client();
        other.get("/small");
        let before = ringway.resident_bytes();
        let mut client = Client::connect_slow(ringway.address("web"));
        client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
        origin.wait_for("the big request", |requests, _| requests.iter().any(|r| r.target() == "/big"));
        // By the time 500 other exchanges are through, a relay without bound would hold all of it.
        for _ in 0..500 {
            assert_eq!(other.get("/small").text(), "small");
        }
        let grown = ringway.resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "grew by {grown} bytes for one slow reader");
        ringway.stop_after((client, other, origin));
    }

    fn r99_a_crowd_is_served_and_the_admin_listener_answers_meanwhile(io) {
        let nginx = Nginx::start("crowd");
        let ringway = Setup::to(nginx.address()).start(io);
        let web = ringway.address("web");
        std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..32)
                .map(|_| {
                    scope.spawn(move || {
                        let mut client = Client::connect(web);
                        (0..200).filter(|_| client.get("/ok").status == 200).count()
                    })
                })
                .collect();
            while crowd.iter().any(|member| !member.is_finished()) {
                assert_eq!(ringway.admin("/live").status, 200);
                crate::harness::pause();
            }
            let served: usize = crowd.into_iter().map(|member| member.join().expect("no panic")).sum();
            assert_eq!(served, 32 * 200);
        });
        ringway.stop_after(nginx);
    }

    fn a_client_that_floods_and_vanishes_leaves_nothing_behind(io) {
        let nginx = Nginx::start("flood");
        let ringway = Setup::to(nginx.address()).start(io);
        let web = ringway.address("web");
        for number in 0..300 {
            let mut stream = TcpStream::connect(web).expect("connect");
            let target = if number % 2 == 0 { "/1m" } else { "/ok" };
            let _ = write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if number % 3 == 0 {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
            }
        }
        assert_eq!(ringway.client().get("/ok").text(), "flood");
        ringway.stop_after(nginx);
    }
}
