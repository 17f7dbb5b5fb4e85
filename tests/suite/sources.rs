//! Where connections to endpoints come from, and what happens when no port is left.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};

use crate::harness::network::{ip, is_own_network, use_ports};
use crate::harness::{Client, Gate, Origin, Reply, Ringway, Setup, wait_until};

/// An origin that answers when the gate opens.
fn patient(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        Reply::default().then_wait(&gate).then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    })
}

fn peers(origin: &Origin) -> BTreeSet<IpAddr> {
    origin.requests().iter().map(|received| received.peer).collect()
}

fn addresses<const N: usize>(texts: [&str; N]) -> BTreeSet<IpAddr> {
    texts.map(|text| text.parse().expect("an address")).into()
}

#[track_caller]
fn exhausted(ringway: &Ringway) -> u64 {
    let metrics = ringway.admin("/metrics").text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("ringway_upstream_ports_exhausted_total{upstream=\"origin\"} "));
    line.and_then(|number| number.parse().ok()).expect("the metric is there")
}

/// Clients that have their ports before there are few.
fn crowd(ringway: &Ringway, count: usize) -> Vec<Client> {
    let clients: Vec<Client> = (0..count).map(|_| ringway.client()).collect();
    wait_until("all of them are accepted", || {
        let status = ringway.status();
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().filter_map(|worker| worker["connections"].as_u64()).sum::<u64>() == count as u64
    });
    clients
}

/// All of them ask at once; how many are answered well when the gate opens, and what the others are told.
#[track_caller]
fn ask(
    ringway: &Ringway,
    clients: &mut [Client],
    held: &dyn Fn() -> usize,
    most: usize,
    gate: &Gate,
) -> Vec<String> {
    let few = (40_000, 40_003);
    use_ports(few.0, few.1);
    for client in clients.iter_mut() {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    wait_until("every port is taken, and the rest is refused", || {
        held() == most && ringway.records(0).len() >= clients.len() - most
    });
    use_ports(32_768, 60_999);
    gate.open();
    let answers = clients.iter_mut().map(|client| client.response("GET"));
    answers.map(|answer| if answer.status == 200 { "ok".into() } else { answer.text() }).collect()
}

both! {
    fn connections_come_from_the_sources_in_turn_and_so_do_checks(io) {
        // Connections that are kept would hide where new ones come from.
        let once = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let origin = Origin::start(move |_| Reply::bytes(once).then_close());
        let more = "source \"127.0.0.5\" \"127.0.0.6\"; health { http \"/healthz\" every=\"100ms\" timeout=\"100ms\"; }";
        let ringway = Setup { upstream: more, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        wait_until("both are used", || {
            assert_eq!(client.get("/").status, 200);
            peers(&origin) == addresses(["127.0.0.5", "127.0.0.6"])
        });
        assert!(origin.requests().iter().any(|received| received.target() == "/healthz"));
        ringway.stop_after((client, origin));
    }

    fn a_source_that_is_not_ours_is_refused_at_the_start(io) {
        let origin = Origin::ok("x");
        let text = Setup { upstream: "source \"192.0.2.1\"", ..Setup::to(origin.address()) }.text();
        let (mut process, _folder) = Ringway::spawn(&text, io);
        assert!(process.wait().is_some_and(|status| !status.success()));
        let said = process.last_words();
        let expected = "upstream \"origin\" cannot connect from 192.0.2.1: Cannot assign requested address";
        assert!(said.contains(expected) && said.contains("use an address of this machine"), "{said}");
    }

    fn without_a_free_port_the_request_ends_as_ports_exhausted_and_the_endpoint_is_not_blamed(io) {
        if !is_own_network(module_path!(), io) {
            return;
        }
        let gate = Gate::default();
        let origin = patient(&gate);
        let ringway = Setup::to(origin.address()).start(io);
        let mut clients = crowd(&ringway, 10);
        let answers = ask(&ringway, &mut clients, &|| origin.requests().len(), 4, &gate);
        let refused: Vec<&String> = answers.iter().filter(|answer| *answer != "ok").collect();
        assert_eq!(refused.len(), 6);
        assert!(refused.iter().all(|answer| answer.contains("ports_exhausted")), "{refused:?}");
        assert!(exhausted(&ringway) >= 6);
        wait_until("it is said", || ringway.stderr().contains("no local port is free for connections"));
        assert_eq!(ringway.stderr().matches("no local port is free").count(), 1, "once");
        assert_eq!(ringway.upstream()["endpoints"][0]["state"], "up", "six failures in a row are ours");
        ringway.stop_after((clients, origin));
    }

    fn a_port_serves_one_connection_per_source_and_endpoint_and_what_is_full_is_passed_over(io) {
        if !is_own_network(module_path!(), io) {
            return;
        }
        let gate = Gate::default();
        let origins = [patient(&gate), patient(&gate)];
        let sources = "source \"127.0.0.1\" \"127.0.0.2\"";
        let endpoints = origins.iter().map(Origin::address).collect();
        let ringway = Setup { endpoints, upstream: sources, ..Setup::default() }.start(io);
        let mut clients = crowd(&ringway, 20);
        let held = || origins.iter().map(|origin| origin.requests().len()).sum();
        // Two sources, two endpoints, four ports.
        let answers = ask(&ringway, &mut clients, &held, 16, &gate);
        assert_eq!(answers.iter().filter(|answer| *answer == "ok").count(), 16, "{answers:?}");
        for origin in &origins {
            assert_eq!((origin.requests().len(), peers(origin)), (8, addresses(["127.0.0.1", "127.0.0.2"])));
        }
        ringway.stop_after((clients, origins));
    }

    fn connections_come_from_the_client_and_serve_nobody_else(io) {
        if !is_own_network(module_path!(), io) {
            return;
        }
        // What the endpoint sends to the client comes back to us.
        ip("rule add from 127.0.0.1 lookup 100");
        ip("route add local 203.0.113.0/24 dev lo table 100");
        let origin = Origin::ok("x");
        let own = Setup {
            listener: "trusted-proxies \"127.0.0.1\"",
            upstream: "source \"client\"; health { tcp every=\"100ms\" timeout=\"100ms\"; }",
            ..Setup::to(origin.address())
        };
        let ringway = own.start(io);
        let mut client = ringway.client();
        for last in [7, 8, 7] {
            client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.{last}\r\n\r\n"));
            assert_eq!(client.response("GET").status, 200);
        }
        let seen: Vec<String> = origin.requests().iter().map(|received| received.peer.to_string()).collect();
        assert_eq!(seen, ["203.0.113.7", "203.0.113.8", "203.0.113.7"]);
        let connections: BTreeSet<usize> = origin.requests().iter().map(|received| received.connection).collect();
        assert_eq!(connections.len(), 3, "none is used again");
        // A client of another family than the endpoint.
        client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::1\r\n\r\n");
        let refused = client.response("GET");
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("source_unavailable"), "{}", refused.text());
        ringway.stop_after((client, origin));
    }

    fn a_flow_of_tcp_comes_from_its_client_as_well(io) {
        if !is_own_network(module_path!(), io) {
            return;
        }
        ip("addr add 198.51.100.7/32 dev lo");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = listener.local_addr().expect("it is bound");
        let ringway = Ringway::start(
            &format!(
                "tcp \"db\" {{ bind \"127.0.0.1:0\"; upstream \"origin\"; }}\n\
                 upstream \"origin\" {{ endpoint \"{endpoint}\"; source \"client\"; }}"
            ),
            io,
        );
        let from = "198.51.100.7".parse().expect("an address");
        let client = Client::connect_from(ringway.address("db"), from).expect("Ringway accepts");
        let (stream, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.ip(), from);
        ringway.stop_after((client, stream, listener));
    }

    fn a_reload_with_a_source_that_is_not_ours_changes_nothing(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        ringway.rewrite(&Setup { upstream: "source \"192.0.2.1\"", ..Setup::to(origin.address()) }.text());
        let refused = ringway.change("/v1/reload", "{}");
        assert!(refused.status >= 400, "{}", refused.text());
        assert!(refused.text().contains("cannot connect from 192.0.2.1"), "{}", refused.text());
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 200);
        ringway.stop_after((client, origin));
    }

    fn the_clients_source_without_the_right_is_refused_at_the_start(io) {
        let origin = Origin::ok("x");
        let text = Setup { upstream: "source \"client\"", ..Setup::to(origin.address()) }.text();
        let without = ["setpriv", "--bounding-set", "-net_admin,-net_raw", "--inh-caps", "-net_admin,-net_raw"];
        let (mut process, _folder) = Ringway::spawn_through(&without, &text, io);
        assert!(process.wait().is_some_and(|status| !status.success()));
        let said = process.last_words();
        let expected = "cannot connect from the addresses of its clients: Operation not permitted";
        assert!(said.contains(expected) && said.contains("CAP_NET_ADMIN"), "{said}");
    }
}
