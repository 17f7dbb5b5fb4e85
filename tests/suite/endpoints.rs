//! What operators ask of single endpoints, and generations of the configuration that follow each other (R123, R149).

use crate::harness::{Client, Gate, Io, Load, Origin, Reply, Ringway, Setup, wait_until};

/// Where an endpoint of the suite's upstream is changed.
fn path(origin: &Origin) -> String {
    format!("/v1/upstreams/origin/endpoints/{}", origin.address())
}

#[track_caller]
fn set(ringway: &Ringway, origin: &Origin, json: &str) {
    let response = ringway.change(&path(origin), json);
    assert_eq!(response.status, 200, "{json}: {}", response.text());
}

both! {
    fn a_drained_endpoint_finishes_what_it_has_and_gets_nothing_new(io) {
        let opener = Gate::default();
        let gate = opener.clone();
        let slow = Origin::start(move |asked| match asked.target() {
            "/slow" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then_wait(&gate).then("slow"),
            _ => Reply::ok("drained"),
        });
        let other = Origin::ok("other");
        let setup = Setup { endpoints: vec![slow.address(), other.address()], ..Setup::default() };
        let ringway = setup.start(io);
        set(&ringway, &other, r#"{"state":"down"}"#);
        let mut waiting = ringway.client();
        waiting.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        slow.wait_for_requests(1);
        set(&ringway, &slow, r#"{"state":"drain"}"#);
        set(&ringway, &other, r#"{"state":"ready"}"#);
        let mut client = ringway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "other");
        }
        opener.open();
        assert_eq!(waiting.response("GET").text(), "slow", "what was under way finishes");
        assert_eq!(waiting.get("/").text(), "other", "the next request of the same client goes elsewhere");
        let upstream = ringway.upstream();
        let drained = &upstream["endpoints"][0];
        assert_eq!((&drained["service"], &drained["state"]), (&"drain".into(), &"up".into()), "{upstream}");
        assert!(drained["asked"]["by"].as_str().is_some_and(|by| by.starts_with("127.0.0.1:")), "{upstream}");
        let said = format!("{}: state ready -> drain, weight as configured -> as configured", slow.address());
        ringway.says(&said);
        set(&ringway, &slow, r#"{"state":"ready"}"#);
        wait_until("the drained endpoint is used again", || client.get("/").text() == "drained");
        ringway.stop_after((client, waiting, slow, other));
    }

    fn with_every_endpoint_down_the_answer_is_503_at_once(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        set(&ringway, &origin, r#"{"state":"down"}"#);
        let mut client = ringway.client();
        let answer = client.get("/");
        assert_eq!((answer.status, origin.connections()), (503, 0));
        assert!(answer.text().contains("no_endpoint"), "{}", answer.text());
        set(&ringway, &origin, r#"{"state":"ready"}"#);
        assert_eq!(client.get("/").status, 200);
        ringway.stop_after((client, origin));
    }

    fn weights_change_shares(io) {
        let (light, heavy) = (Origin::ok("light"), Origin::ok("heavy"));
        let endpoints = vec![light.address(), heavy.address()];
        let setup = Setup { endpoints, top: "workers 1", upstream: "balance \"round-robin\"", ..Setup::default() };
        let ringway = setup.start(io);
        set(&ringway, &heavy, r#"{"weight":9}"#);
        let mut client = ringway.client();
        let heavy_ones = (0..100).filter(|_| client.get("/").text() == "heavy").count();
        assert_eq!(heavy_ones, 90);
        let upstream = ringway.upstream();
        assert_eq!(upstream["endpoints"][1]["weight"], 9);
        assert_eq!(upstream["endpoints"][1]["asked"]["weight"], 9);
        set(&ringway, &heavy, r#"{"weight":null}"#);
        let heavy_ones = (0..100).filter(|_| client.get("/").text() == "heavy").count();
        assert_eq!(heavy_ones, 50);
        ringway.stop_after((client, light, heavy));
    }

    fn r123_two_hundred_generations_under_load_cost_no_request_and_no_memory(io) {
        let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
        let setup = Setup { endpoints: origins.iter().map(Origin::address).collect(), ..Setup::default() };
        let ringway = setup.start(io);
        let load = Load::start(ringway.address("web"), 4);
        let mut resident = 0;
        for n in 1..=200 {
            set(&ringway, &origins[n % 3], &format!("{{\"weight\":{n}}}"));
            if n == 50 {
                resident = ringway.resident_bytes();
            }
        }
        wait_until("the last generation is in use, and no other", || {
            let status = ringway.status();
            let mut workers = status["workers"].as_array().expect("a list").iter();
            status["generations"]["alive"] == 1 && workers.all(|worker| worker["generation"] == 201)
        });
        let grown = ringway.resident_bytes().saturating_sub(resident);
        assert!(grown < 4 << 20, "{grown} bytes more after 150 generations");
        let (answered, wrong) = load.stop();
        assert!(answered > 200 && wrong.is_empty(), "{answered} answered; {wrong:?}");
        let status = ringway.status();
        assert_eq!(status["generations"]["deployed"], 200, "{status}");
        ringway.stop_after(origins);
    }
}

#[test]
fn r149_what_is_wrong_with_a_change_is_said_and_nothing_is_changed() {
    let origin = Origin::ok("x");
    let ringway = Setup::to(origin.address()).start(Io::Epoll);
    let good = path(&origin);
    let absent = ringway.change("/v1/upstreams/none/endpoints/10.0.0.1:80", r#"{"state":"down"}"#);
    assert_eq!(absent.status, 404);
    assert!(absent.text().contains("there are: origin"), "{}", absent.text());
    let absent = ringway.change("/v1/upstreams/origin/endpoints/10.0.0.1:80", r#"{"state":"down"}"#);
    assert!(
        absent.status == 404 && absent.text().contains(&origin.address().to_string()),
        "{}",
        absent.text()
    );
    let bad = ringway.change(&good, r#"{"state":"off"}"#);
    assert!(bad.status == 400 && bad.text().contains("drain"), "{}", bad.text());
    let long = ringway.change(&good, &format!("{{\"state\":\"{}\"}}", "x".repeat(20_000)));
    assert_eq!(long.status, 413, "{}", long.text());
    let post = |fields: &str, body: &str| {
        let mut client = Client::connect(ringway.admin_address());
        let length = body.len();
        client.send(format!(
            "POST {good} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        client.response("POST").status
    };
    let json = "Content-Type: application/json\r\n";
    assert_eq!(post("Content-Type: text/plain\r\n", r#"{"state":"down"}"#), 415);
    assert_eq!(post("", r#"{"state":"down"}"#), 415);
    assert_eq!(post(&format!("{json}Origin: http://localhost\r\n"), r#"{"state":"down"}"#), 403);
    let get = ringway.admin(&good);
    assert_eq!((get.status, get.head.get("allow").map(str::to_owned)), (405, Some("POST".to_owned())));
    assert_eq!(ringway.upstream()["endpoints"][0]["service"], "ready");
    assert_eq!(post(json, r#"{"state":"down"}"#), 200);
    assert_eq!(ringway.upstream()["endpoints"][0]["service"], "down");
    ringway.stop_after(origin);
}

#[test]
fn the_command_line_sets_an_endpoint() {
    let origin = Origin::ok("x");
    let ringway = Setup::to(origin.address()).start(Io::Epoll);
    let (admin, address) = (ringway.admin_address().to_string(), origin.address().to_string());
    let command = |words: &[&str]| {
        let mut all = vec!["endpoint", "set", "origin", &address, "--admin", &admin];
        all.extend(words);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway")).args(all).output();
        let output = output.expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, _) = command(&["--state", "drain", "--weight", "7"]);
    assert_eq!(
        (code, said),
        (Some(0), format!("upstream \"origin\": {address}: state drain, weight 7, generation 2\n"))
    );
    assert_eq!(ringway.upstream()["endpoints"][0]["service"], "drain");
    let (code, said, _) = command(&["--state", "ready", "--weight", "configured", "--json"]);
    assert!(code == Some(0) && said.contains("\"weight\":1"), "{said}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["endpoint", "set", "nobody", &address, "--state", "drain", "--admin", &admin])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: origin"));
    ringway.stop_after(origin);
}
