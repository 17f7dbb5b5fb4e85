//! R1-R6 and R25: how long a request body is, and every way to be unclear about it.

use super::*;
use crate::http::{BodyLength, Version};

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn post_10(fields: &str) -> String {
    format!("POST / HTTP/1.0\r\n{fields}\r\n")
}

#[test]
fn r1_content_length_and_transfer_encoding_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: CHUNKED\r\n",
        "CONTENT-LENGTH: 0\r\nTRANSFER-ENCODING: chunked\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: x\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length:\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(refusal(post(fields)), "cl_and_te", "{fields:?}");
        let pipelined = post(fields) + "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(refusal(pipelined), "cl_and_te", "{fields:?}");
    }
    assert_eq!(refusal(post_10("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")), "cl_and_te");
}

#[test]
fn r2_content_length_that_is_not_a_plain_number_is_refused() {
    for value in [
        "",
        "+5",
        "-0",
        "-1",
        "0x5",
        "5 0",
        "5,6",
        "5, 6",
        "5,",
        ",5",
        ",",
        "5;5",
        "5.0",
        "5e0",
        "\"5\"",
        "٥",
        "5a",
        "a",
        "0b1",
        "1_0",
        "\t5",
        "5\t",
        " \t5",
        "5 \t ",
        "5\u{a0}",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551621",
        "00000000000000000005",
        "99999999999999999999999999999999",
        "9999999999999999999",
    ] {
        assert_eq!(refusal(post(&format!("Content-Length: {value}\r\n"))), "bad_cl", "{value:?}");
    }
    for (value, body) in [
        ("0", BodyLength::None),
        ("000", BodyLength::None),
        ("5", BodyLength::Length(5)),
        ("  5  ", BodyLength::Length(5)),
        ("0000000000000000005", BodyLength::Length(5)),
        ("9223372036854775807", BodyLength::Length(i64::MAX.unsigned_abs())),
    ] {
        assert_eq!(
            request(post(&format!("Content-Length: {value}\r\n"))).unwrap().head.body,
            body,
            "{value:?}"
        );
    }
}

#[test]
fn r3_repeated_content_length_is_refused_even_with_one_value() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,5,5\r\n",
        "Content-Length: 5 ,5\r\n",
    ] {
        assert_eq!(refusal(post(fields)), "duplicate_cl", "{fields:?}");
    }
}

#[test]
fn r4_any_transfer_encoding_but_one_chunked_is_refused() {
    for (value, reason) in [
        ("identity", "unknown_te"),
        ("xchunked", "unknown_te"),
        ("chunkedx", "unknown_te"),
        ("chunke", "unknown_te"),
        ("gzip", "unknown_te"),
        ("gzip, chunked", "unknown_te"),
        ("gzip,chunked", "unknown_te"),
        ("identity, chunked", "unknown_te"),
        ("x, y, z", "unknown_te"),
        ("", "bad_te"),
        ("   ", "bad_te"),
        (",", "bad_te"),
        (", chunked", "bad_te"),
        ("chunked,", "bad_te"),
        ("chunked, gzip", "bad_te"),
        ("chunked, chunked", "bad_te"),
        ("chunked, identity", "bad_te"),
        ("chunked;q=1", "bad_te"),
        ("chunked ; x", "bad_te"),
        ("chunked x", "bad_te"),
        ("\"chunked\"", "bad_te"),
        ("'chunked", "unknown_te"),
        ("[chunked]", "bad_te"),
        ("chunked\t", "bad_te"),
        ("\tchunked", "bad_te"),
        ("gzip\tchunked", "bad_te"),
        ("chun\u{212a}ed", "bad_te"),
        ("chunked\x0b", "bad_field_value"),
        ("\x0cchunked", "bad_field_value"),
        ("chunked\0", "bad_field_value"),
        ("chunked\rx", "bare_cr"),
    ] {
        let bytes = post(&format!("Transfer-Encoding: {value}\r\n"));
        assert_eq!(refusal(&bytes), reason, "{value:?}");
        let status = if reason == "unknown_te" { 501 } else { 400 };
        assert_eq!(request(&bytes).unwrap_err().status(), status, "{value:?}");
    }
    for twice in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "transfer-encoding:\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(refusal(post(twice)), "bad_te", "{twice:?}");
    }
    for good in ["chunked", "Chunked", "CHUNKED", "  chunked  "] {
        let parsed = request(post(&format!("Transfer-Encoding: {good}\r\n"))).unwrap();
        assert_eq!(parsed.head.body, BodyLength::Chunked);
    }
}

#[test]
fn r5_transfer_encoding_on_http_1_0_is_refused() {
    for value in ["chunked", "identity", "gzip", ""] {
        assert_eq!(refusal(post_10(&format!("Transfer-Encoding: {value}\r\n"))), "te_on_http10", "{value:?}");
    }
}

#[test]
fn r6_a_request_without_framing_has_no_body() {
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = request(bytes).unwrap();
    assert_eq!(first.head.body, BodyLength::None);
    let next = request(&bytes[first.bytes.len()..]).unwrap();
    assert_eq!(next.path(), "/next");
    assert_eq!(refusal("garbage that follows\r\n\r\n"), "bad_version");
}

#[test]
fn r25_bodies_on_get_head_and_delete_are_framed_in_1_1_and_refused_in_1_0() {
    for method in ["GET", "HEAD", "DELETE"] {
        let in_11 = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(request(in_11).unwrap().head.body, BodyLength::Length(3));
        let in_10 = format!("{method} / HTTP/1.0\r\nContent-Length: 3\r\n\r\n");
        let error = request(in_10).unwrap_err();
        assert_eq!((error.reason(), error.status()), ("body_on_http10", 413));
        let empty = format!("{method} / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(request(empty).unwrap().head.body, BodyLength::None);
    }
    let post = request(post_10("Content-Length: 3\r\n")).unwrap();
    assert_eq!((post.head.version, post.head.body), (Version::Http10, BodyLength::Length(3)));
}
