//! Requests and upstreams for tests.

use crate::balance::{Algorithm, Balancer, HashKey, Rules};
use crate::health::{EjectionRules, EndpointCell, Health};
use crate::origin::Origin;
use crate::retry::RetryBudget;
use crate::snapshot::{Endpoint, Upstream, UpstreamTimeouts};
use crate::upstream_stats::UpstreamStats;
use base::addr::Addr;
use base::ids::{EndpointId, UpstreamId};
use base::limits::HttpLimits;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use wire::h1::{Progress, RequestReader};
use wire::http::{Request, RequestHead};

/// A parsed request with its bytes.
#[derive(Debug)]
pub(crate) struct Parsed {
    head: RequestHead,
    bytes: Vec<u8>,
}

impl Parsed {
    pub(crate) fn request(&self) -> Request<'_> {
        Request::new(&self.head, &self.bytes)
    }
}

/// The request `method target` to `host` with further field lines.
pub(crate) fn parse(method: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> Parsed {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut head = RequestHead::default();
    let progress = RequestReader::new(&HttpLimits::DEFAULT).read(text.as_bytes(), &mut head);
    assert_eq!(progress, Ok(Progress::Complete(text.len())), "{text}");
    Parsed { head, bytes: text.into_bytes() }
}

/// A `GET` without further fields.
pub(crate) fn get(host: &str, target: &str) -> Parsed {
    parse("GET", host, target, &[])
}

/// Endpoint number `n`, up, in tier 0.
pub(crate) fn endpoint(n: u32, weight: u32) -> Endpoint {
    let addr = Addr::from(SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 80)));
    let text = addr.to_string().into();
    let cell = Arc::new(EndpointCell::new(Health::Up));
    Endpoint { id: EndpointId(n), addr, text, weight, tier: 0, zone: None, cell, valve: None, tls: None }
}

/// An upstream of `endpoints`, whose ids must be their places.
pub(crate) fn upstream(algorithm: Algorithm, endpoints: Vec<Endpoint>) -> Upstream {
    upstream_by(&Rules { algorithm, ..Rules::default() }, endpoints)
}

/// The same by rules of the test's own; what is hashed is the client's address.
pub(crate) fn upstream_by(rules: &Rules, endpoints: Vec<Endpoint>) -> Upstream {
    let balancer = Balancer::build(&Rules { key: Some(HashKey::ClientIp), ..rules.clone() }, &endpoints);
    Upstream {
        id: UpstreamId(0),
        name: "test".into(),
        origin: Origin::built_in("test"),
        endpoints,
        unresolved: false,
        balancer,
        sticky: None,
        stats: Arc::new(UpstreamStats::new(1)),
        egress: None,
        send_proxy: None,
        timeouts: UpstreamTimeouts::default(),
        ejection: EjectionRules::default(),
        success_rate: None,
        budget: Arc::new(RetryBudget::new()),
        admission: None,
        http: HttpLimits::DEFAULT,
        http2: false,
    }
}

/// Properties are tried with so many cases. Failures are printed and not kept in files: the workspace takes every folder
/// beside the crates for a crate.
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
