use super::*;
use crate::testing::parse;
use base::limits::HttpLimits;
use wire::h1::{Progress, ResponseReader};
use wire::http::ResponseHead;

fn rules() -> Compression {
    Compression {
        codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
        types: ["text/*", "application/json", "*+xml"].map(TypePattern::of).to_vec(),
        bytes_min: 1024,
        effort: Effort::Balanced,
    }
}

/// What becomes of a response with that status line and those fields, and what its head says then.
fn of(
    asked: (&str, &[(&str, &str)]),
    status: &str,
    fields: &[(&str, &str)],
) -> (Result<Coding, Kept>, String) {
    let request = parse(asked.0, "a.example", "/", asked.1);
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut head = ResponseHead::default();
    let method = request.request().head.method;
    let read = ResponseReader::new(&HttpLimits::DEFAULT, method).read(text.as_bytes(), &mut head);
    assert_eq!(read, Ok(Progress::Complete(text.len())), "{text}");
    let response = Response::new(&head, text.as_bytes());
    let chosen = rules().choose(request.request(), response);
    let mut edits = ResponseEdits::default();
    edit(chosen, request.request(), response, &mut edits);
    let mut told: Vec<String> = edits.dropped().map(|name| format!("-{}", string(name))).collect();
    told.extend(edits.additions().map(|(name, value)| format!("{}: {}", string(name), string(value))));
    (chosen, told.join("\n"))
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GZIP: (&str, &[(&str, &str)]) = ("GET", &[("Accept-Encoding", "gzip")]);
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");
const LONG: (&str, &str) = ("Content-Length", "5000");

#[test]
fn x3_a_page_is_compressed_and_says_so() {
    let (chosen, edits) = of(GZIP, "200 OK", &[HTML, LONG, ("ETag", "\"v1\"")]);
    assert_eq!(chosen, Ok(Coding::Gzip));
    for said in [
        "Content-Encoding: gzip",
        "Vary: Accept-Encoding",
        "ETag: W/\"v1\"",
        "-ETag",
        "-Accept-Ranges",
        "-Content-MD5",
        "-Digest",
        "-Content-Digest",
        "-Repr-Digest",
    ] {
        assert!(edits.lines().any(|line| line == said), "{said} in {edits}");
    }
}

#[test]
fn what_is_not_to_be_touched_stays_as_it_is() {
    use Kept::{Encoded, NoTransform, Size, Status, Type};
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Kept);
    let cases: [Case<'_>; 14] = [
        ("204 No Content", &[HTML], Status),
        ("205 Reset Content", &[HTML, ("Content-Length", "0")], Status),
        ("206 Partial Content", &[HTML, LONG, ("Content-Range", "bytes 0-4999/9000")], Status),
        ("200 OK", &[HTML, LONG, ("Content-Encoding", "br")], Encoded),
        (
            "200 OK",
            &[HTML, LONG, ("Content-Encoding", "identity"), ("content-encoding", "aws-chunked")],
            Encoded,
        ),
        ("200 OK", &[HTML, LONG, ("Cache-Control", "public, No-Transform")], NoTransform),
        ("200 OK", &[LONG], Type),
        ("200 OK", &[LONG, ("Content-Type", "image/png")], Type),
        ("200 OK", &[LONG, ("Content-Type", "application/jsonx")], Type),
        ("200 OK", &[LONG, ("Content-Type", "application/grpc")], Type),
        ("200 OK", &[LONG, ("Content-Type", "")], Type),
        ("200 OK", &[LONG, ("Content-Type", "tex")], Type),
        ("200 OK", &[HTML, ("Content-Length", "1023")], Size),
        ("200 OK", &[HTML, ("Content-Length", "0")], Size),
    ];
    for (status, fields, why) in cases {
        assert_eq!(of(GZIP, status, fields), (Err(why), String::new()), "{status} {fields:?}");
    }
    let asked = ("GET", &[("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")][..]);
    assert_eq!(of(asked, "200 OK", &[HTML, LONG]), (Err(NoTransform), String::new()));
}

#[test]
fn types_match_exactly_by_their_beginning_or_by_their_end() {
    for (content_type, is_one) in [
        ("text/css", true),
        ("TEXT/HTML;charset=x", true),
        ("application/json ; a=b", true),
        ("image/svg+xml", true),
        ("+xml", true),
        ("xml", false),
        ("application/xml", false),
        ("atext/html", false),
    ] {
        let (chosen, _) = of(GZIP, "200 OK", &[("Content-Type", content_type), LONG]);
        assert_eq!(chosen.is_ok(), is_one, "{content_type}");
    }
}

#[test]
fn a_length_that_nobody_knows_counts_as_long() {
    assert_eq!(of(GZIP, "200 OK", &[HTML, ("Transfer-Encoding", "chunked")]).0, Ok(Coding::Gzip));
    assert_eq!(of(GZIP, "200 OK", &[HTML, ("Connection", "close")]).0, Ok(Coding::Gzip));
    assert_eq!(of(GZIP, "404 Not Found", &[HTML, ("Content-Length", "1024")]).0, Ok(Coding::Gzip));
}

#[test]
fn a_cookie_makes_no_difference() {
    assert_eq!(of(GZIP, "200 OK", &[HTML, LONG, ("Set-Cookie", "a=b")]).0, Ok(Coding::Gzip));
}

#[test]
fn x3_who_wants_it_as_it_is_learns_that_others_get_it_otherwise() {
    let plain = ("GET", &[][..]);
    assert_eq!(of(plain, "200 OK", &[HTML, LONG]), (Err(Kept::Client), "Vary: Accept-Encoding".to_owned()));
    for said in ["Accept-Encoding", "Origin, ACCEPT-ENCODING", "*"] {
        assert_eq!(of(plain, "200 OK", &[HTML, LONG, ("Vary", said)]), (Err(Kept::Client), String::new()));
    }
    let told = of(plain, "200 OK", &[HTML, LONG, ("Vary", "Origin")]).1;
    assert_eq!(told, "Vary: Accept-Encoding");
}

#[test]
fn a_head_is_answered_as_its_get() {
    let head = ("HEAD", &[("Accept-Encoding", "br")][..]);
    let (chosen, edits) = of(head, "200 OK", &[HTML, LONG]);
    assert_eq!(chosen, Ok(Coding::Brotli));
    assert!(edits.contains("Content-Encoding: br"), "{edits}");
    assert_eq!(of(head, "200 OK", &[HTML, ("Content-Length", "10")]).0, Err(Kept::Size));
}

#[test]
fn not_modified_names_the_tag_that_the_client_has() {
    let asked = ("GET", &[("Accept-Encoding", "gzip"), ("If-None-Match", "\"a,b\", W/\"v1\"")][..]);
    let told = of(asked, "304 Not Modified", &[("ETag", "\"v1\"")]).1;
    assert_eq!(told, "-ETag\nVary: Accept-Encoding\nETag: W/\"v1\"");
    let told = of(asked, "304 Not Modified", &[("ETag", "\"a,b\"")]).1;
    assert_eq!(told, "Vary: Accept-Encoding");
}

#[test]
fn a_weak_tag_stays_and_no_tag_is_made_up() {
    let told = of(GZIP, "200 OK", &[HTML, LONG, ("ETag", "W/\"v1\"")]).1;
    assert!(!told.contains("ETag"), "{told}");
}

#[test]
fn streams_of_events_are_told_apart() {
    let is_stream = |content_type: &str| {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
        let mut head = ResponseHead::default();
        ResponseReader::new(&HttpLimits::DEFAULT, Method::Get).read(text.as_bytes(), &mut head).unwrap();
        is_stream_of_events(Response::new(&head, text.as_bytes()))
    };
    assert!(is_stream("text/event-stream; charset=utf-8") && is_stream("Application/X-NDJSON"));
    assert!(!is_stream("text/html") && !is_stream("text/event-streams"));
}
