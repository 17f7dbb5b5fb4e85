//! The API as a client sees it: over real loopback and Unix sockets.

use crate::deploy::tests::NoEntrances;
use crate::{ControlPlane, NodeFacts, ReadyState, Start, compile, spawn};
use base::Instant;
use base::addr::Addr;
use base::ids::WorkerId;
use config::{Format, Sealed};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use traffic::stats::WorkerStats;
use traffic::{Cause, Phase, Phases, Snapshot};

const CONFIG: &str = r#"
listener "web" { bind "127.0.0.1:8080" }
upstream "api" { endpoint "10.0.0.1:80" weight=3; endpoint "10.0.0.2:80" tier="backup" }
site "shop.example.com" { route "/" upstream="api" }
"#;

struct Node {
    plane: ControlPlane,
    snapshot: Arc<Snapshot>,
    worker: Arc<WorkerStats>,
}

fn start_on(addr: Addr) -> Node {
    let config = config::parse(CONFIG, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = Arc::new(compile(&config, 1, None).unwrap().snapshot);
    let worker = Arc::new(WorkerStats::default());
    let plane = spawn(Start {
        config,
        file: None,
        last_good: None,
        broken: None,
        watch: false,
        snapshot: Arc::clone(&snapshot),
        secrets: None,
        publishers: Vec::new(),
        bound: Box::new(|_| Ok(())),
        entrances: Box::new(NoEntrances),
        wake: Box::new(|| ()),
        stand_back: || {},
        logs: Vec::new(),
        stats: vec![Arc::clone(&worker)],
        admin: vec![addr],
        node: NodeFacts {
            driver: "epoll",
            driver_reason: Some("io_uring: EPERM".to_owned()),
            version: "0.0.1",
            pid: std::process::id(),
            workers: 1,
            started: SystemTime::now() - Duration::from_secs(5),
            budget: None,
            shared: Arc::new(traffic::overload::Node::new(traffic::overload::Supply::UNLIMITED, 1)),
            listeners: vec![("web".to_owned(), Addr::Ip("127.0.0.1:8080".parse().unwrap()))],
        },
        clock: || Instant::from_nanos(1_000_000_000),
    });
    Node { plane: plane.unwrap(), snapshot, worker }
}

fn start() -> Node {
    start_on(Addr::Ip("127.0.0.1:0".parse().unwrap()))
}

/// Status line with fields, and body.
fn exchange(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

impl Node {
    fn connect(&self) -> TcpStream {
        let addr = self.plane.admin_addr().and_then(Addr::ip).unwrap();
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, fields: &str) -> (String, String) {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
        exchange(self.connect(), &request)
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask("GET", path, "")
    }

    fn get_json(&self, path: &str) -> serde_json::Value {
        let (head, body) = self.get(path);
        assert!(
            head.starts_with("http/1.1 200 ") && head.contains("content-type: application/json"),
            "{head}"
        );
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn readiness_ends_when_draining_begins_and_life_goes_on() {
    let node = start();
    assert_eq!(node.plane.ready_state(), ReadyState::Ready);
    assert_eq!(node.get_json("/ready")["ready"], true);
    node.plane.set_draining(crate::Draining::Begun);
    let (head, body) = node.get("/ready");
    assert!(
        head.starts_with("http/1.1 503 ") && head.contains("content-type: application/problem+json"),
        "{head}"
    );
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], 503);
    assert!(problem["reasons"][0].as_str().unwrap().starts_with("draining"));
    assert!(matches!(node.plane.ready_state(), ReadyState::NotReady(reasons) if reasons.len() == 1));
    assert_eq!(node.get_json("/live")["live"], true);
    assert_eq!(node.get_json("/v1/status")["draining"], true);
    node.plane.stop();
}

#[test]
fn status_says_what_runs_and_where() {
    let node = start();
    node.worker.connections_accepted.add(7);
    node.worker.live_ops.set(3);
    let status = node.get_json("/v1/status");
    assert_eq!(status["version"], "0.0.1");
    assert_eq!(status["driver"], serde_json::json!({ "name": "epoll", "reason": "io_uring: EPERM" }));
    let web = serde_json::json!({ "name": "web", "address": "127.0.0.1:8080", "kind": "http" });
    assert_eq!(status["listeners"], serde_json::json!([web]));
    assert_eq!(status["connections"]["accepted"], 7);
    assert_eq!(status["connections"]["max"], 65_536);
    assert_eq!(status["workers"][0]["live_ops"], 3);
    assert_eq!(status["generation"], 1);
    assert!(status["uptime_seconds"].as_u64().unwrap() >= 5);
    node.plane.stop();
}

#[test]
fn upstreams_show_the_state_of_every_endpoint() {
    let node = start();
    let cell = &node.snapshot.upstreams[0].endpoints[0].cell;
    cell.begin();
    (0..5).for_each(|_| {
        cell.observe(
            Instant::from_nanos(1),
            Duration::from_millis(2),
            traffic::health::Outcome::GatewayError,
            &traffic::health::EjectionRules::default(),
        );
    });
    let upstreams = node.get_json("/v1/upstreams");
    let api = &upstreams["upstreams"][0];
    assert_eq!(
        (&api["name"], &api["origin"], &api["available"]),
        (&"api".into(), &"test.kdl:3:1".into(), &1.into())
    );
    let [first, second] = &api["endpoints"].as_array().unwrap()[..] else { panic!("{api}") };
    assert_eq!((&first["address"], &first["state"]), (&"10.0.0.1:80".into(), &"ejected".into()));
    assert_eq!(
        (&first["weight"], &first["in_flight"], &first["failures"]),
        (&3.into(), &1.into(), &5.into())
    );
    assert!(first["reason"].as_str().unwrap().contains("5 failures in a row"), "{first}");
    assert_eq!((&second["state"], &second["tier"]), (&"up".into(), &1.into()));
    assert_eq!(second.get("reason"), None);
    node.plane.stop();
}

#[test]
fn metrics_add_up_what_workers_counted_in_both_formats() {
    let node = start();
    let mut phases = Phases::new(Instant::ZERO);
    phases.mark(Phase::Wait, Instant::from_nanos(3_000_000));
    node.snapshot.routes[0].stats.shard(WorkerId(0)).record(200, &phases, 10, 20);
    node.worker.count(Cause::NoEndpoint);
    let (head, text) = node.get("/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "ringway_requests_total{route=\"shop.example.com /\",code=\"2xx\"} 1",
        "ringway_sent_bytes_total{route=\"shop.example.com /\"} 20",
        "ringway_request_seconds_bucket{route=\"shop.example.com /\",le=\"0.002048\"} 0",
        "ringway_request_seconds_bucket{route=\"shop.example.com /\",le=\"0.004096\"} 1",
        "ringway_request_phase_seconds_sum{route=\"shop.example.com /\",phase=\"wait\"} 0.003",
        "ringway_causes_total{cause=\"no_endpoint\",side=\"ringway\",stage=\"balance\"} 1",
        "ringway_endpoint_up{upstream=\"api\",endpoint=\"10.0.0.1:80\"} 1",
        "ringway_driver_info{driver=\"epoll\"} 1",
        "ringway_ready 1",
        "ringway_balance_failed_open_total{upstream=\"api\"} 0",
        "ringway_retries_refused_total{upstream=\"api\"} 0",
        "ringway_connections_max 65536",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let (head, open) = node.ask("GET", "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(open.ends_with("# EOF\n"));
    assert!(open.contains("# TYPE ringway_requests counter\n"));
    node.plane.stop();
}

#[test]
fn every_family_is_opened_once_and_every_sample_belongs_to_it() {
    let node = start();
    let (_, text) = node.get("/metrics");
    let mut names = std::collections::HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(names.insert(family), "{family} stands twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(family), "{name} stands under {family}");
        }
    }
    assert!(names.len() > 40, "{}", names.len());
    node.plane.stop();
}

#[test]
fn errors_are_problem_documents_and_other_methods_are_told_what_works() {
    let node = start();
    let (head, body) = node.get("/v1/nothing");
    assert!(head.starts_with("http/1.1 404 ") && head.contains("application/problem+json"), "{head}");
    assert!(body.contains("/v1/nothing"));
    for method in ["POST", "DELETE", "PUT"] {
        let (head, _) = node.ask(method, "/v1/status", "Content-Length: 0\r\n");
        assert!(
            head.starts_with("http/1.1 405 ")
                && head.contains("allow: get, head")
                && head.contains("problem+json"),
            "{head}"
        );
        assert_eq!(head.matches("allow:").count(), 1, "{head}");
    }
    let (head, body) = node.ask("HEAD", "/v1/status", "");
    assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{head}");
    node.plane.stop();
}

#[test]
fn what_a_web_page_makes_a_browser_send_is_refused() {
    let node = start();
    let (head, _) = node.ask("GET", "/v1/status", "Origin: https://evil.example\r\n");
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    let rebound = "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let (head, _) = exchange(node.connect(), rebound);
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    node.plane.stop();
}

#[test]
fn a_request_larger_than_16_kib_is_refused() {
    let node = start();
    let (head, _) = node.ask("GET", "/live", &format!("X-Large: {}\r\n", "x".repeat(20_000)));
    assert!(head.starts_with("http/1.1 431 "), "{head}");
    node.plane.stop();
}

#[test]
fn a_unix_socket_is_private_replaces_a_dead_one_and_is_removed_in_the_end() {
    let folder = std::env::temp_dir().join(format!("ringway-admin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let node = start_on(Addr::Unix(path.clone()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let request = "GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (head, _) = exchange(UnixStream::connect(&path).unwrap(), request);
    assert!(head.starts_with("http/1.1 403 "), "a name in Host: {head}");
    let (head, _) =
        exchange(UnixStream::connect(&path).unwrap(), &request.replace("Host: x", "Host: localhost"));
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let taken = super::server::Bound::bind(&Addr::Unix(path.clone())).unwrap_err();
    assert!(taken.to_string().contains("another process answers there"), "{taken}");
    node.plane.stop();
    assert!(!path.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_client_beyond_the_last_connection_waits_until_another_leaves() {
    let node = start();
    let mut held: Vec<_> = (0..super::server::CONNECTIONS_MAX).map(|_| node.connect()).collect();
    for stream in &mut held {
        // An answered request shows that the connection was accepted and has its place.
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    }
    let mut late = node.connect();
    late.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(late.read(&mut [0; 1024]).is_err(), "no place is left");
    drop(held.pop());
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(late.read(&mut [0; 1024]).unwrap() > 0);
    node.plane.stop();
}
