//! Hedging: a second endpoint is asked when the first one is slow.

use std::time::{Duration, Instant};

use crate::harness::{Gate, Origin, Reply, Setup, elapse, wait_until};

fn between<'a>(origins: [&Origin; 2], route: &'a str) -> Setup<'a> {
    let endpoints = origins.map(Origin::address).to_vec();
    Setup { endpoints, upstream: "balance \"round-robin\"", route, ..Setup::default() }
}

both! {
    fn a_slow_endpoint_is_overtaken_by_another_one_and_its_connection_is_closed(io) {
        let (slow, quick) = (Origin::start(|_| Reply::silence()), Origin::ok("quick"));
        let ringway = between([&slow, &quick], "hedge after=\"50ms\"").start(io);
        let mut client = ringway.client();
        for method in ["GET", "HEAD", "OPTIONS", "GET", "HEAD", "OPTIONS", "GET", "GET"] {
            let began = Instant::now();
            client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(client.response(method).status, 200, "{method}");
            assert!(began.elapsed() < Duration::from_secs(2), "{method} took {:?}", began.elapsed());
        }
        let overtaken = slow.requests().len() as u64;
        assert!(overtaken > 0, "round-robin has asked it, too");
        wait_until("the connections of the losers are closed", || slow.open_connections() == 0);
        assert_eq!(ringway.counted("ringway_hedges"), overtaken);
        assert_eq!(ringway.counted("ringway_hedges_won"), overtaken);
        let records = ringway.records(8);
        let hedged: Vec<_> = records.iter().filter(|record| record["attempts"] == 2).collect();
        assert_eq!(hedged.len() as u64, overtaken, "{records:?}");
        for record in hedged {
            assert_eq!(record["endpoint"], quick.address().to_string());
            // The time for which the first endpoint was alone is that of an attempt without result.
            assert!(record["retry_us"].as_u64() >= Some(50_000), "{record}");
            let phases: u64 = PHASES.iter().filter_map(|phase| record[phase].as_u64()).sum();
            assert!(phases.abs_diff(record["total_us"].as_u64().unwrap_or(0)) <= 20, "{record}");
        }
        ringway.stop_after((client, slow, quick));
    }

    fn what_is_not_safe_to_send_twice_is_never_hedged(io) {
        let (slow, quick) = (Origin::start(|_| Reply::silence()), Origin::ok("quick"));
        let route = "hedge after=\"20ms\"\ntimeouts { response-header \"300ms\"; }";
        let ringway = between([&slow, &quick], route).start(io);
        let mut client = ringway.client();
        let requests = [
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
            "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        ];
        for request in requests.iter().chain(&requests) {
            let method = request.split(' ').next().expect("a method");
            assert!(matches!(client.send(request).response(method).status, 200 | 504), "{request}");
        }
        assert_eq!(ringway.counted("ringway_hedges"), 0);
        assert_eq!(slow.requests().len() + quick.requests().len(), 8, "each was asked once");
        ringway.stop_after((client, slow, quick));
    }

    fn the_first_endpoint_wins_if_it_answers_while_both_are_asked(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let slow = Origin::start(move |_| Reply::default().then_wait(&held).then(
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow",
        ));
        let silent = Origin::start(|_| Reply::silence());
        // The preferred one comes first; the other tier is asked only instead of it.
        let upstream = format!("endpoint \"{}\" tier=\"backup\"", silent.address());
        let ringway = Setup { upstream: &upstream, route: "hedge after=\"20ms\"", ..Setup::to(slow.address()) }.start(io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        silent.wait_for_requests(1);
        gate.open();
        assert_eq!(client.response("GET").text(), "slow");
        wait_until("the loser's connection is closed", || silent.open_connections() == 0);
        assert_eq!(ringway.counted("ringway_hedges_won"), 0);
        assert_eq!(ringway.records(1)[0]["endpoint"], slow.address().to_string());
        ringway.stop_after((client, slow, silent));
    }

    fn a_leg_that_fails_leaves_the_field_to_the_other_one(io) {
        let asked = Gate::default();
        let failed = Gate::default();
        let (until_asked, until_failed, tells_failed) = (asked.clone(), failed.clone(), failed.clone());
        let breaking = Origin::start(move |_| Reply::default().then_wait(&until_asked).then_open(&tells_failed).then_reset());
        let steady = Origin::start(move |_| {
            asked.open();
            Reply::default().then_wait(&until_failed).then("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsteady")
        });
        let upstream = format!("endpoint \"{}\" tier=\"backup\"", steady.address());
        let ringway = Setup { upstream: &upstream, route: "hedge after=\"20ms\"", ..Setup::to(breaking.address()) }.start(io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").text(), "steady");
        assert_eq!(ringway.records(1)[0]["attempts"], 2);
        ringway.stop_after((client, breaking, steady));
    }

    fn the_retry_budget_bounds_hedges(io) {
        const CLIENTS: u64 = 8;
        const EACH: u64 = 15;
        let slow = || {
            Origin::start(|_| {
                elapse(Duration::from_millis(60));
                Reply::ok("slow")
            })
        };
        let (one, two) = (slow(), slow());
        let ringway = between([&one, &two], "hedge after=\"10ms\"").start(io);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let mut client = ringway.client();
                scope.spawn(move || (0..EACH).for_each(|_| assert_eq!(client.get("/").status, 200)));
            }
        });
        // 30 saved up, a fifth of the requests, and 3 per second.
        let allowed = 30 + CLIENTS * EACH / 5 + 3 * (began.elapsed().as_secs() + 1);
        let hedges = ringway.counted("ringway_hedges");
        assert!((1..=allowed).contains(&hedges), "{hedges} hedges, {allowed} allowed");
        assert!(ringway.counted("ringway_retries_refused") > 0);
        ringway.stop_after((one, two));
    }
}

const PHASES: [&str; 10] = [
    "tls_us",
    "head_us",
    "route_us",
    "filter_us",
    "retry_us",
    "connect_us",
    "send_us",
    "wait_us",
    "receive_us",
    "deliver_us",
];
