//! `ringway doctor`: endpoints are really tried, and what is found comes with what to do.

use crate::harness::ringway::binary;
use crate::harness::{Folder, Origin, Reply};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Command;

fn doctor(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary()).arg("doctor").args(words).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn write(folder: &Folder, text: &str) -> String {
    let file = folder.path().join("doctor.kdl");
    std::fs::write(&file, text).expect("write the configuration");
    file.display().to_string()
}

#[test]
fn endpoints_are_tried_as_their_upstreams_say() {
    let fine = Origin::start(|_| Reply::ok("x"));
    let sick = Origin::start(|_| Reply::bytes("HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n"));
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let folder = Folder::new();
    let file = write(
        &folder,
        &format!(
            "listener \"web\" {{ bind \"127.0.0.1:8080\"; }}\n\
             upstream \"checked\" {{ endpoint \"{}\"; endpoint \"{}\"; health {{ http \"/healthz\"; }}; }}\n\
             upstream \"plain\" {{ endpoint \"{gone}\"; endpoint \"localhost:{}\"; }}\n\
             upstream \"secure\" {{ endpoint \"{}\"; tls {{ insecure; }}; }}\n\
             site \"*\" {{ route \"/\" upstream=\"checked\"; route \"/p\" upstream=\"plain\"; route \"/s\" upstream=\"secure\"; }}\n",
            fine.address(),
            sick.address(),
            fine.address().port(),
            fine.address(),
        ),
    );
    let (status, out, error) = doctor(&[&file, "--json"]);
    assert_eq!(status, Some(1), "{out}\n{error}");
    let told: Value = serde_json::from_str(&out).expect("it is JSON");
    let find = |text: &str| {
        let all = told["findings"].as_array().expect("a list");
        let found = all.iter().find(|one| one["what"].as_str().is_some_and(|what| what.contains(text)));
        found.unwrap_or_else(|| panic!("nothing about {text}:\n{out}")).clone()
    };
    assert_eq!(find(&format!("\"checked\" {}", fine.address()))["level"], "good");
    let found = find(&format!("\"checked\" {}", sick.address()));
    assert!(
        found["level"] == "bad" && found["what"].as_str().is_some_and(|what| what.contains("answered 500")),
        "{found}"
    );
    let found = find(&format!("\"plain\" {gone}"));
    assert!(
        found["level"] == "bad"
            && found["remedy"].as_str().is_some_and(|what| what.contains("nobody listens")),
        "{found}"
    );
    let found = find("\"secure\"");
    assert!(
        found["level"] == "bad" && found["what"].as_str().is_some_and(|what| what.contains("TLS handshake")),
        "{found}"
    );
    assert!(
        fine.requests().iter().any(|request| request.target() == "/healthz"),
        "the check was really made"
    );

    let (_, out, _) = doctor(&[&file]);
    assert!(out.contains("do: nobody listens there") && out.contains("descriptors"), "{out}");
}

#[test]
fn a_host_is_examined_without_a_configuration_and_a_wrong_one_is_refused() {
    let (status, out, error) = doctor(&[]);
    assert!(matches!(status, Some(0 | 1)), "{status:?} {error}");
    for topic in ["io", "descriptors", "backlog", "ports", "cpu", "memory"] {
        assert!(
            out.lines().any(|line| line[6.min(line.len())..].starts_with(topic)),
            "{topic} is missing:\n{out}"
        );
    }
    let folder = Folder::new();
    let file = write(&folder, "listener \"web\" { bind \"nonsense\"; }\n");
    let (status, _, error) = doctor(&[&file]);
    assert!(status == Some(2) && error.contains("does not load"), "{status:?} {error}");
}
