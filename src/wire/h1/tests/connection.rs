//! R12, R18-R21 and R39: fields that guard the connection and the client's identity, and what becomes of connections.

use super::*;
use crate::h1::machine::{self, Expectation, Persistence, RestOfBody, UpstreamUse};
use crate::h1::{BodyReader, encode};
use crate::http::{BodyLength, Known, Version};

fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
}

/// Names of the fields that would be forwarded.
fn forwarded(parsed: &Parsed) -> Vec<String> {
    let mut out = Vec::new();
    encode::kept_fields(&mut out, &parsed.bytes, &parsed.head.fields, |_| true);
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| line.split(':').next().unwrap().to_ascii_lowercase()).collect()
}

#[test]
fn r12_look_alikes_of_protected_names_are_refused() {
    for name in [
        "Content_Length",
        "content_length",
        "CONTENT_LENGTH",
        "Content.Length",
        "Transfer_Encoding",
        "transfer.encoding",
        "Transfer!Encoding",
        "Transfer~Encoding",
        "X_Forwarded_For",
        "X-Forwarded_For",
        "X_Forwarded-For",
        "X.Forwarded.For",
        "x_forwarded_proto",
        "X_Forwarded_Host",
        "X_Forwarded_Port",
        "X_Real_IP",
        "X.Real.IP",
        "X-Real_IP",
        "X_Request_Id",
        "Keep_Alive",
        "Proxy_Connection",
        "HTTP2_Settings",
        "Idempotency_Key",
        "Proxy_Status",
    ] {
        assert_eq!(refusal(with(&format!("{name}: 1"))), "look_alike", "{name}");
    }
}

#[test]
fn r12_other_names_with_an_underscore_are_flagged_and_not_forwarded() {
    let parsed = request(with("My_Field: 1\r\nContent_Type: x\r\nX.Y: 2\r\nA-B: 3\r\n__: 4")).unwrap();
    let flagged: Vec<bool> = parsed.head.fields.iter().map(|field| field.flags.look_alike).collect();
    assert_eq!(flagged, [false, true, true, false, false, true]);
    assert_eq!(forwarded(&parsed), ["host", "x.y", "a-b"]);
}

#[test]
fn r12_a_listener_may_let_underscores_pass_but_not_imitations() {
    let read = |fields: &str| {
        let (bytes, mut head) = (with(fields), RequestHead::default());
        let mut reader = RequestReader::new(&base::limits::HttpLimits::DEFAULT).with_underscores(true);
        reader
            .read(bytes.as_bytes(), &mut head)
            .map(|_| forwarded(&Parsed { head, bytes: bytes.into_bytes() }))
    };
    assert_eq!(read("My_Field: 1"), Ok(vec!["host".to_owned(), "my_field".to_owned()]));
    assert_eq!(read("Content_Length: 1"), Err(HeadError::LookAlike));
    assert_eq!(read("X_Forwarded_For: 1"), Err(HeadError::LookAlike));
}

#[test]
fn r18_fields_that_connection_names_are_not_forwarded() {
    let parsed = request(with(
        "Connection: close, X-Forwarded-For, x-one\r\nX-Forwarded-For: 1.2.3.4\r\nX-One: 1\r\nX-Two: 2\r\n\
         connection: X-TWO\r\nX-Three: 3\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\nProxy-Connection: close",
    ))
    .unwrap();
    assert_eq!(forwarded(&parsed), ["host", "x-three"]);
    assert!(!parsed.head.keep_alive);
}

#[test]
fn r18_fields_that_must_stay_cannot_be_named() {
    for option in
        ["Host", "host", "Content-Length", "Transfer-Encoding", "Authorization", "AUTHORIZATION", "Cookie"]
    {
        for value in [
            option.to_owned(),
            format!("close, {option}"),
            format!("{option},keep-alive"),
            format!(" ,\t{option} "),
        ] {
            assert_eq!(refusal(with(&format!("Connection: {value}"))), "bad_connection_option", "{value}");
        }
    }
    for value in ["a b", "a;b", "\"close\"", "a/b", "close, a=b", "(x)"] {
        assert_eq!(refusal(with(&format!("Connection: {value}"))), "bad_connection_option", "{value}");
    }
    let many = "x,".repeat(33);
    assert_eq!(refusal(with(&format!("Connection: {many}"))), "bad_connection_option");
    assert_eq!(refusal(with(&format!("Connection: {}", ",".repeat(1_000)))), "accepted");
}

#[test]
fn persistence_follows_version_and_options() {
    for (version, option, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: CLOSE", false),
        ("1.1", "Connection: keep-alive, close", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive", false),
        ("1.1", "Connection:", true),
        ("1.1", "Proxy-Connection: close", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive", true),
        ("1.0", "Connection: Keep-Alive, close", false),
        ("1.0", "Proxy-Connection: keep-alive", false),
    ] {
        let option = if option.is_empty() { String::new() } else { format!("{option}\r\n") };
        let parsed = request(format!("GET / HTTP/{version}\r\nHost: a\r\n{option}\r\n")).unwrap();
        assert_eq!(parsed.head.keep_alive, keeps, "{version} {option:?}");
    }
}

#[test]
fn a_connection_is_kept_only_when_nothing_speaks_against_it() {
    let kept = Persistence {
        client_wants: true,
        body_settled: true,
        response_delimited: true,
        draining: false,
        requests: 1,
        requests_max: 10,
    };
    assert!(kept.keeps());
    assert!(!Persistence { client_wants: false, ..kept }.keeps());
    assert!(!Persistence { body_settled: false, ..kept }.keeps());
    assert!(!Persistence { response_delimited: false, ..kept }.keeps());
    assert!(!Persistence { draining: true, ..kept }.keeps());
    assert!(!Persistence { requests: 10, ..kept }.keeps());
    assert_eq!(machine::connection_option(Version::Http11, true), None);
    assert_eq!(machine::connection_option(Version::Http11, false), Some("close"));
    assert_eq!(machine::connection_option(Version::Http10, true), Some("keep-alive"));
    assert_eq!(machine::connection_option(Version::Http10, false), None);
}

#[test]
fn upgrades_are_recorded_only_when_they_may_travel() {
    for (fields, upgrade) in [
        ("Connection: upgrade\r\nUpgrade: websocket", Some("websocket")),
        ("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket", Some("WebSocket")),
        ("Connection: upgrade\r\nUpgrade: foo/2, bar", Some("foo/2, bar")),
        ("Upgrade: websocket", None),
        ("Connection: keep-alive\r\nUpgrade: websocket", None),
        ("Connection: upgrade", None),
        ("Connection: upgrade\r\nUpgrade:", None),
        ("Connection: upgrade\r\nUpgrade: a b", None),
        ("Connection: upgrade\r\nUpgrade: a/b/c", None),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: foo", None),
        // R39: clear-text HTTP/2 is never tunnelled past the rules.
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", None),
        ("Connection: upgrade\r\nUpgrade: H2C", None),
        ("Connection: upgrade\r\nUpgrade: websocket, h2c", None),
        ("Connection: upgrade\r\nUpgrade: h2c/1", None),
    ] {
        let parsed = request(with(fields)).unwrap();
        assert_eq!(parsed.request().upgrade(), upgrade.map(str::as_bytes), "{fields:?}");
        assert_eq!(forwarded(&parsed), ["host"], "the caller writes the upgrade itself");
    }
    let old = request("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(old.head.upgrade, None);
}

#[test]
fn r19_a_tunnel_needs_101_and_a_protocol_that_the_client_offered() {
    let asked = request(with("Connection: upgrade\r\nUpgrade: foo/2, websocket")).unwrap();
    let silent = request(with("X: y")).unwrap();
    for (answer, accepted) in [
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", true),
        ("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", true),
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\n", true),
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", false),
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n", false),
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket, other\r\n\r\n", false),
        ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", false),
        ("HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n", false),
        ("HTTP/1.1 101 x\r\n\r\n", false),
        ("HTTP/1.0 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false),
        ("HTTP/1.1 200 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        let answer = response(answer).unwrap();
        assert_eq!(machine::upgrade_accepted(asked.request(), answer.response()), accepted, "{answer:?}");
        assert!(!machine::upgrade_accepted(silent.request(), answer.response()), "nobody asked");
    }
}

#[test]
fn r19_an_upstream_connection_is_reused_only_at_a_clean_border() {
    let clean = UpstreamUse {
        upstream_wants: true,
        request_sent: true,
        response_read: true,
        excess_bytes: false,
        upgrade_asked: false,
    };
    assert!(clean.is_reusable());
    assert!(!UpstreamUse { upstream_wants: false, ..clean }.is_reusable());
    assert!(
        !UpstreamUse { request_sent: false, ..clean }.is_reusable(),
        "R21, R110: the rest of the request is owed"
    );
    assert!(!UpstreamUse { response_read: false, ..clean }.is_reusable());
    assert!(!UpstreamUse { excess_bytes: true, ..clean }.is_reusable(), "R105");
    assert!(!UpstreamUse { upgrade_asked: true, ..clean }.is_reusable());
}

#[test]
fn r20_the_rest_of_a_body_is_drained_or_the_connection_closed() {
    let drain = 64 << 10;
    let limits = &base::limits::HttpLimits::DEFAULT;
    let decide = |length, expectation| {
        let body = BodyReader::new(length, limits);
        machine::rest_of_body(body.is_done(), body.remaining(), expectation, drain)
    };
    let all = RestOfBody::Drain { bytes_max: u64::from(drain) };
    for (length, expectation, expected) in [
        (BodyLength::None, Expectation::Settled, RestOfBody::Settled),
        (BodyLength::Length(1), Expectation::Settled, all),
        (BodyLength::Length(64 << 10), Expectation::Settled, all),
        (BodyLength::Length((64 << 10) + 1), Expectation::Settled, RestOfBody::Close),
        (BodyLength::Chunked, Expectation::Settled, RestOfBody::Close),
        (BodyLength::Length(1), Expectation::Waiting, RestOfBody::Close),
        (BodyLength::Chunked, Expectation::Waiting, RestOfBody::Close),
    ] {
        assert_eq!(decide(length, expectation), expected, "{length:?} {expectation:?}");
    }
}

#[test]
fn r21_only_the_exact_expectation_is_known() {
    let post = |expect: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{expect}\r\n\r\n");
    for value in ["100-continue", "100-Continue", "  100-CONTINUE "] {
        let parsed = request(post(&format!("Expect: {value}"))).unwrap();
        assert!(parsed.head.expect_continue, "{value:?}");
        assert_eq!(forwarded(&parsed), ["host"], "we answer it ourselves");
    }
    for value in [
        "",
        "y 100-continue",
        "100-continue x",
        "100-continue, 100-continue",
        "100-continue,",
        "100 -continue",
        "100continue",
        "\"100-continue\"",
        "100-continue;q=1",
        "200-ok",
        "101-continue",
        "x100-continue",
    ] {
        let error = request(post(&format!("Expect: {value}"))).unwrap_err();
        assert_eq!((error, error.status()), (HeadError::BadExpect, 417), "{value:?}");
    }
    assert_eq!(refusal(post("Expect: 100-continue\r\nExpect: 100-continue")), "bad_expect");
    let without_body = request("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(!without_body.head.expect_continue, "there is no body to wait with");
    let old = request("POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(!old.head.expect_continue, "HTTP/1.0 knows no 100");
}

#[test]
fn r21_continue_is_sent_once_and_only_to_a_client_that_waits() {
    let mut waiting = Expectation::new(true);
    assert!(waiting.on_body_wanted(false));
    assert!(!waiting.on_body_wanted(false));
    assert!(!Expectation::new(true).on_body_wanted(true), "the body is here already");
    assert!(!Expectation::new(false).on_body_wanted(false));
}

#[test]
fn known_fields_are_told_apart_from_their_likes() {
    let parsed = request(with("X-Forwarded-For: 1\r\nx-real-ip: 2\r\nCookies: 3")).unwrap();
    let known: Vec<Known> = parsed.head.fields.iter().map(|field| field.known).collect();
    assert_eq!(known, [Known::Host, Known::XForwardedFor, Known::XRealIp, Known::Other]);
}
