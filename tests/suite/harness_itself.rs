//! The tools of the suite are tested on each other first: a strict reader that accepts everything, or an origin
//! that loses bytes, would make every other test pass.

use crate::harness::message::{self, Head};
use crate::harness::{Broken, Client, Ending, Gate, Nginx, Origin, Reply};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

fn head_of(text: &str) -> Result<Option<Head>, String> {
    message::take_head(&mut text.as_bytes().to_vec())
}

#[test]
fn the_origin_records_requests_and_raw_bytes_and_keeps_the_connection() {
    let origin = Origin::ok("hello");
    let mut client = Client::connect(origin.address());
    let post = "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.send(GET).response("GET").text(), "hello");
    assert_eq!(client.send(post).response("POST").text(), "hello");
    let requests = origin.requests();
    assert_eq!(requests[0].target(), "/a");
    assert_eq!((requests[1].method(), requests[1].body.as_slice()), ("POST", b"abc".as_slice()));
    assert_eq!(origin.raw(), format!("{GET}{post}").into_bytes());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_requests_and_chunked_bodies_in_single_bytes_are_read() {
    let origin = Origin::ok("x");
    let mut client = Client::connect(origin.address());
    let chunked = "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nwiki\r\n1\r\n!\r\n0\r\nDigest: q\r\n\r\n";
    client.send_in_pieces(format!("{chunked}{GET}"), 1);
    assert_eq!(client.response("PUT").status, 200);
    assert_eq!(client.response("GET").status, 200);
    let put = origin.requests().remove(0);
    assert_eq!(put.body, b"wiki!");
    assert_eq!(put.trailers, [("Digest".to_string(), "q".to_string())]);
}

#[test]
fn an_answer_can_wait_for_a_gate_and_be_cut_or_reset() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target() {
        "/wait" => Reply::bytes("HTTP/1.1 200 OK\r\n").then_wait(&held).then("Content-Length: 0\r\n\r\n"),
        "/cut" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").then_close(),
        _ => Reply::default().then_reset(),
    });
    let mut client = Client::connect(origin.address());
    client.send(GET.replace("/a", "/wait"));
    origin.wait_for_requests(1);
    gate.open();
    assert_eq!(client.response("GET").status, 200);
    client.send(GET.replace("/a", "/cut"));
    assert!(matches!(client.try_response("GET"), Err(Broken::Closed(rest)) if rest == b"abc"));
    let mut client = Client::connect(origin.address());
    assert_eq!(client.send(GET).expect_end(), Ending::Reset);
}

#[test]
fn interim_answers_are_kept_apart_and_a_tunnel_echoes() {
    let origin = Origin::start(|_| {
        Reply::bytes("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n")
            .then("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            .then_echo()
    });
    let mut client = Client::connect(origin.address());
    let response = client.send(GET).response("GET");
    assert_eq!((response.status, response.interim.len()), (101, 1));
    assert_eq!(client.send("ping").exactly(4), b"ping");
    client.finish_sending();
    assert_eq!(client.expect_end(), Ending::Closed);
}

#[test]
fn what_is_not_strict_http_is_refused_by_the_readers() {
    for bad in [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\x01b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
    ] {
        assert!(head_of(bad).is_err(), "{bad:?}");
    }
    for bad in ["4 \r\nwiki\r\n0\r\n\r\n", "+4\r\nwiki\r\n0\r\n\r\n", "4\r\nwikiX\r\n0\r\n\r\n", "\r\n"] {
        assert!(message::take_chunked(&mut bad.as_bytes().to_vec()).is_err(), "{bad:?}");
    }
    let both = head_of("P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(message::is_chunked(&both.expect("a head").expect("complete")).is_err());
}

#[test]
fn what_the_origin_refuses_is_not_answered() {
    let origin = Origin::ok("never");
    let mut client = Client::connect(origin.address());
    client.send("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n").expect_end();
    assert!(origin.requests().is_empty());
    assert_eq!(origin.refused().len(), 1);
}

#[test]
fn nginx_serves_its_files_and_goes_when_it_is_killed() {
    let mut nginx = Nginx::start("one");
    let mut client = Client::connect(nginx.address());
    assert_eq!(client.get("/ok").text(), "one");
    assert_eq!(client.get("/1m").body.len(), 1 << 20);
    nginx.kill();
    assert!(Client::try_connect(nginx.address()).is_none());
}

both! {
    fn a_test_is_run_once_per_driver(io) {
        assert!(["io_uring", "epoll"].contains(&io.name()));
    }
}
