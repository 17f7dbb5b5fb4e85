//! Limits of upstreams: never more than may be, and what becomes of requests that come on top (R112, R115).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Client, Gate, Io, Origin, Reply, Ringway, Setup, wait_until};

/// An origin that counts how many requests it has at the same time. It answers each after `think`, or when the test opens
/// the gate.
struct Counting {
    origin: Origin,
    most: Arc<AtomicUsize>,
}

impl Counting {
    fn start(think: Duration) -> Counting {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let highest = Arc::clone(&most);
        let origin = Origin::start(move |_| {
            highest.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            // The script runs on the connection's own thread of the origin.
            std::thread::park_timeout(think);
            now.fetch_sub(1, SeqCst);
            Reply::ok("counted")
        });
        Counting { origin, most }
    }
}

/// Sends `each` GETs on each of `clients` connections side by side; returns all statuses.
fn crowd(web: SocketAddr, clients: usize, each: usize) -> Vec<u16> {
    let statuses = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(web);
                for _ in 0..each {
                    let status = client.get("/").status;
                    statuses.lock().expect("no panic").push(status);
                }
            });
        }
    });
    statuses.into_inner().expect("no panic")
}

/// An upstream whose origin holds every request whose target begins with `/hold` until the gate is open.
fn holding(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::start(move |request| match request.target() {
        target if target.starts_with("/hold") => Reply::default().then_wait(&held).then(ok("held")),
        _ => Reply::ok("free"),
    })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn ask(client: &mut Client, target: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: suite.example\r\n\r\n"));
}

/// A member of the only upstream in `/v1/upstreams`.
fn upstream(ringway: &Ringway, member: &str) -> u64 {
    let text = ringway.admin("/v1/upstreams").text();
    let value: serde_json::Value = serde_json::from_str(&text).expect("/v1/upstreams is JSON");
    value["upstreams"][0][member].as_u64().unwrap_or_else(|| panic!("no {member} in {text}"))
}

/// Waits until so many requests wait for the upstream.
fn wait_for_queue(ringway: &Ringway, length: u64) {
    wait_until(&format!("{length} requests wait"), || upstream(ringway, "queued") == length);
}

fn expect_nothing_in_use(ringway: &Ringway) {
    wait_until("all permits are back", || {
        upstream(ringway, "in_flight") == 0 && upstream(ringway, "queued") == 0
    });
}

/// The cap holds exactly while 24 clients on two workers push, and is made full use of.
#[track_caller]
fn never_above(io: Io, cap: usize, limits: &str) {
    let counting = Counting::start(Duration::from_millis(4));
    let upstream = format!("limits {{ {limits}; queue 100; queue-timeout \"20s\" }}");
    let ringway = Setup { upstream: &upstream, ..Setup::to(counting.origin.address()) }.start(io);
    let statuses = crowd(ringway.address("web"), 24, 15);
    assert_eq!(statuses, [200; 24 * 15]);
    assert_eq!(counting.most.load(SeqCst), cap, "with {limits}");
    expect_nothing_in_use(&ringway);
    ringway.stop_after(counting);
}

/// A breaker opens after four failures, refuses, and closes after a probe.
#[track_caller]
fn opens_and_closes(io: Io, scope: &str) {
    let broken = Arc::new(AtomicUsize::new(1));
    let is_broken = Arc::clone(&broken);
    let origin = Origin::start(move |_| match is_broken.load(SeqCst) {
        0 => Reply::ok("well"),
        _ => Reply::bytes("HTTP/1.1 503 Broken\r\nContent-Length: 0\r\n\r\n"),
    });
    let nodes = format!("circuit-breaker {{ scope \"{scope}\"; requests 4; open-for \"1s\"; probes 1 }}");
    let ringway = Setup { upstream: &nodes, ..Setup::to(origin.address()) }.start(io);
    let mut client = ringway.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 503);
    }
    let refused = client.get("/");
    assert!(refused.text().contains("circuit_open"), "{scope}: {}", refused.text());
    assert!(refused.head.get("retry-after").is_some());
    assert_eq!(origin.requests().len(), 4, "{scope}: the fifth is not sent");
    broken.store(0, SeqCst);
    wait_until("a probe finds out that it works", || client.get("/").text() == "well");
    assert_eq!(client.get("/").text(), "well");
    expect_nothing_in_use(&ringway);
    ringway.stop_after((client, origin));
}

both! {
    fn r115_requests_in_flight_reach_their_cap_over_two_workers_and_never_exceed_it(io) {
        never_above(io, 5, "requests 5");
    }

    fn r115_connections_reach_their_cap_over_two_workers_and_never_exceed_it(io) {
        let counting = Counting::start(Duration::from_millis(4));
        let upstream_limits = "limits { connections 5; queue 100; queue-timeout \"20s\" }";
        let ringway = Setup { upstream: upstream_limits, ..Setup::to(counting.origin.address()) }.start(io);
        let web = ringway.address("web");
        std::thread::scope(|scope| {
            let crowd = scope.spawn(|| crowd(web, 24, 15));
            while !crowd.is_finished() {
                assert!(upstream(&ringway, "connections") <= 5);
                crate::harness::pause();
            }
            assert_eq!(crowd.join().expect("no panic"), [200; 24 * 15]);
        });
        assert_eq!(counting.most.load(SeqCst), 5);
        ringway.stop_after(counting);
    }

    fn r115_each_endpoint_has_its_own_cap(io) {
        let (a, b) = (Counting::start(Duration::from_millis(4)), Counting::start(Duration::from_millis(4)));
        let endpoints = vec![a.origin.address(), b.origin.address()];
        let upstream = "limits { endpoint-requests 3; queue 100; queue-timeout \"20s\" }";
        let ringway = Setup { endpoints, upstream, ..Setup::default() }.start(io);
        assert_eq!(crowd(ringway.address("web"), 24, 15), [200; 24 * 15]);
        assert_eq!((a.most.load(SeqCst), b.most.load(SeqCst)), (3, 3));
        expect_nothing_in_use(&ringway);
        ringway.stop_after((a, b));
    }

    fn r115_each_endpoint_has_its_own_cap_of_connections(io) {
        let (a, b) = (Counting::start(Duration::from_millis(4)), Counting::start(Duration::from_millis(4)));
        let endpoints = vec![a.origin.address(), b.origin.address()];
        let upstream = "limits { connections 5; endpoint-connections 3; queue 100; queue-timeout \"20s\" }";
        let ringway = Setup { endpoints, upstream, ..Setup::default() }.start(io);
        assert_eq!(crowd(ringway.address("web"), 24, 15), [200; 24 * 15]);
        assert!(a.most.load(SeqCst) <= 3 && b.most.load(SeqCst) <= 3);
        expect_nothing_in_use(&ringway);
        ringway.stop_after((a, b));
    }

    fn an_idle_connection_to_another_endpoint_makes_room(io) {
        let (a, b) = (Origin::ok("a"), Origin::ok("b"));
        let endpoints = vec![a.address(), b.address()];
        let upstream_limits = "balance \"round-robin\"; limits { connections 1; queue 1 }";
        let setup = Setup { endpoints, upstream: upstream_limits, ..Setup::default() };
        let ringway = setup.start(io);
        // Whichever worker a client is with: the idle connection of the other one makes room as well.
        for _ in 0..20 {
            assert_eq!(ringway.client().get("/").status, 200);
            assert_eq!(upstream(&ringway, "connections"), 1);
        }
        assert!(a.connections() > 1 && b.connections() > 1, "both were asked, in turn");
        ringway.stop_after((a, b));
    }

    fn r115_a_full_queue_answers_at_once(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream = "limits { requests 1; queue 1; queue-timeout \"20s\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let (mut first, mut second) = (ringway.client(), ringway.client());
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        ask(&mut second, "/second");
        wait_for_queue(&ringway, 1);
        let refused = ringway.client().get("/third");
        assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("1")));
        assert!(refused.text().contains("queue_full"), "{}", refused.text());
        gate.open();
        assert_eq!((first.response("GET").text(), second.response("GET").text()), ("held".into(), "free".into()));
        expect_nothing_in_use(&ringway);
        ringway.stop_after((first, second, origin));
    }

    fn r115_without_a_queue_what_is_too_much_is_refused(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let ringway = Setup { upstream: "limits { requests 1 }", ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let mut second = ringway.client();
        assert_eq!(second.get("/").status, 503);
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        expect_nothing_in_use(&ringway);
        assert_eq!(second.get("/").status, 200);
        ringway.stop_after((first, second, origin));
    }

    fn r115_a_request_that_waits_too_long_is_503_and_the_log_says_where_the_time_went(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream = "limits { requests 1; queue 9; queue-timeout \"300ms\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let began = Instant::now();
        let refused = ringway.client().get("/late");
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("1")));
        let record = &ringway.records(1)[0];
        assert_eq!(record["cause"], "queue_timeout");
        assert!(record["queue_us"].as_u64() >= Some(299_000), "{record}");
        assert_eq!(record["attempts"], 0, "{record}");
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        assert_eq!(origin.requests().len(), 1, "the origin never heard of the one that waited");
        ringway.stop_after((first, origin));
    }

    fn the_total_timeout_covers_the_queue(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream = "limits { requests 1; queue 9; queue-timeout \"20s\" }";
        let routes = "route \"/short\" upstream=\"origin\" { timeouts { total \"200ms\" } }";
        let ringway = Setup { upstream, routes, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        assert_eq!(ringway.client().get("/short").status, 504);
        assert_eq!(ringway.records(1)[0]["cause"], "total_timeout");
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        ringway.stop_after((first, origin));
    }

    fn r115_a_request_that_could_not_be_served_in_time_is_refused_at_once(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/hold" => Reply::default().then_wait(&held).then(ok("held")),
            _ => {
                std::thread::park_timeout(Duration::from_millis(2500));
                Reply::ok("slow")
            }
        });
        let upstream = "limits { requests 1; queue 9; queue-timeout \"20s\" }";
        let routes = "route \"/short\" upstream=\"origin\" { timeouts { total \"2s\" } }";
        let ringway = Setup { upstream, routes, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        assert_eq!(first.get("/slow").status, 200);
        ask(&mut first, "/hold");
        origin.wait_for_requests(2);
        let began = Instant::now();
        let refused = ringway.client().get("/short");
        let spent = began.elapsed();
        assert_eq!(refused.status, 503);
        assert!(spent < Duration::from_secs(2), "it did not wait for its deadline: {spent:?}");
        // Two workers write to one log, in any order.
        assert!(ringway.records(2).iter().any(|record| record["cause"] == "queue_deadline"));
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        ringway.stop_after((first, origin));
    }

    fn waiters_are_let_in_in_the_order_of_arrival_whichever_worker_they_are_with(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream = "limits { requests 1; queue 9; queue-timeout \"20s\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let mut waiters: Vec<Client> = (0..8).map(|_| ringway.client()).collect();
        for (number, client) in waiters.iter_mut().enumerate() {
            ask(client, &format!("/{number}"));
            wait_for_queue(&ringway, number as u64 + 1);
            // A worker may prefer its own by up to 5 ms of age.
            (0..2).for_each(|_| crate::harness::pause());
        }
        gate.open();
        for client in &mut waiters {
            assert_eq!(client.response("GET").status, 200);
        }
        let order: Vec<String> = origin.requests()[1..].iter().map(|r| r.target().to_owned()).collect();
        assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
        assert_eq!(first.response("GET").status, 200);
        ringway.stop_after((first, waiters, origin));
    }

    fn r115_once_the_oldest_has_waited_too_long_the_newest_comes_first(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let limits = "limits { requests 1; queue 9; queue-timeout \"2s\" }";
        let top = "workers 1";
        let ringway = Setup { top, upstream: limits, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let mut waiters: Vec<Client> = (0..3).map(|_| ringway.client()).collect();
        for (number, client) in waiters.iter_mut().enumerate() {
            ask(client, &format!("/{number}"));
            wait_for_queue(&ringway, number as u64 + 1);
        }
        wait_until("the oldest has waited for more than half of the queue timeout", || {
            upstream(&ringway, "queue_oldest_ms") > 1000
        });
        gate.open();
        for client in &mut waiters {
            assert_eq!(client.response("GET").status, 200);
        }
        let order: Vec<String> = origin.requests()[1..].iter().map(|r| r.target().to_owned()).collect();
        assert_eq!(order, ["/2", "/1", "/0"]);
        assert_eq!(first.response("GET").status, 200);
        ringway.stop_after((first, waiters, origin));
    }

    fn r112_a_client_that_leaves_the_queue_is_forgotten(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream = "limits { requests 1; queue 1; queue-timeout \"20s\" }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let mut leaver = ringway.client();
        ask(&mut leaver, "/leaves");
        wait_for_queue(&ringway, 1);
        let left = Instant::now();
        leaver.reset();
        wait_for_queue(&ringway, 0);
        assert!(left.elapsed() < Duration::from_secs(2), "it did not wait for a timeout");
        let record = &ringway.records(1)[0];
        assert_eq!((&record["cause"], &record["status"]), (&"client_gone".into(), &499.into()));
        // Its place in the queue is free.
        let mut next = ringway.client();
        ask(&mut next, "/next");
        wait_for_queue(&ringway, 1);
        gate.open();
        assert_eq!(next.response("GET").status, 200);
        assert_eq!(first.response("GET").status, 200);
        assert!(origin.requests().iter().all(|request| request.target() != "/leaves"));
        expect_nothing_in_use(&ringway);
        ringway.stop_after((first, next, origin));
    }

    fn an_open_breaker_answers_at_once_and_a_probe_closes_it_again(io) {
        ["endpoint", "upstream"].into_iter().for_each(|scope| opens_and_closes(io, scope));
    }

    fn the_balancer_passes_over_an_endpoint_whose_breaker_is_open(io) {
        let broken = Origin::start(|_| Reply::bytes("HTTP/1.1 503 Broken\r\nContent-Length: 0\r\n\r\n"));
        let well = Origin::ok("well");
        let endpoints = vec![broken.address(), well.address()];
        let upstream_nodes = "balance \"round-robin\"; circuit-breaker { requests 3; open-for \"20s\" }";
        let ringway = Setup { endpoints, upstream: upstream_nodes, ..Setup::default() }.start(io);
        let mut client = ringway.client();
        let statuses: Vec<u16> = (0..20).map(|_| client.get("/").status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3, "{statuses:?}");
        assert_eq!(broken.requests().len(), 3);
        ringway.stop_after((client, broken, well));
    }

    fn adaptive_concurrency_refuses_what_would_only_wait_in_the_upstream(io) {
        // Works on four at a time, each for 5 ms: what comes on top waits inside.
        let places = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
        let origin = Origin::start(move |_| {
            let (busy, changed) = &*places;
            let mut taken = changed.wait_while(busy.lock().expect("no panic"), |busy| *busy >= 4).expect("no panic");
            *taken += 1;
            drop(taken);
            std::thread::park_timeout(Duration::from_millis(5));
            *busy.lock().expect("no panic") -= 1;
            changed.notify_one();
            Reply::ok("done")
        });
        let upstream_nodes = "adaptive-concurrency { min 2; max 100 }; limits { queue 100; queue-timeout \"20s\" }";
        let ringway = Setup { upstream: upstream_nodes, ..Setup::to(origin.address()) }.start(io);
        let statuses = crowd(ringway.address("web"), 40, 60);
        assert!(statuses.iter().all(|status| *status == 200), "the queue holds the rest");
        let text = ringway.admin("/v1/upstreams").text();
        let value: serde_json::Value = serde_json::from_str(&text).expect("/v1/upstreams is JSON");
        let limit = value["upstreams"][0]["adaptive"]["limit"].as_u64().unwrap_or_default();
        assert!((2..=25).contains(&limit), "{text}");
        expect_nothing_in_use(&ringway);
        ringway.stop_after(origin);
    }

    fn without_a_queue_the_adaptive_limit_has_its_own_cause(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let upstream_nodes = "adaptive-concurrency { min 1; max 1 }";
        let ringway = Setup { upstream: upstream_nodes, ..Setup::to(origin.address()) }.start(io);
        let mut first = ringway.client();
        ask(&mut first, "/hold");
        origin.wait_for_requests(1);
        let refused = ringway.client().get("/");
        assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("1")));
        assert!(refused.text().contains("concurrency_limit"), "{}", refused.text());
        gate.open();
        assert_eq!(first.response("GET").status, 200);
        ringway.stop_after((first, origin));
    }

    fn a_retry_budget_of_nothing_allows_no_retry(io) {
        let resetting = Origin::start(|_| Reply::default().then_reset());
        let well = Origin::ok("well");
        let endpoints = vec![resetting.address(), well.address()];
        let upstream_nodes = "balance \"round-robin\"; retry-budget { ratio \"0%\"; per-second 0 }";
        let ringway = Setup { endpoints, upstream: upstream_nodes, ..Setup::default() }.start(io);
        let mut client = ringway.client();
        let mut statuses: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 502, 502]);
        assert_eq!(upstream(&ringway, "retries_refused"), 2);
        ringway.stop_after((client, resetting, well));
    }

    fn r112_a_client_that_leaves_while_we_connect_is_noticed(io) {
        // A full backlog: the kernel drops further connection requests.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        socket.listen(0).expect("listen");
        let address = socket.local_addr().expect("address").as_socket().expect("an IP address");
        let limit = Duration::from_millis(100);
        let fillers: Vec<_> =
            (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, limit).ok()).collect();
        let upstream_nodes = "timeouts { connect \"20s\" }; limits { requests 1 }";
        let ringway = Setup { upstream: upstream_nodes, ..Setup::to(address) }.start(io);
        let mut client = ringway.client();
        ask(&mut client, "/");
        wait_until("the attempt is under way", || upstream(&ringway, "in_flight") == 1);
        client.reset();
        wait_until("it is given up", || upstream(&ringway, "in_flight") == 0);
        assert_eq!(upstream(&ringway, "connections"), 0);
        assert_eq!(ringway.records(1)[0]["cause"], "client_gone");
        ringway.stop_after(fillers);
    }

    fn r111_with_abort_on_close_the_end_of_the_clients_side_ends_the_request(io) {
        let gate = Gate::default();
        let origin = holding(&gate);
        let routes = "route \"/hold/patient\" upstream=\"origin\" { abort-on-close #false }";
        let listener = "abort-on-close #true";
        let ringway = Setup { listener, routes, ..Setup::to(origin.address()) }.start(io);
        let (mut eager, mut patient) = (ringway.client(), ringway.client());
        ask(&mut eager, "/hold");
        ask(&mut patient, "/hold/patient");
        origin.wait_for_requests(2);
        eager.finish_sending();
        patient.finish_sending();
        let record = &ringway.records(1)[0];
        assert_eq!((&record["cause"], &record["path"]), (&"client_gone".into(), &"/hold".into()));
        gate.open();
        assert_eq!(patient.response("GET").text(), "held", "the route says otherwise");
        ringway.stop_after((eager, patient, origin));
    }
}
