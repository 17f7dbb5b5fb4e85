//! What some clients do must not be felt by others.

use std::time::{Duration, Instant};

use crate::harness::{Client, Nginx, Origin, Setup};

/// Median time of a small request on one kept connection.
#[track_caller]
fn median_of(client: &mut Client, target: &str, count: usize) -> Duration {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(client.get(target).status, 200);
            started.elapsed()
        })
        .collect();
    times.sort();
    times[count / 2]
}

both! {
    fn forty_slow_readers_of_large_bodies_do_not_slow_a_small_request(io) {
        let nginx = Nginx::start("small");
        let ringway = Setup { top: "workers 1\n", ..Setup::to(nginx.address()) }.start(io);
        let web = ringway.address("web");
        let mut client = ringway.client();
        client.get("/ok");
        let readers: Vec<Client> = (0..40)
            .map(|_| {
                let mut reader = Client::connect_slow(web);
                reader.send("GET /64m HTTP/1.1\r\nHost: x\r\n\r\n");
                reader
            })
            .collect();
        let median = median_of(&mut client, "/ok", 101);
        assert!(median <= Duration::from_millis(10), "{median:?} beside forty slow readers");
        ringway.stop_after((client, readers, nginx));
    }

    fn two_thousand_slow_heads_leave_others_unharmed(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let web = ringway.address("web");
        let slow: Vec<Client> = (0..2000)
            .map(|_| {
                let mut client = Client::connect(web);
                client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
                client
            })
            .collect();
        let mut client = ringway.client();
        let median = median_of(&mut client, "/", 101);
        assert!(median <= Duration::from_millis(10), "{median:?} beside two thousand slow heads");
        assert_eq!(origin.connections(), 1, "the upstream is not touched before a head is complete");
        ringway.stop_after((client, slow, origin));
    }

    fn a_worker_with_one_busy_connection_still_serves_the_others(io) {
        let nginx = Nginx::start("small");
        let ringway = Setup { top: "workers 1\n", ..Setup::to(nginx.address()) }.start(io);
        let mut busy = ringway.client();
        let mut client = ringway.client();
        std::thread::scope(|scope| {
            let greedy = scope.spawn(|| {
                // Pipelines without pause: always something to do for the worker.
                let batch = "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
                for _ in 0..40 {
                    busy.send(&batch);
                    for _ in 0..50 {
                        busy.response("GET");
                    }
                }
            });
            let median = median_of(&mut client, "/ok", 51);
            assert!(median <= Duration::from_millis(10), "{median:?} beside one busy connection");
            greedy.join().expect("the busy client is served too");
        });
        ringway.stop_after((busy, client, nginx));
    }
}
