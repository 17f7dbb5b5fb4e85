mod grpc;
mod observer;
mod tls;

use super::*;
use crate::deploy::tests::NoEntrances;
use crate::node::{InForce, NodeFacts};
use crate::{ReadyState, Start, compile, spawn};
use config::{Format, Sealed};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::SystemTime;

/// Answers connections one after the other until the process ends; only the threads of finished tests remain.
fn origin(answer: impl Fn(TcpStream) + Send + 'static) -> Addr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream);
        }
    });
    Addr::Ip(addr)
}

/// Reads the head of a request and gives it back.
fn head(stream: &mut impl Read) -> String {
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !received.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
        }
    }
    String::from_utf8(received).unwrap()
}

fn says(answer: impl Into<Vec<u8>>) -> Addr {
    let answer = answer.into();
    origin(move |mut stream| {
        head(&mut stream);
        // The check may have seen enough and be gone.
        let _ = stream.write_all(&answer);
    })
}

fn probe(addr: Addr, health: &str) -> Probe {
    let text = format!(
        "listener \"web\" {{ bind \"127.0.0.1:8080\" }}\nsite \"*\" {{ route \"/\" upstream=\"api\" }}\n\
         upstream \"api\" {{ endpoint \"{addr}\"; health {{ {health} }} }}"
    );
    let config = config::parse(&text, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = compile(&config, 1, None).unwrap().snapshot;
    plan(&config, &snapshot, None).pop().unwrap()
}

fn perform(probe: &Probe) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(probe.check.perform(&probe.addr, "")) {
        Verdict::Passed => Ok(()),
        Verdict::Failed(finding) => Err(finding.to_string()),
        Verdict::Void(finding) => Err(format!("void: {finding}")),
    }
}

#[test]
fn only_a_complete_answer_with_an_expected_status_passes() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(())),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        (chunked, Ok(())),
        ("HTTP/1.0 200 OK\r\n\r\nuntil close", Ok(())),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            Ok(()),
        ),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Err("answered 503")),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Err("answered 404")),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Err("answered 101")),
        ("", Err("the connection ended before the answer did")),
        ("HTTP/1.1 200 OK\r\nContent-Le", Err("the connection ended before the answer did")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", Err("invalid body")),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", Err("invalid answer")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", Err("invalid answer")),
    ] {
        let result = perform(&probe(says(answer), "http \"/healthz\""));
        match expected {
            Ok(()) => assert_eq!(result, Ok(()), "{answer:?}"),
            Err(reason) => assert!(
                result.as_ref().is_err_and(|found| found.starts_with(reason)),
                "{answer:?}: {result:?}"
            ),
        }
    }
}

#[test]
fn expected_statuses_are_those_of_the_configuration() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(perform(&probe(says(answer), "http \"/\" expect=\"500-599\"")), Ok(()));
}

#[test]
fn the_request_names_path_query_and_host() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let addr = origin(move |mut stream| {
        sender.send(head(&mut stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    perform(&probe(addr.clone(), "http \"/healthz?full=1\"")).unwrap();
    let request = receiver.recv().unwrap();
    assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(&format!("Host: {addr}\r\n")) && request.contains("Connection: close\r\n"),
        "{request}"
    );
    perform(&probe(addr, "http \"/\" host=\"api.internal\"")).unwrap();
    assert!(receiver.recv().unwrap().contains("Host: api.internal\r\n"));
}

#[test]
fn the_request_has_the_method_and_the_fields_of_the_configuration() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let addr = origin(move |mut stream| {
        sender.send(head(&mut stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").unwrap();
    });
    let written = "http \"/\" method=\"HEAD\" { header \"X-Check\" \"1\"; header \"user-agent\" \"me\" }";
    assert_eq!(perform(&probe(addr.clone(), written)), Ok(()), "an answer to HEAD has no body");
    let request = receiver.recv().unwrap();
    assert!(request.starts_with("HEAD / HTTP/1.1\r\n") && request.contains("X-Check: 1\r\n"), "{request}");
    assert!(request.contains("user-agent: me\r\n") && !request.contains("ringway"), "{request}");
    let _ = perform(&probe(addr, "http \"/\" method=\"POST\""));
    assert!(receiver.recv().unwrap().contains("Content-Length: 0\r\n"));
}

#[test]
fn the_body_must_contain_what_is_expected_wherever_it_stands() {
    let missing = Err("the body does not contain the expected text".to_owned());
    let split = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n4\r\n ok!\r\n0\r\n\r\n";
    for (answer, result) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfine, ok", Ok(())),
        (split, missing.clone()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nno k", missing.clone()),
        ("HTTP/1.1 204 No Content\r\n\r\n", missing.clone()),
        ("HTTP/1.0 200 OK\r\n\r\nfine, ok", Ok(())),
    ] {
        assert_eq!(perform(&probe(says(answer), "http \"/\" body=\"ne, ok\"")), result, "{answer:?}");
    }
    assert_eq!(perform(&probe(says(split), "http \"/\" body=\"all ok!\"")), Ok(()), "over two chunks");
}

#[test]
fn endless_and_silent_endpoints_cost_a_bounded_time() {
    let endless_head = origin(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: and more\r\n").is_ok() {}
    });
    let result = perform(&probe(endless_head, "http \"/\" every=\"5s\" timeout=\"5s\""));
    assert!(result.as_ref().is_err_and(|found| found.starts_with("invalid answer")), "{result:?}");

    let endless_body = origin(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    });
    assert_eq!(
        perform(&probe(endless_body, "http \"/\" every=\"5s\" timeout=\"5s\"")),
        Ok(()),
        "64 KiB are enough"
    );

    // Listening without accepting: the kernel completes the connection and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = Addr::Ip(silent.local_addr().unwrap());
    let result = perform(&probe(addr.clone(), "http \"/\" timeout=\"50ms\""));
    assert_eq!(result, Err("no complete answer within 50 ms".to_owned()));
    assert_eq!(perform(&probe(addr, "tcp")), Ok(()));
}

#[test]
fn a_refused_connection_fails_both_kinds_of_checks() {
    let addr = Addr::Ip(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for health in ["tcp", "http \"/\""] {
        let result = perform(&probe(addr.clone(), health));
        assert!(result.as_ref().is_err_and(|found| found.contains("refused")), "{result:?}");
    }
}

/// Answers the first datagram of each check.
fn answers(bytes: &'static [u8]) -> (Addr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = Addr::Ip(socket.local_addr().unwrap());
    let (seen, asked) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut datagram) {
            if socket.send_to(bytes, from).is_err() || seen.send(datagram[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    (addr, asked)
}

#[test]
fn a_datagram_must_be_answered_with_what_is_expected() {
    let (addr, asked) = answers(b"\0pong\xff");
    for (health, result) in [
        ("udp send=\"ping\"", Ok(())),
        ("udp send=\"ping\" expect=\"pong\"", Ok(())),
        ("udp send=\"ping\" expect=\"hex:67 ff\"", Ok(())),
        ("udp send=\"ping\" expect=\"base64:AHBvbmf/\"", Ok(())),
        (
            "udp send=\"ping\" expect=\"pongo\"",
            Err("the answer does not contain what is expected".to_owned()),
        ),
    ] {
        assert_eq!(perform(&probe(addr.clone(), health)), result, "{health}");
        assert_eq!(asked.recv().unwrap(), b"ping");
    }
    assert_eq!(perform(&probe(addr, "udp send=\"hex:00ff80\"")), Ok(()));
    assert_eq!(asked.recv().unwrap(), [0, 0xff, 0x80]);
}

#[test]
fn silence_and_a_closed_port_fail_a_datagram_check() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = Addr::Ip(silent.local_addr().unwrap());
    let result = perform(&probe(addr.clone(), "udp send=\"ping\" timeout=\"50ms\""));
    assert_eq!(result, Err("no complete answer within 50 ms".to_owned()));
    drop(silent);
    let result = perform(&probe(addr, "udp send=\"ping\""));
    assert!(result.as_ref().is_err_and(|found| found.contains("refused")), "{result:?}");
}

#[test]
fn endpoints_on_unix_sockets_are_checked_too() {
    let path = std::env::temp_dir().join(format!("ringway-probe-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        request
    });
    assert_eq!(perform(&probe(Addr::Unix(path.clone()), "http \"/\"")), Ok(()));
    assert!(server.join().unwrap().contains("Host: localhost\r\n"));
    std::fs::remove_file(&path).unwrap();
}

fn facts() -> NodeFacts {
    NodeFacts {
        driver: "epoll",
        driver_reason: None,
        version: "0.0.1",
        pid: 1,
        workers: 1,
        started: SystemTime::UNIX_EPOCH,
        budget: None,
        shared: Arc::new(traffic::overload::Node::new(traffic::overload::Supply::UNLIMITED, 1)),
        listeners: Vec::new(),
    }
}

fn in_force(config: Config) -> InForce {
    InForce::first(Arc::new(config), "test.kdl".to_owned(), SystemTime::UNIX_EPOCH)
}

/// The task of a probe, driven by hand.
fn watch(probe: Probe) -> Watch {
    let config = config::from_args(
        &[config::Address::Ip("127.0.0.1:0".parse().unwrap())],
        &[config::Address::Ip("127.0.0.1:9".parse().unwrap())],
    );
    let snapshot = Arc::new(compile(&config, 1, None).unwrap().snapshot);
    let node = Arc::new(Node::new(
        facts(),
        Vec::new(),
        || Instant::ZERO,
        None,
        snapshot,
        in_force(config),
        crate::process::channel().0,
    ));
    node.first_round.expect(1);
    Watch {
        node,
        budget: Arc::new(Budget::new(1, 1000)),
        pulse: Arc::new(Pulse::default()),
        state: health::Check::new(rules(probe.check.schedule()), probe.cell.health()),
        failures: 0,
        rng: Rng::new(1),
        is_first: true,
        probe: Arc::new(probe),
    }
}

fn refused() -> Verdict {
    Verdict::Failed(Finding::Io(std::io::Error::from_raw_os_error(111)))
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn results_are_written_into_the_cell_and_explained() {
    let mut watch = watch(probe(Addr::Ip("127.0.0.1:9".parse().unwrap()), "tcp rise=2 fall=3"));
    let mut conclude = |verdict: Verdict| {
        watch.conclude(verdict, at(1), Duration::from_millis(3));
        let report = watch.node.board.report("api", &watch.probe.addr).unwrap();
        (watch.probe.cell.health(), report.finding, report.in_a_row)
    };
    let found = || Some("Connection refused (os error 111)".to_owned());
    assert_eq!(conclude(Verdict::Passed), (Health::Up, None, 1), "one success is enough for a new endpoint");
    assert_eq!(conclude(refused()), (Health::Up, found(), -1));
    assert_eq!(conclude(refused()), (Health::Up, found(), -2));
    assert_eq!(conclude(refused()), (Health::Down, found(), -3));
    assert_eq!(conclude(Verdict::Passed), (Health::Down, None, 1));
    assert_eq!(conclude(Verdict::Passed), (Health::Up, None, 2));
    assert_eq!(watch.node.first_round.unfinished(), 0);
}

#[test]
fn r120_what_we_lacked_ourselves_is_no_result() {
    let mut watch = watch(probe(Addr::Ip("127.0.0.1:9".parse().unwrap()), "tcp rise=1 fall=1"));
    watch.conclude(Verdict::Passed, at(1), Duration::ZERO);
    let no_descriptor = Finding::Io(std::io::Error::from_raw_os_error(24));
    assert!(no_descriptor.is_ours());
    watch.conclude(Verdict::Void(no_descriptor), at(2), Duration::ZERO);
    assert_eq!(watch.probe.cell.health(), Health::Up);
    let report = watch.node.board.report("api", &watch.probe.addr).unwrap();
    assert_eq!(report.in_a_row, 1);
    assert!(report.finding.unwrap().starts_with("could not be checked: "));
    assert!(watch.state.next_due(at(2), Evidence::default()) > at(3), "an interval later");
}

#[test]
fn a_check_that_ends_before_its_first_result_is_waited_for_no_longer() {
    let watch = watch(probe(Addr::Ip("127.0.0.1:9".parse().unwrap()), "tcp"));
    let node = Arc::clone(&watch.node);
    assert_eq!(node.first_round.unfinished(), 1);
    drop(watch);
    assert_eq!(node.first_round.unfinished(), 0);
}

#[test]
fn the_first_endpoints_of_all_upstreams_are_checked_first() {
    let upstream = |name: &str, ports: std::ops::Range<u16>| {
        let endpoints: String = ports.map(|port| format!("endpoint \"10.0.0.1:{port}\"; ")).collect();
        format!("upstream \"{name}\" {{ {endpoints} health {{ tcp }} }}\n")
    };
    let text = format!(
        "listener \"web\" {{ bind \"127.0.0.1:8080\" }}\n\
         site \"*\" {{ route \"/\" upstream=\"a\"; route \"/b\" upstream=\"b\" }}\n{}{}",
        upstream("a", 1..4),
        upstream("b", 1..3)
    );
    let config = config::parse(&text, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = compile(&config, 1, None).unwrap().snapshot;
    let order: Vec<_> = plan(&config, &snapshot, None)
        .iter()
        .map(|probe| format!("{}{}", probe.upstream, probe.addr.ip().unwrap().port()))
        .collect();
    assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn the_node_is_ready_when_every_endpoint_has_its_first_result() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let addr = origin(move |mut stream| {
        head(&mut stream);
        released.recv().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let text = format!(
        "listener \"web\" {{ bind \"127.0.0.1:8080\" }}\nsite \"*\" {{ route \"/\" upstream=\"api\" }}\n\
         upstream \"api\" {{ endpoint \"{addr}\"; health {{ http \"/\" every=\"1h\" timeout=\"10s\" }} }}"
    );
    let config = config::parse(&text, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = Arc::new(compile(&config, 1, None).unwrap().snapshot);
    let plane = spawn(Start {
        secrets: None,
        config,
        file: None,
        last_good: None,
        broken: None,
        watch: false,
        snapshot: Arc::clone(&snapshot),
        publishers: Vec::new(),
        bound: Box::new(|_| Ok(())),
        entrances: Box::new(NoEntrances),
        wake: Box::new(|| ()),
        stand_back: || {},
        logs: Vec::new(),
        stats: Vec::new(),
        admin: Vec::new(),
        node: facts(),
        clock: || Instant::ZERO,
    })
    .unwrap();
    let reasons = vec!["endpoints that wait for their first health check: 1".to_owned()];
    assert_eq!(plane.ready_state(), ReadyState::NotReady(reasons));
    release.send(()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while plane.ready_state() != ReadyState::Ready {
        assert!(std::time::Instant::now() < deadline, "not ready within 10 s");
        thread::yield_now();
    }
    assert_eq!(snapshot.upstreams[0].endpoints[0].cell.health(), Health::Up);
    plane.stop();
}
