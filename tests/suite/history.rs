//! Configurations that were in force before: going back, going back unless confirmed, and starting with the last good one.

use crate::harness::process::Process;
use crate::harness::{Client, Folder, Io, Ringway, wait_until};

fn text(body: &str) -> String {
    format!(
        "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\nsite \"*\" {{ route \"/\" {{ respond 200 body=\"{body}\"; }}; }}\n"
    )
}

/// A file beside that of `ringway`, complete and with this body.
fn file(ringway: &Ringway, body: &str) -> String {
    let file = ringway.file().with_file_name("new.kdl");
    let old = std::fs::read_to_string(ringway.file()).expect("it is there");
    let site = old.find("respond 200 body=\"").expect("the harness wrote it");
    let end = old[site + 18..].find('"').expect("it ends") + site + 18;
    std::fs::write(&file, format!("{}respond 200 body=\"{body}{}", &old[..site], &old[end..])).expect("ours");
    file.display().to_string()
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back() {
    let ringway = Ringway::start(&text("old"), Io::Epoll);
    let mut client = ringway.client();
    let new = file(&ringway, "new");
    let (code, said, complained) = ringway.command(&["apply", &new, "--confirm", "1s"]);
    assert_eq!(code, Some(0), "{complained}");
    assert!(said.contains("is in force, generation 2: 1 changed"), "{said}");
    wait_until("it is taken back", || ringway.status()["generation"] == 3);
    wait_until("the old one counts", || client.get("/").text() == "old");
    ringway.says("(asked by nobody confirming ");
    let (code, _, complained) = ringway.command(&["confirm"]);
    assert!(code == Some(1) && complained.contains("nothing waits to be confirmed"), "{complained}");
    ringway.stop_after(client);
}

#[test]
fn a_change_that_is_confirmed_stays_and_can_be_taken_back_later() {
    let ringway = Ringway::start(&text("old"), Io::Epoll);
    let mut client = ringway.client();
    let new = file(&ringway, "new");
    assert_eq!(ringway.command(&["apply", &new, "--confirm", "1h"]).0, Some(0));
    let (_, said, _) = ringway.command(&["history"]);
    assert!(said.lines().next().is_some_and(|line| line.contains("in force  goes back in")), "{said}");
    assert_eq!(ringway.command(&["confirm"]).0, Some(0));
    let (_, said, _) = ringway.command(&["history"]);
    assert!(said.lines().count() == 2 && !said.contains("goes back"), "{said}");
    wait_until("the new one counts", || client.get("/").text() == "new");
    let hash = said.lines().nth(1).and_then(|line| line.split(' ').next()).expect("a hash").to_owned();
    assert_eq!(ringway.command(&["rollback", &hash[..8]]).0, Some(0));
    wait_until("the old one counts", || client.get("/").text() == "old");
    assert_eq!(ringway.command(&["rollback"]).0, Some(0));
    wait_until("the one before counts", || client.get("/").text() == "new");
    let (code, _, complained) = ringway.command(&["rollback", "ffffffffffff"]);
    assert!(code == Some(1) && complained.contains("/v1/history"), "{complained}");
    ringway.stop_after(client);
}

#[test]
fn another_change_ends_the_trial_of_the_first_and_only_ten_are_kept() {
    let ringway = Ringway::start(&text("0"), Io::Epoll);
    let new = file(&ringway, "trial");
    assert_eq!(ringway.command(&["apply", &new, "--confirm", "1h"]).0, Some(0));
    for n in 1..=15 {
        ringway.reload(&text(&n.to_string()));
    }
    let history: serde_json::Value =
        serde_json::from_slice(&ringway.admin("/v1/history").body).expect("it is JSON");
    assert!(history["on_trial"].is_null(), "{history}");
    assert_eq!(history["earlier"].as_array().map(Vec::len), Some(10), "{history}");
    ringway.stop();
}

#[test]
fn what_is_applied_may_name_nothing_outside_itself() {
    let ringway = Ringway::start(&text("old"), Io::Epoll);
    let new = file(&ringway, "new");
    let old = std::fs::read_to_string(&new).expect("ours");
    std::fs::write(&new, format!("include \"/etc/*.kdl\"\n{old}")).expect("ours");
    let (code, _, complained) = ringway.command(&["apply", &new]);
    assert!(code == Some(2) && complained.contains("request:1:"), "{complained}");
    assert_eq!(ringway.status()["generation"], 1);
    ringway.stop();
}

/// Starts with a file and a directory for the last good configuration.
fn start(folder: &Folder, text: &str) -> Process {
    let file = folder.path().join("main.kdl");
    let admin = "admin { bind \"127.0.0.1:0\"; }\n";
    std::fs::write(&file, format!("{admin}{text}")).expect("ours");
    let (file, kept) = (file.display().to_string(), folder.path().join("state").display().to_string());
    Process::start(env!("CARGO_BIN_EXE_ringway"), &["run", &file, "--last-good", &kept])
}

/// What `/` answers, once it listens.
fn body(process: &Process) -> String {
    let address = process.wait_for_line("where it listens", |line| {
        let (_, rest) = line.split_once("listening on ")?;
        rest.split(' ').next()?.parse().ok()
    });
    process.wait_for_line("the admin API", |line| line.contains("admin on ").then_some(()));
    Client::connect(address).get("/").text()
}

fn stop(mut process: Process) -> (bool, String) {
    process.signal("TERM");
    (process.wait().is_some_and(|status| status.success()), process.last_words())
}

#[test]
fn a_broken_file_is_no_reason_not_to_start_with_what_was_good() {
    let folder = Folder::new();
    let kept = folder.path().join("state/last-good.json");
    let mut process = start(&folder, "nonsense");
    assert!(process.wait().is_some_and(|status| status.code() == Some(2)), "nothing is kept yet");
    assert!(process.last_words().contains("last-good.json: "), "{}", process.last_words());
    let process = start(&folder, &text("good"));
    assert_eq!(body(&process), "good");
    wait_until("it is kept", || kept.exists());
    assert!(stop(process).0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&kept.metadata().expect("it is kept").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let process = start(&folder, "nonsense");
    assert_eq!(body(&process), "good");
    let (clean, said) = stop(process);
    assert!(
        clean
            && said.contains("main.kdl:2:1: error: ")
            && said.contains("starting with the last good configuration"),
        "{said}"
    );
    let process = start(&folder, &text("better"));
    assert_eq!(body(&process), "better", "a good file counts");
    assert!(stop(process).0);
    let left = std::fs::read_dir(folder.path().join("state")).expect("ours").count();
    assert_eq!(left, 1, "one file, whatever was kept before");
    std::fs::write(&kept, "{").expect("ours");
    let mut process = start(&folder, "nonsense");
    assert!(process.wait().is_some_and(|status| status.code() == Some(2)), "what is kept is broken too");
}

/// Tunnels hold the generation in which they began, and nothing holds it longer.
#[test]
fn r124_a_long_tunnel_holds_one_generation_and_gives_it_back() {
    use crate::harness::{Origin, Reply, Setup};
    const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let origin = Origin::start(|_| {
        Reply::bytes("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .then_echo()
    });
    let setup = |n: usize| {
        let routes = format!("route \"/n\" {{ respond 200 body=\"{n}\" }}");
        Setup { endpoints: vec![origin.address()], routes: &routes, ..Setup::default() }.text()
    };
    let ringway = Ringway::start(&setup(0), Io::Epoll);
    let mut tunnels = Vec::new();
    let before = ringway.resident_bytes();
    for n in 1..=20 {
        let mut client = ringway.client();
        client.send(UPGRADE);
        assert!(client.head().expect("a head").start.starts_with("HTTP/1.1 101 "));
        tunnels.push(client);
        ringway.reload(&setup(n));
    }
    let alive = ringway.status()["generations"]["alive"].as_u64().unwrap_or(0);
    assert!((2..=21).contains(&alive), "{alive} generations for 20 tunnels");
    let grown = ringway.resident_bytes().saturating_sub(before) / 20;
    assert!(grown < 256 << 10, "{grown} bytes for each tunnel and generation");
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.send("x").exactly(1), b"x", "the tunnel goes on");
    }
    drop(tunnels);
    wait_until("all of them are given back", || ringway.status()["generations"]["alive"] == 1);
    println!("{alive} generations for 20 tunnels, {grown} bytes each");
    ringway.stop_after(origin);
}
