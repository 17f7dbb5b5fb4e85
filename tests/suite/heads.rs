//! Heads that are malformed, ambiguous or too large: refused before anything is forwarded (R10 to R18, R23).

use crate::harness::{Origin, Setup};
use crate::smuggling::{forwarded, get_with, refused};

both! {
    fn r10_control_bytes_in_values_and_targets_are_refused(io) {
        let controls: Vec<char> =
            (0..=0x1f).chain([0x7f]).map(char::from).filter(|c| !"\t\r\n".contains(*c)).collect();
        let requests = controls.iter().flat_map(|c| {
            [
                get_with(&format!("A: {c}b\r\n")),
                get_with(&format!("A: b{c}b\r\n")),
                get_with(&format!("A: b{c}\r\n")),
                format!("GET /{c} HTTP/1.1\r\nHost: x\r\n\r\n"),
                format!("GET /?q={c}r HTTP/1.1\r\nHost: x\r\n\r\n"),
            ]
        });
        refused(io, &[400], requests.chain([get_with("A: b\rc\r\n"), get_with("A: \rb\r\n")]));
    }

    fn r11_malformed_field_names_are_refused(io) {
        refused(
            io,
            &[400],
            [
                "A : b\r\n",
                "A\t: b\r\n",
                ": b\r\n",
                "A B: c\r\n",
                "A(: b\r\n",
                "A\u{e4}: b\r\n",
                "A\r\n",
                "A=b\r\n",
                "A\0: b\r\n",
                "A: b\r\n c\r\n",
                "A: b\r\n\tc\r\n",
                "\"A\": b\r\n",
                "[A]: b\r\n",
                "A@: b\r\n",
            ]
            .map(get_with)
            .into_iter()
            .chain(["GET / HTTP/1.1\r\n Host: x\r\n\r\n".to_string()]),
        );
    }

    fn r12_look_alikes_of_framing_and_identity_are_refused(io) {
        refused(
            io,
            &[400],
            [
                "Transfer_Encoding: chunked\r\n",
                "Content_Length: 5\r\n",
                "X_Forwarded_For: 1.2.3.4\r\n",
                "X.Forwarded.For: 1.2.3.4\r\n",
                "X.Real.IP: 1.2.3.4\r\n",
                "content_length: 5\r\n",
            ]
            .map(get_with),
        );
    }

    fn r12_other_names_with_an_underscore_are_dropped(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let received = forwarded(&origin, &ringway, get_with("my_field: 1\r\nMy-Field: 2\r\n"));
        assert_eq!(received.head.get("my_field"), None);
        assert_eq!(received.head.get("my-field"), Some("2"));
        ringway.stop_after(origin);
    }

    fn r13_bad_hosts_are_refused(io) {
        let hosts = [
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "user:pw@a",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "a:80:80",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[zz]",
            "a\\b",
            "a?b",
            "a#b",
            "http://a",
            "a\tb",
            "a%zz",
            "<a>",
            "a\"b",
        ];
        let bad = hosts.map(|h| format!("GET / HTTP/1.1\r\nHost: {h}\r\n\r\n"));
        let missing = "GET / HTTP/1.1\r\nA: b\r\n\r\n".to_string();
        let twice = "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_string();
        refused(io, &[400], bad.into_iter().chain([missing, twice]));
    }

    fn r14_a_target_that_differs_from_host_is_refused_and_an_equal_one_forwarded(io) {
        refused(io, &[400], ["GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n"]);
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let request = "GET http://a.example/p?q HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let received = forwarded(&origin, &ringway, request);
        assert_eq!((received.target(), received.head.get("host")), ("/p?q", Some("a.example")));
        ringway.stop_after(origin);
    }

    fn r15_malformed_request_lines_are_refused(io) {
        let rest = "\r\nHost: x\r\n\r\n";
        let lines = [
            "GET\t/\tHTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/1.1 x",
            " GET / HTTP/1.1",
            "GET / HTTP/1",
            "GET / HTTP/11",
            "GET / HTTP/1.10",
            "GET / HTTPS/1.1",
            "GET /",
            "G(T / HTTP/1.1",
            "GET HTTP/1.1",
            "/ HTTP/1.1",
        ];
        refused(io, &[400], lines.map(|l| format!("{l}{rest}")));
        refused(
            io,
            &[505],
            ["GET / HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/0.9"].map(|l| format!("{l}{rest}")),
        );
    }

    fn r15_later_minor_versions_are_handled_as_1_1(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let received = forwarded(&origin, &ringway, "GET /p HTTP/1.7\r\nHost: x\r\n\r\n");
        assert_eq!(received.head.start, "GET /p HTTP/1.1");
        ringway.stop_after(origin);
    }

    fn r16_bad_targets_are_refused(io) {
        let raw = (0x80..=0xff_u8)
            .step_by(9)
            .map(|byte| [b"GET /a".as_slice(), &[byte], b"b HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        let targets =
            ["/a#b", "/a\\b", "/%zz", "/%", "/%1", "/%00", "/a%00b", "/a%2fb", "/a%5cb", "/../a", "a", "?"];
        let written = targets.map(|t| format!("GET {t} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
        refused(io, &[400], raw.chain(written));
    }

    fn r17_target_forms_that_do_not_fit_the_method_are_refused(io) {
        refused(
            io,
            &[400],
            ["GET * HTTP/1.1", "POST * HTTP/1.1", "GET x:80 HTTP/1.1"]
                .map(|l| format!("{l}\r\nHost: x\r\n\r\n")),
        );
        refused(io, &[400, 405], ["CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"]);
    }

    fn r18_connection_cannot_remove_what_matters(io) {
        let names = ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Cookie"];
        refused(io, &[400], names.map(|n| get_with(&format!("Connection: close, {n}\r\n"))));
    }

    fn r18_what_we_add_cannot_be_stripped_and_what_is_listed_is(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let fields = "Connection: X-Forwarded-For, X-Custom\r\nX-Custom: 1\r\nX-Other: 2\r\n";
        let received = forwarded(&origin, &ringway, get_with(fields));
        assert_eq!(received.head.get("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(received.head.get("x-custom"), None);
        assert_eq!(received.head.get("x-other"), Some("2"));
        ringway.stop_after(origin);
    }

    fn r23_heads_over_the_limits_are_refused_and_those_at_the_limit_are_not(io) {
        let field = |length: usize| get_with(&format!("A: {}\r\n", "b".repeat(length)));
        let many = |count: usize| get_with(&"A: b\r\n".repeat(count));
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length - 1));
        let bulky = get_with(&format!("A: {}\r\n", "b".repeat(8 << 10)).repeat(5));
        refused(io, &[431], [field(17 << 10), many(100), bulky, field(1 << 20)]);
        refused(io, &[414], [target((8 << 10) + 1), target(12 << 10)]);
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        for request in [field(15 << 10), many(99), target(8 << 10)] {
            forwarded(&origin, &ringway, request);
        }
        ringway.stop_after(origin);
    }
}
