//! The binary as people and scripts start it: exit statuses, what is printed where, signals, the demo.
//!
//! Unlike the rest of the suite these tests are about the process, not about traffic, so they do not run once per
//! driver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::harness::process::Process;
use super::harness::{Folder, PATIENCE};

const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");

const GOOD: &str =
    "listener \"web\" { bind \"127.0.0.1:0\"; }\nsite \"*\" { route \"/\" { respond 200; }; }\n";

/// How a command that ends by itself has ended.
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary to its end; one that does not end is killed and has no status of ours.
#[track_caller]
fn ringway(arguments: &[&str]) -> Ended {
    let output = Command::new("timeout")
        .args(["-s", "KILL", "30", RINGWAY])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("timeout is part of coreutils");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the binary prints UTF-8");
    Ended { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Starts `ringway run` on words; the address that it listens on and the process.
#[track_caller]
fn run(listen: &str, upstream: SocketAddr, more: &[&str]) -> (Process, SocketAddr) {
    let upstream = upstream.to_string();
    let mut arguments = vec!["run", "--listen", listen, "--upstream", &upstream];
    arguments.extend(more);
    let process = Process::start(RINGWAY, &arguments);
    let address = process.wait_for_line("the listening line", |line| {
        line.strip_prefix("listening on ")?.strip_suffix(" (listener \"listen\")")?.parse().ok()
    });
    (process, address)
}

/// An upstream that accepts connections into its queue and never answers.
fn silent_upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

#[test]
fn check_ends_with_0_for_good_1_for_strict_warnings_and_2_for_errors() {
    let folder = Folder::new();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.display().to_string()
    };
    let unused = format!("{GOOD}upstream \"api\" {{ endpoint \"127.0.0.1:1\"; }}\n");
    let (good, warned) = (file("good.kdl", GOOD), file("warned.kdl", &unused));
    let broken = file("broken.kdl", &GOOD.replace("bind", "bund"));
    let status = |arguments: &[&str]| ringway(arguments).status;
    assert_eq!(status(&["check", "--strict", &good]), Some(0));
    assert_eq!(status(&["check", &warned]), Some(0));
    assert_eq!(status(&["check", "--strict", &warned]), Some(1));
    assert_eq!(status(&["check", &broken]), Some(2));
    assert_eq!(status(&["run", &broken]), Some(2), "what check refuses does not run");
    assert_eq!(status(&["chekc", &good]), Some(2));

    let said = ringway(&["check", "--json", &broken]);
    let document: Value = serde_json::from_str(&said.stdout).expect("JSON on standard output");
    assert_eq!((&document["valid"], document["errors"].as_u64() >= Some(1)), (&Value::Bool(false), true));
    let people = ringway(&["check", &broken]).stderr;
    assert!(
        people.contains("broken.kdl:1:18: error: ") && people.contains("did you mean \"bind\"?"),
        "{people}"
    );
}

#[test]
fn the_json_form_of_a_configuration_is_the_same_configuration() {
    let folder = Folder::new();
    let (kdl, json) = (folder.path().join("a.kdl"), folder.path().join("a.json"));
    std::fs::write(&kdl, GOOD).expect("the folder is ours");
    let first = ringway(&["config", "to-json", &kdl.display().to_string()]);
    std::fs::write(&json, &first.stdout).expect("the folder is ours");
    let second = ringway(&["config", "to-json", &json.display().to_string()]);
    assert_eq!((first.status, second.status), (Some(0), Some(0)), "{}", second.stderr);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn a_port_that_is_taken_is_refused_with_a_next_step() {
    let (_silent, upstream) = silent_upstream();
    let (mut first, address) = run("127.0.0.1:0", upstream, &[]);
    let second = ringway(&["run", "--listen", &address.to_string(), "--upstream", &upstream.to_string()]);
    assert_eq!(second.status, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("cannot listen on {address}")), "{}", second.stderr);
    assert!(second.stderr.contains("hint: "), "{}", second.stderr);
    first.signal("TERM");
    assert!(first.wait().is_some_and(|status| status.success()));
}

#[test]
fn status_shows_what_runs_and_fails_when_nothing_does() {
    let folder = Folder::new();
    let socket = format!("unix:{}", folder.path().join("admin.sock").display());
    let (_silent, upstream) = silent_upstream();
    let (mut process, address) = run("127.0.0.1:0", upstream, &["--admin", &socket, "--workers", "1"]);
    process
        .wait_for_line("the address of the admin listener", |line| line.strip_prefix("admin on ").map(drop));
    let people = ringway(&["status", "--admin", &socket]);
    assert_eq!(people.status, Some(0), "{}", people.stderr);
    for part in [address.to_string(), upstream.to_string(), "driver ".to_owned(), "of at most ".to_owned()] {
        assert!(people.stdout.contains(&part), "{part:?} is missing:\n{}", people.stdout);
    }
    let machine = ringway(&["status", "--json", "--admin", &socket]);
    let document: Value = serde_json::from_str(&machine.stdout).expect("JSON on standard output");
    assert_eq!(document["status"]["pid"].as_u64(), Some(process.id().into()));
    assert_eq!(document["upstreams"][0]["endpoints"][0]["address"].as_str(), Some(&*upstream.to_string()));
    process.signal("INT");
    assert!(process.wait().is_some_and(|status| status.success()));
    let gone = ringway(&["status", "--admin", &socket]);
    assert_eq!((gone.status, gone.stderr.contains("hint: ")), (Some(1), true), "{}", gone.stderr);
}

#[test]
fn a_second_signal_cuts_what_the_first_one_would_have_finished() {
    let (silent, upstream) = silent_upstream();
    let (mut process, address) = run("127.0.0.1:0", upstream, &[]);
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    // From here on the exchange is under way: its request has reached the upstream.
    let (mut held, _) = silent.accept().expect("it forwards");
    let mut first = [0; 1];
    held.read_exact(&mut first).expect("the request comes");
    process.signal("TERM");
    process.wait_for_line("the first signal", |line| line.starts_with("SIGTERM: ").then_some(()));
    assert!(process.runs(), "it waits for the open exchange");
    process.signal("INT");
    assert_eq!(process.wait().and_then(|status| status.code()), Some(1), "{}", process.stderr());
    let mut rest = Vec::new();
    let ended = client.read_to_end(&mut rest);
    assert!(ended.is_err() || rest.is_empty(), "nothing was answered: {rest:?}");
}

#[test]
fn the_demo_serves_its_own_load_and_ends_by_itself() {
    let ended = ringway(&["demo", "--load", "4", "--seconds", "3"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    for part in ["curl -i http://127.0.0.1:", "/break", "ringway status --admin 127.0.0.1:"] {
        assert!(ended.stdout.contains(part), "{part:?} is missing:\n{}", ended.stdout);
    }
    let figures: Vec<&str> = ended.stdout.lines().filter(|line| line.contains(" requests/s ")).collect();
    assert_eq!(figures.len(), 3, "one line per second:\n{}", ended.stdout);
    let rate = |line: &str| line.split_whitespace().nth(1).and_then(|rate| rate.parse::<u64>().ok());
    assert!(figures.iter().any(|line| rate(line) > Some(0)), "{figures:?}");
    assert!(figures.iter().all(|line| line.contains(" 0 failed ")), "{figures:?}");
}
