//! What a scanner for weak TLS says of a listener as it is by default. `testssl` tries every suite and every old mistake with
//! clients of its own, so what it sees is not what our library believes to have switched off.

use crate::harness::tls::Authority;
use crate::harness::{Io, Ringway};
use serde_json::Value;
use std::process::Command;

/// Findings that are not about us, or that are meant to be so.
const ACCEPTED: [(&str, &str); 3] = [
    // Every suite is an AEAD with forward secrecy: the client knows better which of them its machine is good at.
    ("cipher_order", "NOT a cipher order configured"),
    // The certificate is one that the test has made: nobody revokes it, and it never ends.
    ("cert_validityPeriod", " days"),
    ("cert_revocation", "Neither CRL nor OCSP URI provided"),
];

/// Runs these checks and returns how many findings there were; panics with those that are worse than INFO.
#[track_caller]
fn audit(checks: &[&str]) -> usize {
    let authority = Authority::new();
    authority.issue("shop", &["localhost"]);
    let listener =
        format!("listener \"web\" {{ bind \"127.0.0.1:0\"; tls {{ {} }} }}\n", authority.certificate("shop"));
    let ringway =
        Ringway::start(&(listener + "site \"*\" { route \"/\" { respond 200 body=\"here\"; } }"), Io::Uring);
    let to = format!("https://localhost:{}", ringway.address("web").port());
    let (file, ca) = (authority.path("found.json"), authority.ca());
    let output = Command::new("timeout")
        .args(["240", "testssl", "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none"])
        .args(["--ip", "127.0.0.1", "--connect-timeout", "5", "--openssl-timeout", "5"])
        .args(["--add-ca", &ca, "-oj", &file])
        .args(checks)
        .arg(&to)
        .output()
        .expect("timeout is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let found = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {said}"));
    let found: Vec<Value> = serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {said}"));
    let is_bad = |finding: &&Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default();
        let accepted = ACCEPTED.iter().any(|(id, what)| text("id") == *id && text("finding").contains(what));
        !matches!(text("severity"), "OK" | "INFO") && !accepted
    };
    let bad: Vec<_> = found.iter().filter(is_bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(found.iter().any(|finding| finding["id"] == "scanTime"), "it did not come to its end: {said}");
    ringway.stop();
    found.len()
}

/// Protocols, suites, groups. Once: what is found depends on the library, not on the driver.
#[test]
fn r62_a_scanner_finds_no_weak_version_suite_or_group() {
    assert!(audit(&["-p", "-s", "-f"]) >= 20);
}

/// What has a name of its own (Heartbleed, ROBOT, CRIME, POODLE ...), and what the server prefers and shows. The rest of that
/// list (SWEET32, BEAST, LOGJAM, DROWN ...) is about versions and suites that the other test finds missing.
#[test]
fn r62_a_scanner_finds_no_known_hole_and_nothing_odd_in_what_is_shown() {
    assert!(audit(&["-P", "-S", "-H", "-I", "-T", "-BB", "-R", "-C", "-O", "-Z"]) >= 40);
}
