//! R13 and R14: one authority, well-formed, from one place.

use super::*;
use crate::http::{Known, TargetForm};

fn with_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn r13_hosts_with_more_than_one_reading_are_refused() {
    let long_label = "a".repeat(64);
    let long_name = vec!["a".repeat(50); 6].join(".");
    for host in [
        "",
        " ",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        ":",
        ":80",
        "a:",
        "a:0",
        "a:00",
        "a:080",
        "a:65536",
        "a:99999",
        "a:100000",
        "a:18446744073709551617",
        "a:8o",
        "a:-1",
        "a:+80",
        "a: 80",
        "a :80",
        "a:80:80",
        "a:80x",
        "a:0x50",
        "a,b",
        "a, b",
        "a;b",
        "a b",
        "a\tb",
        "a/b",
        "a/",
        "/a",
        "a\\b",
        "a?b",
        "a#b",
        "u@a",
        "u:p@a",
        "@a",
        "a@",
        "http://a",
        "a%2e",
        "a%00",
        "%61",
        "a*b",
        "*",
        "a!",
        "$a",
        "a&b",
        "'a",
        "(a)",
        "a+b",
        "a=b",
        "a~",
        "a^",
        "a`",
        "{a}",
        "a|b",
        "\"a\"",
        "<a>",
        "\u{e9}",
        "b\u{fc}cher.example",
        "[",
        "]",
        "[]",
        "[::1",
        "::1]",
        "::1",
        "fe80::1",
        "[::1]x",
        "[::1]:",
        "[::1]:0",
        "[::1]:x",
        "[::1%eth0]",
        "[::1%25eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "[::g]",
        "[:::1]",
        "[::1]:80:80",
        "[a]",
        "[[::1]]",
        "[::1].",
        "[12345::1]",
        "[1:2:3:4:5:6:7:8:9]",
        "1",
        "80",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.04",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "a.1",
        "a.0x1f",
        "1.2.3.4..",
        "1.2..4",
        "999",
        "1.2.3.4567",
        &long_label,
        &long_name,
    ] {
        assert_eq!(refusal(with_host(host)), "bad_host", "{host:?}");
    }
}

#[test]
fn r13_ordinary_hosts_are_taken_apart() {
    let label = "a".repeat(63);
    for (authority, host, port) in [
        ("a", "a", None),
        ("example.com", "example.com", None),
        ("Example.COM:8080", "Example.COM", Some(8080)),
        ("example.com.", "example.com", None),
        ("example.com.:80", "example.com", Some(80)),
        ("a:1", "a", Some(1)),
        ("a:65535", "a", Some(65535)),
        ("my_service", "my_service", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("-a-", "-a-", None),
        ("1a", "1a", None),
        ("1.a", "1.a", None),
        ("4f3c2d1b0a", "4f3c2d1b0a", None),
        ("0x7g", "0x7g", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1:80", "127.0.0.1", Some(80)),
        ("0.0.0.0", "0.0.0.0", None),
        ("255.255.255.255", "255.255.255.255", None),
        ("127.0.0.1.", "127.0.0.1", None),
        ("[::1]", "[::1]", None),
        ("[::1]:8443", "[::1]", Some(8443)),
        ("[2001:db8::A]", "[2001:db8::A]", None),
        ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]", Some(80)),
        (&label, &label, None),
    ] {
        let parsed = request(with_host(authority)).unwrap();
        assert_eq!(parsed.request().authority(), authority.as_bytes());
        assert_eq!((parsed.request().host(), parsed.head.port), (host.as_bytes(), port), "{authority:?}");
    }
}

#[test]
fn r13_host_is_there_once() {
    assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), "missing_host");
    assert_eq!(refusal("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"), "missing_host");
    assert_eq!(refusal("GET http://a/ HTTP/1.1\r\n\r\n"), "missing_host");
    assert_eq!(refusal("GET / HTTP/1.5\r\n\r\n"), "missing_host");
    for second in ["Host: a", "Host: b", "host: a", "HOST:", "Host: a, b"] {
        assert_eq!(
            refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{second}\r\n\r\n")),
            "duplicate_host",
            "{second}"
        );
        assert_eq!(
            refusal(format!("GET / HTTP/1.0\r\nHost: a\r\n{second}\r\n\r\n")),
            "duplicate_host",
            "{second}"
        );
    }
    let old = request("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(old.request().authority().is_empty(), "HTTP/1.0 may come without");
    assert_eq!(refusal("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), "bad_host");
}

#[test]
fn r14_an_absolute_target_must_agree_with_host() {
    let both = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (target, host) in [
        ("http://a/", "b"),
        ("http://a/", "a:81"),
        ("http://a:81/", "a"),
        ("http://a:81/", "a:82"),
        ("https://a/", "a:80"),
        ("http://a/", "a.b"),
        ("http://[::1]/", "[::2]"),
        ("http://127.0.0.1/", "localhost"),
    ] {
        assert_eq!(refusal(both(target, host)), "host_mismatch", "{target} {host}");
    }
    for (target, host) in [
        ("http://a/", "a"),
        ("http://A/", "a"),
        ("HTTP://a/", "a"),
        ("http://a:80/", "a"),
        ("http://a/", "a:80"),
        ("https://a/", "a:443"),
        ("http://a./", "a"),
        ("http://[::1]:80/", "[::1]"),
    ] {
        let parsed = request(both(target, host)).unwrap();
        assert_eq!(parsed.head.form, TargetForm::Absolute);
        let named = target.split('/').nth(2).unwrap();
        assert_eq!(parsed.request().authority(), named.as_bytes(), "the target wins");
        assert_eq!(parsed.request().known(Known::Host), Some(host.as_bytes()));
    }
    for target in [
        "http:///",
        "http://",
        "http://u@a/",
        "http://a:x/",
        "http://a b/",
        "http://?x",
        "http://a:/",
        "http://a,b/",
    ] {
        assert_ne!(refusal(both(target, "a")), "accepted", "{target}");
    }
    for target in ["ftp://a/", "http:/a", "http:a", "//a", "a://b/", "://a/", "file:///a", "javascript:x"] {
        let expected = if target == "//a" { "accepted" } else { "bad_uri" };
        assert_eq!(refusal(both(target, "a")), expected, "{target}");
    }
    assert_eq!(refusal("GET http://a/ HTTP/1.0\r\n\r\n"), "accepted");
    assert_eq!(refusal("GET http://a/ HTTP/1.1\r\nHost: a,b\r\n\r\n"), "bad_host");
}
