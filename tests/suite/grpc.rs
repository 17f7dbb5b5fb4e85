//! gRPC by the frame: what callers are told when we answer ourselves, and how long they wait.

use crate::harness::http2::{Answer, Fields, Http2Client, request_with};
use crate::harness::{Io, Origin, Received, Reply, Ringway, Setup, wait_until};
use crate::http2_rules::caused;

fn start(io: Io, origin: &Origin, route: &str) -> Ringway {
    Setup { listener: "http2 \"cleartext\"", route, ..Setup::to(origin.address()) }.start(io)
}

fn call(path: &str, more: &[(&str, &str)]) -> Fields {
    let mut fields = vec![("content-type", "application/grpc+proto"), ("te", "trailers")];
    fields.extend(more);
    request_with("POST", path, &fields)
}

/// An empty message.
const MESSAGE: &[u8] = &[0; 5];

fn answer(ringway: &Ringway, fields: &Fields) -> Answer {
    let mut client = Http2Client::connect(ringway.address("web"));
    let stream = client.open(fields, 0);
    client.data(stream, MESSAGE, true);
    client.answer(stream)
}

/// It is a failed call: one head that ends the stream.
#[track_caller]
fn assert_failed(answer: &Answer, status: &str, cause: &str) {
    assert_eq!((answer.status(), answer.get("grpc-status")), (200, Some(status)), "{answer:?}");
    assert!(
        answer.get("grpc-message").is_some_and(|message| message.ends_with(&format!("({cause})"))),
        "{answer:?}"
    );
    assert!(answer.ended && answer.heads.len() == 1 && answer.body.is_empty(), "{answer:?}");
    assert!(
        answer.get("content-type").is_some_and(|name| name.starts_with("application/grpc")),
        "{answer:?}"
    );
}

both! {
    fn z5_our_own_errors_are_statuses_of_grpc(io) {
        let origin = Origin::start(|_| Reply::default().then_reset());
        let ringway = start(io, &origin, "limits { body \"1KiB\"; }");
        assert_failed(&answer(&ringway, &call("/shop.Orders/Get", &[])), "14", "upstream_reset_headers");
        let mut client = Http2Client::connect(ringway.address("web"));
        let stream = client.open(&call("/shop.Orders/Get", &[("content-length", "5000")]), 0);
        let large = client.answer(stream);
        drop(client);
        assert_failed(&large, "8", "body_too_large");
        assert_eq!(large.get("content-type"), Some("application/grpc+proto"));
        drop(origin);
        assert_failed(&answer(&ringway, &call("/shop.Orders/Get", &[])), "14", "connect_refused");
        let records = ringway.records(3);
        for record in &records {
            assert_eq!(record["status"], 200, "as it was sent");
            assert!(record["grpc_status"].is_string(), "{record}");
        }
        // Workers hand over their records in any order.
        let unavailable = records.iter().filter(|record| record["grpc_status"] == "UNAVAILABLE");
        assert_eq!(unavailable.count(), 2);
        // Whoever does not speak gRPC is told as before.
        let plain = answer(&ringway, &request_with("POST", "/", &[("content-type", "application/json")]));
        assert_eq!((plain.status(), plain.get("grpc-status")), (502, None));
        assert_eq!(ringway.records(4).iter().filter(|record| record.get("grpc_status").is_none()).count(), 1);
        let metrics = ringway.admin("/metrics").text();
        let series = metrics.lines().filter(|line| line.starts_with("ringway_grpc_calls_total{"));
        let counts: Vec<_> = series.map(|line| line.rsplit_once(' ').expect("a value").1).collect();
        assert!(metrics.contains("grpc_status=\"UNAVAILABLE\"} 2"), "{metrics}");
        assert!(metrics.contains("grpc_status=\"RESOURCE_EXHAUSTED\"} 1"), "{metrics}");
        assert_eq!(counts.len(), 2, "only those that were seen");
        ringway.stop();
    }

    /// Browsers come by HTTP/1.1 as well.
    fn z5_calls_of_browsers_get_their_errors_as_heads(io) {
        let origin = Origin::ok("x");
        let ringway = start(io, &origin, "limits { body \"1KiB\"; }");
        let mut client = ringway.client();
        client.send("POST /a HTTP/1.1\r\nHost: suite.example\r\nContent-Type: application/grpc-web-text+proto\r\nContent-Length: 5000\r\n\r\n");
        let response = client.response("POST");
        assert_eq!((response.status, response.head.get("grpc-status")), (200, Some("8")));
        assert_eq!(response.head.get("content-type"), Some("application/grpc-web-text+proto"));
        ringway.stop_after((client, origin));
    }

    fn a_deadline_of_the_caller_ends_its_call_and_what_is_left_of_it_is_passed_on(io) {
        let origin = Origin::start(|_| Reply::silence());
        let ringway = start(io, &origin, "timeouts { total \"900ms\"; }");
        let late = answer(&ringway, &call("/a", &[("grpc-timeout", "150m")]));
        assert_failed(&late, "4", "call_deadline");
        // The route allows less than this caller.
        let late = answer(&ringway, &call("/b", &[("grpc-timeout", "1H")]));
        assert_failed(&late, "4", "total_timeout");
        let told: Vec<_> = origin
            .requests()
            .iter()
            .map(|request| {
                let all = request.head.all("grpc-timeout");
                assert_eq!(all.len(), 1);
                all[0].strip_suffix('u').and_then(|micros| micros.parse::<u64>().ok()).expect("microseconds")
            })
            .collect();
        assert!(told[0] <= 150_000 && told[1] <= 900_000 && told[1] > 150_000, "{told:?}");
        wait_until("it is counted", || caused(&ringway, "call_deadline") == 1);
        ringway.stop_after(origin);
    }

    /// None is left: the endpoint is not asked. A malformed one is the endpoint's to judge.
    fn deadlines_at_the_bounds(io) {
        let origin = Origin::start(|_| Reply::ok("x"));
        let ringway = start(io, &origin, "");
        assert_failed(&answer(&ringway, &call("/over", &[("grpc-timeout", "0n")])), "4", "call_deadline");
        for odd in ["5s", "123456789S", "-1S", "S", "1"] {
            let answered = answer(&ringway, &call("/odd", &[("grpc-timeout", odd)]));
            assert_eq!((answered.status(), answered.get("grpc-status")), (200, None), "{odd}");
            let asked = origin.requests().pop().expect("it was asked");
            assert_eq!(asked.head.all("grpc-timeout"), [odd]);
        }
        for far in ["99999999H", "99999999S"] {
            assert_eq!(answer(&ringway, &call("/far", &[("grpc-timeout", far)])).text(), "x", "{far}");
        }
        assert!(origin.requests().iter().all(|request| request.target() != "/over"));
        ringway.stop_after(origin);
    }

    /// What the endpoint says in its head is what the log says.
    fn a_status_in_the_head_of_the_endpoint_is_passed_on_and_logged(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 5\r\nGrpc-Message: no%20such\r\nContent-Length: 0\r\n\r\n")
        });
        let ringway = start(io, &origin, "");
        let failed = answer(&ringway, &call("/a", &[]));
        assert_eq!((failed.get("grpc-status"), failed.get("grpc-message")), (Some("5"), Some("no%20such")));
        assert_eq!(ringway.records(1)[0]["grpc_status"], "NOT_FOUND");
        ringway.stop_after(origin);
    }
}

/// A message of five bytes.
const HELLO: &[u8] = b"\0\0\0\0\x05hello";

/// Answers with a message and a status in trailers, as an endpoint without HTTP/2 does.
fn greet(_: &Received) -> Reply {
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    Reply::bytes(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .then(chunk(HELLO))
    .then("0\r\nGrpc-Status: 0\r\nX-Tail: a: B\r\n\r\n")
}

/// What a browser reads behind the message of [`greet`].
const TRAILERS: &[u8] = b"\x80\0\0\0\x1egrpc-status: 0\r\nx-tail: a: B\r\n";

fn browser(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /shop.Orders/Get HTTP/1.1\r\nHost: suite.example\r\nContent-Type: {kind}\r\nAccept: {kind}\r\n\
         X-Grpc-Web: 1\r\nX-User-Agent: grpc-web-javascript/0.1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

both! {
    fn calls_of_browsers_become_calls_of_grpc(io) {
        let origin = Origin::start(greet);
        let ringway = start(io, &origin, "grpc-web #true");
        let mut client = ringway.client();
        client.send(browser("application/grpc-web+proto", HELLO));
        let answer = client.response("POST");
        assert_eq!((answer.status, answer.head.get("content-type")), (200, Some("application/grpc-web+proto")));
        assert_eq!(answer.body, [HELLO, TRAILERS].concat());
        let asked = origin.only_request();
        assert_eq!(asked.body, HELLO);
        assert_eq!(asked.head.all("content-type"), ["application/grpc+proto"]);
        assert_eq!((asked.head.get("te"), asked.head.get("x-grpc-web"), asked.head.get("accept")), (Some("trailers"), None, None));
        assert_eq!(asked.head.get("x-user-agent"), Some("grpc-web-javascript/0.1"));

        // In base64, over the same connection, in two segments.
        client.send(browser("application/grpc-web-text+proto", b"AAAAAAVoZQ==bGxv"));
        let answer = client.response("POST");
        assert_eq!(answer.head.get("content-type"), Some("application/grpc-web-text+proto"));
        let text = "AAAAAAVoZWxsbw==gAAAAB5ncnBjLXN0YXR1czogMA0KeC10YWlsOiBhOiBCDQo=";
        assert_eq!(answer.text(), text);
        assert_eq!(origin.requests()[1].body, HELLO);

        // Over HTTP/2.
        let fields = request_with("POST", "/a", &[("content-type", "application/grpc-web-text")]);
        let mut stream_client = Http2Client::connect(ringway.address("web"));
        let stream = stream_client.open(&fields, 0);
        for piece in [&b"AAA"[..], b"AAAVoZWx", b"sbw=="] {
            stream_client.data(stream, piece, false);
        }
        stream_client.data(stream, b"", true);
        let answer = stream_client.answer(stream);
        assert_eq!((answer.text().as_str(), answer.heads.len()), (text, 1));
        assert!(ringway.records(3).iter().all(|record| record["grpc_status"] == "OK"));
        ringway.stop_after((client, stream_client, origin));
    }

    fn what_is_no_base64_is_refused_and_ends_nothing_else(io) {
        let origin = Origin::start(greet);
        let ringway = start(io, &origin, "grpc-web #true");
        for bad in [&b"AAAA*AAA"[..], b"AAAAAAV", b"AAAA=AAA"] {
            let mut client = ringway.client();
            client.send(browser("application/grpc-web-text", bad));
            let answer = client.response("POST");
            assert_eq!((answer.status, answer.head.get("grpc-status")), (200, Some("13")));
            assert_eq!(answer.head.get("content-type"), Some("application/grpc-web-text"));
        }
        wait_until("all are counted", || caused(&ringway, "bad_base64") == 3);
        ringway.stop_after(origin);
    }

    /// Without the switch a call of a browser is the endpoint's business.
    fn calls_of_browsers_pass_as_they_are_unless_the_route_says_otherwise(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\nContent-Length: 10\r\n\r\n").then(HELLO)
        });
        let ringway = start(io, &origin, "");
        let mut client = ringway.client();
        client.send(browser("application/grpc-web", HELLO));
        let answer = client.response("POST");
        assert_eq!((answer.body.as_slice(), answer.head.get("content-type")), (HELLO, Some("application/grpc-web")));
        assert_eq!(origin.only_request().head.get("x-grpc-web"), Some("1"));
        ringway.stop_after((client, origin));
    }
}
