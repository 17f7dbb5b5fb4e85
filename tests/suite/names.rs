//! Endpoints by name, against a DNS server that says what the test wants (R116, R123).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use crate::harness::dns::{Data, Dns, Says, a, srv};
use crate::harness::{Gate, Io, Load, Origin, Reply, Ringway, wait_until};

/// The usual configuration, with the endpoints as they are written.
#[track_caller]
fn start(io: Io, dns: &str, endpoints: &str, upstream: &str) -> Ringway {
    Ringway::start(
        &format!(
            "{dns}\nlistener \"web\" {{ bind \"127.0.0.1:0\" }}\n\
             upstream \"origin\" {{ {endpoints}\n{upstream} }}\nsite \"*\" {{ route \"/\" upstream=\"origin\" }}\n"
        ),
        io,
    )
}

fn host(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// Three origins on one port, at 127.0.0.2 and so on, that answer with their names.
fn on_one_port() -> (u16, Vec<Origin>) {
    let (port, first) = loop {
        let first = Origin::start_at((host(2), 0).into(), |_| Reply::ok("two")).expect("a free port");
        let port = first.address().port();
        if let Some(second) = Origin::start_at((host(3), port).into(), |_| Reply::ok("three")) {
            break (port, vec![first, second]);
        }
    };
    (port, first)
}

/// What is known of the only name.
#[track_caller]
fn name(ringway: &Ringway) -> Value {
    ringway.upstream()["names"][0].clone()
}

#[track_caller]
fn wait_for_error(ringway: &Ringway, part: &str) {
    wait_until(&format!("the name cannot be resolved: {part}"), || {
        name(ringway)["error"].as_str().is_some_and(|error| error.contains(part))
    });
}

both! {
    fn r116_a_name_is_followed_and_its_last_good_addresses_stay(io) {
        let (port, origins) = on_one_port();
        let answer = |last| Says::Records(0, vec![a(host(last))]);
        let dns = Dns::start(&[("api.internal", answer(2))]);
        let ringway = start(io, &dns.node("timeout \"400ms\""), &format!("endpoint \"api.internal:{port}\""), "");
        let mut client = ringway.client();
        assert_eq!(client.get("/").text(), "two");
        dns.set("api.internal", answer(3));
        wait_until("the new address is used", || client.get("/").text() == "three");
        for (says, error) in [
            (Says::Code(3), "NXDOMAIN"),
            (Says::Code(2), "error"),
            (Says::Silence, "no answer"),
            (Says::Records(60, vec![]), "no"),
        ] {
            dns.set("api.internal", says);
            wait_for_error(&ringway, error);
            assert_eq!(client.get("/").text(), "three", "after {error}");
            let name = name(&ringway);
            assert_eq!(name["addresses"][0], format!("127.0.0.3:{port}"), "{name}");
            dns.set("api.internal", answer(3));
            wait_until("it can be resolved again", || self::name(&ringway).get("error").is_none());
        }
        dns.set("api.internal", answer(2));
        wait_until("it is followed again", || client.get("/").text() == "two");
        wait_until("old generations are freed", || ringway.status()["generations"]["alive"] == 1);
        ringway.says(&format!("has 1 addresses now: +127.0.0.3:{port} -127.0.0.2:{port}"));
        ringway.says("cannot be resolved: no such name (NXDOMAIN); its last address stays in use");
        ringway.stop_after((client, origins, dns));
    }

    fn r116_a_node_starts_without_any_answer_and_says_what_it_misses(io) {
        let origin = Origin::ok("here");
        let dns = Dns::start(&[("api.internal", Says::Silence)]);
        let endpoint = format!("endpoint \"api.internal:{}\"", origin.address().port());
        let ringway = start(io, &dns.node("timeout \"300ms\""), &endpoint, "");
        let mut client = ringway.client();
        let refused = client.get("/");
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("name_unresolved"), "{}", refused.text());
        wait_for_error(&ringway, "no answer from 127.0.0.1:");
        dns.set("api.internal", Says::Records(0, vec![a(Ipv4Addr::LOCALHOST)]));
        wait_until("the endpoint is there", || client.get("/").status == 200);
        ringway.stop_after((client, origin, dns));
    }

    fn r123_endpoints_that_change_ten_times_a_second_cost_no_request(io) {
        let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
        let ports: Vec<u16> = origins.iter().map(|origin| origin.address().port()).collect();
        let dns = Dns::start(&[("host.internal", Says::Records(0, vec![a(Ipv4Addr::LOCALHOST)]))]);
        let names: Vec<String> = (0..10).map(|n| format!("_http._tcp.s{n}.internal")).collect();
        for (n, name) in names.iter().enumerate() {
            // Each name moves on with each answer; the weights differ, so that every answer changes something.
            let of = |turn: usize| {
                let weight = u16::try_from(1 + n + turn).unwrap_or(1);
                vec![srv(1, weight, ports[(n + turn) % 3], "host.internal")]
            };
            dns.set(name, Says::Turns(0, (0..3).map(of).collect()));
        }
        let endpoints: String = names.iter().map(|name| format!("endpoint \"srv:{name}\"\n")).collect();
        let ringway = start(io, &dns.node(""), &endpoints, "");
        wait_until("all names are resolved", || {
            ringway.upstream()["names"].as_array().is_some_and(|names| {
                names.len() == 10 && names.iter().all(|name| name["addresses"][0].is_string())
            })
        });
        let before = ringway.status()["generations"]["deployed"].as_u64().unwrap_or(0);
        let load = Load::start(ringway.address("web"), 4);
        wait_until("fifty more answers changed something", || {
            let names = ringway.upstream()["names"].clone();
            names.as_array().into_iter().flatten().filter_map(|name| name["changes"].as_u64()).sum::<u64>() >= 60
        });
        let (answered, wrong) = load.stop();
        assert!(answered > 100 && wrong.is_empty(), "{answered} answered; {wrong:?}");
        let deployed = ringway.status()["generations"]["deployed"].as_u64().unwrap_or(0) - before;
        assert!(deployed >= 10, "{deployed} generations under load");
        wait_until("old generations are freed", || ringway.status()["generations"]["alive"] == 1);
        ringway.stop_after((origins, dns));
    }

    fn a_request_finishes_on_an_endpoint_that_is_gone_and_its_connections_are_closed(io) {
        let opener = Gate::default();
        let gate = opener.clone();
        let old = Origin::start(move |asked| match asked.target() {
            "/slow" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then_wait(&gate).then("slow"),
            _ => Reply::ok("old"),
        });
        let new = Origin::ok("new");
        let service = |origin: &Origin| {
            Says::Records(0, vec![srv(1, 1, origin.address().port(), "host.internal")])
        };
        let dns = Dns::start(&[
            ("host.internal", Says::Records(0, vec![a(Ipv4Addr::LOCALHOST)])),
            ("_http._tcp.api.internal", service(&old)),
        ]);
        let ringway = start(io, &dns.node(""), "endpoint \"srv:_http._tcp.api.internal\"", "");
        let (mut client, mut waiting) = (ringway.client(), ringway.client());
        assert_eq!(client.get("/").text(), "old");
        waiting.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        old.wait_for("the slow request", |requests, _| requests.iter().any(|asked| asked.target() == "/slow"));
        dns.set("_http._tcp.api.internal", service(&new));
        wait_until("the new endpoint is used", || client.get("/").text() == "new");
        wait_until("only the connection in use is left", || old.open_connections() == 1);
        assert!(ringway.status()["generations"]["alive"].as_u64() >= Some(2), "the request keeps its generation");
        opener.open();
        assert_eq!(waiting.response("GET").text(), "slow");
        wait_until("it is closed then", || old.open_connections() == 0);
        wait_until("its generation is freed", || ringway.status()["generations"]["alive"] == 1);
        assert_eq!(waiting.get("/").text(), "new");
        ringway.stop_after((client, waiting, old, new, dns));
    }

    fn r116_what_stays_keeps_its_connections_counts_and_state(io) {
        let (port, origins) = on_one_port();
        let answer = |hosts: &[u8]| Says::Records(0, hosts.iter().map(|&last| a(host(last))).collect());
        let dns = Dns::start(&[("api.internal", answer(&[2, 3]))]);
        let endpoint = format!("endpoint \"api.internal:{port}\"");
        let ringway = start(io, &format!("workers 1\n{}", dns.node("")), &endpoint, "balance \"round-robin\"");
        let mut client = ringway.client();
        for _ in 0..10 {
            client.get("/");
        }
        let drain = format!("/v1/upstreams/origin/endpoints/127.0.0.3:{port}");
        assert_eq!(ringway.change(&drain, r#"{"state":"drain","weight":7}"#).status, 200);
        dns.set("api.internal", answer(&[2]));
        wait_until("one is gone", || ringway.upstream()["endpoints"].as_array().is_some_and(|all| all.len() == 1));
        assert_eq!(client.get("/").text(), "two");
        let kept = ringway.upstream()["endpoints"][0].clone();
        assert!(kept["requests"].as_u64() >= Some(6), "{kept}");
        assert_eq!(origins[0].connections(), 1, "its connection has been used all the time");
        dns.set("api.internal", answer(&[2, 3]));
        wait_until("it is back", || ringway.upstream()["endpoints"].as_array().is_some_and(|all| all.len() == 2));
        let back = ringway.upstream()["endpoints"][1].clone();
        assert_eq!((&back["service"], &back["weight"]), (&"drain".into(), &7.into()), "{back}");
        assert_eq!((0..10).filter(|_| client.get("/").text() == "three").count(), 0);
        ringway.stop_after((client, origins, dns));
    }
}

#[test]
fn a_service_gives_ports_weights_and_tiers() {
    let dns = Dns::start(&[
        ("a.internal", Says::Records(60, vec![a(host(1))])),
        ("b.internal", Says::Records(60, vec![a(host(2)), a(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]))])),
        (
            "_http._tcp.shop.internal",
            Says::Records(
                60,
                vec![
                    srv(20, 1, 8003, "a.internal"),
                    srv(10, 5, 8001, "a.internal"),
                    srv(10, 2, 8002, "b.internal"),
                ],
            ),
        ),
    ]);
    let ringway = start(
        Io::Epoll,
        &dns.node("addresses \"ipv4\""),
        "endpoint \"srv:_http._tcp.shop.internal\" weight=3",
        "",
    );
    let upstream = ringway.upstream();
    let read = upstream["endpoints"].as_array().expect("a list").iter();
    let read =
        read.map(|one| format!("{} {} {}", one["address"], one["weight"], one["tier"]).replace('"', ""));
    let expected = ["127.0.0.1:8001 15 0", "127.0.0.2:8002 6 0", "127.0.0.1:8003 3 1"];
    assert_eq!(read.collect::<Vec<_>>(), expected);
    assert!(name(&ringway)["ttl_left_seconds"].as_u64().is_some_and(|left| (1..=60).contains(&left)));
    let metrics = ringway.admin("/metrics").text();
    let line = "ringway_name_addresses{upstream=\"origin\",name=\"srv:_http._tcp.shop.internal\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    ringway.stop_after(dns);
}

#[test]
fn r116_a_thousand_addresses_come_by_tcp_and_are_cut_to_the_bound() {
    let all: Vec<Data> = (0..1000u16).map(|n| a([127, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect();
    let dns = Dns::start(&[("big.internal", Says::Truncated(all))]);
    let ringway = start(Io::Epoll, &dns.node("addresses \"ipv4\""), "endpoint \"big.internal:80\"", "");
    assert_eq!(ringway.upstream()["endpoints"].as_array().map(Vec::len), Some(128));
    assert!(dns.by_tcp() >= 1);
    ringway.says("872 beyond the first 128 are not used");
    ringway.stop_after(dns);
}

#[test]
fn r116_chains_of_aliases_are_followed_and_circles_are_not() {
    let alias = |to| Says::Records(60, vec![Data::Alias(to)]);
    let dns = Dns::start(&[
        ("one.internal", alias("two.internal")),
        ("two.internal", alias("three.internal")),
        ("three.internal", Says::Records(60, vec![a(host(9))])),
    ]);
    let ringway = start(Io::Epoll, &dns.node(""), "endpoint \"one.internal:80\"", "");
    assert_eq!(ringway.upstream()["endpoints"][0]["address"], "127.0.0.9:80");
    ringway.stop();
    dns.set("three.internal", alias("one.internal"));
    let ringway = start(Io::Epoll, &dns.node("addresses \"ipv4\""), "endpoint \"one.internal:80\"", "");
    wait_until("the circle is found out", || name(&ringway)["error"].is_string());
    assert!(dns.asked("one.internal") < 50, "{} questions", dns.asked("one.internal"));
    ringway.stop_after(dns);
}

#[test]
fn r116_answers_with_another_id_or_from_another_port_are_not_believed() {
    let (forged, good) = (a(host(66)), a(host(7)));
    let dns = Dns::start(&[("api.internal", Says::Forged(forged, good))]);
    let ringway = start(Io::Epoll, &dns.node("addresses \"ipv4\""), "endpoint \"api.internal:80\"", "");
    wait_until("it was asked for several times", || dns.asked("api.internal") >= 3);
    assert_eq!(ringway.upstream()["endpoints"][0]["address"], "127.0.0.7:80");
    assert!(!ringway.stderr().contains("127.0.0.66"), "{}", ringway.stderr());
    ringway.stop_after(dns);
}

#[test]
fn r116_an_answer_without_a_lifetime_is_asked_for_again_after_a_second_and_not_before() {
    let dns = Dns::start(&[("api.internal", Says::Records(0, vec![a(host(7))]))]);
    let ringway = start(Io::Epoll, &dns.node("addresses \"ipv4\""), "endpoint \"api.internal:80\"", "");
    let (asked, began) = (dns.asked("api.internal"), std::time::Instant::now());
    wait_until("it is asked for three more times", || dns.asked("api.internal") >= asked + 3);
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    ringway.stop_after(dns);
}

#[test]
fn names_of_etc_hosts_need_no_server() {
    let origin = Origin::ok("here");
    let nobody = Dns::start(&[("localhost", Says::Silence)]);
    let endpoint = format!("endpoint \"localhost:{}\"", origin.address().port());
    let ringway = start(Io::Epoll, &nobody.node("addresses \"ipv4\""), &endpoint, "");
    assert_eq!(ringway.client().get("/").text(), "here");
    assert_eq!((nobody.asked("localhost"), name(&ringway).get("error")), (0, None));
    ringway.stop_after((origin, nobody));
}

#[test]
fn endpoints_of_names_are_checked_before_the_node_is_ready_and_no_longer_when_they_are_gone() {
    let (port, origins) = on_one_port();
    let dns = Dns::start(&[("api.internal", Says::Records(0, vec![a(host(2))]))]);
    let health = "health { http \"/healthz\" every=\"50ms\" timeout=\"50ms\" }";
    let ringway = start(Io::Epoll, &dns.node(""), &format!("endpoint \"api.internal:{port}\""), health);
    assert_eq!(ringway.upstream()["endpoints"][0]["state"], "up", "ready means checked");
    dns.set("api.internal", Says::Records(0, vec![a(host(3))]));
    wait_until("the new endpoint is checked", || {
        let endpoint = ringway.upstream()["endpoints"][0].clone();
        endpoint["address"] == format!("127.0.0.3:{port}") && endpoint["state"] == "up"
    });
    let checks = origins[0].connections();
    let new = origins[1].connections();
    wait_until("the new one is checked ten more times", || origins[1].connections() >= new + 10);
    assert!(origins[0].connections() <= checks + 1, "the old one is checked no more");
    ringway.stop_after((origins, dns));
}

#[test]
fn checking_a_configuration_asks_nobody() {
    let dns = Dns::start(&[("api.internal", Says::Records(60, vec![a(host(1))]))]);
    let folder = crate::harness::Folder::new();
    let file = folder.path().join("names.kdl");
    let text = format!(
        "{}\nlistener \"web\" {{ bind \"127.0.0.1:0\" }}\nupstream \"api\" {{ endpoint \"api.internal:80\" }}\n\
         site \"*\" {{ route \"/\" upstream=\"api\" }}\n",
        dns.node("")
    );
    std::fs::write(&file, text).expect("write the configuration");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway")).arg("check").arg(&file).output();
    assert!(output.is_ok_and(|output| output.status.success()));
    assert_eq!(dns.asked("api.internal"), 0);
}
