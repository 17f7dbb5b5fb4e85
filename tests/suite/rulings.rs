//! Services that judge: forward authentication by a scripted service, introspection by a real provider.

use crate::harness::client::Response;
use crate::harness::oidc::Provider;
use crate::harness::tls;
use crate::harness::{Folder, Gate, Origin, Received, Reply, Ringway, Setup, wait_until};

fn get(ringway: &Ringway, path: &str, fields: &str) -> Response {
    ringway
        .client()
        .send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"))
        .response("GET")
}

/// Decides by what the request is told to be.
fn judge(asked: &Received) -> Reply {
    let cookie = asked.head.get("cookie").unwrap_or_default();
    let uri = asked.head.get("x-forwarded-uri").unwrap_or_default();
    match (cookie, uri) {
        (_, "/broken") => Reply::bytes("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        (_, "/garbage") => Reply::bytes("SSH-2.0-none\r\n").then_close(),
        (_, "/silent") => Reply::silence(),
        (_, "/large") => {
            Reply::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000)))
        }
        (_, "/login") => Reply::bytes(
            "HTTP/1.1 302 Found\r\nLocation: https://login.example/?a=b\r\nContent-Length: 0\r\n\r\n",
        ),
        ("session=good", "/cached") => Reply::bytes(
            "HTTP/1.1 200 OK\r\nX-User: alice\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok",
        ),
        ("session=good", _) => Reply::bytes(
            "HTTP/1.1 204 No Content\r\nX-User: alice\r\nX-Groups: staff, editors\r\nX-Secret: 1\r\n\r\n",
        ),
        _ => Reply::bytes(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Session realm=\"shop\"\r\nSet-Cookie: a=1\r\n\
             Set-Cookie: b=2\r\nX-Secret: 1\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nlog in",
        ),
    }
}

fn policy(service: &Origin, more: &str) -> String {
    format!(
        "workers 1\nforward-auth \"sso\" {{ url \"http://{}/verify?x=1\"; timeout \"300ms\"; request-headers \"Cookie\"
            response-headers \"X-User\"; subject-header \"X-User\"; groups-header \"X-Groups\"; {more} }}
         consumer \"acme\" {{ credential forward-auth=\"sso\" subject=\"alice\"; }}",
        service.address()
    )
}

const ROUTE: &str = "authenticate { any-of { forward-auth \"sso\"; }; }";

both! {
    /// E1, R74: yes, no and redirects are verdicts, everything else is none; what the service learns is the request as it
    /// is forwarded, and the upstream learns what it says.
    fn e1_r74_a_service_decides_about_requests(io) {
        let service = Origin::start(judge);
        let origin = Origin::ok("x");
        let top = policy(&service, "");
        let ringway = Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io);
        let lies = "Cookie: session=good\r\nX-User: root\r\nX-Forwarded-Uri: /open\r\nX-Forwarded-Method: PUT\r\nX_User: root\r\n";
        assert_eq!(get(&ringway, "/a/../b?q=1", lies).status, 200);
        let asked = service.requests().pop().expect("the service was asked");
        assert_eq!((asked.method(), asked.target()), ("GET", "/verify?x=1"));
        for (name, value) in [("x-forwarded-method", "GET"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "shop.example"),
            ("x-forwarded-uri", "/b?q=1"), ("x-forwarded-for", "127.0.0.1"), ("cookie", "session=good")] {
            assert_eq!(asked.head.all(name), [value], "{name}");
        }
        assert!(asked.head.get("x-user").is_none());
        let seen = origin.requests().pop().expect("a request");
        for (name, value) in [("x-user", "alice"), ("x-consumer", "acme"), ("x-consumer-groups", "staff,editors")] {
            assert_eq!(seen.head.all(name), [value], "{name}");
        }
        assert!(seen.head.get("x-secret").is_none());
        let no = get(&ringway, "/", "Cookie: session=bad\r\n");
        assert_eq!((no.status, no.text().as_str()), (401, "log in"));
        assert_eq!(no.head.get("www-authenticate"), Some("Session realm=\"shop\""));
        assert_eq!(no.head.all("set-cookie"), ["a=1", "b=2"]);
        assert!(no.head.get("x-secret").is_none());
        let login = get(&ringway, "/login", "");
        assert_eq!((login.status, login.head.get("location")), (302, Some("https://login.example/?a=b")));
        let before = origin.requests().len();
        for path in ["/broken", "/garbage", "/silent", "/large"] {
            let answer = get(&ringway, path, "Cookie: session=good\r\n");
            assert_eq!((answer.status, answer.text().contains("auth_unavailable")), (503, true), "{path}");
        }
        assert_eq!(origin.requests().len(), before, "nothing passes without a verdict");
        let records = ringway.records(7);
        let told = |at: usize| (records[at]["cause"].as_str(), records[at]["auth"].as_str().unwrap_or_default().to_owned());
        assert_eq!(told(1), (Some("auth_refused"), "forward-auth:sso denied".to_owned()));
        assert_eq!(told(3), (Some("auth_unavailable"), "forward-auth:sso failed denied".to_owned()));
        assert_eq!(told(5), (Some("auth_unavailable"), "forward-auth:sso timeout denied".to_owned()));
        ringway.stop_after((origin, service));
    }

    /// E1, G8: verdicts are remembered as the service allows; without an identity nobody is asked; a service that is gone
    /// means what the policy says.
    fn e1_g8_verdicts_are_remembered_and_a_service_that_is_gone_has_been_thought_of(io) {
        let service = Origin::start(judge);
        let origin = Origin::ok("x");
        let top = policy(&service, "identity \"Cookie\"; stale \"1h\"; on-error \"allow\";");
        let routes = "route \"/staff\" upstream=\"origin\" { authenticate { any-of { forward-auth \"sso\"; }; }; authorize { group \"staff\"; }; }";
        let ringway = Setup { top: &top, route: ROUTE, routes, ..Setup::to(origin.address()) }.start(io);
        let nobody = get(&ringway, "/", "");
        assert_eq!((nobody.status, nobody.head.get("www-authenticate")), (401, Some("Service realm=\"sso\"")));
        assert!(service.requests().is_empty());
        for _ in 0..3 {
            assert_eq!(get(&ringway, "/cached", "Cookie: session=good\r\n").status, 200);
        }
        assert_eq!(service.requests().len(), 1);
        assert_eq!(get(&ringway, "/staff", "Cookie: session=good\r\n").status, 200);
        drop(service);
        // What is remembered still counts, what is not goes on as nobody's, and rules about callers refuse that.
        assert_eq!(get(&ringway, "/cached", "Cookie: session=good\r\n").status, 200);
        assert_eq!(origin.requests().pop().expect("a request").head.get("x-consumer"), Some("acme"));
        let unjudged = get(&ringway, "/other", "Cookie: session=good\r\nX-User: root\r\n");
        assert_eq!(unjudged.status, 200);
        let seen = origin.requests().pop().expect("a request");
        assert!(seen.head.get("x-consumer").is_none() && seen.head.get("x-user").is_none());
        assert_eq!(get(&ringway, "/staff", "Cookie: session=other\r\n").status, 401);
        // Enough of that, and nobody is asked for a while.
        wait_until("the breaker opens", || {
            get(&ringway, "/other", "Cookie: session=good\r\n");
            ringway.admin("/metrics").text().lines().any(|line| {
                line.starts_with("ringway_auth_questions_total{scheme=\"forward-auth\",policy=\"sso\",outcome=\"open\"}")
                    && !line.ends_with(" 0")
            })
        });
        let records = ringway.records(8);
        assert!(records.iter().any(|record| record["auth"] == "forward-auth:sso failed allowed"), "{records:?}");
        ringway.stop_after(origin);
    }

    /// E1: a client that leaves takes its question with it, at every point.
    fn e1_clients_that_leave_while_a_service_thinks_are_forgotten(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let service = Origin::start(move |_| Reply::bytes("").then_wait(&held).then("HTTP/1.1 204 x\r\n\r\n"));
        let origin = Origin::ok("x");
        let top = policy(&service, "").replace("300ms", "20s");
        let ringway = Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io);
        let waiting = |count: usize| {
            let line = format!("ringway_auth_waiting{{scheme=\"forward-auth\",policy=\"sso\"}} {count}");
            wait_until("questions", || ringway.admin("/metrics").text().lines().any(|own| own == line));
        };
        let mut clients: Vec<_> = (0..4).map(|_| ringway.client()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        waiting(4);
        clients.drain(..3).for_each(|client| client.reset());
        waiting(1);
        gate.open();
        assert_eq!(clients[0].response("GET").status, 200);
        drop(clients);
        assert_eq!(origin.requests().len(), 1);
        ringway.stop_after((origin, service));
    }

    /// I1, I2, I3: opaque tokens of a real provider; what it cannot be asked is 503, and what is remembered counts.
    fn i1_i2_i3_tokens_are_known_by_their_issuer(io) {
        let provider = Provider::start();
        let secrets = Folder::new();
        let secret = |name: &str, text: &str| {
            let file = secrets.path().join(name).display().to_string();
            std::fs::write(&file, text).expect("write a secret");
            file
        };
        let (good, bad) = (secret("good", "suite-secret"), secret("bad", "other"));
        let origin = Origin::ok("x");
        let of = |name: &str, file: &str| format!(
            "introspect \"{name}\" {{ url \"{}/token/introspection\"; client-id \"gateway\"; client-secret (file){file:?}
                audience \"shop\"; subject-claim \"client_id\"; remember \"1h\"; timeout \"3s\"; }}\n",
            provider.issuer()
        );
        let top = format!("workers 1\n{}{}consumer \"app\" {{ credential introspect=\"as\" subject=\"app\"; }}", of("as", &good), of("wrong", &bad));
        let route = "authenticate { any-of { introspect \"as\"; }; }; authorize { scope \"orders:read\"; }";
        let routes = "route \"/wrong\" upstream=\"origin\" { authenticate { any-of { introspect \"wrong\"; }; }; }";
        let ringway = Setup { top: &top, route, routes, ..Setup::to(origin.address()) }.start(io);
        let token = provider.token("urn:opaque");
        assert!(!token.contains('.'), "an opaque one");
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let answer = get(&ringway, "/", &bearer(&token));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(origin.requests().pop().expect("a request").head.get("x-consumer"), Some("app"));
        let unknown = get(&ringway, "/", &bearer("made-up"));
        assert_eq!(unknown.status, 401);
        assert!(unknown.head.get("www-authenticate").is_some_and(|value| value.contains("error=\"invalid_token\"")));
        assert_eq!(get(&ringway, "/", "").status, 401);
        // The service does not know us: that is our trouble, not the client's.
        let ours = get(&ringway, "/wrong", &bearer(&token));
        assert_eq!((ours.status, ours.head.get("www-authenticate")), (503, None));
        ringway.says("look at client-id and client-secret");
        provider.control("down");
        assert_eq!(get(&ringway, "/", &bearer(&token)).status, 200);
        assert_eq!(get(&ringway, "/", &bearer("another")).status, 503);
        let log = std::fs::read_to_string(ringway.access_log()).expect("the log");
        assert!(!log.contains(&token) && !ringway.stderr().contains(&token) && !ringway.stderr().contains("suite-secret"));
        assert!(!ringway.admin("/v1/config").text().contains("suite-secret"));
        drop(provider);
        ringway.stop_after(origin);
    }

    /// The same failure has the same status, challenges and cause over both versions of HTTP.
    fn g2_refusals_are_the_same_over_both_versions(io) {
        let service = Origin::start(judge);
        let origin = Origin::ok("x");
        let keys = Folder::new();
        let file = keys.path().join("keys.kdl").display().to_string();
        std::fs::write(&file, "").expect("write keys");
        let top = format!("{}\nkeys \"partners\" {{ file {file:?}; }}\njwt \"corp\" {{ algorithms \"ES256\"; jwks \"https://127.0.0.1:1/\"; fetch {{ allow-private; }}; }}", policy(&service, ""));
        let routes = "route \"/keys\" upstream=\"origin\" { cors { origins \"https://app.example\"; refuse-others; }; authenticate { any-of { keys \"partners\"; }; }; }
            route \"/jwt\" upstream=\"origin\" { authenticate { any-of { jwt \"corp\"; }; }; }";
        let setup = Setup { top: &top, route: ROUTE, routes, listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) };
        let ringway = setup.start(io);
        let token = crate::harness::base64::base64url(b"{\"alg\":\"ES256\",\"kid\":\"x\"}");
        let bearer = format!("Authorization: Bearer {token}.e30.{}", "A".repeat(86));
        let cases: [(&str, &[&str]); 8] = [
            ("/keys", &[]),
            ("/keys", &["X-Api-Key: wrong"]),
            ("/keys", &["X-Api-Key: a", "X-Api-Key: b"]),
            ("/keys", &["Origin: https://evil.example"]),
            ("/jwt", &[&bearer]),
            ("/jwt", &["Authorization: Bearer a.b.c"]),
            ("/", &["Cookie: session=bad"]),
            ("/broken", &[]),
        ];
        for (path, fields) in cases {
            let ask = |version: &str| {
                let url = format!("http://{}{path}", ringway.address("web"));
                let mut args = vec!["--silent", "--include", version, &url];
                fields.iter().for_each(|field| args.extend(["--header", field]));
                let text = tls::run("curl", &args, b"").text;
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
                let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let told = |line: &&str| line.to_lowercase().starts_with("www-authenticate");
                let mut challenges: Vec<String> =
                    head.lines().filter(told).map(|line| line.split_once(": ").unwrap_or_default().1.to_owned()).collect();
                challenges.sort();
                let cause = body.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or(body);
                (status, challenges, cause.to_owned())
            };
            let (old, new) = (ask("--http1.1"), ask("--http2-prior-knowledge"));
            assert_eq!(old, new, "{path} {fields:?}");
            assert!(matches!(&*old.0, "400" | "401" | "403" | "503"), "{path} {fields:?}: {old:?}");
        }
        assert!(origin.requests().is_empty());
        ringway.stop_after((origin, service));
    }
}
