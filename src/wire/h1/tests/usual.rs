//! What ordinary clients and servers send.

use base::limits::HttpLimits;

use super::*;
use crate::h1::{BodyReader, encode};
use crate::http::{BodyLength, Known, TargetForm, Version};

const WRK: &str = "GET /index.html?a=1&b=2 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk/4.1.0\r\n\
                   Accept: */*\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn a_usual_request_is_read_into_its_parts() {
    let parsed = request(WRK).unwrap();
    let (head, request) = (&parsed.head, parsed.request());
    assert_eq!(request.method(), b"GET");
    assert_eq!((head.version, head.form, head.body), (Version::Http11, TargetForm::Origin, BodyLength::None));
    assert_eq!((request.path(), request.query()), (&b"/index.html"[..], Some(&b"a=1&b=2"[..])));
    assert_eq!(
        (request.authority(), request.host(), head.port),
        (&b"127.0.0.1:8080"[..], &b"127.0.0.1"[..], Some(8080))
    );
    assert_eq!(request.known(Known::UserAgent), Some(&b"wrk/4.1.0"[..]));
    assert!(head.keep_alive && !head.path_rewritten && !head.expect_continue);
    assert_eq!(head.head_bytes as usize, WRK.len());
    assert_eq!(head.fields.iter().filter(|field| field.flags.hop_by_hop).count(), 1, "Connection alone");
}

#[test]
fn a_usual_response_is_read_into_its_parts() {
    let parsed = response("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nServer: x\r\n\r\n").unwrap();
    assert_eq!((parsed.head.status, parsed.head.body), (404, BodyLength::Length(9)));
    assert_eq!(parsed.response().reason(), b"Not Found");
    assert!(parsed.head.keep_alive);
}

#[test]
fn chunks_of_one_input_are_moved_together() {
    let mut body = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    let mut input = *b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nA: b\r\n\r\nGET";
    let part = body.read(&mut input).unwrap();
    assert_eq!(&input[part.payload.clone()], b"abcdefgh");
    assert!(part.done && body.is_done());
    assert_eq!(&input[part.consumed..], b"GET");
}

#[test]
fn a_single_chunk_stays_where_it_is() {
    let mut body = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    let mut input = *b"a\r\n0123456789\r\n";
    let part = body.read(&mut input).unwrap();
    assert_eq!((part.consumed, part.payload, part.done), (15, 3..13, false));
}

#[test]
fn a_head_is_written_from_its_parts() {
    let parsed = request(WRK).unwrap();
    let mut out = Vec::new();
    let request = parsed.request();
    encode::request_line(&mut out, request.method(), request.path(), request.query());
    encode::kept_fields(&mut out, request.bytes, &request.head.fields, |field| {
        field.known != Known::UserAgent
    });
    encode::request_framing(&mut out, request.head.method, BodyLength::Chunked);
    encode::end(&mut out);
    assert_eq!(
        out.escape_ascii().to_string(),
        "GET /index.html?a=1&b=2 HTTP/1.1\\r\\nHost: 127.0.0.1:8080\\r\\nAccept: */*\\r\\n\
         Transfer-Encoding: chunked\\r\\n\\r\\n"
    );
}

#[test]
fn chunk_headers_are_written_in_hexadecimal() {
    assert_eq!(encode::chunk_header(1).as_slice(), b"1\r\n");
    assert_eq!(encode::chunk_header(0x1a_bc).as_slice(), b"1abc\r\n");
    assert_eq!(encode::chunk_header(usize::MAX).as_slice(), b"ffffffffffffffff\r\n");
}

#[test]
fn known_names_are_found_in_any_case_and_nothing_else_is() {
    for &known in Known::ALL {
        let name = known.as_str();
        assert_eq!(Known::lookup(name.as_bytes()), known);
        assert_eq!(Known::lookup(name.to_ascii_uppercase().as_bytes()), known);
        for at in 0..name.len() {
            let mut changed = name.as_bytes().to_vec();
            changed[at] ^= 0x40;
            assert_eq!(Known::lookup(&changed), Known::Other, "{}", changed.escape_ascii());
        }
    }
    for other in ["", "x", "hos", "hosts", "x-request-ie", "a-name-that-is-longer-than-all"] {
        assert_eq!(Known::lookup(other.as_bytes()), Known::Other);
    }
}
