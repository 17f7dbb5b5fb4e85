//! Routes of TCP listeners: by server name, by protocol, and what each endpoint is told about the client.

use crate::harness::nginx::free_port;
use crate::harness::peer::prepare;
use crate::harness::process::Process;
use crate::harness::tls::Authority;
use crate::harness::{Haproxy, Io, Peer, Ringway, wait_until};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use wire::proxy_protocol::{self, Announced, HEADER_BYTES_MAX, Progress};

/// A peer that says its name, and then whatever it has received until the end.
fn echo(name: &'static str) -> Peer {
    Peer::start(move |mut stream| {
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        let _ = stream.write_all(&[name.as_bytes(), b":", &got].concat());
    })
}

/// Ringway with a TCP listener `in` with these nodes, and an upstream for each peer.
#[track_caller]
fn start(tcp: &str, upstreams: &[(&str, SocketAddr)], io: Io) -> Ringway {
    let upstreams: String = upstreams
        .iter()
        .map(|(name, addr)| format!("upstream \"{name}\" {{ endpoint \"{addr}\"; }}\n"))
        .collect();
    Ringway::start(&format!("tcp \"in\" {{ bind \"127.0.0.1:0\"\n{tcp}\n}}\n{upstreams}"), io)
}

#[track_caller]
fn connect(ringway: &Ringway) -> TcpStream {
    let stream = TcpStream::connect(ringway.address("in")).expect("Ringway accepts");
    prepare(&stream);
    stream
}

/// What comes back for these bytes, sent in pieces; empty after a reset.
fn ask(ringway: &Ringway, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut stream = connect(ringway);
    for piece in bytes.chunks(piece) {
        if stream.write_all(piece).is_err() {
            return Vec::new();
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => got,
        Err(_) => Vec::new(),
    }
}

/// A hello as a real client sent it.
#[track_caller]
fn hello(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/client_hello").join(name);
    std::fs::read(path).expect("the corpus has it")
}

/// How many connections ended for that cause.
fn ended(ringway: &Ringway, cause: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let begins = format!("ringway_connections_ended_total{{cause=\"{cause}\"");
    let values =
        text.lines().filter(|line| line.starts_with(&begins)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

const ROUTES: &str = "route sni=\"db.example.com\" upstream=\"db\"
    route sni=\"*.example.com\" upstream=\"wild\"
    route sni=\"*\" upstream=\"rest\"";

both! {
    fn r159_server_names_choose_and_every_byte_passes(io) {
        let (db, wild, rest) = (echo("db"), echo("wild"), echo("rest"));
        let upstreams = [("db", db.address()), ("wild", wild.address()), ("rest", rest.address())];
        let ringway = start(ROUTES, &upstreams, io);
        let cases = [
            ("python_h2", "db"),
            ("python_upper", "db"),
            ("dot_at_the_end", "db"),
            ("records_of_1", "db"),
            ("records_of_64", "db"),
            ("openssl_tls13", "wild"),
            ("openssl_fragments", "wild"),
            ("grease_pq_ech", "rest"),
            ("python_no_name", "rest"),
            ("openssl_no_name", "rest"),
            ("nul_in_name", "rest"),
            ("ip_name", "rest"),
            ("python_tls12", "rest"),
            // No TLS at all.
            ("http", "rest"),
            ("sslv2", "rest"),
        ];
        for (seed, name) in cases {
            let sent = [hello(seed), b"and more".to_vec()].concat();
            for piece in [sent.len(), 100, 1] {
                let got = ask(&ringway, &sent, piece);
                let expected = [name.as_bytes(), b":", &sent].concat();
                assert!(got == expected, "{seed} in pieces of {piece}: {}", got.escape_ascii());
            }
        }
        ringway.stop_after((db, wild, rest));
    }

    fn r159_what_cannot_be_routed_is_closed_and_says_why(io) {
        let db = echo("db");
        let tcp = "route sni=\"db.example.com\" upstream=\"db\"; timeouts { hello \"300ms\"; }";
        let ringway = start(tcp, &[("db", db.address())], io);
        for seed in ["openssl_tls13", "python_no_name", "nul_in_name", "http", "sslv2"] {
            assert_eq!(ask(&ringway, &hello(seed), 1000), b"", "{seed}");
        }
        wait_until("no route took them", || ended(&ringway, "no_route") == 5);
        for seed in ["two_names", "empty_protocol", "sixteen_mib", "length_past_end"] {
            assert_eq!(ask(&ringway, &hello(seed), 1000), b"", "{seed}");
        }
        assert_eq!(ask(&ringway, &[&[22, 3, 1, 64, 0, 1, 0, 63, 252], [0; 16_500].as_slice()].concat(), 4096), b"");
        wait_until("they are invalid", || ended(&ringway, "hello_invalid") == 5);
        // Slow ones: nothing, and half a hello.
        for part in [0, 200] {
            let mut slow = connect(&ringway);
            slow.write_all(&hello("python_h2")[..part]).expect("sent");
            assert!(!matches!(slow.read(&mut [0; 1]), Ok(1..)));
        }
        wait_until("they are late", || ended(&ringway, "hello_timeout") == 2);
        assert_eq!(ask(&ringway, b"", 1), b"");
        wait_until("who says nothing has asked for nothing", || ended(&ringway, "no_request") == 1);
        assert!(ask(&ringway, &hello("python_h2"), 50).starts_with(b"db:"), "others are unharmed");
        ringway.stop_after(db);
    }

    fn r159_protocols_share_a_port(io) {
        let (tls, h2, http, raw) = (echo("tls"), echo("h2"), echo("http"), Peer::start(|mut stream| {
            // The server speaks first.
            let _ = stream.write_all(b"220 ready\r\n");
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got);
            let _ = stream.write_all(&got);
        }));
        let tcp = "route protocol=\"tls\" upstream=\"tls\"
            route alpn=\"h2\" upstream=\"h2\"
            route protocol=\"http\" upstream=\"http\"
            route protocol=\"tcp\" upstream=\"raw\"
            timeouts { silence \"100ms\"; }";
        let upstreams = [("tls", tls.address()), ("h2", h2.address()), ("http", http.address()), ("raw", raw.address())];
        let ringway = start(tcp, &upstreams, io);
        assert!(ask(&ringway, &hello("python_h2"), 1).starts_with(b"h2:"));
        assert!(ask(&ringway, &hello("python_postgres"), 1).starts_with(b"tls:"));
        assert!(ask(&ringway, &hello("python_no_name"), 1).starts_with(b"tls:"));
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            for piece in [1, 1000] {
                let got = ask(&ringway, request.as_bytes(), piece);
                assert_eq!(got.escape_ascii().to_string(), format!("http:{request}").as_bytes().escape_ascii().to_string());
            }
        }
        for raw in ["EHLO a\r\n", "*1\r\n$4\r\nPING\r\n", "G"] {
            assert_eq!(ask(&ringway, raw.as_bytes(), 1), format!("220 ready\r\n{raw}").as_bytes(), "{raw:?}");
        }
        // Nobody says a word until the server does.
        let mut silent = connect(&ringway);
        let mut greeting = [0; 11];
        silent.read_exact(&mut greeting).expect("the greeting");
        assert_eq!(&greeting, b"220 ready\r\n");
        drop(silent);
        ringway.stop_after((tls, h2, http, raw));
    }

    fn two_tls_servers_share_a_port_by_name(io) {
        let authority = Authority::new();
        let (one, two) = (Server::start(&authority, "one.example"), Server::start(&authority, "two.example"));
        let tcp = "route sni=\"one.example\" upstream=\"one\"; route sni=\"two.example\" upstream=\"two\"";
        let ringway = start(tcp, &[("one", one.address), ("two", two.address)], io);
        for version in ["-tls1_2", "-tls1_3"] {
            for name in ["one.example", "two.example", "TWO.example"] {
                let said = s_client(ringway.address("in"), name, version);
                let expected = format!("CN = {}", name.to_lowercase());
                assert!(said.replace("CN=", "CN = ").contains(&expected), "{name} {version}: {said}");
            }
        }
        let refused = s_client(ringway.address("in"), "three.example", "-tls1_3");
        assert!(!refused.contains("BEGIN CERTIFICATE"), "{refused}");
        ringway.stop_after((one, two));
    }

    fn endpoints_of_tcp_listeners_learn_the_client_and_the_name(io) {
        let peer = echo("db");
        let tcp = "proxy-protocol from=\"127.0.0.0/8\"; send-proxy \"v2\" tlvs=\"authority,unique-id,crc32c\"
            route sni=\"*\" upstream=\"db\"";
        let ringway = start(tcp, &[("db", peer.address())], io);
        let told = |sent: &[u8], piece: usize| {
            let got = ask(&ringway, sent, piece);
            let got = got.strip_prefix(b"db:").unwrap_or_else(|| panic!("{}", got.escape_ascii())).to_vec();
            let Ok(Progress::Complete { header, used }) = proxy_protocol::read(&got, HEADER_BYTES_MAX) else {
                panic!("{}", got.escape_ascii());
            };
            let authority = header.tlvs.authority().map(<[u8]>::to_vec);
            let id = header.tlvs.unique_id().map(<[u8]>::to_vec);
            let announced = match header.announced {
                Announced::Ip { source, destination } => Some((source.to_string(), destination.to_string())),
                _ => None,
            };
            (announced, authority, id, got[used..].to_vec())
        };
        let hello = hello("python_h2");
        let client = "PROXY TCP4 203.0.113.9 198.51.100.2 40000 8443\r\n".as_bytes();
        for piece in [1, 5000] {
            let (announced, authority, id, payload) = told(&[client, &hello].concat(), piece);
            assert_eq!(announced, Some(("203.0.113.9:40000".into(), "198.51.100.2:8443".into())));
            assert_eq!((authority, id.map(|id| id.len())), (None, Some(32)), "a load balancer in front says what it knows");
            assert!(payload == hello, "not a byte more or less");
        }
        let (announced, authority, ..) = told(&[b"PROXY UNKNOWN\r\n".as_slice(), &hello].concat(), 5000);
        let (source, destination) = announced.expect("its own ends");
        assert!(source.starts_with("127.0.0.1:"));
        assert_eq!(destination, ringway.address("in").to_string());
        assert_eq!(authority.as_deref(), Some(b"db.example.com".as_slice()));
        assert_eq!(ask(&ringway, &hello, 5000), b"", "no header");
        wait_until("it is missed", || ended(&ringway, "proxy_header_missing") == 1);
        let client_of = |record: &serde_json::Value| record["client"].as_str().unwrap_or_default().to_owned();
        let clients: Vec<String> = ringway.records(3).iter().map(client_of).collect();
        assert_eq!(clients.iter().filter(|client| client.starts_with("203.0.113.9")).count(), 2, "{clients:?}");
        ringway.stop_after(peer);
    }

    fn haproxy_learns_the_clients_of_a_tcp_listener(io) {
        let haproxy = Haproxy::start(|own| format!(
            "frontend in\n  bind {own} accept-proxy\n  \
             http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\""
        ));
        for version in ["v1", "v2"] {
            let tcp = format!("upstream \"web\"; send-proxy \"{version}\"");
            let ringway = start(&tcp, &[("web", haproxy.address())], io);
            let mut stream = connect(&ringway);
            let own = stream.local_addr().expect("it is connected").to_string();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
            let mut got = String::new();
            stream.read_to_string(&mut got).expect("an answer");
            assert!(got.ends_with(&own), "{version}: {got}");
            ringway.stop_after(stream);
        }
    }
}

/// `openssl s_server` with a certificate of its own.
struct Server {
    address: SocketAddr,
    _process: Process,
}

impl Server {
    #[track_caller]
    fn start(authority: &Authority, name: &str) -> Server {
        authority.issue(name, &[name]);
        let (cert, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Process::start(
            "openssl",
            &["s_server", "-accept", &address.to_string(), "-cert", &cert, "-key", &key, "-quiet", "-www"],
        );
        wait_until("s_server accepts", || TcpStream::connect(address).is_ok());
        Server { address, _process: process }
    }
}

/// What `openssl s_client` says of a handshake.
fn s_client(address: SocketAddr, name: &str, version: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", name, version])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
