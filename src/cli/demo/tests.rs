//! The demo without a network: its configuration, what it teaches, how its upstreams behave.

use super::site::{Reply, Site};
use super::*;
use base::limits::HttpLimits;
use std::net::Ipv4Addr;
use wire::h1::{Progress, RequestReader};
use wire::http::{Request, RequestHead};

fn addrs() -> Vec<SocketAddr> {
    (0..3).map(|index| (Ipv4Addr::LOCALHOST, 40_001 + index).into()).collect()
}

#[test]
fn the_embedded_configuration_loads_on_free_ports() {
    let loaded = configuration(&addrs()).unwrap_or_else(|exit| panic!("{exit:?}"));
    let ready = check::compile(loaded, 2).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(ready.warnings, []);
    let snapshot = &ready.snapshot;
    for upstream in &snapshot.upstreams {
        let endpoints: Vec<Option<SocketAddr>> = upstream.endpoints.iter().map(|one| one.addr.ip()).collect();
        assert_eq!(endpoints, addrs().into_iter().map(Some).collect::<Vec<_>>(), "{}", upstream.name);
    }
    let ports: Vec<Option<u16>> = snapshot
        .listeners
        .iter()
        .flat_map(|listener| &listener.binds)
        .map(|addr| addr.ip().map(|ip| ip.port()))
        .collect();
    assert_eq!(ports, [Some(0)]);
}

#[test]
fn what_to_try_names_every_address() {
    let web: SocketAddr = (Ipv4Addr::LOCALHOST, 40_000).into();
    let admin: SocketAddr = (Ipv4Addr::LOCALHOST, 40_009).into();
    let text = teach(web, Some(admin), &addrs(), None);
    for part in [
        "curl -i http://127.0.0.1:40000/",
        "ringway status --admin 127.0.0.1:40009",
        "curl -X POST http://127.0.0.1:40001/break",
        "curl -X POST http://127.0.0.1:40001/heal",
        "127.0.0.1:40003  answers after 100 ms",
        "Ctrl-C",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

/// What `site` does with a request that asks `host`.
fn reply(site: &Site, method: &str, path: &str, host: &str) -> Reply {
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut head = RequestHead::default();
    let read = RequestReader::new(&HttpLimits::DEFAULT).read(bytes.as_bytes(), &mut head);
    assert_eq!(read, Ok(Progress::Complete(bytes.len())));
    site.reply(Request::new(&head, bytes.as_bytes()))
}

fn status(reply: &Reply) -> Option<u16> {
    match reply {
        Reply::Answer { status, .. } => Some(*status),
        Reply::HangUp => None,
    }
}

#[test]
fn an_upstream_can_be_broken_in_two_ways_and_healed() {
    let (own, through) = ("127.0.0.1:40001", "127.0.0.1:40000");
    let site = Site::new("fast", Duration::from_millis(1), addrs()[0]);
    let Reply::Answer { status: 200, body, delay } = reply(&site, "GET", "/x?y", through) else {
        panic!("it is well")
    };
    assert_eq!(delay, Duration::from_millis(1));
    assert!(body.contains("\"upstream\":\"fast\"") && body.contains("\"path\":\"/x\""), "{body}");

    reply(&site, "POST", "/break", own);
    assert_eq!(status(&reply(&site, "GET", "/", through)), Some(503));
    assert_eq!(status(&reply(&site, "GET", "/healthz", own)), Some(503), "its checks must fail as well");
    reply(&site, "POST", "/break?how=close", own);
    assert_eq!(status(&reply(&site, "GET", "/", through)), None);
    assert_eq!(status(&reply(&site, "POST", "/heal", own)), Some(200));
    assert_eq!(status(&reply(&site, "GET", "/healthz", own)), Some(200));
}

#[test]
fn nobody_breaks_an_upstream_through_the_balancer_or_by_a_link() {
    let site = Site::new("fast", Duration::ZERO, addrs()[0]);
    reply(&site, "POST", "/break", "127.0.0.1:40000");
    reply(&site, "GET", "/break", "127.0.0.1:40001");
    assert_eq!(status(&reply(&site, "GET", "/", "127.0.0.1:40000")), Some(200));
}
