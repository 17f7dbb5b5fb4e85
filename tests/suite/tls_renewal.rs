//! Certificates that change while Ringway runs, and those that must not be used at all.

use super::tls::metric;
use crate::harness::tls::{Authority, run, s_client};
use crate::harness::{Io, Ringway, wait_until};
use std::fs;

const SITE: &str = "site \"*\" { route \"/\" { respond 200 body=\"here\"; } }";

fn start(io: Io, certificate: &str) -> Ringway {
    let listener = format!("listener \"web\" {{ bind \"127.0.0.1:0\"; tls {{ {certificate} }} }}\n");
    Ringway::start(&(listener + SITE), io)
}

/// The common name in the certificate that is shown.
fn shown(ringway: &Ringway) -> String {
    let said = s_client(ringway.address("web"), "a.example", &[], "a.example").text;
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    subject.unwrap_or_else(|| panic!("no certificate: {said}")).to_owned()
}

fn failed(ringway: &Ringway) -> u64 {
    metric(ringway, "ringway_certificate_renewal_failed", "listener=\"web\"")
}

both! {
    /// Files that are replaced, a folder behind a symbolic link that is exchanged, and a broken file in between. A
    /// connection that stands notices nothing.
    fn r63_certificates_are_renewed_and_a_broken_one_leaves_the_old_one(io) {
        let authority = Authority::new();
        for name in ["first", "second", "third"] {
            authority.issue(name, &["a.example"]);
            fs::create_dir(authority.path(&format!("{name}.d"))).expect("a folder");
            for kind in ["pem", "key"] {
                let to = authority.path(&format!("{name}.d/tls.{kind}"));
                fs::copy(authority.path(&format!("{name}.{kind}")), to).expect("copy");
            }
        }
        // As orchestrators mount secrets: a link to a folder, exchanged as a whole.
        let link = authority.path("current");
        let point_to = |name: &str| {
            let new = authority.path("new");
            std::os::unix::fs::symlink(authority.path(&format!("{name}.d")), &new).expect("link");
            fs::rename(&new, &link).expect("exchange");
        };
        point_to("first");
        let certificate = format!("certificate cert=\"{link}/tls.pem\" key=\"{link}/tls.key\"");
        let ringway = start(io, &certificate);
        assert_eq!(shown(&ringway), "first");
        let standing = Standing::open(&ringway, &authority.ca());

        point_to("second");
        wait_until("the second is shown", || shown(&ringway) == "second");
        assert_eq!(failed(&ringway), 0);

        let place = authority.path("second.d/tls.pem");
        fs::write(&place, "no certificate").expect("write");
        wait_until("the failure is told", || failed(&ringway) == 1);
        assert_eq!(shown(&ringway), "second");
        ringway.says("the old certificate stays");
        assert!(ringway.command(&["status"]).1.contains("not renewed"));

        // The pair comes in two steps, and is wrong in between.
        fs::copy(authority.path("third.pem"), &place).expect("copy");
        fs::copy(authority.path("third.key"), authority.path("second.d/tls.key")).expect("copy");
        wait_until("the third is shown", || shown(&ringway) == "third");
        assert_eq!(failed(&ringway), 0);
        assert!(standing.still_works(), "the connection of the beginning");
        ringway.stop();
    }

    /// The places of the configuration, and nothing listens.
    fn r63_bad_pairs_are_problems_of_the_configuration(io) {
        let authority = Authority::new();
        authority.issue("good", &["a.example"]);
        authority.issue("other", &["a.example"]);
        authority.issue_expired("old", &["a.example"]);
        fs::write(authority.path("empty"), "").expect("write");
        let pem = |name: &str| authority.path(&format!("{name}.pem"));
        let key = |name: &str| authority.path(&format!("{name}.key"));
        let cases = [
            (pem("none"), key("good"), "No such file"),
            (pem("good"), key("none"), "No such file"),
            (authority.path("empty"), key("good"), "is not valid PEM"),
            (pem("good"), authority.path("empty"), "is not valid PEM"),
            (pem("good"), key("other"), "does not belong to the certificate"),
            (pem("old"), key("old"), "has expired on 2020-01-01"),
            (key("good"), key("good"), "holds no certificate"),
            (pem("good"), pem("good"), "holds no private key"),
        ];
        for (cert, key, why) in cases {
            let configuration = format!(
                "listener \"web\" {{ bind \"127.0.0.1:0\"; tls {{\n certificate cert=\"{cert}\" key=\"{key}\"\n}} }}\n{SITE}"
            );
            let (mut process, folder) = Ringway::spawn(&configuration, io);
            assert_eq!(process.wait().and_then(|status| status.code()), Some(2), "{why}");
            let said = process.last_words();
            assert!(said.contains(why), "{why}: {said}");
            assert!(said.contains("ringway.kdl:6:2"), "the place of the certificate: {said}");
            drop(folder);
        }
    }
}

/// The examples load once their files are there, and say where a missing one is named.
#[test]
fn the_examples_load_with_files_of_the_test() {
    let authority = Authority::new();
    let folder = authority.folder().join("tls");
    fs::create_dir(&folder).expect("a folder");
    for example in ["tls.kdl", "mtls.kdl"] {
        let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(example);
        fs::copy(from, authority.path(example)).expect("copy the example");
        let file = authority.path(example);
        let check = || run(env!("CARGO_BIN_EXE_ringway"), &["check", &file], b"");
        let said = check();
        assert!(!said.good && said.text.contains(&format!("{file}:")), "{}", said.text);
        for name in ["shop", "shop-rsa", "wildcard", "ringway"] {
            authority.issue(name, &["shop.example.com"]);
            for kind in ["pem", "key"] {
                let made = authority.path(&format!("{name}.{kind}"));
                fs::copy(made, folder.join(format!("{name}.{kind}"))).expect("copy");
            }
        }
        for name in ["internal-ca.pem", "partners-ca.pem"] {
            fs::copy(authority.ca(), folder.join(name)).expect("copy");
        }
        authority.revoke("tls/partners.crl", &[1]);
        let said = check();
        assert!(said.good, "{}", said.text);
        fs::remove_dir_all(&folder).and_then(|()| fs::create_dir(&folder)).expect("empty the folder");
    }
}

/// A connection that `openssl` keeps open.
struct Standing {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
}

impl Standing {
    fn open(ringway: &Ringway, ca: &str) -> Standing {
        use std::process::{Command, Stdio};
        let to = ringway.address("web").to_string();
        let mut child = Command::new("timeout")
            .args(["60", "openssl", "s_client", "-connect", &to, "-servername", "a.example", "-CAfile", ca])
            .args(["-quiet", "-ign_eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let stdin = child.stdin.take().expect("it is piped");
        let mut standing = Standing { child, stdin };
        standing.ask("");
        standing
    }

    fn ask(&mut self, more: &str) {
        use std::io::Write;
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{more}\r\n");
        self.stdin.write_all(request.as_bytes()).expect("openssl takes it");
    }

    /// Whether it answers both requests.
    fn still_works(mut self) -> bool {
        self.ask("Connection: close\r\n");
        drop(self.stdin);
        let output = self.child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).matches("HTTP/1.1 200").count() == 2
    }
}
