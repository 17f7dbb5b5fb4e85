//! TLS with clients: what others' clients get, which certificate, which session, and what becomes of those who stall.

use crate::harness::tls::{Authority, Typed, client_hello, curl, dripping, run as program, s_client, stall};
use crate::harness::{Client, Io, Origin, Reply, Ringway, Setup, wait_until};
use serde_json::Value;

/// A listener `web` with TLS beside the usual upstream.
fn start(io: Io, tls: &str, listener: &str, origin: &Origin) -> Ringway {
    let listener = format!("tls {{ {tls} }}\n{listener}");
    Setup { listener: &listener, ..Setup::to(origin.address()) }.start(io)
}

/// How many connections ended for that cause.
fn ended(ringway: &Ringway, cause: &str) -> u64 {
    metric(ringway, "ringway_connections_ended_total", &format!("cause=\"{cause}\""))
}

/// The sum of a metric's series that have all of these labels.
pub(crate) fn metric(ringway: &Ringway, name: &str, labels: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let of_series = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let has_all = labels.split(',').all(|label| rest.contains(label));
        (found == name && has_all).then(|| value.parse::<f64>().ok())?
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters of a test")]
    let sum = text.lines().filter_map(of_series).sum::<f64>() as u64;
    sum
}

fn last(ringway: &Ringway, count: usize) -> Value {
    ringway.records(count).pop().expect("there is one")
}

both! {
    /// Both versions, both directions, byte for byte; what the endpoint and the log are told.
    fn curl_gets_and_posts_over_both_versions(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let body: Vec<u8> = (0..1_500_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let file = authority.path("body");
        std::fs::write(&file, &body).expect("write the body");
        let answer = body.clone();
        let origin = Origin::start(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            Reply::bytes(head).then(&answer)
        });
        let ringway = start(io, &authority.certificate("shop"), "", &origin);
        let (web, ca, got) = (ringway.address("web"), authority.ca(), authority.path("got"));
        for (version, count) in [("1.2", 1), ("1.3", 2)] {
            let upload = format!("@{file}");
            let args = ["--cacert", &ca, "--tlsv1.2", "--tls-max", version, "--data-binary", &upload, "-o", &got];
            let said = curl(web, "shop.example", "/", &args);
            assert!(said.good, "{}", said.text);
            let answered = std::fs::read(&got).expect("curl wrote it");
            let sent = &origin.requests().pop().expect("it was asked").body;
            assert!(answered == body && *sent == body, "TLS {version}: another body");
            let record = last(&ringway, count);
            let tls = &record["tls"];
            assert_eq!(tls["version"], format!("TLSv{version}"));
            assert_eq!((&tls["server_name"], &tls["resumed"]), (&"shop.example".into(), &false.into()));
            assert!(record["tls_us"].as_u64() > Some(0), "the handshake is a phase: {record}");
        }
        let asked = origin.requests().pop().expect("it was asked");
        assert_eq!(asked.head.all("x-forwarded-proto"), ["https"]);
        assert!(asked.head.all("forwarded")[0].ends_with(";proto=https"));
        assert_eq!(metric(&ringway, "ringway_tls_handshakes_total", "side=\"downstream\",result=\"ok\""), 2);
        ringway.stop_after(origin);
    }

    /// Requests on one connection, a redirect, and an end that is told to the client.
    fn a_connection_is_kept_and_its_end_is_told(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let origin = Origin::start(|_| Reply::ok("here"));
        let listener = format!("tls {{ {} }}", authority.certificate("shop"));
        let routes = "route \"/old\" { redirect 308 to=\"{scheme}://{host}/new\"; }";
        let ringway = Setup { listener: &listener, routes, ..Setup::to(origin.address()) }.start(io);
        let (web, ca) = (ringway.address("web"), authority.ca());
        let request = "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /old HTTP/1.1\r\nHost: shop.example\r\n\
            Connection: close\r\n\r\n";
        let to = web.to_string();
        let args = ["s_client", "-connect", &to, "-servername", "shop.example", "-CAfile", &ca, "-quiet", "-ign_eof",
            "-verify_return_error"];
        let said = program("openssl", &args, request.as_bytes());
        assert!(said.good, "openssl takes an end without a word for an error: {}", said.text);
        assert!(said.text.contains("\r\n\r\nhereHTTP/1.1 308"), "{}", said.text);
        assert!(said.text.contains("Location: https://shop.example/new\r\n"), "{}", said.text);
        assert_eq!(metric(&ringway, "ringway_tls_handshakes_total", "side=\"downstream\",result=\"ok\""), 1);
        ringway.stop_after(origin);
    }

    fn r60_certificates_are_chosen_by_name_and_greetings_may_come_in_pieces(io) {
        let authority = Authority::new();
        authority.issue("first", &["first.example"]);
        authority.issue("wild", &["*.apps.example"]);
        authority.issue("one", &["one.apps.example"]);
        let all: String = ["first", "wild", "one"].map(|name| authority.certificate(name)).concat();
        let origin = Origin::start(|_| Reply::ok("here"));
        let ringway = start(io, &format!("{all} unknown-name \"refuse\""), "", &origin);
        let web = ringway.address("web");
        for (name, subject) in [
            ("first.example", "first"),
            ("one.apps.example", "one"),
            ("two.apps.example", "wild"),
            ("TWO.APPS.example", "wild"),
        ] {
            let host = name.to_lowercase();
            let said = s_client(web, name, &[], &host);
            assert!(said.text.contains(&format!("subject=CN = {subject}")), "{name}: {}", said.text);
            assert!(said.text.contains("HTTP/1.1 200"), "{name}: {}", said.text);
        }
        for name in ["three.four.apps.example", "other.example"] {
            let said = s_client(web, name, &[], name);
            assert!(said.text.contains("unrecognized name"), "{name}: {}", said.text);
        }
        wait_until("both are counted", || ended(&ringway, "tls_unknown_name") == 2);
        for size in [1, 7, 300] {
            let said = s_client(dripping(web, size), "first.example", &[], "first.example");
            assert!(said.text.contains("HTTP/1.1 200"), "{size}: {}", said.text);
        }
        ringway.stop_after(origin);
    }

    fn r57_a_host_that_the_connection_is_not_for_is_misdirected(io) {
        let authority = Authority::new();
        authority.issue("one", &["a.example", "b.example"]);
        authority.issue("two", &["c.example"]);
        let origin = Origin::start(|_| Reply::ok("here"));
        let all = authority.certificate("one") + &authority.certificate("two");
        let ringway = start(io, &all, "", &origin);
        let web = ringway.address("web");
        for (name, host, status) in [
            ("a.example", "a.example", 200),
            ("a.example", "b.example", 200),
            ("a.example", "c.example", 421),
            ("c.example", "a.example", 421),
        ] {
            let said = s_client(web, name, &[], host);
            assert!(said.text.contains(&format!("HTTP/1.1 {status} ")), "{name}, {host}: {}", said.text);
        }
        assert_eq!(last(&ringway, 4)["cause"], "misdirected");
        ringway.stop_after(origin);
    }

    /// Twelve pairs of names and listeners, in both versions; only the same name at the same listener resumes.
    fn r56_sessions_are_resumed_where_they_were_agreed_and_nowhere_else(io) {
        let authority = Authority::new();
        authority.issue("all", &["a.example", "b.example", "c.example"]);
        let certificate = authority.certificate("all");
        let ca = authority.ca();
        let configuration = format!(
            "listener \"one\" {{ bind \"127.0.0.1:0\"; tls {{ {certificate} }} }}\n\
             listener \"two\" {{ bind \"127.0.0.1:0\"; tls {{ {certificate} client-auth \"optional\" ca=\"{ca}\"; }} }}\n\
             site \"*\" {{ route \"/\" {{ respond 200 body=\"here\"; }} }}"
        );
        let ringway = Ringway::start(&configuration, io);
        let places = [("one", "a.example"), ("one", "b.example"), ("one", "c.example"), ("two", "a.example")];
        for version in ["-tls1_2", "-tls1_3"] {
            for (listener, name) in places {
                let file = authority.path("session");
                let said = s_client(ringway.address(listener), name, &[version, "-sess_out", &file], name);
                assert!(said.text.contains("HTTP/1.1 200"), "{version} {name}: {}", said.text);
                for (other, other_name) in places {
                    let args = [version, "-sess_in", &file];
                    let said = s_client(ringway.address(other), other_name, &args, other_name);
                    assert!(said.text.contains("HTTP/1.1 200"), "{version} {other_name}: {}", said.text);
                    let resumed = said.text.contains("Reused, ");
                    let is_same = (listener, name) == (other, other_name);
                    assert_eq!(resumed, is_same, "{version}: {listener} {name} at {other} {other_name}");
                }
            }
        }
        assert_eq!(metric(&ringway, "ringway_tls_handshakes_total", "side=\"downstream\",resumed=\"yes\""), 8);
        assert_eq!(metric(&ringway, "ringway_tls_resume_refused_total", ""), 24);
        ringway.stop();
    }

    fn r61_whoever_stalls_in_the_handshake_is_closed_with_a_cause(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let origin = Origin::start(|_| Reply::ok("here"));
        let timeouts = "timeouts { handshake \"300ms\"; }";
        let ringway = start(io, &authority.certificate("shop"), timeouts, &origin);
        let web = ringway.address("web");
        let hello = client_hello("shop.example");
        for (bytes, cause) in [
            (&hello[..0], "no_request"),
            (&hello[..40], "tls_hello_timeout"),
            (&hello[..], "tls_handshake_timeout"),
            (b"GET / HTTP/1.1\r\n\r\n", "tls_not_tls"),
            (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "tls_violation"),
        ] {
            stall(web, bytes);
            wait_until(cause, || ended(&ringway, cause) == 1);
        }
        // One that leaves in the middle.
        let mut client = Client::connect(web);
        client.send(&hello[..40]);
        drop(client);
        wait_until("tls_closed", || ended(&ringway, "tls_closed") == 1);
        assert_eq!(metric(&ringway, "ringway_tls_handshakes_total", "side=\"downstream\",result=\"failed\""), 6);
        assert!(origin.requests().is_empty());
        ringway.stop_after(origin);
    }

    /// Old versions, renegotiation, compression, and suites that nobody should use.
    fn r62_what_is_old_is_refused(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let origin = Origin::start(|_| Reply::ok("here"));
        let ringway = start(io, &authority.certificate("shop"), "", &origin);
        let web = ringway.address("web");
        for args in [
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
            &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "3DES:NULL:EXPORT:aNULL:RC4:@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "kRSA:AES128-SHA:@SECLEVEL=0"],
        ] {
            let said = s_client(web, "shop.example", args, "shop.example");
            assert!(!said.good && !said.text.contains("HTTP/1.1 200"), "{args:?}: {}", said.text);
        }
        let mut typed = Typed::connect(web, "shop.example", &["-tls1_2"]);
        assert!(typed.said().contains("Compression: NONE"), "{}", typed.said());
        let _ = typed.line("R\n", |said| said.contains("no renegotiation") || said.contains("error"));
        drop(typed);
        ringway.stop_after(origin);
    }

    /// `K` at the beginning of a line asks both sides for new keys.
    fn r62_a_flood_of_key_updates_ends_the_connection(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        let origin = Origin::start(|_| Reply::ok("here"));
        let ringway = start(io, &authority.certificate("shop"), "", &origin);
        let updates = |said: &str| said.matches("KEYUPDATE").count();
        let flood = |most: usize| {
            let mut typed = Typed::connect(ringway.address("web"), "shop.example", &["-tls1_3"]);
            let taken = (1..=most).take_while(|n| typed.line("K\n", |said| updates(said) >= *n)).count();
            let request = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
            (taken, typed.line(request, |said| said.contains("HTTP/1.1 200")))
        };
        assert_eq!(flood(5), (5, true));
        assert_eq!(ended(&ringway, "tls_flood"), 0);
        assert!(!flood(50).1);
        wait_until("the flood has ended", || ended(&ringway, "tls_flood") == 1);
        ringway.stop_after(origin);
    }
}
