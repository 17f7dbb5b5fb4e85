//! R16 and R68: which targets are taken, and the one path that everybody behind the parser sees.

use super::*;

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn at(place: &str, byte: u8) -> Vec<u8> {
    get(place).iter().map(|&from| if from == b'@' { byte } else { from }).collect()
}

#[test]
fn r16_bytes_that_no_target_may_hold_are_refused_in_every_place() {
    let mut refused = 0;
    for byte in 0..=0xff_u8 {
        for place in ["/a@b", "/a/b?c@d", "/@", "http://a/@?x"] {
            let forbidden = !byte.is_ascii_graphic() || b"#\\\"<>".contains(&byte);
            // A lone `%` is not an escape.
            let expected = forbidden || byte == b'%';
            assert_eq!(refusal(at(place, byte)) != "accepted", expected, "{byte:#04x} in {place}");
            refused += usize::from(expected);
        }
    }
    assert!(refused > 600);
}

#[test]
fn r16_bad_escapes_are_refused_in_path_and_query() {
    for escape in
        ["%", "%%", "%2", "%zz", "%2g", "%g2", "%u0041", "%-1", "%00", "%0", "% 1", "%+1", "%\u{e9}"]
    {
        for target in
            [format!("/{escape}"), format!("/a{escape}/b"), format!("/?{escape}"), format!("/?a={escape}&b")]
        {
            assert_eq!(refusal(get(&target)), "bad_uri", "{target}");
        }
    }
}

#[test]
fn r68_paths_that_others_read_differently_are_refused() {
    for path in [
        "/a%2fb",
        "/a%2Fb",
        "/%2f",
        "/a%5cb",
        "/a%5Cb",
        "/%00",
        "/a%00.html",
        "/..",
        "/../",
        "/../a",
        "/a/../..",
        "/a/../../b",
        "/./..",
        "/%2e%2e",
        "/%2e%2e/",
        "/.%2e/a",
        "/%2E./a",
        "/a/%2e%2e/%2e%2e",
        "/..;",
        "/..;/",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/%2e%2e;/b",
        "/a/.%2e;x/b",
        "/a/..%3b/b",
        "/a/..%3Bx/b",
    ] {
        assert_eq!(refusal(get(path)), "bad_uri", "{path}");
    }
}

#[test]
fn r68_one_canonical_path_is_computed() {
    for (received, canonical) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//", "//"),
        ("//a//b//", "//a//b//"),
        ("/.", "/"),
        ("/./", "/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../..", "/"),
        ("/a/b/../../c", "/c"),
        ("/a//../b", "/a/b"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/.hidden", "/.hidden"),
        ("/...", "/..."),
        ("/..a", "/..a"),
        ("/a..", "/a.."),
        ("/a/.;x/b", "/a/b"),
        ("/%41%62%7a", "/Abz"),
        ("/%7Euser", "/~user"),
        ("/%2dx%5Fy%2e", "/-x_y."),
        ("/%2e/a", "/a"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2E/b", "/b"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb", "/a%3Fb"),
        ("/%e4%bd%a0", "/%E4%BD%A0"),
        ("/%252f", "/%252f"),
        ("/%252F%2541", "/%252F%2541"),
        ("/%25%32%66", "/%252f"),
        ("/a;x=1/b;y", "/a;x=1/b;y"),
        ("/a%3Bx", "/a%3Bx"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
        ("/[x]{y}|z^`", "/[x]{y}|z^`"),
        ("/%0d%0a", "/%0D%0A"),
    ] {
        let parsed = request(get(received)).unwrap();
        assert_eq!(parsed.path(), canonical, "{received}");
        assert_eq!(
            parsed.head.path_rewritten,
            received != canonical,
            "{received}: copied only when it must be"
        );
    }
}

#[test]
fn r68_the_query_is_left_as_it_is() {
    for (target, path, query) in [
        ("/a?", "/a", Some("")),
        ("/a?x=%2f%2e&y=/../", "/a", Some("x=%2f%2e&y=/../")),
        ("/a/../b?c?d", "/b", Some("c?d")),
        ("/a", "/a", None),
        ("http://a?x", "/", Some("x")),
        ("http://a/?x", "/", Some("x")),
        ("http://a", "/", None),
        ("http://a/b/./c?x", "/b/c", Some("x")),
        ("HTTPS://a/b", "/b", None),
    ] {
        let parsed = request(get(target)).unwrap();
        let found = parsed.request().query().map(|query| std::str::from_utf8(query).unwrap());
        assert_eq!((parsed.path(), found), (path, query), "{target}");
    }
}

#[test]
fn r68_resolution_agrees_with_the_rfc_on_random_paths() {
    // RFC 3986 §5.2.4 as it is written there, for paths without escapes.
    fn remove_dot_segments(path: &str) -> Option<String> {
        let segments: Vec<&str> = path[1..].split('/').collect();
        let mut kept: Vec<&str> = Vec::new();
        for (at, &segment) in segments.iter().enumerate() {
            let last = at + 1 == segments.len();
            match segment {
                "." if last => kept.push(""),
                "." => {}
                ".." => {
                    kept.pop()?;
                    if last {
                        kept.push("");
                    }
                }
                other => kept.push(other),
            }
        }
        Some(format!("/{}", kept.join("/")))
    }
    let pieces = ["", ".", "..", "a", "b.", ".c", "..."];
    let mut seed = 7usize;
    for _ in 0..10_000 {
        let mut path = String::new();
        for _ in 0..=(seed >> 20) % 6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            path += "/";
            path += pieces[(seed >> 33) % pieces.len()];
        }
        let expected = remove_dot_segments(&path);
        let mut head = RequestHead::default();
        let bytes = get(&path);
        let read = RequestReader::new(&base::limits::HttpLimits::DEFAULT).read(&bytes, &mut head);
        match expected {
            Some(expected) => {
                assert!(read.is_ok(), "{path}");
                assert_eq!(Request::new(&head, &bytes).path(), expected.as_bytes(), "{path}");
            }
            None => assert_eq!(read, Err(HeadError::BadUri), "{path}"),
        }
    }
}
