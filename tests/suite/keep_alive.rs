//! Endpoints that close idle connections at the moment in which a request is sent (R106, R117): nothing fails that can
//! be saved, and nothing is done twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Origin, Reply, Ringway, Setup, elapse};

/// A number below `below` that follows from `seed`; spreads times without any state.
fn spread(seed: u64, below: u64) -> u64 {
    (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % below
}

fn post(client: &mut Client, id: u64) -> u16 {
    client.send(format!("POST /{id} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"));
    client.response("POST").status
}

/// How often each request arrived at the origin, by its id.
fn times_seen(origin: &Origin) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for request in origin.requests() {
        *seen.entry(request.target()[1..].to_owned()).or_default() += 1;
    }
    seen
}

fn learned_ms(ringway: &Ringway) -> Option<u64> {
    let upstreams: serde_json::Value =
        serde_json::from_slice(&ringway.admin("/v1/upstreams").body).expect("JSON");
    upstreams["upstreams"][0]["endpoints"][0]["idle_timeout_learned_ms"].as_u64()
}

/// The counter of requests that were kept from a race, by the way in which they were.
fn races_avoided(ringway: &Ringway) -> HashMap<String, u64> {
    let text = ringway.admin("/metrics").text();
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("ringway_upstream_races_avoided_total{how=\""));
    lines
        .filter_map(|line| {
            let (how, count) = line.split_once("\"} ")?;
            Some((how.to_owned(), count.parse().ok()?))
        })
        .collect()
}

both! {
    fn r106_an_origin_that_closes_idle_connections_costs_no_post_and_is_understood(io) {
        const CLIENTS: u64 = 8;
        const POSTS: u64 = 16;
        let waits = AtomicU64::new(0);
        let origin = Origin::start_closing(|_| Reply::ok("done"), move || {
            let jitter = spread(waits.fetch_add(1, Ordering::Relaxed), 10_000);
            Duration::from_micros(295_000 + jitter)
        });
        let ringway = Setup { top: "workers 1", ..Setup::to(origin.address()) }.start(io);
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let mut client = ringway.client();
                scope.spawn(move || {
                    for n in 0..POSTS {
                        let id = number * POSTS + n;
                        assert_eq!(post(&mut client, id), 200, "POST {id}");
                        // The next one comes when the connection is about to be closed, or has just been.
                        elapse(Duration::from_micros(290_000 + spread(id + 7, 20_000)));
                    }
                });
            }
        });
        let seen = times_seen(&origin);
        assert_eq!(seen.len() as u64, CLIENTS * POSTS);
        assert!(seen.values().all(|&times| times == 1), "{seen:?}");
        let learned = learned_ms(&ringway).expect("it has been watched for five seconds");
        assert!((270..=380).contains(&learned), "learned {learned} ms");
        assert!(races_avoided(&ringway)["retired"] > 0, "{:?}", races_avoided(&ringway));

        // All connections end at once, however old, as when the origin restarts.
        let mut client = ringway.client();
        assert_eq!(post(&mut client, 1000), 200);
        origin.end_connections();
        assert_eq!(post(&mut client, 1001), 200);
        let after = learned_ms(&ringway).expect("still known");
        assert!((270..=380).contains(&after), "learned {learned} ms, and {after} ms after a restart");
        ringway.stop_after((client, origin));
    }

    fn r117_a_post_that_crosses_the_end_of_its_connection_is_never_done_twice(io) {
        const ROUNDS: u64 = 300;
        let origin = Origin::ok("done");
        let ringway = Setup { top: "workers 1", ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        let mut lost = 0;
        for round in 0..ROUNDS {
            assert_eq!(post(&mut client, 2 * round), 200, "on a new connection");
            // The end leaves the origin while the request is on its way there: a little earlier or later each time.
            client.send(format!("POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 2 * round + 1));
            let until = Instant::now() + Duration::from_micros(spread(round, 250));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            origin.end_connections();
            lost += u64::from(client.response("POST").status != 200);
        }
        let seen = times_seen(&origin);
        assert!(seen.values().all(|&times| times == 1), "{seen:?}");
        let arrived = (0..2 * ROUNDS).filter(|id| seen.contains_key(&id.to_string())).count() as u64;
        assert!(arrived + lost >= 2 * ROUNDS, "a request that was answered has arrived");
        ringway.stop_after((client, origin));
    }

    fn an_announced_timeout_is_believed_at_once(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=7, max=100\r\n\r\n")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        assert_eq!(learned_ms(&ringway), None);
        assert_eq!(client.get("/").status, 200);
        assert_eq!(learned_ms(&ringway), Some(7000));
        ringway.stop_after((client, origin));
    }
}
