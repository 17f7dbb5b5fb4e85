//! R103, R107-R109: what an upstream may answer, and where the answer ends.

use base::limits::HttpLimits;

use super::*;
use crate::h1::{encode, machine};
use crate::http::{BodyLength, Version};

fn reason_of(bytes: impl AsRef<[u8]>) -> &'static str {
    response(bytes).map_or_else(HeadError::reason, |_| "accepted")
}

fn ok(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

#[test]
fn r107_garbage_is_no_response() {
    for (bytes, reason) in [
        ("hello\r\n\r\n", "bad_status_line"),
        ("ICY 200 OK\r\n\r\n", "bad_version"),
        ("<html></html>\r\n\r\n", "bad_version"),
        ("HTTP/1.1\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 \r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 99 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 099 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 000 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 600 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 999 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 1000 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 20 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 2x0 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 -20 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 +200 x\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1  200 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1\t200 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200\tOK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200 O\0K\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200 O\rK\r\n\r\n", "bare_cr"),
        ("HTTP/1.1 200 O\x1bK\r\n\r\n", "bad_status_line"),
        ("http/1.1 200 OK\r\n\r\n", "bad_version"),
        ("HTTP/2.0 200 OK\r\n\r\n", "unsupported_version"),
        ("HTTP/0.9 200 OK\r\n\r\n", "unsupported_version"),
        ("HTTP/1.x 200 OK\r\n\r\n", "bad_version"),
        (" HTTP/1.1 200 OK\r\n\r\n", "bad_version"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200 OK\n\r\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\n\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", "bad_field_value"),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "bare_cr"),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "bad_field_name"),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", "bad_field_name"),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "bad_field_name"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "obs_fold"),
    ] {
        assert_eq!(reason_of(bytes), reason, "{bytes:?}");
    }
    for (bytes, reason) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "OK"),
        ("HTTP/1.1 200 \r\n\r\n", ""),
        ("HTTP/1.1 200\r\n\r\n", ""),
        ("HTTP/1.0 200 A b\tc\r\n\r\n", "A b\tc"),
        ("HTTP/1.1 599 \u{e9}\r\n\r\n", "\u{e9}"),
    ] {
        assert_eq!(response(bytes).unwrap().response().reason(), reason.as_bytes(), "{bytes:?}");
    }
}

#[test]
fn r107_framing_with_two_readings_is_refused() {
    for (fields, reason) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "cl_and_te"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "cl_and_te"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "duplicate_cl"),
        ("Content-Length: 5, 5\r\n", "duplicate_cl"),
        ("Content-Length: 5, 6\r\n", "bad_cl"),
        ("Content-Length: -1\r\n", "bad_cl"),
        ("Content-Length:\r\n", "bad_cl"),
        ("Content-Length: 9223372036854775808\r\n", "bad_cl"),
        ("Transfer-Encoding: gzip\r\n", "unknown_te"),
        ("Transfer-Encoding: gzip, chunked\r\n", "unknown_te"),
        ("Transfer-Encoding: identity\r\n", "unknown_te"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "bad_te"),
        ("Transfer-Encoding: chunked, gzip\r\n", "bad_te"),
        ("Transfer-Encoding:\r\n", "bad_te"),
        ("Connection: content-length\r\nContent-Length: 5\r\n", "bad_connection_option"),
        ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "bad_connection_option"),
    ] {
        assert_eq!(reason_of(ok(fields)), reason, "{fields:?}");
    }
    assert_eq!(reason_of("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "te_on_http10");
}

#[test]
fn r107_oversized_heads_are_refused() {
    assert_eq!(reason_of(ok(&"A: b\r\n".repeat(101))), "too_many_fields");
    assert_eq!(reason_of(ok(&format!("A: {}\r\n", "b".repeat(17 << 10)))), "line_too_long");
    assert_eq!(reason_of(ok(&format!("A: {}\r\n", "b".repeat(1_000)).repeat(40))), "head_too_large");
    assert_eq!(reason_of(format!("HTTP/1.1 200 {}\r\n\r\n", "b".repeat(17 << 10))), "line_too_long");
}

#[test]
fn the_length_of_a_response_follows_its_head_and_its_request() {
    for (method, head, body, keeps) in [
        (Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", BodyLength::Length(5), true),
        (Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", BodyLength::Chunked, true),
        (Method::Get, "HTTP/1.1 200 OK\r\n", BodyLength::UntilClose, false),
        (Method::Get, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", BodyLength::UntilClose, false),
        (Method::Get, "HTTP/1.0 200 OK\r\n", BodyLength::UntilClose, false),
        (Method::Get, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", BodyLength::Length(5), false),
        (
            Method::Get,
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            BodyLength::Length(5),
            true,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n",
            BodyLength::Length(5),
            false,
        ),
        (Method::Get, "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n", BodyLength::Length(5), true),
        // R109.
        (Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", BodyLength::None, true),
        (Method::Head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", BodyLength::None, true),
        (Method::Head, "HTTP/1.1 200 OK\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 204 x\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 204 x\r\nContent-Length: 0\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 204 x\r\nContent-Length: 5\r\n", BodyLength::None, false),
        (Method::Get, "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n", BodyLength::None, false),
        (Method::Get, "HTTP/1.1 304 x\r\nContent-Length: 5\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 304 x\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 100 x\r\n", BodyLength::None, true),
        (Method::Get, "HTTP/1.1 103 x\r\nLink: </a>\r\n", BodyLength::None, true),
        (
            Method::Get,
            "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
            BodyLength::None,
            true,
        ),
    ] {
        let parsed = response_to(method, format!("{head}\r\n")).unwrap();
        assert_eq!((parsed.head.body, parsed.head.keep_alive), (body, keeps), "{method:?} {head:?}");
    }
}

#[test]
fn r108_framing_in_an_informational_response_is_refused() {
    for status in [100, 101, 102, 103, 199] {
        for field in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
            assert_eq!(
                reason_of(format!("HTTP/1.1 {status} x\r\n{field}\r\n\r\n")),
                "framing_in_1xx",
                "{status}"
            );
        }
    }
}

#[test]
fn r108_informational_heads_are_read_one_by_one_before_the_final_one() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (mut reader, mut head) =
        (ResponseReader::new(&HttpLimits::DEFAULT, Method::Get), ResponseHead::default());
    let mut rest = &bytes[..];
    for status in [100, 103, 200] {
        let Ok(Progress::Complete(used)) = reader.read(rest, &mut head) else { panic!("{status}") };
        assert_eq!(head.status, status);
        rest = &rest[used..];
    }
    assert_eq!((head.body, rest), (BodyLength::Length(2), &b"hi"[..]));
    reader.reset(Method::Head);
    assert_eq!(
        reader.read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", &mut head),
        Ok(Progress::Complete(38))
    );
    assert_eq!((head.body, head.content_length), (BodyLength::None, Some(2)));
}

#[test]
fn r103_a_head_that_is_cut_is_never_complete() {
    let bytes = ok("Server: x\r\nContent-Length: 5\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\n");
    for cut in 0..bytes.len() {
        let mut reader = ResponseReader::new(&HttpLimits::DEFAULT, Method::Get);
        let read = reader.read(&bytes.as_bytes()[..cut], &mut ResponseHead::default());
        assert_eq!(read, Ok(Progress::Partial), "cut at {cut}");
    }
}

#[test]
fn response_framing_says_where_the_response_ends() {
    let write = |status, answers_head, body, declared| {
        let mut out = Vec::new();
        encode::response_framing(&mut out, status, answers_head, body, declared);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write(200, false, BodyLength::None, None), "Content-Length: 0\r\n");
    assert_eq!(write(200, false, BodyLength::Length(7), Some(7)), "Content-Length: 7\r\n");
    assert_eq!(write(200, false, BodyLength::Chunked, None), "Transfer-Encoding: chunked\r\n");
    assert_eq!(write(200, false, BodyLength::UntilClose, None), "");
    assert_eq!(write(200, true, BodyLength::None, Some(7)), "Content-Length: 7\r\n");
    assert_eq!(write(200, true, BodyLength::None, None), "");
    assert_eq!(write(304, false, BodyLength::None, Some(7)), "Content-Length: 7\r\n");
    assert_eq!(write(204, false, BodyLength::None, Some(0)), "");
    assert_eq!(write(101, false, BodyLength::None, None), "");
}

#[test]
fn a_body_is_framed_as_its_client_understands_it() {
    for (body, client, framed) in [
        (BodyLength::UntilClose, Version::Http11, BodyLength::Chunked),
        (BodyLength::UntilClose, Version::Http10, BodyLength::UntilClose),
        (BodyLength::Chunked, Version::Http10, BodyLength::UntilClose),
        (BodyLength::Chunked, Version::Http11, BodyLength::Chunked),
        (BodyLength::Length(1), Version::Http10, BodyLength::Length(1)),
        (BodyLength::None, Version::Http11, BodyLength::None),
    ] {
        assert_eq!(machine::downstream_framing(body, client), framed);
    }
}

#[test]
fn an_announced_idle_timeout_is_read_where_it_makes_sense() {
    for (value, seconds) in [
        ("timeout=5", Some(5)),
        ("timeout=5, max=100", Some(5)),
        ("max=100 ,\tTimeout=72", Some(72)),
        ("timeout=0", Some(0)),
        ("timeout=999999", Some(999_999)),
        ("timeout=1000000", None),
        ("timeout=", None),
        ("timeout=-5", None),
        ("timeout=5s", None),
        ("timeout", None),
        ("max=3", None),
        ("", None),
    ] {
        let head = response(ok(&format!("Content-Length: 0\r\nKeep-Alive: {value}\r\n"))).expect(value);
        assert_eq!(head.head.idle_timeout, seconds, "{value}");
    }
    assert_eq!(response(ok("Content-Length: 0\r\n")).expect("plain").head.idle_timeout, None);
}

#[test]
fn every_reason_is_a_name_of_its_own() {
    let mut reasons = HeadError::REASONS.to_vec();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), HeadError::REASONS.len());
    assert!(
        reasons.iter().all(|reason| reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    );
    assert_eq!(
        HeadError::UriTooLong { limit_bytes: 9 }.to_string(),
        "request target too long (limit_bytes 9)"
    );
}
