//! Operating it: health of the process, stopping under load, losing an upstream, logs, running out of descriptors.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Broken, Client, Ending, Gate, Nginx, Origin, Reply, Ringway, Setup, wait_until};

/// What a crowd of clients saw.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    /// Requests that were accepted, at least in part, and not answered with 200.
    failed: AtomicUsize,
}

/// Keeps asking on one kept connection until told to stop or until Ringway ends the connection at a border.
fn keep_asking(web: SocketAddr, tally: &Tally, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Some(mut client) = Client::try_connect(web) else { return };
        loop {
            client.send("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n");
            match client.try_response("GET") {
                Ok(response) if response.status == 200 => {
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                    if response.closes() {
                        break;
                    }
                }
                // Nothing of an answer came: the connection ended before the request was accepted.
                Err(Broken::Closed(rest)) if rest.is_empty() => break,
                Err(Broken::Reset) => break,
                other => {
                    eprintln!("failed: {other:?}");
                    tally.failed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

both! {
    fn the_admin_listener_answers_what_operators_ask(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.get("/");
        assert_eq!(ringway.admin("/live").status, 200);
        assert_eq!(ringway.admin("/ready").status, 200);
        let status = ringway.status();
        assert_eq!(
            status["driver"]["name"].as_str(),
            Some(io.name()),
            "{status}"
        );
        let upstreams = ringway.admin("/v1/upstreams").text();
        assert!(upstreams.contains(&origin.address().to_string()), "{upstreams}");
        let metrics = ringway.admin("/metrics").text();
        for name in ["ringway_requests_total", "ringway_request_phase_seconds", "ringway_driver_info"] {
            assert!(metrics.contains(name), "{name} is missing from /metrics:\n{metrics}");
        }
        assert_eq!(ringway.admin("/nothing").status, 404);
        ringway.stop_after((client, origin));
    }

    fn the_access_log_tells_one_exchange_from_the_next(io) {
        let origin = Origin::ok("hello");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("POST /p?q=1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nUser-Agent: \"t\"\x7f\r\n\r\nabc".replace('\x7f', ""));
        client.response("POST");
        let record = ringway.records(1).remove(0);
        assert_eq!(record["method"], "POST");
        assert_eq!(record["path"], "/p");
        assert_eq!(record["host"], "a.example");
        assert_eq!(record["status"], 200);
        assert_eq!(record["upstream"], "origin");
        assert_eq!(record["endpoint"], origin.address().to_string());
        assert_eq!(record["attempts"], 1);
        assert!(record["total_us"].as_u64().is_some_and(|us| us > 0), "{record}");
        let phases = record
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(k, _)| k.ends_with("_us") && *k != "total_us");
        let sum: u64 = phases.filter_map(|(_, v)| v.as_u64()).sum();
        let total = record["total_us"].as_u64().unwrap_or(0);
        assert!(sum.abs_diff(total) <= 20, "the phases add up to {sum}, the total is {total}: {record}");
        ringway.stop_after((client, origin));
    }

    fn log_files_are_reopened_on_sigusr1_without_losing_a_line(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        for _ in 0..50 {
            client.get("/before");
        }
        ringway.records(50);
        let rotated = ringway.access_log().with_extension("1");
        std::fs::rename(ringway.access_log(), &rotated).expect("rename the log");
        ringway.signal("USR1");
        wait_until("a new log file", || ringway.access_log().exists());
        for _ in 0..50 {
            client.get("/after");
        }
        let after = ringway.records(50).len();
        let before = std::fs::read_to_string(&rotated).expect("the old log").lines().count();
        assert_eq!(before + after, 100);
        ringway.stop_after((client, origin));
    }

    fn sigterm_under_load_fails_no_request_that_was_accepted(io) {
        let nginx = Nginx::start("load");
        let ringway = Setup::to(nginx.address()).start(io);
        let web = ringway.address("web");
        let (tally, stop) = (Tally::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| keep_asking(web, &tally, &stop));
            }
            wait_until("the load runs", || tally.answered.load(Ordering::Relaxed) > 500);
            ringway.signal("TERM");
            ringway.expect_clean_exit();
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    }

    fn sigterm_waits_for_the_exchange_in_flight(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        let mut idle = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        origin.wait_for_requests(1);
        ringway.signal("TERM");
        assert_eq!(idle.expect_end(), Ending::Closed, "a connection without a request ends first");
        gate.open();
        let response = client.response("GET");
        assert_eq!(response.text(), "done");
        assert!(response.closes());
        ringway.expect_clean_exit();
        drop(origin);
    }

    fn a_second_sigterm_stops_at_once(io) {
        let origin = Origin::start(|_| Reply::silence());
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        origin.wait_for_requests(1);
        ringway.signal("TERM");
        wait_until("it is not ready any more", || {
            ringway.try_admin("/ready").is_none_or(|r| r.status == 503)
        });
        ringway.signal("TERM");
        ringway.expect_exit();
        drop((client, origin));
    }

    fn losing_one_of_three_upstreams_under_load_fails_no_idempotent_request(io) {
        let mut upstreams = [Nginx::start("a"), Nginx::start("b"), Nginx::start("c")];
        let endpoints = upstreams.iter().map(Nginx::address).collect();
        let ringway = Setup { endpoints, ..Setup::default() }.start(io);
        let web = ringway.address("web");
        let (tally, stop) = (Tally::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| keep_asking(web, &tally, &stop));
            }
            wait_until("the load runs", || tally.answered.load(Ordering::Relaxed) > 500);
            upstreams[1].kill();
            let so_far = tally.answered.load(Ordering::Relaxed);
            wait_until("the load goes on", || tally.answered.load(Ordering::Relaxed) > so_far + 2000);
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
        ringway.stop_after(upstreams);
    }

    fn an_endpoint_that_fails_its_health_check_gets_no_requests(io) {
        let sick = Origin::start(|request| match request.target() {
            "/healthz" => Reply::bytes("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::ok("sick"),
        });
        let well = Origin::ok("well");
        let upstream = "balance \"round-robin\"\nhealth { http \"/healthz\" every=\"100ms\" timeout=\"100ms\" rise=1 fall=1 }";
        let endpoints = vec![sick.address(), well.address()];
        let ringway = Setup { endpoints, upstream, ..Setup::default() }.start(io);
        wait_until("the check has failed", || ringway.admin("/v1/upstreams").text().contains("down"));
        let mut client = ringway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "well");
        }
        let probes = well.requests().len();
        assert!(probes > 0 && well.requests().iter().any(|r| r.target() == "/healthz"));
        ringway.stop_after((client, sick, well));
    }

    fn running_out_of_descriptors_pauses_accepting_and_recovers(io) {
        let origin = Origin::ok("x");
        let setup = Setup::to(origin.address());
        let ringway = Ringway::start_through(&["prlimit", "--nofile=256", "--"], &setup.text(), io);
        let web = ringway.address("web");
        let mut served = ringway.client();
        assert_eq!(served.get("/").status, 200);
        let crowd: Vec<Client> = (0..400).filter_map(|_| Client::try_connect(web)).collect();
        let before = ringway.cpu();
        assert_eq!(served.ending_within(Duration::from_secs(1)), Ending::Open);
        let used = ringway.cpu() - before;
        assert!(used < Duration::from_millis(200), "{used:?} of CPU in a second of waiting for descriptors");
        assert_eq!(served.get("/").status, 200, "connections that are open are served");
        assert_eq!(ringway.admin("/ready").status, 200);
        drop(crowd);
        assert_eq!(ringway.client().get("/").status, 200);
        ringway.stop_after((served, origin));
    }

    fn a_configuration_that_does_not_load_is_refused_with_its_place(io) {
        let mut process = Ringway::spawn(
            "listener \"web\" { bind \"127.0.0.1:0\" }\nsite \"*\" { route \"/\" upstream=\"nobody\" }\n",
            io,
        );
        let status = process.0.wait().expect("it ends");
        assert_eq!(status.code(), Some(2));
        let said = process.0.last_words();
        assert!(said.contains("nobody") && said.contains("ringway.kdl:"), "{said}");
    }
}
