//! The HTTP cache: what is kept, for whom, for how long, and what clients and upstreams see of it.
//!
//! Nothing waits for a response to grow old: it says `Age` when it comes. Every path is a resource of its own.

use crate::harness::client::{Client, Response};
use crate::harness::http2::{self, Http2Client};
use crate::harness::{Gate, Io, Origin, Reply, Ringway, Setup};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOP: &str = "cache \"pages\" { memory \"16MiB\"; }";

fn start(origin: &Origin, io: Io) -> Ringway {
    Setup { top: TOP, route: "cache \"pages\"", ..Setup::to(origin.address()) }.start(io)
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> Response {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: example\r\n{fields}\r\n")).response(method)
}

/// What the cache says that it did.
fn told(response: &Response) -> &str {
    response.head.get("cache-status").unwrap_or_default()
}

fn is_hit(response: &Response) -> bool {
    told(response).starts_with("ringway; hit")
}

/// Requests by where their answers came from.
fn requests(ringway: &Ringway, result: &str) -> u64 {
    let series = format!("ringway_cache_requests_total{{cache=\"pages\",result=\"{result}\"}} ");
    let text = ringway.admin("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

/// `n`-th answer of a resource: its body is its number.
fn numbered(status: &str, fields: &str, n: usize) -> Reply {
    let body = format!("answer {n}");
    Reply::bytes(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// A response, two requests for it, and whether the second one is answered from the store.
struct Case {
    what: &'static str,
    status: &'static str,
    fields: &'static str,
    first: &'static str,
    second: &'static str,
    hits: bool,
}

const fn case(what: &'static str, fields: &'static str, hits: bool) -> Case {
    Case { what, status: "200 OK", fields, first: "", second: "", hits }
}

const fn with(mut case: Case, first: &'static str, second: &'static str) -> Case {
    (case.first, case.second) = (first, second);
    case
}

const fn status(status: &'static str, fields: &'static str, hits: bool) -> Case {
    Case { what: status, status, fields, first: "", second: "", hits }
}

const FRESH: &str = "Cache-Control: max-age=60\r\n";
const OLD: &str = "Last-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\n";
const AUTHORIZED: &str = "Authorization: Bearer x\r\n";

const CASES: &[Case] = &[
    case("max-age", FRESH, true),
    case("s-maxage over max-age", "Cache-Control: max-age=0, s-maxage=60\r\n", true),
    case("s-maxage=0 over max-age", "Cache-Control: max-age=60, s-maxage=0\r\n", false),
    case("Expires", "Expires: Fri, 01 Jan 2100 00:00:00 GMT\r\n", true),
    case("Expires in the past", "Expires: Thu, 01 Jan 2015 00:00:00 GMT\r\n", false),
    case(
        "max-age over Expires",
        "Cache-Control: max-age=60\r\nExpires: Thu, 01 Jan 2015 00:00:00 GMT\r\n",
        true,
    ),
    case(
        "max-age=0 over Expires",
        "Cache-Control: max-age=0\r\nExpires: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
        false,
    ),
    case("Expires is no date", "Expires: 0\r\n", false),
    case("old enough by Age", "Cache-Control: max-age=60\r\nAge: 60\r\n", false),
    case("not yet by Age", "Cache-Control: max-age=60\r\nAge: 30\r\n", true),
    case("the first Age of several", "Cache-Control: max-age=60\r\nAge: 90, 1\r\n", false),
    case("old by Date", "Cache-Control: max-age=60\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n", false),
    case("heuristic", OLD, true),
    case("nothing said", "", false),
    case("no-store", "Cache-Control: max-age=60, no-store\r\n", false),
    case("no-cache", "Cache-Control: max-age=60, no-cache\r\n", false),
    case("private", "Cache-Control: max-age=60, private\r\n", false),
    case("an unknown directive", "Cache-Control: max-age=60, x-unknown=\"no-store\"\r\n", true),
    case("max-age in quotes of another", "Cache-Control: x=\"max-age=60\"\r\n", false),
    case("a list in two lines", "Cache-Control: public\r\nCache-Control: max-age=60\r\n", true),
    case("a negative max-age", "Cache-Control: max-age=-1\r\n", false),
    case("an overflowing max-age", "Cache-Control: max-age=99999999999999\r\n", true),
    case("Pragma of a response means nothing", "Cache-Control: max-age=60\r\nPragma: no-cache\r\n", true),
    case("Set-Cookie", "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", false),
    case("Vary: *", "Cache-Control: max-age=60\r\nVary: *\r\n", false),
    case("targeted: longer", "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=60\r\n", true),
    case("targeted: not at all", "Cache-Control: max-age=60\r\nCDN-Cache-Control: no-store\r\n", false),
    case("targeted: malformed", "Cache-Control: max-age=60\r\nCDN-Cache-Control: no-store no\r\n", true),
    with(case("Authorization", FRESH, false), AUTHORIZED, AUTHORIZED),
    with(
        case("Authorization and public", "Cache-Control: max-age=60, public\r\n", true),
        AUTHORIZED,
        AUTHORIZED,
    ),
    with(case("Authorization and s-maxage", "Cache-Control: s-maxage=60\r\n", true), AUTHORIZED, AUTHORIZED),
    with(
        case("Authorization and must-revalidate", "Cache-Control: max-age=60, must-revalidate\r\n", true),
        AUTHORIZED,
        "",
    ),
    with(case("no-cache of the request", FRESH, false), "", "Cache-Control: no-cache\r\n"),
    with(case("Pragma of the request", FRESH, false), "", "Pragma: no-cache\r\n"),
    with(case("no-store of the request", FRESH, false), "Cache-Control: no-store\r\n", ""),
    with(
        case("max-age=0 of the request", "Cache-Control: max-age=60\r\nAge: 5\r\n", false),
        "",
        "Cache-Control: max-age=0\r\n",
    ),
    with(case("min-fresh", "Cache-Control: max-age=60\r\n", false), "", "Cache-Control: min-fresh=90\r\n"),
    with(
        case("max-stale", "Cache-Control: max-age=60\r\nAge: 90\r\nETag: \"a\"\r\n", true),
        "",
        "Cache-Control: max-stale=90\r\n",
    ),
    with(
        case(
            "max-stale and must-revalidate",
            "Cache-Control: max-age=60, must-revalidate\r\nAge: 90\r\nETag: \"a\"\r\n",
            false,
        ),
        "",
        "Cache-Control: max-stale=90\r\n",
    ),
    with(
        case("Vary, the same", "Cache-Control: max-age=60\r\nVary: Foo\r\n", true),
        "Foo: 1\r\n",
        "foo: 1\r\n",
    ),
    with(
        case("Vary, another", "Cache-Control: max-age=60\r\nVary: Foo\r\n", false),
        "Foo: 1\r\n",
        "Foo: 2\r\n",
    ),
    with(case("Vary, nothing said", "Cache-Control: max-age=60\r\nVary: Foo\r\n", false), "Foo: 1\r\n", ""),
    with(
        case("Vary, two names", "Cache-Control: max-age=60\r\nVary: Foo, Bar\r\n", false),
        "Foo: 1\r\nBar: a\r\n",
        "Foo: 1\r\nBar: b\r\n",
    ),
    with(
        case(
            "Vary, codings in another order",
            "Cache-Control: max-age=60\r\nVary: Accept-Encoding\r\n",
            true,
        ),
        "Accept-Encoding: gzip, br\r\n",
        "Accept-Encoding: br,gzip\r\n",
    ),
    with(case("what Vary does not name", FRESH, true), "Foo: 1\r\n", "Foo: 2\r\n"),
    status("204 No Content", FRESH, true),
    status("301 Moved Permanently", "Cache-Control: max-age=60\r\nLocation: /x\r\n", true),
    status("302 Found", "Cache-Control: max-age=60\r\nLocation: /x\r\n", true),
    status("302 Found", "Location: /x\r\n", false),
    status("404 Not Found", FRESH, true),
    status("410 Gone", FRESH, true),
    status("500 Internal Server Error", FRESH, true),
    status("503 Service Unavailable", "", false),
    status("299 Unknown", FRESH, false),
    status("500 Internal Server Error", "Last-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\n", false),
];

both! {
    /// X1, X3, X4, X5, X11, X13: what RFC 9111 asks for, a line per case.
    fn x1_x3_x4_x5_x11_responses_are_used_again_exactly_where_the_rules_allow_it(io) {
        let counts: Arc<Vec<AtomicUsize>> = Arc::new(CASES.iter().map(|_| AtomicUsize::new(0)).collect());
        let seen = Arc::clone(&counts);
        let origin = Origin::start(move |request| {
            let case: usize = request.target()[1..].parse().expect("a number");
            let n = seen[case].fetch_add(1, Ordering::SeqCst);
            let Case { status, fields, .. } = CASES[case];
            if status.starts_with("204") {
                return Reply::bytes(format!("HTTP/1.1 {status}\r\n{fields}\r\n"));
            }
            numbered(status, fields, n)
        });
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        for (at, case) in CASES.iter().enumerate() {
            let path = format!("/{at}");
            let first = ask(&mut client, "GET", &path, case.first);
            assert!(told(&first).starts_with("ringway; fwd="), "{}: {:?}", case.what, told(&first));
            let second = ask(&mut client, "GET", &path, case.second);
            let asked = counts[at].load(Ordering::SeqCst);
            assert_eq!(asked, if case.hits { 1 } else { 2 }, "{}: the origin was asked; {}", case.what, told(&second));
            assert_eq!(is_hit(&second), case.hits, "{}", case.what);
            if case.hits {
                assert_eq!((second.status, &second.body), (first.status, &first.body), "{}", case.what);
                assert_eq!(second.head.all("age").len(), 1, "{}", case.what);
                assert_eq!(second.head.get("date"), first.head.get("date"), "{}", case.what);
            } else if first.status != 204 {
                assert_eq!(second.text(), "answer 1", "{}", case.what);
            }
        }
        ringway.stop_after((client, origin));
    }

    /// X6, X12, R86: conditions, parts and HEAD are answered from what is kept.
    fn x6_x12_r86_conditions_parts_and_head_are_answered_from_what_is_kept(io) {
        let body: String = (0..100_000).map(|n| char::from(b'a' + u8::try_from(n % 26).expect("below 26"))).collect();
        let whole = body.clone();
        let origin = Origin::start(move |_| Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nVary: Foo\r\nContent-Type: text/plain\r\nLast-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n0\r\n\r\n",
            whole.len()
        )));
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        assert_eq!(ask(&mut client, "GET", "/", "").text(), body);
        let hit = ask(&mut client, "GET", "/", "");
        assert!(is_hit(&hit) && hit.text() == body);
        assert_eq!(hit.head.get("content-length"), Some("100000"));
        let head = ask(&mut client, "HEAD", "/", "");
        assert!(is_hit(&head) && head.body.is_empty());
        assert_eq!(head.head.get("content-length"), Some("100000"));
        for (fields, status) in [
            ("If-None-Match: \"v1\"\r\n", 304),
            ("If-None-Match: W/\"v1\"\r\n", 304),
            ("If-None-Match: \"x\", \"v1\"\r\n", 304),
            ("If-None-Match: *\r\n", 304),
            ("If-None-Match: \"x\"\r\n", 200),
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n", 200),
            ("If-Modified-Since: Tue, 15 Nov 1994 08:12:31 GMT\r\n", 304),
            ("If-Modified-Since: Tue, 15 Nov 1994 08:12:30 GMT\r\n", 200),
        ] {
            let answer = ask(&mut client, "GET", "/", fields);
            assert_eq!((answer.status, is_hit(&answer)), (status, true), "{fields}");
            if status == 304 {
                assert!(answer.body.is_empty() && answer.head.get("content-type").is_none());
                assert_eq!(answer.head.get("etag"), Some("\"v1\""));
                assert_eq!(answer.head.get("vary"), Some("Foo"));
            }
        }
        for (fields, status, range, expected) in [
            ("Range: bytes=0-4\r\n", 206, "bytes 0-4/100000", &body[..5]),
            ("Range: bytes=65530-65545\r\n", 206, "bytes 65530-65545/100000", &body[65_530..65_546]),
            ("Range: bytes=-3\r\n", 206, "bytes 99997-99999/100000", &body[99_997..]),
            ("Range: bytes=20000-\r\n", 206, "bytes 20000-99999/100000", &body[20_000..]),
            ("Range: bytes=100000-\r\n", 416, "bytes */100000", ""),
            ("Range: bytes=0-1,3-4\r\n", 200, "", &body[..]),
            ("Range: lines=0-1\r\n", 200, "", &body[..]),
            ("Range: bytes=0-4\r\nIf-Range: \"v1\"\r\n", 206, "bytes 0-4/100000", &body[..5]),
            ("Range: bytes=0-4\r\nIf-Range: \"x\"\r\n", 200, "", &body[..]),
            ("Range: bytes=0-4\r\nIf-Range: W/\"v1\"\r\n", 200, "", &body[..]),
        ] {
            let answer = ask(&mut client, "GET", "/", fields);
            assert_eq!((answer.status, answer.head.get("content-range").unwrap_or_default()), (status, range), "{fields}");
            assert_eq!(answer.text(), expected, "{fields}");
        }
        assert_eq!(origin.requests().len(), 1);
        ringway.stop_after((client, origin));
    }

    /// X6, X7, R84: what is stale is validated, freshened, or used where its origin allows it.
    fn x6_x7_r84_what_is_stale_is_validated_or_used_where_it_may(io) {
        let counts = Arc::new(AtomicUsize::new(0));
        let origin = Origin::start(move |request| {
            let n = counts.fetch_add(1, Ordering::SeqCst);
            let asks = request.head.get("if-none-match") == Some("\"v1\"");
            match (request.target(), asks) {
                ("/validate", true) => Reply::bytes("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-A: 2\r\n\r\n"),
                ("/validate", false) => numbered("200 OK", "Cache-Control: max-age=0\r\nETag: \"v1\"\r\nX-A: 1\r\nX-B: 1\r\n", 0),
                ("/changed", true) => numbered("200 OK", "Cache-Control: max-age=60\r\nETag: \"v2\"\r\n", 2),
                ("/changed", false) => numbered("200 OK", "Cache-Control: max-age=0\r\nETag: \"v1\"\r\n", 1),
                ("/error", true) => Reply::bytes("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
                ("/error", false) => numbered("200 OK", "Cache-Control: max-age=1, stale-if-error=60\r\nAge: 9\r\nETag: \"v1\"\r\n", 0),
                ("/reset", true) => Reply::default().then_reset(),
                ("/reset", false) => numbered("200 OK", "Cache-Control: max-age=1, stale-if-error=60\r\nAge: 9\r\nETag: \"v1\"\r\n", 0),
                ("/strict", true) => Reply::bytes("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
                _ => numbered("200 OK", "Cache-Control: max-age=1, stale-if-error=60, must-revalidate\r\nAge: 9\r\nETag: \"v1\"\r\n", n),
            }
        });
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        let first = ask(&mut client, "GET", "/validate", "");
        let second = ask(&mut client, "GET", "/validate", "If-None-Match: \"other\"\r\n");
        assert_eq!((second.status, &second.body), (200, &first.body));
        assert_eq!((second.head.get("x-a"), second.head.get("x-b")), (Some("2"), Some("1")));
        assert!(told(&second).contains("fwd=stale; fwd-status=304"), "{}", told(&second));
        let third = ask(&mut client, "GET", "/validate", "If-None-Match: \"v1\"\r\n");
        assert_eq!((third.status, is_hit(&third), third.head.get("x-a")), (304, true, Some("2")));
        assert_eq!(ask(&mut client, "GET", "/changed", "").text(), "answer 1");
        assert_eq!(ask(&mut client, "GET", "/changed", "").text(), "answer 2");
        assert!(is_hit(&ask(&mut client, "GET", "/changed", "")));
        for path in ["/error", "/reset"] {
            assert_eq!(ask(&mut client, "GET", path, "").status, 200);
            let stale = ask(&mut client, "GET", path, "");
            assert_eq!((stale.status, stale.text().as_str()), (200, "answer 0"), "{path}");
            assert!(told(&stale).contains("ttl=-"), "{path}: {}", told(&stale));
        }
        assert_eq!(ask(&mut client, "GET", "/strict", "").status, 200);
        assert_eq!(ask(&mut client, "GET", "/strict", "").status, 503);
        let none = ask(&mut client, "GET", "/none", "Cache-Control: only-if-cached\r\n");
        assert_eq!(none.status, 504);
        assert!(none.text().contains("not_cached"));
        ringway.stop_after((client, origin));
    }

    /// X9: what a request has changed is asked for again, here and where the response points to.
    fn x9_successful_changes_outdate_what_is_kept(io) {
        let counts = Arc::new(AtomicUsize::new(0));
        let origin = Origin::start(move |request| match request.method() {
            "GET" => numbered("200 OK", FRESH, counts.fetch_add(1, Ordering::SeqCst)),
            _ if request.target() == "/fails" => Reply::bytes("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::bytes("HTTP/1.1 201 Created\r\nLocation: /other\r\nContent-Location: http://foreign/third\r\nContent-Length: 0\r\n\r\n"),
        });
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        let hits = |client: &mut Client, path: &str| is_hit(&ask(client, "GET", path, ""));
        for method in ["POST", "PUT", "DELETE", "PATCH", "X-OWN"] {
            for path in ["/own", "/other", "/third", "/fails"] {
                hits(&mut client, path);
                assert!(hits(&mut client, path));
            }
            ask(&mut client, method, "/own", "Content-Length: 0\r\n");
            ask(&mut client, method, "/fails", "Content-Length: 0\r\n");
            assert!(!hits(&mut client, "/own"), "{method}");
            assert!(!hits(&mut client, "/other"), "{method}: Location");
            assert!(hits(&mut client, "/third"), "{method}: another origin");
            assert!(hits(&mut client, "/fails"), "{method}: nothing was changed");
        }
        ringway.stop_after((client, origin));
    }

    /// X2, R80, R81: what is in no key reaches no endpoint, and nothing is kept for its name.
    fn x2_r80_r81_one_client_cannot_choose_what_another_gets(io) {
        let origin = Origin::start(|request| {
            let said: Vec<&str> = request.head.fields.iter().filter(|(_, value)| value.contains("evil")).map(|(name, _)| name.as_str()).collect();
            let body = said.join(",");
            let fields = if request.target().starts_with("/account") { "" } else { FRESH };
            Reply::bytes(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
        });
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        for (at, name) in [
            "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-For", "Forwarded", "X-Real-IP",
            "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X-Host",
            "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Original-Host",
            "X-Forwarded-SSL", "X-URL-Scheme", "Front-End-Https", "X-Backend-Host"
        ].iter().enumerate() {
            let path = format!("/{at}");
            assert_eq!(ask(&mut client, "GET", &path, &format!("{name}: evil\r\n")).text(), "", "{name}");
            let second = ask(&mut client, "GET", &path, "");
            assert!(is_hit(&second) && second.text().is_empty(), "{name}");
        }
        for path in ["/account/x.css", "/account;x.css", "/account/y.js?z=.png"] {
            for _ in 0..2 {
                assert!(!is_hit(&ask(&mut ringway.client(), "GET", path, "Cookie: user=1\r\n")), "{path}");
            }
        }
        // A body or another host is another request.
        ask(&mut client, "GET", "/body", "");
        let body = client.send("GET /body HTTP/1.1\r\nHost: example\r\nContent-Length: 1\r\n\r\nx").response("GET");
        assert!(told(&body).contains("fwd=method"));
        let other = client.send("GET /body HTTP/1.1\r\nHost: other\r\n\r\n").response("GET");
        assert!(!is_hit(&other));
        let same = client.send("GET /body HTTP/1.1\r\nHost: EXAMPLE:80\r\n\r\n").response("GET");
        assert!(is_hit(&same));
        ringway.stop_after((client, origin));
    }

    /// X13, R82: what is cut is never kept, wherever it is cut.
    fn x13_r82_what_is_cut_is_never_kept(io) {
        let counts = Arc::new(AtomicUsize::new(0));
        let origin = Origin::start(move |request| {
            let n = counts.fetch_add(1, Ordering::SeqCst);
            let cut: usize = request.target()[2..].parse().expect("a number");
            let (head, full) = match &request.target()[..2] {
                "/l" => ("Content-Length: 100", "x".repeat(100)),
                _ => ("Transfer-Encoding: chunked", format!("32\r\n{0}\r\n32\r\n{0}\r\n0\r\n\r\n", "x".repeat(50))),
            };
            let reply = Reply::bytes(format!("HTTP/1.1 200 OK\r\n{FRESH}{head}\r\n\r\n{}", &full[..full.len() * cut / 100]));
            if n.is_multiple_of(2) { reply.then_close() } else { reply.then_reset() }
        });
        let ringway = start(&origin, io);
        for kind in ["l", "c"] {
            for cut in (0..100).step_by(7) {
                let path = format!("/{kind}{cut}");
                for _ in 0..2 {
                    let mut client = ringway.client();
                    client.send(format!("GET {path} HTTP/1.1\r\nHost: example\r\n\r\n"));
                    assert!(client.try_response("GET").map_or(true, |answer| answer.status == 502), "{path} is not complete");
                }
            }
        }
        assert_eq!(ringway.counted("ringway_cache_stored"), 0);
        ringway.stop_after(origin);
    }

    /// X8, R83: a thousand requests at once for what is not there are one request to the upstream.
    fn x8_r83_a_thousand_misses_are_one_request(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::default().then_wait(&held).then(format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 5\r\n\r\nhello"))
        });
        let ringway = Setup { top: TOP, route: "cache \"pages\"", listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io);
        let mut clients: Vec<(Http2Client, Vec<u32>)> = Vec::new();
        for _ in 0..10 {
            let mut client = Http2Client::connect(ringway.address("web"));
            let streams = (0..100).map(|_| client.ask(&http2::request("GET", "/"))).collect();
            clients.push((client, streams));
        }
        origin.wait_for_requests(1);
        // The answer to a ping shows that what stood before it has been read.
        clients.iter_mut().for_each(|(client, _)| client.ping());
        gate.open();
        for (client, streams) in &mut clients {
            for stream in streams {
                let answer = client.answer(*stream);
                assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
            }
        }
        assert_eq!(origin.requests().len(), 1);
        let of = |result: &str| requests(&ringway, result);
        assert_eq!((of("miss"), of("hit") + of("collapsed")), (1, 999));
        assert!(of("collapsed") > 0);
        drop(clients);
        ringway.stop_after(origin);
    }

    /// X8: those who wait get nothing that is not for them, and somebody takes over when the first one leaves.
    fn x8_who_waits_goes_alone_for_what_is_private_and_takes_over_from_who_leaves(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let counts = Arc::new(AtomicUsize::new(0));
        let origin = Origin::start(move |request| {
            let n = counts.fetch_add(1, Ordering::SeqCst);
            match request.target() {
                "/private" => {
                    let body = format!("answer {n}");
                    Reply::default().then_wait(&held).then(format!(
                        "HTTP/1.1 200 OK\r\nCache-Control: private, max-age=60\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
                }
                // Whoever asks first never gets it.
                _ if request.head.get("x-first").is_some() => Reply::silence(),
                _ => numbered("200 OK", FRESH, n),
            }
        });
        let ringway = start(&origin, io);
        let mut clients: Vec<Client> = (0..8).map(|_| ringway.client()).collect();
        clients.iter_mut().for_each(|client| { client.send("GET /private HTTP/1.1\r\nHost: example\r\n\r\n"); });
        origin.wait_for_requests(1);
        gate.open();
        let mut bodies: Vec<String> = clients.iter_mut().map(|client| client.response("GET").text()).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 8, "each has its own answer: {bodies:?}");

        let mut first = ringway.client();
        first.send("GET /left HTTP/1.1\r\nHost: example\r\nX-First: 1\r\n\r\n");
        origin.wait_for("the first request", |requests, _| requests.iter().any(|request| request.target() == "/left"));
        let mut second = ringway.client();
        second.send("GET /left HTTP/1.1\r\nHost: example\r\n\r\n");
        first.reset();
        assert!(second.response("GET").text().starts_with("answer"));
        assert!(is_hit(&ask(&mut second, "GET", "/left", "")));
        ringway.stop_after((clients, second, origin));
    }

    /// R85: objects that are too large pass through, and nobody waits for their end.
    fn r85_what_is_too_large_passes_through(io) {
        let body = "x".repeat(700_000);
        let whole = body.clone();
        let origin = Origin::start(move |request| match request.target() {
            "/length" => Reply::bytes(format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: {}\r\n\r\n{whole}", whole.len())),
            _ => Reply::bytes(format!("HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n0\r\n\r\n", whole.len())),
        });
        let ringway = start(&origin, io);
        let mut client = ringway.client();
        for path in ["/length", "/length", "/chunked", "/chunked"] {
            let answer = ask(&mut client, "GET", path, "");
            assert!(!is_hit(&answer) && answer.text() == body, "{path}");
        }
        ringway.stop_after((client, origin));
    }
}
