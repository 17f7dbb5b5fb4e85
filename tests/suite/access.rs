//! Who may call: tokens made by PyJWT, API keys, consumers, rules, and what reaches the endpoint.

use crate::harness::client::Response;
use crate::harness::tls::{Authority, curl};
use crate::harness::{Folder, Io, Origin, Received, Ringway, Setup};
use std::path::Path;
use std::process::Command;

/// Issues tokens with PyJWT, and keeps its keys in a folder.
struct Issuer {
    folder: Folder,
}

/// `METHOD CLAIMS HEADERS KEY` on the command line; the key is a file, or a secret for HS.
const SIGN: &str = r#"
import json, sys, time, jwt
algorithm, claims, headers, key = sys.argv[1:5]
now = int(time.time())
claims = json.loads(claims)
for name in ("exp", "nbf", "iat"):
    if name in claims:
        claims[name] += now
print(jwt.encode(claims, open(key).read(), algorithm=algorithm, headers=json.loads(headers)), end="")
"#;

const KEYS: &str = r#"
import json, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import RSAAlgorithm, ECAlgorithm, OKPAlgorithm
folder = sys.argv[1]
keys = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}
jwks = []
for name, key in keys.items():
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    open(f"{folder}/{name}.key", "wb").write(private)
    open(f"{folder}/{name}.pem", "wb").write(public)
    make = {"rsa": RSAAlgorithm, "ed": OKPAlgorithm}.get(name, ECAlgorithm)
    jwks.append({**json.loads(make.to_jwk(key.public_key())), "kid": name, "use": "sig"})
open(f"{folder}/jwks.json", "w").write(json.dumps({"keys": jwks}))
open(f"{folder}/secret", "w").write("a secret of the suite with more than 64 bytes, for all of the three algorithms\n")
"#;

fn python(script: &str, arguments: &[&str]) -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/auth-venv/bin/python");
    assert!(python.exists(), "{} is missing; tests/run makes it", python.display());
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Issuer {
    fn new() -> Issuer {
        let folder = Folder::new();
        python(KEYS, &[&folder.path().display().to_string()]);
        Issuer { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn sign(&self, algorithm: &str, key: &str, claims: &str, headers: &str) -> String {
        python(SIGN, &[algorithm, claims, headers, &self.file(key)])
    }
}

/// The answer to a GET of this path with these field lines.
#[track_caller]
fn get(ringway: &Ringway, path: &str, fields: &str) -> Response {
    ringway
        .client()
        .send(format!("GET {path} HTTP/1.1\r\nHost: suite.example\r\n{fields}\r\n"))
        .response("GET")
}

#[track_caller]
fn status(ringway: &Ringway, path: &str, fields: &str) -> u16 {
    get(ringway, path, fields).status
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn last(origin: &Origin) -> Received {
    origin.requests().pop().expect("a request at the origin")
}

fn started(origin: &Origin, top: &str, route: &str, io: Io) -> Ringway {
    Setup { top, route, ..Setup::to(origin.address()) }.start(io)
}

const CLAIMS: &str = r#"{"iss":"https://id.example","aud":["shop"],"sub":"u1","exp":60,"iat":0,
    "scope":"orders:read orders:write","roles":["staff"],"tenant":"acmé","address":{"city":"Bern"}}"#;

both! {
    /// Every family of algorithms, signed by another implementation, with keys as PEM, JWK set and secret.
    fn j1_j3_tokens_of_every_algorithm_are_verified(io) {
        let issuer = Issuer::new();
        let origin = Origin::ok("x");
        let policies = format!(
            "jwt \"set\" {{ issuer \"https://id.example\"; audience \"shop\"; jwks {:?}
                algorithms \"RS256\" \"RS512\" \"PS256\" \"PS384\" \"ES256\" \"ES512\" \"EdDSA\" }}
            jwt \"pem\" {{ issuer \"https://pem.example\"; algorithms \"RS384\" \"ES256\"; public-key {:?} {:?} }}
            jwt \"hs\" {{ algorithms \"HS256\" \"HS512\"; secret (file){:?} }}",
            issuer.file("jwks.json"), issuer.file("rsa.pem"), issuer.file("ec.pem"), issuer.file("secret"),
        );
        let route = "authenticate { any-of { jwt \"set\"; jwt \"pem\"; jwt \"hs\"; }; }";
        let ringway = started(&origin, &policies, route, io);
        for (algorithm, key) in [("RS256", "rsa"), ("RS512", "rsa"), ("PS256", "rsa"), ("PS384", "rsa"), ("ES256", "ec"),
            ("ES512", "p521"), ("EdDSA", "ed")] {
            let kid = format!("{{\"kid\":\"{key}\"}}");
            let token = issuer.sign(algorithm, &format!("{key}.key"), CLAIMS, &kid);
            assert_eq!(status(&ringway, "/", &bearer(&token)), 200, "{algorithm}");
            // The last byte of the payload: the signature does not fit any more.
            let at = token.rfind('.').expect("three parts") - 2;
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let forged = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert_eq!(status(&ringway, "/", &bearer(&forged)), 401, "{algorithm}");
            // Under a name that is not known, and without one: a few keys are tried.
            let unknown = issuer.sign(algorithm, &format!("{key}.key"), CLAIMS, "{\"kid\":\"gone\"}");
            assert_eq!(status(&ringway, "/", &bearer(&unknown)), 401, "{algorithm}");
            let nameless = issuer.sign(algorithm, &format!("{key}.key"), CLAIMS, "{}");
            assert_eq!(status(&ringway, "/", &bearer(&nameless)), 200, "{algorithm}");
        }
        let of_pem = CLAIMS.replace("id.example", "pem.example");
        for (algorithm, key, expected) in [("RS384", "rsa", 200), ("ES256", "ec", 200), ("RS256", "rsa", 401), ("ES512", "p521", 401)] {
            let token = issuer.sign(algorithm, &format!("{key}.key"), &of_pem, "{}");
            assert_eq!(status(&ringway, "/", &bearer(&token)), expected, "{algorithm} by PEM");
        }
        for (algorithm, expected) in [("HS256", 200), ("HS512", 200), ("HS384", 401)] {
            let token = issuer.sign(algorithm, "secret", &CLAIMS.replace("id.example", "own.example"), "{}");
            // PyJWT signs with the whole file; Ringway drops the line end of a secret, as of every `(file)`.
            let _ = token;
            let trimmed = issuer.file("trimmed");
            std::fs::write(&trimmed, std::fs::read_to_string(issuer.file("secret")).expect("secret").trim_end()).expect("write");
            let token = issuer.sign(algorithm, "trimmed", &CLAIMS.replace("id.example", "own.example"), "{}");
            assert_eq!(status(&ringway, "/", &bearer(&token)), expected, "{algorithm}");
        }
        ringway.stop_after(origin);
    }

    /// J2, G2: what a client without or with a bad token is told, and what the log is told.
    fn j2_g2_refusals_carry_challenges_and_no_details(io) {
        let issuer = Issuer::new();
        let origin = Origin::ok("x");
        let policies = format!(
            "workers 1
            jwt \"corp\" {{ issuer \"https://id.example\"; audience \"shop\"; jwks {:?}; algorithms \"ES256\" }}
            keys \"partners\" {{ file {:?} }}",
            issuer.file("jwks.json"), issuer.file("keys.kdl"),
        );
        std::fs::write(issuer.file("keys.kdl"), "").expect("write keys");
        let route = "authenticate { any-of { jwt \"corp\"; keys \"partners\" header=\"X-Api-Key\" query=\"key\"; }; }
            authorize { scope \"orders:admin\"; }";
        let ringway = started(&origin, &policies, route, io);
        let challenges = |response: &Response| {
            response.head.all("www-authenticate").into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let nothing = get(&ringway, "/", "");
        assert_eq!(nothing.status, 401);
        assert_eq!(challenges(&nothing), ["Bearer realm=\"corp\"", "ApiKey realm=\"partners\""]);
        assert!(nothing.text().contains("urn:ringway:cause:credentials_missing"), "{}", nothing.text());
        let expired = issuer.sign("ES256", "ec.key", &CLAIMS.replace("\"exp\":60", "\"exp\":-60"), "{\"kid\":\"ec\"}");
        let bad = get(&ringway, "/", &bearer(&expired));
        assert_eq!(bad.status, 401);
        let description = "error=\"invalid_token\", error_description=\"the token is not good\"";
        assert_eq!(challenges(&bad)[0], format!("Bearer realm=\"corp\", {description}"));
        assert!(!bad.text().contains("expired") && !bad.text().contains(&expired), "{}", bad.text());
        let good = issuer.sign("ES256", "ec.key", CLAIMS, "{\"kid\":\"ec\"}");
        let scope = get(&ringway, "/", &bearer(&good));
        assert_eq!(scope.status, 403);
        let missing = "error=\"insufficient_scope\", scope=\"orders:admin\"";
        assert_eq!(challenges(&scope)[0], format!("Bearer realm=\"corp\", {missing}"));
        let twice = get(&ringway, "/", &format!("{}{}", bearer(&good), bearer(&good)));
        assert_eq!((twice.status, challenges(&twice)[0].contains("invalid_request")), (400, true));
        // A bad token beside what would be another credential: the token decides (C1).
        assert_eq!(status(&ringway, "/?key=x", &bearer("x")), 401);
        let by_key = get(&ringway, "/a?key=gw_live_secret&b=1", "");
        assert_eq!((by_key.status, challenges(&by_key).len()), (401, 2));
        assert_eq!(status(&ringway, "/nowhere/else", &bearer("x")), 401);
        assert!(origin.requests().is_empty(), "nothing of it reached the endpoint");
        let records = ringway.records(7);
        let auth = |at: usize| records[at]["auth"].as_str().unwrap_or_default().to_owned();
        assert_eq!(auth(1), "jwt:corp expired");
        assert_eq!(auth(3), "jwt:corp several");
        assert_eq!(auth(5), "keys:partners unknown");
        assert_eq!((&records[2]["consumer"], auth(2).as_str()), (&"corp/u1".into(), "jwt:corp"));
        assert_eq!(records[5]["query"], "b=1", "G9: no key in the log");
        let log = std::fs::read_to_string(ringway.access_log()).expect("the log");
        assert!(!log.contains("gw_live_secret") && !log.contains(&good) && !log.contains(&expired));
        ringway.stop_after(origin);
    }

    /// G5, G9, J10: the endpoint gets what we say about the caller, and neither credentials nor what clients say.
    fn g5_g9_j10_the_endpoint_is_told_who_calls_and_gets_no_credentials(io) {
        let issuer = Issuer::new();
        let origin = Origin::ok("x");
        let policies = format!(
            "jwt \"corp\" {{ issuer \"https://id.example\"; jwks {:?}; algorithms \"ES256\"; groups-claim \"roles\"
                claim-header \"tenant\" \"X-Tenant\"; claim-header \"address.city\" \"X-City\"
                claim-header \"missing\" \"X-Missing\" }}
            consumer \"acme\" {{ groups \"partners\"; tier \"gold\"; credential jwt=\"corp\" subject=\"u1\" }}",
            issuer.file("jwks.json"),
        );
        let routes = "route \"/open\" upstream=\"origin\"
            route \"/kept\" upstream=\"origin\" { authenticate { any-of { jwt \"corp\"; }; forward-credentials; }; }
            route \"/maybe\" upstream=\"origin\" { authenticate { optional; any-of { jwt \"corp\" header=\"X-Token\"; }; }; }";
        let setup = Setup {
            top: &policies, route: "authenticate { any-of { jwt \"corp\" query=\"token\"; }; }", routes,
            listener: "unsafe-underscore-fields", ..Setup::to(origin.address())
        };
        let ringway = setup.start(io);
        let token = issuer.sign("ES256", "ec.key", CLAIMS, "{}");
        let lies = "X-Consumer: root\r\nx_consumer: root\r\nX-Consumer-Groups: root\r\nX_Consumer-Tier: root\r\n\
                    X-Tenant: root\r\nx_tenant: root\r\nX-MISSING: root\r\nX-Consumers: root\r\nX-Other: 1\r\n\
                    Connection: X-Consumer, X-Tenant\r\n";
        assert_eq!(status(&ringway, &format!("/x?a=1&token={token}&b=2"), lies), 200);
        let seen = last(&origin);
        assert_eq!(seen.target(), "/x?a=1&b=2");
        let head = &seen.head;
        for (name, value) in [("x-consumer", "acme"), ("x-consumer-subject", "u1"), ("x-consumer-groups", "staff,partners"),
            ("x-consumer-tier", "gold"), ("x-tenant", "acm%C3%A9"), ("x-city", "Bern"), ("x-other", "1")] {
            assert_eq!(head.all(name), [value], "{name}");
        }
        assert!(head.all("x-missing").is_empty());
        assert!(!String::from_utf8_lossy(&origin.raw()).contains("root"), "what the client says about itself");
        assert!(!String::from_utf8_lossy(&origin.raw()).contains(&token));
        // A route that asks nobody, to the same upstream: nobody can pretend there either.
        assert_eq!(status(&ringway, "/open", lies), 200);
        assert!(!String::from_utf8_lossy(&origin.raw()).contains("root"));
        assert!(last(&origin).head.all("x-consumer").is_empty());
        assert_eq!(status(&ringway, "/kept", &bearer(&token)), 200);
        assert_eq!(last(&origin).head.get("authorization"), Some(format!("Bearer {token}").as_str()));
        // Optional: nobody passes as nobody, a bad token does not, and the place of the token is the configured one.
        assert_eq!(status(&ringway, "/maybe", &bearer(&token)), 200);
        assert!(last(&origin).head.all("x-consumer").is_empty());
        assert_eq!(status(&ringway, "/maybe", "X-Token: bad\r\n"), 401);
        assert_eq!(status(&ringway, "/maybe", &format!("X-Token: {token}\r\n")), 200);
        assert_eq!(last(&origin).head.get("x-consumer"), Some("acme"));
        ringway.stop_after(origin);
    }

    /// Z1, Z3, C1: rules of site and route, and several credentials at once.
    fn z1_z3_c1_rules_decide_who_may(io) {
        let issuer = Issuer::new();
        let origin = Origin::ok("x");
        let key = "gw_test_000000000000000000000000000000000000000000000000";
        let hash = python("import hashlib,sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest(), end='')", &["partner-key"]);
        let stored = |id: &str, more: &str| format!("key {id:?} {{ hash \"sha256:{hash}\"; {more} }}\n");
        std::fs::write(issuer.file("keys.kdl"), stored("k1", "consumer \"acme\"; scopes \"orders:read\"; groups \"partners\""))
            .expect("write keys");
        std::fs::write(issuer.file("old.kdl"), stored("k1", "not-after \"2020-01-01T00:00:00Z\"")).expect("write keys");
        std::fs::write(issuer.file("off.kdl"), stored("k1", "disabled")).expect("write keys");
        let policies = format!(
            "jwt \"corp\" {{ issuer \"https://id.example\"; jwks {:?}; algorithms \"ES256\"; groups-claim \"roles\" }}
            keys \"partners\" {{ file {:?} }}
            keys \"old\" {{ file {:?} }}
            keys \"off\" {{ file {:?} }}",
            issuer.file("jwks.json"), issuer.file("keys.kdl"), issuer.file("old.kdl"), issuer.file("off.kdl"),
        );
        let either = "authenticate { any-of { jwt \"corp\"; keys \"partners\"; }; }";
        let route = |path: &str, body: &str| format!("route {path:?} upstream=\"origin\" {{ {body} }}\n");
        let routes = [
            route("/scope", &format!("{either}; authorize {{ scope \"orders:read\"; }}")),
            route("/staff", &format!("{either}; authorize {{ group \"staff\" \"root\"; }}")),
            route("/claim", &format!("{either}; authorize {{ claim \"address.city\" \"Bern\"; claim \"address.city\" \"Thun\"; }}")),
            route("/other", &format!("{either}; authorize {{ claim \"address.city\" \"Thun\"; }}")),
            route("/here", "authorize { allow source=\"127.0.0.0/8\"; deny method=\"DELETE\"; }"),
            route("/there", "authorize { allow source=\"10.0.0.0/8\"; }"),
            route("/denied", &format!("{either}; authorize {{ allow group=\"staff\"; deny consumer=\"acme\"; deny source=\"127.0.0.1\" group=\"staff\"; }}")),
            route("/both", "authenticate { all-of { jwt \"corp\"; keys \"partners\"; }; }"),
            route("/old", "authenticate { any-of { keys \"old\"; }; }"),
            route("/off", "authenticate { any-of { keys \"off\"; }; }"),
        ].concat();
        let ringway = Setup { top: &policies, routes: &routes, ..Setup::to(origin.address()) }.start(io);
        let (token, partner) = (bearer(&issuer.sign("ES256", "ec.key", CLAIMS, "{}")), "X-Api-Key: partner-key\r\n".to_owned());
        let both = format!("{token}{partner}");
        for (path, fields, expected) in [
            ("/scope", &token, 200), ("/scope", &partner, 200), ("/staff", &token, 200), ("/staff", &partner, 403),
            ("/claim", &token, 200), ("/claim", &partner, 403), ("/other", &token, 403), ("/here", &String::new(), 200),
            ("/there", &String::new(), 403), ("/denied", &partner, 403), ("/denied", &token, 403), ("/both", &both, 200),
            ("/both", &token, 401), ("/both", &partner, 401), ("/both", &String::new(), 401), ("/old", &partner, 401), ("/off", &partner, 401),
            ("/scope", &format!("X-Api-Key: {key}\r\n"), 401), ("/staff", &String::new(), 401),
            ("/scope", &format!("{partner}{partner}"), 400),
        ] {
            assert_eq!(status(&ringway, path, fields), expected, "{path} {fields}");
        }
        let mut client = ringway.client();
        let deleted = client.send("DELETE /here HTTP/1.1\r\nHost: a\r\n\r\n").response("DELETE");
        assert_eq!(deleted.status, 403);
        assert!(deleted.head.all("www-authenticate").is_empty());
        let records = ringway.records(21);
        for (path, auth) in [("/old", "keys:old expired"), ("/off", "keys:off disabled"), ("/both", "jwt:corp")] {
            let of_path = records.iter().filter(|record| record["path"] == path);
            assert!(of_path.into_iter().any(|record| record["auth"] == auth), "{path}: {records:?}");
        }
        ringway.stop_after((client, origin));
    }

    /// G7: whoever may not call does not get to send a body, and the connection stays usable.
    fn g7_no_body_is_asked_for_before_the_caller_is_known(io) {
        let origin = Origin::ok("x");
        let issuer = Issuer::new();
        let policies = format!("jwt \"hs\" {{ algorithms \"HS256\"; secret (file){:?} }}", issuer.file("secret"));
        let ringway = started(&origin, &policies, "authenticate { any-of { jwt \"hs\"; }; }", io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        let response = client.response("POST");
        assert_eq!((response.status, response.head.get("connection")), (401, Some("close")));
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response("POST").status, 401);
        assert_eq!(client.response("GET").status, 401);
        assert!(origin.requests().is_empty());
        ringway.stop_after((client, origin));
    }

    /// The life of a key: made, used, listed, revoked; a reload makes the change count.
    fn a1_a2_keys_are_made_listed_and_revoked(io) {
        let folder = Folder::new();
        let file = folder.path().join("keys.kdl").display().to_string();
        let keys = |arguments: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_ringway")).arg("keys").args(arguments).output().expect("it runs");
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let made = keys(&["create", &file, "--consumer", "acme", "--scope", "orders:read", "--id", "first"]);
        assert!(made.0, "{}", made.1);
        let key = made.1.lines().next().expect("a key").to_owned();
        assert!(key.starts_with("gw_live_") && key.len() == 65, "{key}");
        let stored = std::fs::read_to_string(&file).expect("the file");
        assert!(!stored.contains(&key[8..56]), "the file has no key");
        assert!(!keys(&["create", &file, "--id", "first"]).0, "an id stands once");
        assert!(keys(&["create", &file, "--id", "second", "--not-after", "2020-01-01T00:00:00Z"]).0);
        let listed = keys(&["list", &file]).1;
        assert!(listed.contains("first") && listed.contains("active") && listed.contains("expired"), "{listed}");
        assert!(!listed.contains(&key[8..56]));
        let origin = Origin::ok("x");
        let policy = format!("workers 1\nkeys \"partners\" {{ file {file:?} }}");
        let ringway = started(&origin, &policy, "authenticate { any-of { keys \"partners\"; }; }", io);
        let shown = format!("X-Api-Key: {key}\r\n");
        assert_eq!(status(&ringway, "/", &shown), 200);
        assert_eq!(last(&origin).head.get("x-consumer"), Some("acme"));
        assert!(keys(&["revoke", &file, "first"]).0 && !keys(&["revoke", &file, "third"]).0);
        ringway.signal("HUP");
        crate::harness::wait_until("the revoked key is refused", || status(&ringway, "/", &shown) == 401);
        let metrics = ringway.admin("/metrics").text();
        let accepted = "ringway_credentials_total{scheme=\"keys\",policy=\"partners\",outcome=\"accepted\"}";
        assert!(metrics.lines().any(|line| line.starts_with(accepted)), "{metrics}");
        ringway.stop_after(origin);
    }

    /// A configuration whose keys cannot be used does not load, and says why without showing them.
    fn keys_that_cannot_be_used_are_refused(io) {
        let issuer = Issuer::new();
        std::fs::write(issuer.file("short"), "too short").expect("write");
        for (policy, part) in [
            (format!("algorithms \"HS256\"; secret (file){:?}", issuer.file("short")), "shorter than the 32 bytes"),
            (format!("algorithms \"HS256\"; secret (file){:?}", issuer.file("rsa.pem")), "could sign"),
            (format!("algorithms \"RS256\"; public-key {:?}", issuer.file("rsa.key")), "private key"),
            (format!("algorithms \"RS256\"; public-key {:?}", issuer.file("ec.pem")), "fits none"),
            (format!("algorithms \"RS256\"; jwks {:?}", issuer.file("rsa.pem")), "not a JWK set"),
            (format!("algorithms \"RS256\"; public-key {:?}", issuer.file("nothing.pem")), "No such file"),
        ] {
            let text = format!(
                "jwt \"p\" {{ {policy}; }}\nlistener \"web\" {{ bind \"127.0.0.1:0\"; }}
                upstream \"o\" {{ endpoint \"127.0.0.1:1\"; }}
                site \"*\" {{ route \"/\" upstream=\"o\" {{ authenticate {{ any-of {{ jwt \"p\"; }}; }}; }}; }}"
            );
            let (process, _folder) = Ringway::spawn(&text, io);
            let said = process.last_words();
            assert!(said.contains(part), "{policy}: {said}");
            assert!(!said.contains("too short\n") && !said.contains("BEGIN"), "{said}");
        }
    }

    /// M1: the certificate of a connection is a credential; its names are consumers, and without one it is 401, no alert.
    fn m1_certificates_of_clients_are_callers(io) {
        let authority = Authority::new();
        authority.issue("www", &["localhost"]);
        authority.issue_client("acme", 7);
        authority.issue_client("other", 8);
        let origin = Origin::ok("x");
        let top = format!(
            "workers 1
            mtls \"devices\" {{ by \"uri\"; }}
            mtls \"known\" {{ by \"uri\"; consumers-only; }}
            consumer \"acme\" {{ groups \"staff\"; credential mtls=\"devices\" subject=\"spiffe://example/acme\"
                credential mtls=\"known\" subject=\"spiffe://example/acme\"; }}
            listener \"secure\" {{ bind \"127.0.0.1:0\"; tls {{ certificate cert={:?} key={:?}
                client-auth \"optional\" ca={:?}; }}; }}",
            authority.path("www.pem"), authority.path("www.key"), authority.ca(),
        );
        let route = "authenticate { any-of { mtls \"devices\"; }; }";
        let routes = "route \"/staff\" upstream=\"origin\" { authenticate { any-of { mtls \"devices\"; }; }; authorize { group \"staff\"; }; }
            route \"/known\" upstream=\"origin\" { authenticate { any-of { mtls \"known\"; }; }; }";
        let ringway = Setup { top: &top, route, routes, ..Setup::to(origin.address()) }.start(io);
        let ca = authority.ca();
        let ask = |who: Option<&str>, path: &str| {
            let pair = who.map(|who| (authority.path(&format!("{who}.pem")), authority.path(&format!("{who}.key"))));
            let mut args = vec!["--cacert", &ca, "--include"];
            if let Some((cert, key)) = &pair {
                args.extend(["--cert", cert, "--key", key]);
            }
            let text = curl(ringway.address("secure"), "localhost", path, &args).text;
            let status = text.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
            (status.unwrap_or_else(|| panic!("{text}")), text)
        };
        assert_eq!(ask(Some("acme"), "/").0, 200);
        let seen = last(&origin);
        assert_eq!((seen.head.get("x-consumer"), seen.head.all("client-cert").len()), (Some("acme"), 1));
        assert_eq!((ask(Some("acme"), "/staff").0, ask(Some("acme"), "/known").0), (200, 200));
        assert_eq!(ask(Some("other"), "/").0, 200);
        assert_eq!(last(&origin).head.get("x-consumer"), Some("devices/spiffe://example/other"));
        assert_eq!((ask(Some("other"), "/staff").0, ask(Some("other"), "/known").0), (403, 401));
        let (code, text) = ask(None, "/");
        assert_eq!((code, text.contains("WWW-Authenticate: Mutual realm=\"devices\"")), (401, true), "{text}");
        // Without TLS nobody has a certificate, whatever is said about one.
        assert_eq!(status(&ringway, "/", "Client-Cert: :AAAA:\r\n"), 401);
        let records = ringway.records(8);
        assert_eq!((&records[0]["auth"], &records[5]["auth"]), (&"mtls:devices".into(), &"mtls:known unknown".into()));
        ringway.stop_after(origin);
    }
}
