//! Workers that end by themselves: replaced while their sockets stay open, with only their own connections lost.
//!
//! The panic is asked for through the admin API, which development builds alone can do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::Value;

use crate::harness::{Broken, Client, Io, Nginx, Origin, Ringway, Setup, wait_until};

/// What a crowd of clients saw.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    /// Connections that nobody took.
    refused: AtomicUsize,
    /// Requests that got no answer, or a wrong one.
    failed: AtomicUsize,
}

/// One connection for each request.
fn keep_connecting(web: SocketAddr, tally: &Tally, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let Some(mut client) = Client::try_connect(web) else {
            tally.refused.fetch_add(1, Relaxed);
            continue;
        };
        client.send("GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        match client.try_response("GET") {
            Ok(response) if response.status == 200 => tally.answered.fetch_add(1, Relaxed),
            _ => tally.failed.fetch_add(1, Relaxed),
        };
    }
}

/// Ends the load also when the test fails.
struct StopsAtEnd<'a>(&'a AtomicBool);

impl Drop for StopsAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Of each worker.
fn figures(ringway: &Ringway, name: &str) -> Vec<u64> {
    let status = ringway.status();
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    workers.iter().map(|worker| worker[name].as_u64().unwrap_or(0)).collect()
}

fn in_flight(ringway: &Ringway) -> u64 {
    let upstream = ringway.upstream();
    let endpoints = upstream["endpoints"].as_array().cloned().unwrap_or_default();
    endpoints.iter().map(|endpoint: &Value| endpoint["in_flight"].as_u64().unwrap_or(0)).sum()
}

both! {
    fn r128_twenty_panics_under_load_refuse_no_connection_and_leave_nothing_behind(io) {
        let nginx = Nginx::start("load");
        let upstream = "limits { endpoint-requests 64; queue 64; }\n";
        let ringway = Setup { upstream, ..Setup::to(nginx.address()) }.start(io);
        let web = ringway.address("web");
        let (tally, stop) = (Tally::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| keep_connecting(web, &tally, &stop));
            }
            let _stops = StopsAtEnd(&stop);
            for count in 1..=20_usize {
                assert_eq!(ringway.change(&format!("/v1/workers/{}/trip", count % 2), "").status, 200);
                wait_until("it was replaced", || {
                    figures(&ringway, "restarts").iter().sum::<u64>() == count as u64
                });
                let before = tally.answered.load(Relaxed);
                wait_until("the load goes on", || tally.answered.load(Relaxed) > before + 20);
            }
        });
        assert_eq!(tally.refused.load(Relaxed), 0);
        let (answered, failed) = (tally.answered.load(Relaxed), tally.failed.load(Relaxed));
        assert!(failed <= 8 * 20 && answered > 400, "{failed} failed, {answered} answered");
        assert_eq!(ringway.counted("ringway_worker_restarts"), 20);
        ringway.says("stopped on an internal error: a panic that a test asked for");
        wait_until("nothing is in flight", || in_flight(&ringway) == 0);
        assert_eq!(
            ringway.counted("ringway_connections_accepted"),
            ringway.counted("ringway_connections_closed"),
            "what the workers had open was closed"
        );
        ringway.reload(&Setup { upstream, route: "rewrite { strip-prefix \"/x\"; }", ..Setup::to(nginx.address()) }.text());
        let generation = ringway.status()["generation"].as_u64();
        wait_until("new workers follow new generations", || {
            figures(&ringway, "generation").iter().all(|of_worker| Some(*of_worker) == generation)
        });
        drop(nginx);
        ringway.stop_although_it_panicked();
    }

    fn r128_connections_of_the_other_worker_go_on(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut clients: Vec<Client> = (0..24).map(|_| ringway.client()).collect();
        assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
        let [_, other] = figures(&ringway, "connections")[..] else { panic!("two workers") };
        ringway.change("/v1/workers/0/trip", "");
        let mut alive = 0;
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            match client.try_response("GET") {
                Ok(response) => alive += u64::from(response.status == 200),
                Err(Broken::Closed(_) | Broken::Reset) => {}
                Err(broken) => panic!("{broken:?}"),
            }
        }
        // Those of worker 0 that were asked before the one that it stumbled over: none, it is the first.
        assert_eq!(alive, other);
        drop(clients);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 200);
        drop((client, origin));
        ringway.stop_although_it_panicked();
    }
}

#[test]
fn r128_workers_that_do_nothing_but_panic_end_the_process() {
    let origin = Origin::ok("x");
    let ringway = Setup { top: "workers 1", ..Setup::to(origin.address()) }.start(Io::Epoll);
    let web = ringway.address("web");
    let mut ended = false;
    for _ in 0..40 {
        let Some(mut admin) = Client::try_connect(ringway.admin_address()) else {
            ended = true;
            break;
        };
        admin.send(
            "POST /v1/workers/0/trip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
        if admin.try_response("POST").is_err() {
            ended = true;
            break;
        }
        if let Some(mut client) = Client::try_connect(web) {
            client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            // It stumbles, or has not found out yet that it should.
            let _ = client.try_response("GET");
        }
    }
    assert!(ended, "it has gone on for 40 panics");
    ringway.says("giving up");
    assert_eq!(ringway.exit_status(), Some(101));
}
