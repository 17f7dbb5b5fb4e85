//! TLS with endpoints: who is believed, what is said when one is not, and certificates of clients on both sides.

use super::tls::metric;
use crate::harness::nginx::Nginx;
use crate::harness::tls::{Authority, curl, python};
use crate::harness::{Client, Io, Origin, Reply, Ringway, Setup, wait_until};
use std::net::SocketAddr;

/// One endpoint with these lines in `tls`.
fn start(io: Io, endpoint: SocketAddr, tls: &str) -> Ringway {
    Setup { upstream: &format!("tls {{ {tls} }}"), ..Setup::to(endpoint) }.start(io)
}

/// The answer to one request, and its cause.
fn ask(ringway: &Ringway, count: usize) -> (u16, String) {
    let status = ringway.client().get("/ok").status;
    let record = ringway.records(count).pop().expect("there is one");
    (status, record["cause"].as_str().unwrap_or("none").to_owned())
}

both! {
    fn nginx_is_asked_over_tls_and_its_connections_are_kept_and_resumed(io) {
        let authority = Authority::new();
        authority.issue("app", &["app.internal"]);
        let nginx = Nginx::start_secured("app", &authority.path("app.pem"), &authority.path("app.key"));
        let tls = format!("ca \"{}\"; server-name \"app.internal\"", authority.ca());
        let upstream = format!("tls {{ {tls} }}\nhealth {{ http \"/ok\" every=\"1s\" timeout=\"1s\"; }}");
        let ringway = Setup { upstream: &upstream, ..Setup::to(nginx.address()) }.start(io);
        let mut client = ringway.client();
        for (path, length) in [("/ok", 3), ("/128b", 128), ("/16k", 16 << 10), ("/1m", 1 << 20)] {
            let answer = client.get(path);
            assert_eq!((answer.status, answer.body.len()), (200, length), "{path}");
        }
        let made = metric(&ringway, "ringway_tls_handshakes_total", "side=\"upstream\",result=\"ok\"");
        assert_eq!(made, 1, "one connection for all");
        drop(client);
        // Several at once need several connections; the later ones resume.
        let mut clients: Vec<Client> = (0..8).map(|_| ringway.client()).collect();
        for client in &mut clients {
            client.send("GET /1m HTTP/1.1\r\nHost: a.example\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response("GET").body.len(), 1 << 20);
        }
        assert!(metric(&ringway, "ringway_tls_handshakes_total", "side=\"upstream\",resumed=\"yes\"") > 0);
        wait_until("the check, which speaks TLS as well, passes", || {
            let state = &ringway.upstream()["endpoints"][0]["state"];
            state == "up" || state == "slow-start"
        });
        drop(clients);
        ringway.stop_after(nginx);
    }

    fn r64_an_endpoint_that_cannot_be_believed_is_refused_with_its_cause(io) {
        let authority = Authority::new();
        let strangers = Authority::new();
        authority.issue("good", &["app.internal"]);
        authority.issue("other", &["other.internal"]);
        authority.issue_expired("old", &["app.internal"]);
        strangers.issue("stranger", &["app.internal"]);
        let ours = format!("ca \"{}\"; server-name \"app.internal\"", authority.ca());
        let cases = [
            (&authority, "good", "none", 200),
            (&authority, "other", "upstream_tls_wrong_name", 502),
            (&authority, "old", "upstream_tls_expired", 502),
            (&strangers, "stranger", "upstream_tls_untrusted", 502),
        ];
        for (of, name, cause, status) in cases {
            let nginx = Nginx::start_secured("app", &of.path(&format!("{name}.pem")), &of.path(&format!("{name}.key")));
            let ringway = start(io, nginx.address(), &ours);
            assert_eq!(ask(&ringway, 1), (status, cause.to_owned()), "{name}");
            ringway.stop_after(nginx);
        }
        // Believed all the same when that is what is asked for; and nobody keeps it to themselves.
        let nginx = Nginx::start_secured("app", &strangers.path("stranger.pem"), &strangers.path("stranger.key"));
        let ringway = start(io, nginx.address(), "insecure #true");
        assert_eq!(ask(&ringway, 1), (200, "none".to_owned()));
        ringway.says("takes any certificate");
        assert_eq!(ringway.status()["tls"]["insecure_upstreams"][0], "origin");
        assert!(ringway.command(&["status"]).1.contains("takes any certificate"));
        ringway.stop_after(nginx);
    }

    /// Without `server-name` the certificate must have the address.
    fn an_endpoint_is_certified_as_its_address_unless_a_name_is_configured(io) {
        let authority = Authority::new();
        authority.issue("address", &["127.0.0.1"]);
        authority.issue("name", &["app.internal"]);
        for (name, status) in [("address", 200), ("name", 502)] {
            let (cert, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
            let nginx = Nginx::start_secured("app", &cert, &key);
            let ringway = start(io, nginx.address(), &format!("ca \"{}\"", authority.ca()));
            assert_eq!(ask(&ringway, 1).0, status, "{name}");
            ringway.stop_after(nginx);
        }
    }

    fn r64_who_speaks_no_tls_or_says_nothing_is_told_apart(io) {
        let authority = Authority::new();
        let ours = format!("ca \"{}\"; server-name \"app.internal\"", authority.ca());
        let banner = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let place = banner.local_addr().expect("it is bound");
        let talking = std::thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = banner.accept().expect("ringway connects");
            let _ = stream.write_all(b"220 mail.example ready\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let ringway = start(io, place, &ours);
        assert_eq!(ask(&ringway, 1), (502, "upstream_tls_plaintext".to_owned()));
        ringway.stop();
        talking.join().expect("the banner was sent");

        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let upstream = format!("tls {{ {ours} }}\ntimeouts {{ handshake \"200ms\"; }}");
        let endpoint = silent.local_addr().expect("it is bound");
        let route = "retry attempts=0";
        let ringway = Setup { upstream: &upstream, route, ..Setup::to(endpoint) }.start(io);
        assert_eq!(ask(&ringway, 1), (504, "upstream_tls_timeout".to_owned()));
        ringway.stop_after(silent);
    }

    /// A body that lasts until the end must end with a word of TLS: an end of the connection alone may be a forgery.
    fn a_response_that_is_cut_below_tls_is_no_complete_response(io) {
        let authority = Authority::new();
        authority.issue("app", &["app.internal"]);
        let tls = format!("ca \"{}\"; server-name \"app.internal\"", authority.ca());
        for (how, whole) in [("properly", true), ("torn", false)] {
            let server = python(UNTIL_CLOSE, &[&authority.path("app.pem"), &authority.path("app.key"), how]);
            let port: u16 = server.wait_for_line("its port", |line| line.trim().parse().ok());
            let ringway = start(io, SocketAddr::from(([127, 0, 0, 1], port)), &tls);
            let mut client = ringway.client();
            client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
            let answer = client.try_response("GET");
            assert_eq!(answer.as_ref().is_ok_and(|answer| answer.body == b"half of it"), whole, "{how}: {answer:?}");
            let cause = &ringway.records(1)[0]["cause"];
            assert_eq!(cause.as_str(), (!whole).then_some("upstream_truncated"), "{how}");
            drop(client);
            ringway.stop_after(server);
        }
    }

    /// Certificates of clients, required, optional and revoked; what the endpoint is told, and ours towards an endpoint.
    fn r65_clients_are_known_by_their_certificates(io) {
        let authority = Authority::new();
        authority.issue("shop", &["shop.example"]);
        authority.issue_client("billing", 7);
        authority.issue_client("gone", 8);
        authority.revoke("list.crl", &[8]);
        let strangers = Authority::new();
        strangers.issue_client("stranger", 9);
        let auth = |mode| {
            format!("client-auth \"{mode}\" ca=\"{}\" crl=\"{}\"", authority.ca(), authority.path("list.crl"))
        };
        let (ca, shop) = (authority.ca(), authority.certificate("shop"));
        let ask = |ringway: &Ringway, of: Option<(&Authority, &str)>| {
            let files = of.map(|(of, name)| (of.path(&format!("{name}.pem")), of.path(&format!("{name}.key"))));
            let mut args = vec!["--cacert", &ca, "-H", "Client-Cert: :forged:", "-H", "Client-Cert-Chain: :forged:"];
            if let Some((cert, key)) = &files {
                args.extend(["--cert", cert, "--key", key]);
            }
            curl(ringway.address("web"), "shop.example", "/", &args).good
        };
        for (mode, without) in [("required", false), ("optional", true)] {
            let origin = Origin::start(|_| Reply::ok("here"));
            let listener = format!("tls {{ {shop} {}; }}", auth(mode));
            let ringway = Setup { listener: &listener, ..Setup::to(origin.address()) }.start(io);
            assert!(ask(&ringway, Some((&authority, "billing"))), "{mode}");
            let asked = origin.requests().pop().expect("it was asked");
            let field = asked.head.get("client-cert").expect("it is told").to_owned();
            let pem = std::fs::read_to_string(authority.path("billing.pem")).expect("the certificate");
            let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            assert_eq!(field, format!(":{der}:"), "RFC 9440");
            // curl sends the certificates that lead to an authority that it knows along.
            let chain = asked.head.get("client-cert-chain").unwrap_or_default();
            assert!(!chain.contains("forged"), "{chain}");
            let tls = &ringway.records(1)[0]["tls"];
            assert_eq!(tls["client"], "spiffe://example/billing");
            assert_eq!(tls["client_sha256"].as_str().map(str::len), Some(64));

            assert_eq!(ask(&ringway, None), without, "{mode}");
            if without {
                let asked = origin.requests().pop().expect("it was asked");
                assert_eq!((asked.head.get("client-cert"), asked.head.get("client-cert-chain")), (None, None));
            }
            assert!(!ask(&ringway, Some((&authority, "gone"))), "{mode}: revoked");
            assert!(!ask(&ringway, Some((&strangers, "stranger"))), "{mode}: unknown");
            for (cause, count) in [
                ("client_certificate_missing", u64::from(!without)),
                ("client_certificate_revoked", 1),
                ("client_certificate_untrusted", 1),
            ] {
                let of = format!("cause=\"{cause}\"");
                wait_until(cause, || metric(&ringway, "ringway_connections_ended_total", &of) == count);
            }
            ringway.stop_after(origin);
        }

        // The other side of it: nginx asks us.
        let (cert, key) = (authority.path("shop.pem"), authority.path("shop.key"));
        let tls = format!("ca \"{ca}\"; server-name \"shop.example\"");
        let own = format!(
            "{tls}; client-certificate cert=\"{}\" key=\"{}\"",
            authority.path("billing.pem"),
            authority.path("billing.key")
        );
        for (tls, status) in [(&tls, 400), (&own, 200)] {
            let nginx = Nginx::start_mutual("app", &cert, &key, &ca);
            let ringway = start(io, nginx.address(), tls);
            assert_eq!(ringway.client().get("/ok").status, status, "{tls}");
            ringway.stop_after(nginx);
        }
    }
}

/// Answers one request with a body that only the end delimits, and ends with or without a word of TLS.
const UNTIL_CLOSE: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], file=sys.stderr, flush=True)
while True:
    plain, _ = listener.accept()
    secured = context.wrap_socket(plain, server_side=True)
    while b"\r\n\r\n" not in secured.recv(65536):
        pass
    secured.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it")
    if sys.argv[3] == "properly":
        try:
            secured.unwrap()
        except OSError:
            pass
    secured.close()
"#;
