//! How often callers may come: what is admitted, what they are told, and what is remembered.

use crate::harness::client::Response;
use crate::harness::http2::Http2Client;
use crate::harness::{Client, Gate, Io, Nginx, Origin, Reply, Ringway, Setup, wait_until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn started(origin: &Origin, top: &str, route: &str, io: Io) -> Ringway {
    Setup { top, route, ..Setup::to(origin.address()) }.start(io)
}

fn get(ringway: &Ringway, path: &str, fields: &str) -> Response {
    ringway.client().send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).response("GET")
}

/// What `clients` connections that ask all the time are admitted to, for so long: requests answered 200, and the time from
/// before the first to after the last.
fn admitted(address: SocketAddr, clients: usize, lasting: Duration) -> (u64, Duration) {
    let (good, others) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while began.elapsed() < lasting {
                    match client.get("/").status {
                        200 => good.fetch_add(1, Ordering::Relaxed),
                        429 | 503 => others.fetch_add(1, Ordering::Relaxed),
                        other => panic!("status {other}"),
                    };
                }
            });
        }
    });
    assert!(others.load(Ordering::Relaxed) > 0, "nobody was refused: the load is too small");
    (good.load(Ordering::Relaxed), began.elapsed())
}

/// The most that a bucket may have let through in this time.
fn bound(rate: u64, burst: u64, elapsed: Duration) -> u64 {
    burst + u64::try_from(elapsed.as_nanos() * u128::from(rate) / 1_000_000_000).expect("a short time") + 1
}

both! {
    /// R1, R3, R93: many connections over all workers share one bucket: never more than burst and rate, and all of it.
    fn r1_r93_connections_of_all_workers_share_one_bucket(io) {
        let origin = Origin::ok("x");
        let ringway = started(&origin, "workers 2", "limit \"all\" rate=\"100/s\" burst=20 key=\"everyone\"", io);
        let (good, elapsed) = admitted(ringway.address("web"), 64, Duration::from_secs(2));
        let most = bound(100, 20, elapsed);
        assert!(good <= most, "{good} of {most} in {elapsed:?}");
        // Whoever asks all the time gets what there is, unless the machine keeps everybody from asking.
        assert!(good * 10 >= most * 8, "{good} of {most} in {elapsed:?}");
        assert_eq!(origin.requests().len() as u64, good, "who is refused reaches no endpoint");
        ringway.stop_after(origin);
    }

    /// R3, R4, R6, R12: what a client is told, over HTTP/1.1 and HTTP/2, and what the log and the metrics are told.
    fn r3_r4_r12_refusals_say_when_to_come_back(io) {
        let origin = Origin::start(|_| Reply::bytes(
            "HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=1;t=1\r\nContent-Length: 1\r\n\r\nx"));
        let top = "limit \"hourly\" rate=\"2/h\" key=\"header:X-Tenant\"
            limit \"shadow\" rate=\"1/h\" key=\"everyone\" mode=\"shadow\"";
        let ringway = started(&origin, top, "limit \"hourly\"; limit \"shadow\"", io);
        let first = get(&ringway, "/", "X-Tenant: a\r\n");
        assert_eq!(first.status, 200);
        assert_eq!(first.head.get("ratelimit-policy"), Some("\"hourly\";q=2;w=3600"));
        let limits = first.head.all("ratelimit");
        assert!(limits.contains(&"\"theirs\";r=1;t=1"), "{limits:?}");
        assert!(limits.contains(&"\"hourly\";r=1;t=1800"), "{limits:?}");
        assert!(first.head.get("retry-after").is_none());
        assert_eq!(get(&ringway, "/", "X-Tenant: a\r\n").status, 200);
        let refused = get(&ringway, "/", "X-Tenant: a\r\n");
        assert_eq!(refused.status, 429);
        assert!(!refused.closes());
        let retry: u32 = refused.head.get("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!((1790..=1800).contains(&retry), "{retry}");
        assert_eq!(refused.head.get("ratelimit"), Some(&*format!("\"hourly\";r=0;t={retry}")));
        assert_eq!(refused.head.get("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&refused.body).expect("a problem document");
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(problem["violated-policies"], serde_json::json!(["hourly"]));
        assert_eq!(problem["code"], "rate_limited");
        assert_eq!(get(&ringway, "/", "X-Tenant: b\r\n").status, 200, "somebody else");
        ringway.stop_after(origin);
    }

    fn r3_http2_streams_are_limited_and_told_alike(io) {
        let origin = Origin::ok("x");
        let setup = Setup { listener: "http2 \"cleartext\"", route: "limit rate=\"2/h\"", ..Setup::to(origin.address()) };
        let ringway = setup.start(io);
        let mut client = Http2Client::connect(ringway.address("web"));
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(client.get("/").status(), 200);
        let refused = client.get("/");
        assert_eq!(refused.status(), 429);
        assert!(refused.get("retry-after").is_some());
        assert!(refused.get("ratelimit").is_some_and(|value| value.contains("r=0")));
        assert_eq!(origin.requests().len(), 2);
        ringway.stop_after((client, origin));
    }

    /// R5, R12, R14: metrics and the log name limits and never keys; a request that nobody knows is charged early only.
    fn r5_r12_logs_and_metrics_name_limits_and_no_keys(io) {
        let origin = Origin::ok("x");
        let top = "limit \"few\" rate=\"1/h\" key=\"header:X-Tenant\"
            limit \"shadow\" rate=\"1/h\" key=\"everyone\" mode=\"shadow\"";
        let ringway = started(&origin, top, "limit \"few\"; limit \"shadow\"", io);
        assert_eq!(get(&ringway, "/", "X-Tenant: secret-a\r\n").status, 200);
        assert_eq!(get(&ringway, "/", "X-Tenant: secret-b\r\n").status, 200);
        assert_eq!(get(&ringway, "/", "X-Tenant: secret-a\r\n").status, 429);
        let records = ringway.records(3);
        let of = |status: u64| -> Vec<_> { records.iter().filter(|record| record["status"] == status).collect() };
        assert_eq!(of(429)[0]["limit"], "few");
        assert_eq!(of(429)[0]["cause"], "rate_limited");
        let shadowed = of(200).iter().filter(|record| record["limit"] == "shadow").count();
        assert_eq!(shadowed, 1, "{records:?}");
        let metrics = ringway.admin("/metrics").text();
        for line in [
            "ringway_limit_requests_total{limit=\"few\",outcome=\"admitted\"} 2",
            "ringway_limit_requests_total{limit=\"few\",outcome=\"refused\"} 1",
            "ringway_limit_requests_total{limit=\"shadow\",outcome=\"shadowed\"} 2",
            "ringway_limit_keys{limit=\"few\"} 2",
        ] {
            assert!(metrics.contains(line), "{line} in\n{metrics}");
        }
        assert!(!metrics.contains("secret"));
        ringway.stop_after(origin);
    }

    /// R11: places of a client are taken before the endpoint is asked and come back with the end of the request, whichever
    /// it is.
    fn r11_requests_under_way_are_counted_until_they_end(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/slow" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n").then_wait(&held).then("x"),
            _ => Reply::ok("x"),
        });
        let ringway = started(&origin, "workers 2", "limit \"two\" concurrent=2", io);
        let slow = || {
            let mut client = ringway.client();
            client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
            client
        };
        let (mut first, second) = (slow(), slow());
        origin.wait_for_requests(2);
        let refused = get(&ringway, "/", "");
        assert_eq!(refused.status, 429);
        assert!(refused.text().contains("concurrency_limited"));
        assert_eq!(refused.head.get("ratelimit-policy"), Some("\"two\";q=2;qu=\"concurrent-requests\""));
        // One client gives up: its place is free again.
        second.reset();
        wait_until("the place of a client that left", || get(&ringway, "/", "").status == 200);
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        let mut both = [ringway.client(), ringway.client()];
        both.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        let keys = || ringway.admin("/metrics").text().contains("ringway_limit_keys{limit=\"two\"} 0");
        wait_until("all places free", keys);
        ringway.stop_after((origin, first, both));
    }

    /// R8, R94: a reload keeps what was taken; another rate counts for keys that are there.
    fn r8_r94_what_was_taken_survives_a_reload(io) {
        let origin = Origin::ok("x");
        let setup = |limit| Setup { top: limit, route: "limit \"l\"", ..Setup::to(origin.address()) };
        let ringway = setup("limit \"l\" rate=\"3/h\" key=\"everyone\"").start(io);
        for _ in 0..3 {
            assert_eq!(get(&ringway, "/", "").status, 200);
        }
        let more = setup("limit \"l\" rate=\"3/h\" key=\"everyone\" cost=2").text();
        ringway.reload(&more);
        assert_eq!(get(&ringway, "/", "").status, 429);
        let other = setup("limit \"l\" rate=\"3/m\" key=\"everyone\"").text();
        ringway.reload(&other);
        let refused = get(&ringway, "/", "");
        assert_eq!(refused.status, 429, "exhausted stays exhausted");
        let retry: u32 = refused.head.get("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!(retry <= 20, "by the new limit, in {retry} s");
        ringway.stop_after(origin);
    }

    /// What `explain` says of limits, without charging anybody.
    fn r4_explain_shows_where_a_client_stands(io) {
        let origin = Origin::ok("x");
        let ringway = started(&origin, "", "limit \"few\" rate=\"2/h\"", io);
        assert_eq!(get(&ringway, "/", "").status, 200);
        for _ in 0..3 {
            let (status, out, err) = ringway.command(&["explain", "GET", "http://x/", "--from", "127.0.0.1"]);
            assert_eq!(status, Some(0), "{err}");
            assert!(out.contains("limit \"few\" would admit it, and 0 of 2 would be left"), "{out}");
        }
        assert_eq!(get(&ringway, "/", "").status, 200);
        ringway.stop_after(origin);
    }
}

/// The same load against nginx, whose `limit_req` is the one that most people know: neither lets more through than its
/// rate and burst, and Ringway no less than nginx.
#[test]
fn r93_beside_nginx_the_same_limit_admits_the_same() {
    let lasting = Duration::from_secs(2);
    let origin = Origin::ok("x");
    let ringway = started(&origin, "workers 2", "limit rate=\"100/s\" burst=20 key=\"client.ip\"", Io::Epoll);
    let (ours, elapsed) = admitted(ringway.address("web"), 16, lasting);
    let most = bound(100, 20, elapsed);
    assert!(ours <= most && ours * 10 >= most * 8, "ours: {ours} of {most}");
    ringway.stop_after(origin);
    let zone = "limit_req_zone $binary_remote_addr zone=one:1m rate=100r/s;";
    let nginx = Nginx::start_within(zone, "", |root| {
        format!(
            "root {root}; limit_req_status 429; limit_req zone=one burst=19 nodelay; location / {{ try_files /128b =404; }}"
        )
    });
    let (theirs, elapsed) = admitted(nginx.address(), 16, lasting);
    println!("admitted in {lasting:?}: {ours} by Ringway, {theirs} by nginx, at most {most}");
    // nginx counts in milliseconds, and does not keep to its rate to the last request.
    assert!(theirs > 0 && ours * 10 >= theirs * 8, "{ours} {theirs} in {elapsed:?}");
}
