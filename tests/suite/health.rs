//! Health of endpoints: checks against real servers, ejection, panic, and what a pause of the process must not do.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::{Folder, Gate, Origin, Received, Reply, Ringway, Setup, elapse, wait_until};

const NO: &str = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";

/// What `/v1/upstreams` says of the endpoint at `place` of the first upstream.
fn endpoint(ringway: &Ringway, place: usize) -> Value {
    upstream(ringway)["endpoints"][place].clone()
}

fn upstream(ringway: &Ringway) -> Value {
    let answer: Value = serde_json::from_str(&ringway.admin("/v1/upstreams").text()).expect("JSON");
    answer["upstreams"][0].clone()
}

fn is_state(ringway: &Ringway, place: usize, state: &str) -> bool {
    endpoint(ringway, place)["state"] == state
}

/// The value of a metric with labels.
fn metric(ringway: &Ringway, series: &str) -> f64 {
    let text = ringway.admin("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

both! {
    fn an_endpoint_that_fails_is_ejected_as_its_upstream_says_and_comes_back_slowly(io) {
        let sick = Origin::start(|request| match request.target() {
            "/well" => Reply::ok("sick"),
            _ => Reply::bytes(NO),
        });
        let well = Origin::ok("well");
        let upstream =
            "balance \"round-robin\"; outlier { consecutive-errors 2; eject-for \"1s\"; }; slow-start \"1m\"";
        let endpoints = vec![sick.address(), well.address()];
        let ringway = Setup { endpoints, upstream, ..Setup::default() }.start(io);
        let mut client = ringway.client();
        let answers: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
        assert_eq!(answers.iter().filter(|status| **status == 503).count(), 2, "{answers:?}");
        let said = endpoint(&ringway, 0);
        assert_eq!(said["state"], "ejected", "{said}");
        assert!(said["reason"].as_str().is_some_and(|why| why.contains("2 failures in a row")), "{said}");
        assert!((0..20).all(|_| client.get("/").text() == "well"));
        let series = format!("ringway_endpoint_ejections_total{{upstream=\"origin\",endpoint=\"{}\"}}", sick.address());
        assert_eq!(metric(&ringway, &series), 1.0);
        let line = format!("upstream \"origin\": {} is ejected for 1 s: 2 failures in a row", sick.address());
        wait_until("the ejection is told", || {
            ringway.stderr().contains(&line) || ringway.stderr().contains(&line.replace("1 s", "0 s"))
        });
        wait_until("the ejection ends", || is_state(&ringway, 0, "slow-start"));
        let from_sick = (0..50).filter(|_| client.get("/well").text() == "sick").count();
        assert!(from_sick < 20, "{from_sick} of 50 go to an endpoint that has just come back");
        ringway.stop_after((client, sick, well));
    }

    fn outlier_off_ejects_nobody(io) {
        let sick = Origin::start(|_| Reply::bytes(NO));
        let ringway = Setup { upstream: "outlier \"off\"", ..Setup::to(sick.address()) }.start(io);
        let mut client = ringway.client();
        assert!((0..20).all(|_| client.get("/").status == 503));
        assert_eq!(endpoint(&ringway, 0)["state"], "up");
        ringway.stop_after((client, sick));
    }

    fn r119_panic_is_told_and_off_answers_503_with_a_cause_of_its_own(io) {
        let healthy = Gate::default();
        let gate = healthy.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/healthz" if !gate.is_open() => Reply::bytes(NO),
            _ => Reply::ok("served"),
        });
        let health = "health { http \"/healthz\" every=\"50ms\" timeout=\"50ms\" rise=1 fall=1; }";
        let open = Setup { upstream: health, ..Setup::to(origin.address()) }.start(io);
        let off = format!("{health}\npanic \"off\"");
        let closed = Setup { upstream: &off, ..Setup::to(origin.address()) }.start(io);
        wait_until("both see it down", || is_state(&open, 0, "down") && is_state(&closed, 0, "down"));

        assert_eq!(open.client().get("/").text(), "served", "all endpoints are used");
        assert_eq!(upstream(&open)["panic"], true);
        assert_eq!(metric(&open, "ringway_panic_active{upstream=\"origin\"}"), 1.0);
        wait_until("panic is told", || open.stderr().contains("less than 30 % of its endpoints are healthy"));
        assert_eq!(metric(&open, "ringway_panics_total{upstream=\"origin\"}"), 1.0);

        let refused = closed.client().get("/");
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("no_healthy_endpoint"), "{}", refused.text());
        assert_eq!(upstream(&closed)["panic"], false);

        healthy.open();
        wait_until("both see it up", || !is_state(&open, 0, "down") && !is_state(&closed, 0, "down"));
        assert_eq!(closed.client().get("/").text(), "served");
        wait_until("the end of panic is told", || open.stderr().contains("enough endpoints are healthy again"));
        assert_eq!(metric(&open, "ringway_panic_active{upstream=\"origin\"}"), 0.0);
        drop(origin);
        open.stop();
        closed.stop();
    }

    fn what_a_check_found_is_told_with_when_and_how_often(io) {
        let origin = Origin::start(|request| match request.target() {
            "/healthz" => Reply::ok("out of order"),
            _ => Reply::ok("served"),
        });
        let upstream = "health { http \"/healthz\" body=\"ready\" every=\"100ms\" timeout=\"100ms\" fall=2; }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        wait_until("it is down", || is_state(&ringway, 0, "down"));
        let said = endpoint(&ringway, 0);
        assert_eq!(said["reason"], "the body does not contain the expected text");
        assert!(said["state_seconds"].is_u64(), "{said}");
        let check = &said["check"];
        assert!(check["in_a_row"].as_i64() <= Some(-2) && check["rise"] == 2, "{said}");
        assert!(check["last_ms_ago"].is_u64() && check["took_ms"].is_u64(), "{said}");
        let state = format!("ringway_endpoint_state{{upstream=\"origin\",endpoint=\"{}\",state=\"down\"}}", origin.address());
        assert_eq!(metric(&ringway, &state), 1.0);
        assert!(metric(&ringway, "ringway_health_checks_total{result=\"failed\"}") >= 2.0);
        assert!(metric(&ringway, "ringway_health_check_lag_seconds") < 1.0);
        ringway.stop_after(origin);
    }

    /// Requests and checks are under way, the process stops for longer than all their timeouts, and goes on: it was
    /// the process that was late, and no endpoint (figure F17).
    fn r144_after_a_pause_of_the_process_no_endpoint_is_ejected_or_down(io) {
        let (hold, gate) = (Gate::default(), Gate::default());
        let (is_held, held, once) = (hold.clone(), gate.clone(), AtomicBool::new(true));
        let origin = Origin::start(move |request| match request.target() {
            "/" => Reply::ok("served"),
            "/healthz" if !is_held.is_open() || !once.swap(false, Ordering::Relaxed) => Reply::ok("fine"),
            _ => Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        });
        let upstream = "health { http \"/healthz\" every=\"1s\" timeout=\"1s\" fall=1; }
            timeouts { response-header \"1s\"; }; outlier { consecutive-errors 1; }";
        let ringway = Setup { upstream, ..Setup::to(origin.address()) }.start(io);
        let mut clients: Vec<_> = (0..8).map(|_| ringway.client()).collect();
        let checks = |requests: &[Received]| requests.iter().filter(|r| r.target() == "/healthz").count();
        let before = checks(&origin.requests());
        hold.open();
        origin.wait_for("a check that gets no answer", |requests, _| checks(requests) > before);
        for client in &mut clients {
            client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        origin.wait_for("the slow requests", |requests, _| {
            requests.iter().filter(|request| request.target() == "/slow").count() == 8
        });
        ringway.signal("STOP");
        elapse(Duration::from_millis(3500));
        ringway.signal("CONT");
        for client in &mut clients {
            assert_eq!(client.response("GET").status, 504, "the time of the client has passed all the same");
        }
        wait_until("checks go on", || endpoint(&ringway, 0)["check"]["last_ms_ago"].as_u64() < Some(900));
        let said = endpoint(&ringway, 0);
        assert_eq!((&said["state"], &said["failures"], &said["ejections"]), (&"up".into(), &0.into(), &0.into()));
        let gaps: f64 = (0..2)
            .map(|worker| metric(&ringway, &format!("ringway_worker_gaps_total{{worker=\"{worker}\"}}")))
            .sum();
        assert!(gaps >= 1.0, "{gaps}");
        assert!(!ringway.stderr().contains("is down") && !ringway.stderr().contains("ejected"));
        gate.open();
        ringway.stop_after((clients, origin));
    }

    /// `grpcio-health-checking`, the implementation of the authors of the protocol.
    fn a_grpc_server_is_up_while_its_service_serves(io) {
        let Some(server) = GrpcServer::start() else { return };
        let upstream = "health { grpc service=\"shop.Orders\" every=\"100ms\" timeout=\"100ms\" rise=1 fall=1; }";
        let ringway = Setup { upstream, ..Setup::to(server.address) }.start(io);
        wait_until("it serves", || !is_state(&ringway, 0, "checking") && !is_state(&ringway, 0, "down"));
        server.set("shop.Orders", "NOT_SERVING");
        wait_until("it does not serve", || is_state(&ringway, 0, "down"));
        assert_eq!(endpoint(&ringway, 0)["reason"], "answered NOT_SERVING");
        server.set("shop.Orders", "SERVING");
        wait_until("it serves again", || !is_state(&ringway, 0, "down"));
        let unknown = upstream.replace("shop.Orders", "shop.Nobody");
        let other = Setup { upstream: &unknown, ..Setup::to(server.address) }.start(io);
        wait_until("it is not known", || is_state(&other, 0, "down"));
        let reason = endpoint(&other, 0)["reason"].to_string();
        assert!(reason.contains("NOT_FOUND"), "{reason}");
        drop(server);
        ringway.stop();
        other.stop();
    }
}

/// A gRPC server with the health service, whose answers are in a file.
struct GrpcServer {
    address: SocketAddr,
    folder: Folder,
    _process: Process,
}

const SERVER: &str = r#"
import sys, time
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

address, path = sys.argv[1:]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
assert server.add_insecure_port(address) != 0
server.start()
print("serving", file=sys.stderr, flush=True)
while True:
    with open(path) as file:
        for line in file:
            service, status = line.split()
            servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    time.sleep(0.02)
"#;

impl GrpcServer {
    /// `None` when this machine has no Python with the package; `tests/run` makes one.
    fn start() -> Option<GrpcServer> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grpc-venv/bin/python");
        if !python.exists() {
            println!("{} is not here: the gRPC check was not tried against grpcio", python.display());
            return None;
        }
        let folder = Folder::new();
        let (script, state) = (folder.path().join("server.py"), folder.path().join("state"));
        std::fs::write(&script, SERVER).expect("write the server");
        std::fs::write(&state, "shop.Orders SERVING\n").expect("write its state");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let (python, script, state) =
            (python.display().to_string(), script.display().to_string(), state.display().to_string());
        let process = Process::start(&python, &[&script, &port.to_string(), &state]);
        process.wait_for_line("the gRPC server serves", |line| line.contains("serving").then_some(()));
        Some(GrpcServer { address: port, folder, _process: process })
    }

    fn set(&self, service: &str, status: &str) {
        let (state, fresh) = (self.folder.path().join("state"), self.folder.path().join("fresh"));
        std::fs::write(&fresh, format!("{service} {status}\n")).expect("write its state");
        std::fs::rename(fresh, state).expect("replace its state");
    }
}
