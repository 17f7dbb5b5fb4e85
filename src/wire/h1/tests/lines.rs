//! R9-R11, R15, R17, R23 and R24: lines, the bytes in them, and how long they may be.

use base::limits::HttpLimits;

use super::*;
use crate::http::{TargetForm, Version};

#[test]
fn r9_bare_lf_is_no_line_end() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y \n\r\n",
        "GET / HTTP/1.1\n\n",
        "\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\nHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n Z: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\n: y\r\n\r\n",
    ] {
        assert_eq!(refusal(bytes), "bare_lf", "{bytes:?}");
    }
}

#[test]
fn r10_control_bytes_are_refused_wherever_they_stand() {
    let places = [
        "GET /@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?q=@ HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX@: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y@z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: @y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y@\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@\r\n\r\n",
        "GET / HTTP/1.1@\r\nHost: a\r\n\r\n",
    ];
    let mut vectors = 0;
    for byte in (0..=0x1f).chain([0x7f]) {
        for place in places {
            let bytes: Vec<u8> = place.bytes().map(|at| if at == b'@' { byte } else { at }).collect();
            let around_value = place.contains("X: ") || place.contains("Host: a@");
            if byte == b'\t' && around_value {
                assert_eq!(refusal(&bytes), "accepted", "{}", bytes.escape_ascii());
            } else {
                let reason = refusal(&bytes);
                let named = match byte {
                    b'\n' => "bare_lf",
                    // At the end of a line the CR makes CR CR LF.
                    b'\r' => "bare_cr",
                    _ => reason,
                };
                assert_eq!(reason, named, "{}", bytes.escape_ascii());
                assert_ne!(reason, "accepted", "{}", bytes.escape_ascii());
            }
            vectors += 1;
        }
    }
    assert_eq!(vectors, 33 * 9);
}

#[test]
fn r10_eight_bit_bytes_may_stand_in_values_only() {
    for byte in 0x80..=0xff_u8 {
        let with =
            |text: &str| -> Vec<u8> { text.bytes().map(|at| if at == b'@' { byte } else { at }).collect() };
        assert_eq!(refusal(with("GET / HTTP/1.1\r\nHost: a\r\nX: @\r\n\r\n")), "accepted");
        assert_eq!(refusal(with("GET / HTTP/1.1\r\nHost: a\r\nX@: y\r\n\r\n")), "bad_field_name");
        assert_eq!(refusal(with("GET / HTTP/1.1\r\nHost: a@\r\n\r\n")), "bad_host");
        assert_eq!(refusal(with("G@T / HTTP/1.1\r\nHost: a\r\n\r\n")), "bad_method");
        assert_eq!(refusal(with("GET /@ HTTP/1.1\r\nHost: a\r\n\r\n")), "bad_uri");
    }
}

#[test]
fn r11_malformed_field_lines_are_refused() {
    for (line, reason) in [
        ("X : y", "bad_field_name"),
        ("X\t: y", "bad_field_name"),
        ("Content-Length : 5", "bad_field_name"),
        ("Transfer-Encoding : chunked", "bad_field_name"),
        (": y", "bad_field_name"),
        (":", "bad_field_name"),
        ("X", "bad_field_name"),
        ("X y", "bad_field_name"),
        ("X(: y", "bad_field_name"),
        ("X/: y", "bad_field_name"),
        ("X@: y", "bad_field_name"),
        ("X,: y", "bad_field_name"),
        ("\"X\": y", "bad_field_name"),
        ("X[]: y", "bad_field_name"),
        ("X{: y", "bad_field_name"),
        ("X;: y", "bad_field_name"),
        ("X=: y", "bad_field_name"),
        ("X?: y", "bad_field_name"),
        ("X\\: y", "bad_field_name"),
        ("X<: y", "bad_field_name"),
        ("X: y\r\n folded", "obs_fold"),
        ("X: y\r\n\tfolded", "obs_fold"),
        ("X: y\r\n ", "obs_fold"),
        ("X:\r\n y", "obs_fold"),
        ("X: y\r\n Content-Length: 5", "obs_fold"),
    ] {
        assert_eq!(refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")), reason, "{line:?}");
    }
    for first in [" Host: a", "\tHost: a", " : a", " "] {
        assert_eq!(refusal(format!("GET / HTTP/1.1\r\n{first}\r\n\r\n")), "bad_field_name", "{first:?}");
    }
    for line in ["X:y", "X:", "X: ", "X:  y  ", "X: :", "!#$%&'*+-.^`|~09: y", "X: a\tb"] {
        assert_eq!(refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")), "accepted", "{line:?}");
    }
}

#[test]
fn r15_request_lines_have_one_spelling() {
    for (line, reason) in [
        ("GET\t/\tHTTP/1.1", "bad_request_line"),
        ("GET\t/ HTTP/1.1", "bad_method"),
        ("GET /\tHTTP/1.1", "bad_request_line"),
        ("GET  / HTTP/1.1", "bad_request_line"),
        ("GET /  HTTP/1.1", "bad_request_line"),
        (" GET / HTTP/1.1", "bad_method"),
        ("GET / HTTP/1.1 ", "bad_version"),
        ("GET / HTTP/1.1 x", "bad_version"),
        ("GET / x HTTP/1.1", "bad_uri"),
        ("GET / HTTP/1.1x", "bad_version"),
        ("GET / http/1.1", "bad_version"),
        ("GET / Http/1.1", "bad_version"),
        ("GET / HTTP/1.", "bad_version"),
        ("GET / HTTP/11", "bad_version"),
        ("GET / HTTP/1.10", "bad_version"),
        ("GET / HTTP/01.1", "bad_version"),
        ("GET / HTTP/1,1", "bad_version"),
        ("GET / HTTP /1.1", "bad_version"),
        ("GET / HTTPS/1.1", "bad_version"),
        ("GET / HTTP/a.1", "bad_version"),
        ("GET / HTTP/1.a", "bad_version"),
        ("GET / HTTP/-1.1", "bad_version"),
        ("GET / ", "bad_version"),
        ("GET /", "bad_request_line"),
        ("GET", "bad_request_line"),
        ("GET HTTP/1.1", "bad_request_line"),
        ("GET  HTTP/1.1", "bad_request_line"),
        ("/ HTTP/1.1", "bad_method"),
        ("", "bad_request_line"),
        ("GET / HTTP/2.0", "unsupported_version"),
        ("GET / HTTP/0.9", "unsupported_version"),
        ("GET / HTTP/3.0", "unsupported_version"),
        ("GET / HTTP/9.9", "unsupported_version"),
        ("PRI * HTTP/2.0", "unsupported_version"),
        ("GE,T / HTTP/1.1", "bad_method"),
        ("(GET) / HTTP/1.1", "bad_method"),
        ("GET: / HTTP/1.1", "bad_method"),
        ("A234567890123456789012345678901234 / HTTP/1.1", "bad_method"),
        ("\u{16}\u{3}\u{1} / HTTP/1.1", "bad_method"),
    ] {
        assert_eq!(refusal(format!("{line}\r\nHost: a\r\n\r\n")), reason, "{line:?}");
    }
    assert_eq!(HeadError::UnsupportedVersion.status(), 505);
    assert_eq!(
        refusal("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        "bad_request_line",
        "no empty line is skipped"
    );
    for (line, version) in [
        ("GET / HTTP/1.0", Version::Http10),
        ("GET / HTTP/1.1", Version::Http11),
        ("GET / HTTP/1.2", Version::Http11),
        ("GET / HTTP/1.9", Version::Http11),
    ] {
        assert_eq!(request(format!("{line}\r\nHost: a\r\n\r\n")).unwrap().head.version, version, "{line:?}");
    }
    let get = request("get / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(
        get.request().method(),
        b"get",
        "methods are case-sensitive, and unknown ones pass as they are"
    );
}

#[test]
fn r17_targets_fit_their_method() {
    for (line, reason) in [
        ("GET * HTTP/1.1", "bad_uri"),
        ("POST * HTTP/1.1", "bad_uri"),
        ("HEAD * HTTP/1.1", "bad_uri"),
        ("options * HTTP/1.1", "bad_uri"),
        ("OPTIONS *x HTTP/1.1", "bad_uri"),
        ("OPTIONS ** HTTP/1.1", "bad_uri"),
        ("OPTIONS *?x HTTP/1.1", "bad_uri"),
        ("GET a:80 HTTP/1.1", "bad_uri"),
        ("GET a HTTP/1.1", "bad_uri"),
        ("GET ?x HTTP/1.1", "bad_uri"),
        ("CONNECT a:80 HTTP/1.1", "connect_not_allowed"),
        ("CONNECT a HTTP/1.1", "connect_not_allowed"),
        ("CONNECT / HTTP/1.1", "connect_not_allowed"),
        ("CONNECT http://a/ HTTP/1.1", "connect_not_allowed"),
    ] {
        assert_eq!(refusal(format!("{line}\r\nHost: a\r\n\r\n")), reason, "{line:?}");
    }
    assert_eq!(HeadError::ConnectNotAllowed.status(), 405);
    let options = request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((options.head.form, options.path()), (TargetForm::Asterisk, "*"));
    let options = request("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((options.head.form, options.path()), (TargetForm::Absolute, "*"));
}

/// A head of exactly `bytes` bytes, in lines that are short.
fn head_of(bytes: usize) -> String {
    let mut head = String::from("GET / HTTP/1.1\r\nHost: a\r\n");
    while head.len() + 1_000 < bytes {
        head += &format!("X: {}\r\n", "y".repeat(500));
    }
    let rest = bytes - head.len() - "X: \r\n\r\n".len();
    head + &format!("X: {}\r\n\r\n", "y".repeat(rest))
}

#[test]
fn r23_limits_hold_at_the_byte() {
    let limit = HttpLimits::DEFAULT.header_bytes_max as usize;
    for (bytes, reason) in [(limit - 1, "accepted"), (limit, "accepted"), (limit + 1, "head_too_large")] {
        let head = head_of(bytes);
        assert_eq!(head.len(), bytes);
        assert_eq!(refusal(head), reason, "{bytes} bytes");
    }
    let limit = HttpLimits::DEFAULT.header_line_bytes_max as usize;
    for (bytes, reason) in [(limit - 1, "accepted"), (limit, "accepted"), (limit + 1, "line_too_long")] {
        let line = format!("X: {}", "y".repeat(bytes - 3));
        assert_eq!(
            refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")),
            reason,
            "line of {bytes}"
        );
    }
    let limit = usize::from(HttpLimits::DEFAULT.header_fields_max);
    for (fields, reason) in [(limit - 1, "accepted"), (limit, "accepted"), (limit + 1, "too_many_fields")] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
        assert_eq!(refusal(head), reason, "{fields} fields");
    }
    let limit = HttpLimits::DEFAULT.uri_bytes_max as usize;
    for (bytes, reason) in [(limit - 1, "accepted"), (limit, "accepted"), (limit + 1, "uri_too_long")] {
        let target = "/".to_owned() + &"p".repeat(bytes - 1);
        assert_eq!(refusal(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), reason, "target of {bytes}");
    }
    assert_eq!(HeadError::UriTooLong { limit_bytes: 1 }.status(), 414);
    assert_eq!(HeadError::HeadTooLarge { limit_bytes: 1 }.status(), 431);
}

#[test]
fn r23_a_head_that_never_ends_is_refused_at_the_limit() {
    let reads = |bytes: &str| {
        RequestReader::new(&HttpLimits::DEFAULT).read(bytes.as_bytes(), &mut RequestHead::default())
    };
    let endless_target = "GET /".to_owned() + &"p".repeat(9 << 10);
    assert_eq!(reads(&endless_target), Err(HeadError::UriTooLong { limit_bytes: 8 << 10 }));
    let endless_value = "GET / HTTP/1.1\r\nX: ".to_owned() + &"y".repeat(17 << 10);
    assert_eq!(reads(&endless_value), Err(HeadError::LineTooLong { limit_bytes: 16 << 10 }));
    let endless_fields = "GET / HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(101);
    assert_eq!(reads(&endless_fields), Err(HeadError::TooManyFields { limit_fields: 100 }));
    let unfinished = &head_of(40 << 10)[..32 << 10];
    assert_eq!(reads(unfinished), Err(HeadError::HeadTooLarge { limit_bytes: 32 << 10 }));
}

#[test]
fn r23_fields_beyond_the_ceiling_are_refused_whatever_the_limit() {
    let limits = HttpLimits { header_fields_max: 1_000, ..HttpLimits::DEFAULT };
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
    let reads =
        |fields| RequestReader::new(&limits).read(head(fields).as_bytes(), &mut RequestHead::default());
    for fields in [23, 24, 25, 63, 64, 65, 255, 256] {
        assert!(matches!(reads(fields), Ok(Progress::Complete(_))), "{fields} fields");
    }
    assert_eq!(reads(257), Err(HeadError::TooManyFields { limit_fields: 256 }));
}

#[test]
fn r24_a_thousand_pipelined_requests_are_read_one_at_a_time() {
    let packet: String = (0..1_000).map(|id| format!("GET /{id} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let (mut reader, mut head) = (RequestReader::new(&HttpLimits::DEFAULT), RequestHead::default());
    let mut rest = packet.as_bytes();
    for id in 0..1_000 {
        let Ok(Progress::Complete(used)) = reader.read(rest, &mut head) else { panic!("request {id}") };
        assert_eq!(Request::new(&head, rest).path(), format!("/{id}").as_bytes());
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
    assert_eq!(reader.read(rest, &mut head), Ok(Progress::Partial));
}

#[test]
fn garbage_is_refused_before_its_head_is_complete() {
    for start in ["\u{16}\u{3}\u{1}\r\n", "GET / HTTP/2.0\r\n", "hello\r\n", "SSH-2.0-x\r\n", "\r\n", "\n"] {
        let read =
            RequestReader::new(&HttpLimits::DEFAULT).read(start.as_bytes(), &mut RequestHead::default());
        assert!(read.is_err(), "{start:?}");
    }
}
