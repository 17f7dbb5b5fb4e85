//! Which endpoint a client gets, and gets again.

use std::net::SocketAddr;
use std::path::Path;

use crate::harness::client::Response;
use crate::harness::{Client, Folder, Io, Origin, Reply, Ringway, Setup};

/// A secret in a file, as operators keep it, and the `sticky` node that names it.
fn sticky(folder: &Path, more: &str) -> String {
    let file = folder.join("sticky");
    std::fs::write(&file, "thirty-two random bytes or more.\n").expect("write the secret");
    format!(
        "balance \"round-robin\"; sticky {{ cookie \"place\"; secret (file)\"{}\"; {more} }}",
        file.display()
    )
}

fn start(endpoints: Vec<SocketAddr>, upstream: &str, io: Io) -> Ringway {
    Setup { endpoints, upstream, ..Setup::default() }.start(io)
}

fn ask(client: &mut Client, cookie: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: suite.example\r\n{cookie}\r\n")).response("GET")
}

/// `Cookie: place=…` as a browser answers the response.
fn back(response: &Response) -> String {
    let set = response.head.all("set-cookie");
    let ours = set.iter().find_map(|cookie| cookie.strip_prefix("place=")).expect("a cookie of ours");
    format!("Cookie: place={}\r\n", ours.split(';').next().unwrap_or_default())
}

both! {
    fn a_client_stays_at_its_endpoint_and_the_cookie_stays_between_us(io) {
        let origins: Vec<Origin> = ["a", "b", "c"].map(|name| {
            Origin::start(move |_| {
                Reply::bytes(format!("HTTP/1.1 200 OK\r\nSet-Cookie: app=1\r\nContent-Length: 1\r\n\r\n{name}"))
            })
        }).into();
        let folder = Folder::new();
        let endpoints = origins.iter().map(Origin::address).collect();
        let ringway = start(endpoints, &sticky(folder.path(), "max-age \"1h\""), io);
        let mut client = ringway.client();
        let first = ask(&mut client, "");
        let cookies = first.head.all("set-cookie");
        assert_eq!(cookies.len(), 2, "ours stands beside the endpoint's: {cookies:?}");
        assert!(cookies[1].ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{cookies:?}");
        let cookie = back(&first);
        for _ in 0..7 {
            let again = ask(&mut client, &format!("{}; other=x\r\n", cookie.trim_end()));
            assert_eq!(again.text(), first.text());
            assert_eq!(again.head.all("set-cookie"), ["app=1"], "nothing to renew");
        }
        assert_eq!(ask(&mut client, &cookie).text(), first.text());
        let requests: Vec<_> = origins.iter().flat_map(Origin::requests).collect();
        let forwarded: Vec<_> = requests.iter().filter_map(|request| request.head.get("cookie")).collect();
        assert_eq!(forwarded, ["other=x"; 7], "ours is not forwarded, and an empty field neither");
        let metrics = ringway.admin("/metrics").text();
        for line in ["{upstream=\"origin\",session=\"held\"} 8", "{upstream=\"origin\",session=\"none\"} 1"] {
            assert!(metrics.contains(&format!("ringway_sticky_requests_total{line}")), "{metrics}");
        }
        ringway.stop_after((client, origins));
    }

    fn forged_cookies_are_replaced_and_counted(io) {
        let origins = [Origin::ok("a"), Origin::ok("b")];
        let folder = Folder::new();
        let ringway = start(origins.iter().map(Origin::address).collect(), &sticky(folder.path(), ""), io);
        let mut client = ringway.client();
        let cookie = back(&ask(&mut client, ""));
        let flipped = if cookie.contains("=0") { cookie.replacen("=0", "=1", 1) } else { cookie.replacen("place=", "place=0", 1) };
        for forged in ["Cookie: place=x\r\n", &flipped] {
            let answer = ask(&mut client, forged);
            assert_eq!(answer.status, 200);
            back(&answer);
        }
        let upstreams = ringway.admin("/v1/upstreams").text();
        assert!(upstreams.contains("\"forged\":2"), "{upstreams}");
        ringway.stop_after((client, origins));
    }

    fn a_session_moves_with_a_new_cookie_when_its_endpoint_is_gone(io) {
        let alive = Origin::ok("alive");
        let dead = Origin::ok("dead");
        let folder = Folder::new();
        let ringway = start(vec![dead.address(), alive.address()], &sticky(folder.path(), ""), io);
        let mut client = ringway.client();
        let mut answers = (0..4).map(|_| ask(&mut client, ""));
        let of_dead = answers.find(|answer| answer.text() == "dead").expect("its turn comes");
        let cookie = back(&of_dead);
        assert_eq!(ask(&mut client, &cookie).text(), "dead");
        drop(dead);
        for _ in 0..3 {
            let moved = ask(&mut client, &cookie);
            assert_eq!((moved.status, moved.text().as_str()), (200, "alive"));
            assert_ne!(back(&moved), cookie);
        }
        ringway.stop_after((client, alive));
    }

    fn a_session_survives_a_restart_with_the_same_secret(io) {
        let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
        let endpoints: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
        let folder = Folder::new();
        let upstream = sticky(folder.path(), "");
        let before = start(endpoints.clone(), &upstream, io);
        let mut client = before.client();
        let first = ask(&mut client, "");
        drop(client);
        before.signal("TERM");
        before.expect_clean_exit();
        // In another order, as an edited file may have them.
        let after = start(endpoints.into_iter().rev().collect(), &upstream, io);
        let mut client = after.client();
        for _ in 0..4 {
            let again = ask(&mut client, &back(&first));
            assert_eq!(again.text(), first.text());
            assert_eq!(again.head.get("set-cookie"), None);
        }
        after.stop_after((client, origins));
    }

    fn the_cookie_comes_with_a_switch_of_protocols_too(io) {
        let origin = Origin::start(|_| {
            Reply::bytes("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").then_echo()
        });
        let folder = Folder::new();
        let ringway = start(vec![origin.address()], &sticky(folder.path(), ""), io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: suite.example\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let head = client.head().expect("a head");
        assert!(head.start.contains("101") && head.get("set-cookie").is_some_and(|c| c.starts_with("place=")), "{head:?}");
        ringway.stop_after((client, origin));
    }

    fn clients_are_hashed_by_the_address_that_a_trusted_proxy_tells(io) {
        let hashed = |listener: &str| {
            let origins = ["a", "b", "c", "d"].map(Origin::ok);
            let endpoints = origins.iter().map(Origin::address).collect();
            let setup = Setup { endpoints, upstream: "balance \"maglev\"", listener, ..Setup::default() };
            let ringway = setup.start(io);
            let mut client = ringway.client();
            let answers: Vec<String> = (0..24)
                .map(|n| ask(&mut client, &format!("X-Forwarded-For: 192.0.2.{}\r\n", n % 12)).text())
                .collect();
            ringway.stop_after((client, origins));
            answers
        };
        let trusted = hashed("trusted-proxies \"127.0.0.0/8\"");
        assert_eq!(trusted[..12], trusted[12..], "the same client, the same endpoint");
        assert!(trusted.iter().any(|answer| *answer != trusted[0]), "but not all clients");
        let not_trusted = hashed("");
        assert!(not_trusted.iter().all(|answer| *answer == not_trusted[0]), "all are one client");
    }
}
