//! Finding the route of a request in tables of different sizes.

use crate::heads::request;
use crate::{Case, Operation, repeated};
use base::ids::RouteId;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use traffic::route::{HostPattern, PathPattern, RouteSpec, RouteTable};
use wire::http::{Request, RequestHead};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Requests that take turns, spread over the table, so that no branch is always taken the same way.
const REQUESTS: u32 = 64;

#[derive(Clone, Copy)]
enum Kind {
    Exact,
    Prefix,
    /// Linear in the number of expressions by design: they are asked in the order in which they stand.
    Regex,
}

pub(crate) fn finding() -> Vec<Case> {
    let kinds = [("exact", Kind::Exact), ("prefix", Kind::Prefix), ("regex", Kind::Regex)];
    let mut cases = Vec::new();
    for (name, kind) in kinds {
        for routes in [10, 1_000, 10_000] {
            let case = Case::new("route", format!("{name}-{routes}"), move || find(kind, routes));
            // Compiling that many expressions is slow under valgrind.
            let is_slow = matches!(kind, Kind::Regex) && routes > 10;
            cases.push(if is_slow { case.not_counted() } else { case });
        }
    }
    cases
}

/// `routes` routes of one site, all of one kind.
fn find(kind: Kind, routes: u32) -> Operation {
    let specs = (0..routes).map(|n| spec(kind, n)).collect();
    let table = RouteTable::build(specs).expect("the patterns are well formed");
    let requests: Vec<(RouteId, String, RequestHead)> = (0..REQUESTS)
        .map(|turn| {
            let n = turn * 7919 % routes;
            let text = format!("GET {} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", path(kind, n));
            let head = request(&text);
            (RouteId(n), text, head)
        })
        .collect();
    let mut turns = (0..requests.len()).cycle();
    repeated(move || {
        let (expected, text, head) = &requests[turns.next().expect("a cycle has no end")];
        let found = table.find(Request::new(black_box(head), text.as_bytes()), CLIENT);
        assert_eq!(found, Some(*expected));
    })
}

fn spec(kind: Kind, n: u32) -> RouteSpec {
    let path = match kind {
        Kind::Exact => PathPattern::Exact(path(kind, n).into()),
        Kind::Prefix => PathPattern::Prefix(format!("/team-{}/service-{n}", n % 97).into()),
        Kind::Regex => PathPattern::Regex(format!("^/service-{n}/items/[0-9]+$").into()),
    };
    RouteSpec {
        id: RouteId(n),
        hosts: vec![HostPattern::parse("shop.example.com")],
        path,
        methods: Vec::new(),
        predicates: Vec::new(),
        priority: None,
    }
}

/// A path that only route `n` matches.
fn path(kind: Kind, n: u32) -> String {
    match kind {
        Kind::Exact => format!("/team-{}/service-{n}/status", n % 97),
        Kind::Prefix => format!("/team-{}/service-{n}/items/4711", n % 97),
        Kind::Regex => format!("/service-{n}/items/4711"),
    }
}
