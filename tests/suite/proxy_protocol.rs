//! The PROXY protocol on HTTP listeners and towards endpoints: who is believed, what is refused, what is told.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wire::proxy_protocol::Announcement;

use crate::harness::client::Ending;
use crate::harness::{Client, Folder, Haproxy, Io, Nginx, Origin, Ringway, Setup, wait_until};

const FROM_HERE: &str = "proxy-protocol from=\"127.0.0.0/8\"";
const V1: &str = "PROXY TCP4 203.0.113.9 198.51.100.2 40000 8443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: suite.example\r\n\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A header of version 2 for a client.
fn v2(source: &str, destination: &str) -> Vec<u8> {
    let mut header = Vec::new();
    let ends = Some((source.parse().expect("an address"), destination.parse().expect("an address")));
    let announcement =
        Announcement { ends, authority: Some(b"shop.example"), checksum: true, ..Announcement::default() };
    announcement.write_v2(&mut header).expect("it is short");
    header
}

/// How many connections ended for that cause.
fn ended(ringway: &Ringway, cause: &str) -> u64 {
    sum(ringway, &format!("ringway_connections_ended_total{{cause=\"{cause}\""))
}

/// Sum of all samples that begin like this.
fn sum(ringway: &Ringway, begins: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let values =
        text.lines().filter(|line| line.starts_with(begins)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[track_caller]
fn connect_from(ringway: &Ringway, last: u8) -> Client {
    Client::connect_from(ringway.address("web"), loopback(last)).expect("loopback has the address")
}

/// Sends the bytes on a connection of its own and waits for the end that must follow.
#[track_caller]
fn is_closed(ringway: &Ringway, bytes: &[u8], piece: usize) {
    let mut client = ringway.client();
    client.send_in_pieces(bytes, piece);
    let ending = client.ending_within(Duration::from_secs(10));
    assert!(matches!(ending, Ending::Closed | Ending::Reset), "{ending:?} after {}", bytes.escape_ascii());
}

both! {
    fn r155_an_announced_client_is_the_client_everywhere(io) {
        let origin = Origin::ok("x");
        let listener = FROM_HERE;
        let routes = "route \"/far\" upstream=\"origin\" { match { source \"203.0.113.0/24\"; } }
                      route \"/far\" { respond 403; }";
        let ringway = Setup { listener, routes, ..Setup::to(origin.address()) }.start(io);
        let announcements: [(Vec<u8>, &str, &str); 3] = [
            (V1.into(), "203.0.113.9", "8443"),
            (v2("203.0.113.9:40000", "198.51.100.2:8443"), "203.0.113.9", "8443"),
            (v2("[2001:db8::9]:40000", "[2001:db8::1]:443"), "2001:db8::9", "443"),
        ];
        for (header, client, port) in announcements {
            let mut connection = ringway.client();
            // The request comes with the header, and the next one without.
            connection.send([&header, GET.as_bytes()].concat());
            assert_eq!(connection.response("GET").status, 200);
            assert_eq!(connection.get("/again").status, 200);
            for request in origin.requests().iter().rev().take(2) {
                assert_eq!(request.head.get("x-forwarded-for"), Some(client));
                assert_eq!(request.head.get("x-forwarded-port"), Some(port));
                assert!(request.head.get("forwarded").is_some_and(|value| value.contains(client)));
            }
            let allowed = if client.starts_with("203.") { 200 } else { 403 };
            assert_eq!(connection.get("/far").status, allowed, "predicates see the client");
        }
        let clients: Vec<String> =
            ringway.records(9).iter().map(|record| record["client"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(clients.iter().filter(|client| client.starts_with("203.0.113.9")).count(), 6, "{clients:?}");
        assert_eq!(clients.iter().filter(|client| client.contains("2001:db8::9")).count(), 3, "{clients:?}");
        wait_until("the headers are counted", || sum(&ringway, "ringway_proxy_headers_total") == 3);
        ringway.stop_after(origin);
    }

    fn r155_bytes_of_others_are_never_taken_for_a_header(io) {
        let origin = Origin::ok("x");
        let listener = "proxy-protocol from=\"127.0.0.2,127.0.0.3\"";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        for header in [V1.as_bytes(), &v2("203.0.113.9:1", "198.51.100.2:2"), LOCAL] {
            let mut stranger = connect_from(&ringway, 1);
            stranger.send([header, GET.as_bytes()].concat());
            assert_eq!(stranger.response("GET").status, 400, "{}", header.escape_ascii());
        }
        assert_eq!(origin.requests().len(), 0);
        assert_eq!(connect_from(&ringway, 1).get("/").status, 200, "without a header it is served");
        assert_eq!(origin.only_request().head.get("x-forwarded-for"), Some("127.0.0.1"));
        let mut listed = connect_from(&ringway, 3);
        listed.send([V1, GET].concat());
        assert_eq!(listed.response("GET").status, 200);
        ringway.stop_after((listed, origin));
    }

    fn r155_a_listed_peer_without_header_is_closed_unless_it_may_do_without(io) {
        let origin = Origin::ok("x");
        let strict = Setup { listener: FROM_HERE, ..Setup::to(origin.address()) }.start(io);
        is_closed(&strict, GET.as_bytes(), 100);
        is_closed(&strict, b"\x16\x03\x01\0\0", 100);
        wait_until("both are counted", || ended(&strict, "proxy_header_missing") == 2);
        let mut silent = strict.client();
        silent.finish_sending();
        silent.expect_end();
        wait_until("an end is no header", || ended(&strict, "no_request") == 1);
        assert_eq!(origin.requests().len(), 0);
        strict.stop();

        let listener = "proxy-protocol \"optional\" from=\"127.0.0.1\" timeout=\"200ms\"";
        let lenient = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        assert_eq!(lenient.client().get("/").status, 200);
        let mut single = lenient.client();
        assert_eq!(single.send_in_pieces(GET, 1).response("GET").status, 200, "byte by byte");
        let mut announced = lenient.client();
        assert_eq!(announced.send_in_pieces([V1, GET].concat(), 1).response("GET").status, 200);
        // Who waits for longer than a header may take is served as well.
        let mut late = lenient.client();
        assert_eq!(late.ending_within(Duration::from_millis(400)), Ending::Open);
        assert_eq!(late.get("/").status, 200);
        let seen: Vec<_> = origin.requests().iter().map(|r| r.head.get("x-forwarded-for").map(str::to_owned)).collect();
        assert_eq!(seen.iter().flatten().filter(|client| *client == "203.0.113.9").count(), 1, "{seen:?}");
        is_closed(&lenient, b"PROXY TCP4 bad\r\n", 100);
        lenient.stop_after((single, announced, late, origin));
    }

    fn r155_only_listed_peers_are_let_in_when_it_says_so(io) {
        let origin = Origin::ok("x");
        let listener = "proxy-protocol \"only\" from=\"127.0.0.2\"";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        // The reset may be quicker than the client's own set-up.
        if let Some(mut stranger) = Client::connect_from(ringway.address("web"), loopback(1)) {
            stranger.expect_end();
        }
        let mut listed = connect_from(&ringway, 2);
        listed.send([V1, GET].concat());
        assert_eq!(listed.response("GET").status, 200);
        wait_until("the stranger is counted", || ended(&ringway, "proxy_peer_refused") == 1);
        ringway.stop_after((listed, origin));
    }

    fn r155_a_header_that_is_late_ends_the_connection(io) {
        let origin = Origin::ok("x");
        let listener = "proxy-protocol from=\"127.0.0.1\" timeout=\"300ms\"";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        is_closed(&ringway, b"", 1);
        is_closed(&ringway, &V1.as_bytes()[..20], 20);
        is_closed(&ringway, &v2("203.0.113.9:1", "198.51.100.2:2")[..20], 20);
        wait_until("all are counted", || ended(&ringway, "proxy_header_timeout") == 3);
        let mut client = ringway.client();
        client.send([V1, GET].concat());
        assert_eq!(client.response("GET").status, 200, "others are unharmed");
        ringway.stop_after((client, origin));
    }

    fn r156_hostile_headers_close_the_connection_and_reach_nobody(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { listener: FROM_HERE, ..Setup::to(origin.address()) }.start(io);
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        let v4 = b"\xcb\0\x71\x09\xc6\x33\x64\x02\x9c\x40\x01\xbb";
        let v2 = |fixed: &[u8], body: &[u8]| [signature, fixed, body].concat();
        let vectors: Vec<Vec<u8>> = vec![
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 94], b"\r\n"].concat(),
            vec![b'P'; 200],
            b"PROXY TCP4 203.0.113.9 198.51.100.2 40000 8443\n".into(),
            b"PROXY TCP4 203.0.113.9 198.51.100.2 40000\r\n".into(),
            b"PROXY TCP4 203.0.113.9 198.51.100.2 40000 8443 \r\n".into(),
            b"PROXY TCP4  203.0.113.9 198.51.100.2 40000 8443\r\n".into(),
            b"PROXY TCP4 203.0.113.09 198.51.100.2 40000 8443\r\n".into(),
            b"PROXY TCP4 203.0.113.9 198.51.100.2 40000 84430\r\n".into(),
            b"PROXY TCP4 203.0.113.9 198.51.100.2 40000 8443\0\r\n".into(),
            b"PROXY TCP6 203.0.113.9 198.51.100.2 40000 8443\r\n".into(),
            b"PROXY UDP4 203.0.113.9 198.51.100.2 40000 8443\r\n".into(),
            b"proxy TCP4 203.0.113.9 198.51.100.2 40000 8443\r\n".into(),
            v2(b"\x11\x11\0\x0c", v4),
            v2(b"\x22\x11\0\x0c", v4),
            v2(b"\x21\x41\0\x0c", v4),
            v2(b"\x21\x13\0\x0c", v4),
            v2(b"\x21\x11\0\x0b", v4),
            v2(b"\x21\x21\0\x0c", v4),
            v2(b"\x21\x11\0\x0f", &[v4.as_slice(), b"\x04\xff\xff"].concat()),
            v2(b"\x21\x11\0\x0d", &[v4.as_slice(), b"\x04"].concat()),
            v2(b"\x21\x11\0\x13", &[v4.as_slice(), b"\x03\0\x04abcd"].concat()),
            v2(b"\x21\x11\0\x12", &[v4.as_slice(), b"\x02\0\x03a\0b"].concat()),
            v2(b"\x21\x11\xff\xff", &[0; 9000]),
        ];
        for vector in &vectors {
            is_closed(&ringway, &[vector, GET.as_bytes()].concat(), 1 << 20);
            is_closed(&ringway, &[vector, GET.as_bytes()].concat(), if vector.len() > 1000 { 1000 } else { 1 });
        }
        assert_eq!(origin.requests().len(), 0);
        let counted = || ended(&ringway, "proxy_header_invalid") + ended(&ringway, "proxy_header_missing");
        wait_until("every one of them is counted", || counted() == 2 * vectors.len() as u64);
        ringway.stop_after(origin);
    }

    fn r156_what_follows_a_header_is_payload_exactly_however_it_arrives(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { listener: FROM_HERE, ..Setup::to(origin.address()) }.start(io);
        let post = "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nPROXY TCP4 ";
        let header = v2("203.0.113.9:40000", "198.51.100.2:8443");
        for header in [V1.as_bytes(), &header] {
            for piece in [1, 7, header.len(), header.len() + 1, 4096] {
                let mut client = ringway.client();
                client.send_in_pieces([header, post.as_bytes(), GET.as_bytes()].concat(), piece);
                assert_eq!(client.response("POST").status, 200);
                assert_eq!(client.response("GET").status, 200);
                let requests = origin.requests();
                assert_eq!(requests[requests.len() - 2].body, b"PROXY TCP4 ");
            }
        }
        // Only one header is read: a second one is no request.
        let mut twice = ringway.client();
        twice.send([V1, V1, GET].concat());
        assert_eq!(twice.response("GET").status, 400);
        ringway.stop_after((twice, origin));
    }

    fn r156_a_local_or_unknown_connection_is_its_peers_own(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { listener: FROM_HERE, ..Setup::to(origin.address()) }.start(io);
        for header in [LOCAL, b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
            let mut client = connect_from(&ringway, 7);
            client.send([header, GET.as_bytes()].concat());
            assert_eq!(client.response("GET").status, 200);
            let request = origin.requests().pop().expect("a request");
            let port = ringway.address("web").port().to_string();
            assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.7"));
            assert_eq!(request.head.get("x-forwarded-port"), Some(port.as_str()));
        }
        ringway.stop_after(origin);
    }

    fn r155_limits_per_client_count_the_announced_one(io) {
        let origin = Origin::ok("x");
        let listener = "proxy-protocol from=\"127.0.0.0/8\"; limits { connections-per-client 2; }";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let ask = |client: &str| {
            let mut connection = ringway.client();
            connection.send(format!("PROXY TCP4 {client} 198.51.100.2 40000 8443\r\n{GET}"));
            let status = connection.try_response("GET").ok().map(|response| response.status);
            (connection, status)
        };
        let first = [ask("203.0.113.9"), ask("203.0.113.9")];
        assert!(first.iter().all(|(_, status)| *status == Some(200)));
        assert_eq!(ask("203.0.113.9").1, None, "the third of one client");
        let others = [ask("203.0.113.10"), ask("203.0.113.11"), ask("203.0.113.12")];
        assert!(others.iter().all(|(_, status)| *status == Some(200)), "others come through the same peer");
        assert_eq!(ended(&ringway, "client_connections"), 1);
        drop(first);
        wait_until("there is room for the client again", || ask("203.0.113.9").1 == Some(200));
        ringway.stop_after((others, origin));
    }

    fn an_announced_client_is_looked_up_among_the_trusted_proxies(io) {
        let origin = Origin::ok("x");
        let listener = "proxy-protocol from=\"127.0.0.0/8\"; trusted-proxies \"203.0.113.0/24\"";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let ask = |peer: &str| {
            let mut client = ringway.client();
            client.send(format!(
                "PROXY TCP4 {peer} 198.51.100.2 40000 8443\r\nGET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.55\r\n\r\n"
            ));
            assert_eq!(client.response("GET").status, 200);
            origin.requests().pop().and_then(|r| r.head.get("x-forwarded-for").map(str::to_owned))
        };
        assert_eq!(ask("203.0.113.9").as_deref(), Some("192.0.2.55, 203.0.113.9"));
        assert_eq!(ask("198.51.100.77").as_deref(), Some("198.51.100.77"), "127.0.0.1 itself is nobody");
        let is_client = |record: &serde_json::Value| {
            record["client"].as_str().is_some_and(|client| client.starts_with("192.0.2.55"))
        };
        assert!(ringway.records(2).iter().any(is_client));
        ringway.stop_after(origin);
    }

    fn peers_on_a_unix_socket_announce_clients_where_they_are_listed(io) {
        let origin = Origin::ok("x");
        let folder = Folder::new();
        let path = folder.path().join("web.sock");
        let listener = format!("bind \"unix:{}\"; proxy-protocol from=\"unix\"", path.display());
        let ringway = Setup { listener: &listener, ..Setup::to(origin.address()) }.start(io);
        let mut stream = UnixStream::connect(&path).expect("it listens there");
        stream.write_all([V1, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat().as_bytes()).expect("sent");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(origin.only_request().head.get("x-forwarded-for"), Some("203.0.113.9"));
        assert_eq!(ringway.client().get("/").status, 200, "on TCP nobody is listed");
        ringway.stop_after((stream, origin));
    }

    fn haproxy_announces_its_clients_to_us(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { listener: FROM_HERE, ..Setup::to(origin.address()) }.start(io);
        let to = ringway.address("web");
        for how in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
            let haproxy = Haproxy::start(|own| format!(
                "frontend in\n  bind {own}\n  unique-id-format %[uuid]\n  default_backend out\n\
                 backend out\n  server ringway {to} {how}"
            ));
            let mut client = Client::connect_from(haproxy.address(), loopback(44)).expect("loopback has the address");
            assert_eq!(client.get("/").status, 200, "{how}");
            let request = origin.requests().pop().expect("a request");
            let port = haproxy.address().port().to_string();
            assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.44"), "{how}");
            assert_eq!(request.head.get("x-forwarded-port"), Some(port.as_str()), "{how}");
        }
        ringway.stop_after(origin);
    }

    fn nginx_learns_our_clients(io) {
        let nginx = told();
        for how in ["\"v1\"", "\"v2\"", "\"v2\" tlvs=\"authority,alpn,unique-id,crc32c\""] {
            let upstream = format!("send-proxy {how}");
            let ringway = Setup { upstream: &upstream, ..Setup::to(nginx.address()) }.start(io);
            let web = ringway.address("web");
            for last in [5, 6] {
                let mut client = Client::connect_from(web, loopback(last)).expect("loopback has the address");
                let own = client.local();
                for _ in 0..3 {
                    assert_eq!(client.get("/told").text(), format!("{own} {web}"), "{how}");
                }
            }
            // nginx would keep its side for a minute: it is we who close what has lost its client.
            ringway.stop();
        }
    }

    fn haproxy_learns_what_we_know_of_a_connection(io) {
        let haproxy = Haproxy::start(|own| format!(
            "frontend in\n  bind {own} accept-proxy\n  \
             http-request return status 200 content-type text/plain \
             lf-string \"%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]\""
        ));
        let upstream = "send-proxy \"v2\" tlvs=\"authority,unique-id,crc32c\"";
        let ringway = Setup { listener: FROM_HERE, upstream, ..Setup::to(haproxy.address()) }.start(io);
        let mut client = ringway.client();
        client.send([&v2("203.0.113.9:40000", "198.51.100.2:8443"), GET.as_bytes()].concat());
        let text = client.response("GET").text();
        let id = text.strip_prefix("203.0.113.9:40000 198.51.100.2:8443 shop.example ").unwrap_or_else(|| panic!("{text}"));
        assert_eq!(ringway.records(1)[0]["id"].as_str(), Some(id), "the id in the log is the id that was told");
        ringway.stop_after((client, haproxy));
    }

    fn a_connection_that_was_announced_serves_one_client_only(io) {
        let nginx = told();
        let upstream = "send-proxy \"v2\"";
        let ringway = Setup { upstream, top: "workers 1", ..Setup::to(nginx.address()) }.start(io);
        let mut clients: Vec<Client> = (0..8).map(|_| ringway.client()).collect();
        for _ in 0..5 {
            for client in &mut clients {
                let own = client.local().to_string();
                let text = client.get("/told").text();
                assert!(text.starts_with(&own), "{own} was taken for {text}");
            }
        }
        assert_eq!(sum(&ringway, "ringway_pool_misses_total"), 8, "one connection for each client");
        assert_eq!(sum(&ringway, "ringway_pool_hits_total"), 32, "and each uses its own again");
        ringway.stop_after(clients);
    }

    fn checks_of_an_upstream_that_wants_headers_announce_nobody(io) {
        let nginx = told();
        let up = |upstream: &str| {
            let ringway = Setup { upstream, ..Setup::to(nginx.address()) }.start(io);
            let state = ringway.upstream()["endpoints"][0]["state"].as_str().unwrap_or_default().to_owned();
            ringway.stop();
            state
        };
        let health = "health { http \"/ok\" every=\"1s\" fall=1 rise=1; }";
        assert_eq!(up(&format!("{health}; send-proxy \"v2\"")), "up");
        assert_eq!(up(&format!("{health}; send-proxy \"v1\"")), "up");
        assert_eq!(up(&format!("{health}; send-proxy \"v2\" checks=\"off\"")), "down", "nginx insists");
    }
}

/// nginx that wants a PROXY header and answers what it was told: client, and the address that it connected to.
#[track_caller]
fn told() -> Nginx {
    Nginx::start_with(" proxy_protocol", |_| {
        "location = /told { return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\"; }\n\
         location = /ok { return 200 \"ok\"; }"
            .to_owned()
    })
}

#[test]
fn a_header_takes_its_time_by_default() {
    // Two seconds, as the documentation says: long enough for any load balancer, short enough for us.
    let listener = FROM_HERE;
    let origin = Origin::ok("x");
    let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(Io::Epoll);
    let mut client = ringway.client();
    assert_eq!(client.ending_within(Duration::from_millis(1500)), Ending::Open);
    client.expect_end();
    ringway.stop_after((client, origin));
}
