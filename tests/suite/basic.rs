//! Users with passwords: files that `htpasswd` and `argon2` made, and floods of guesses.

use crate::harness::base64::base64;
use crate::harness::client::Response;
use crate::harness::load::Load;
use crate::harness::tls::{Authority, curl, run};
use crate::harness::{Folder, Origin, Ringway, Setup, wait_until};

/// What a program says when it is fed with `input`.
fn output(program: &str, arguments: &[&str], input: &str) -> String {
    let said = run(program, arguments, input.as_bytes());
    assert!(said.good, "{program} (tests/run installs it): {}", said.text);
    said.text.lines().find(|line| line.contains('$')).expect("a hash").to_owned()
}

/// A file with alice (bcrypt by htpasswd) and bob (argon2id by argon2).
fn users(cost: &str) -> (Folder, String) {
    let folder = Folder::new();
    let file = folder.path().join("htpasswd").display().to_string();
    let alice = output("htpasswd", &["-nbB", "-C", cost, "alice", "wonder:land"], "");
    let bob = output("argon2", &["somesaltsalt", "-id", "-m", "13", "-t", "1", "-e"], "builder");
    std::fs::write(&file, format!("{alice}\nbob:{bob}\n")).expect("write the users");
    (folder, file)
}

fn field(credentials: &str) -> String {
    format!("Authorization: Basic {}\r\n", base64(credentials.as_bytes()))
}

fn get(ringway: &Ringway, path: &str, fields: &str) -> Response {
    ringway.client().send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).response("GET")
}

const ROUTE: &str = "authenticate { any-of { basic \"staff\"; }; }";

both! {
    /// B1: users of real files; what is wrong with credentials is 401 and not told; the endpoint learns who it is.
    fn b1_users_of_files_that_others_made(io) {
        let (folder, file) = users("5");
        let origin = Origin::ok("x");
        let top = format!(
            "workers 1\nbasic \"staff\" {{ file {file:?}; realm \"Staff \\\"only\\\"\"; allow-plain; }}
            consumer \"acme\" {{ groups \"staff\"; credential basic=\"staff\" subject=\"alice\"; }}"
        );
        let ringway = Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io);
        assert_eq!(get(&ringway, "/", &field("alice:wonder:land")).status, 200);
        let seen = origin.requests().pop().expect("a request");
        assert_eq!((seen.head.get("x-consumer"), seen.head.get("x-consumer-groups")), (Some("acme"), Some("staff")));
        assert!(seen.head.get("authorization").is_none());
        assert_eq!(get(&ringway, "/", &field("bob:builder")).status, 200);
        assert_eq!(origin.requests().pop().expect("a request").head.get("x-consumer"), Some("staff/bob"));
        let wrong = [
            field("alice:wonder"), field("alice:"), field("nobody:wonder:land"), field("Alice:wonder:land"), field(":x"),
            field("alice"), "Authorization: Basic !!!\r\n".to_owned(), "Authorization: Basic\r\n".to_owned(),
            field(&format!("alice:{}", "x".repeat(3000))), field("alice:wonder:land\n"), field(&format!("alice:{}", "x".repeat(100))),
        ];
        for fields in &wrong {
            let answer = get(&ringway, "/", fields);
            assert_eq!(answer.status, 401, "{fields}");
            let challenge = answer.head.get("www-authenticate");
            assert_eq!(challenge, Some("Basic realm=\"Staff \\\"only\\\"\", charset=\"UTF-8\""));
            assert!(answer.text().contains("credentials_invalid"), "{}", answer.text());
        }
        // What was right is not compared again.
        let questions = || ringway.counted("ringway_auth_questions");
        let before = questions();
        assert_eq!(get(&ringway, "/", &field("alice:wonder:land")).status, 200);
        assert_eq!(questions(), before);
        let records = ringway.records(wrong.len() + 3);
        let auth: Vec<&str> = records.iter().filter_map(|record| record["auth"].as_str()).collect();
        assert_eq!(auth[..5], ["basic:staff", "basic:staff", "basic:staff password", "basic:staff password", "basic:staff password"]);
        assert_eq!(auth[6], "basic:staff malformed");
        let log = std::fs::read_to_string(ringway.access_log()).expect("the log");
        assert!(!log.contains("wonder") && !log.contains("builder"));
        drop(folder);
        ringway.stop_after(origin);
    }

    /// B1: without TLS no password is asked for or taken, unless the configuration says so.
    fn b1_passwords_are_taken_over_tls_only(io) {
        let (_folder, file) = users("5");
        let authority = Authority::new();
        authority.issue("www", &["localhost"]);
        let origin = Origin::ok("x");
        let top = format!(
            "basic \"staff\" {{ file {file:?}; }}\nlistener \"secure\" {{ bind \"127.0.0.1:0\"; tls {{ certificate cert={:?} key={:?}; }}; }}",
            authority.path("www.pem"), authority.path("www.key"),
        );
        let ringway = Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io);
        for fields in ["", &field("alice:wonder:land")] {
            let answer = get(&ringway, "/", fields);
            assert_eq!((answer.status, answer.head.get("www-authenticate")), (403, None));
            assert!(answer.text().contains("credentials_insecure"), "{}", answer.text());
        }
        let ca = authority.ca();
        let by_curl = |more: &[&str]| {
            let args: Vec<&str> = ["--cacert", &ca, "--include"].iter().chain(more).copied().collect();
            curl(ringway.address("secure"), "localhost", "/", &args).text
        };
        assert!(by_curl(&["--user", "alice:wonder:land"]).starts_with("HTTP/1.1 200"));
        assert!(by_curl(&["--user", "alice:wrong"]).starts_with("HTTP/1.1 401"));
        assert!(by_curl(&[]).contains("WWW-Authenticate: Basic realm=\"staff\""));
        ringway.stop_after(origin);
    }

    /// B1, G8: guesses are compared beside the workers, within bounds; others are served meanwhile, and clients that leave
    /// take their questions with them.
    fn b1_g8_a_flood_of_guesses_delays_nobody_else(io) {
        let (_folder, file) = users("10");
        let origin = Origin::ok("x");
        let top = format!("basic \"staff\" {{ file {file:?}; allow-plain; waiting 4; timeout \"10s\"; }}");
        let routes = "route \"/in\" upstream=\"origin\" { authenticate { any-of { basic \"staff\"; }; }; }";
        let ringway = Setup { top: &top, routes, ..Setup::to(origin.address()) }.start(io);
        assert_eq!(get(&ringway, "/in", &field("alice:wonder:land")).status, 200);
        let load = Load::start(ringway.address("web"), 2);
        let mut guessers: Vec<_> = (0..32).map(|_| ringway.client()).collect();
        for (n, guesser) in guessers.iter_mut().enumerate() {
            guesser.send(format!("GET /in HTTP/1.1\r\nHost: x\r\n{}\r\n", field(&format!("alice:{n}"))));
        }
        let before = load.answered();
        wait_until("others are served", || load.answered() > before + 100);
        let statuses: Vec<u16> = guessers.iter_mut().map(|guesser| guesser.response("GET").status).collect();
        assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
        assert!(statuses.contains(&401) && statuses.contains(&503), "four wait at most: {statuses:?}");
        for (n, guesser) in guessers.iter_mut().enumerate() {
            guesser.send(format!("GET /in HTTP/1.1\r\nHost: x\r\n{}\r\n", field(&format!("bob:{n}"))));
        }
        drop(guessers);
        let (answered, wrong) = load.stop();
        assert!(answered > 0 && wrong.is_empty(), "{wrong:?}");
        let nobody_waits = "ringway_auth_waiting{scheme=\"basic\",policy=\"staff\"} 0";
        wait_until("nobody waits", || ringway.admin("/metrics").text().lines().any(|line| line == nobody_waits));
        ringway.stop_after(origin);
    }
}
