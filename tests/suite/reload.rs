//! Another configuration while traffic flows: nothing that did not change is touched, and a wrong one changes nothing
//! (R124, R127).

use crate::harness::{Client, Gate, Io, Load, Origin, Reply, Ringway, Setup, wait_until};
use serde_json::Value;

/// What breaks a configuration.
type Step<'a> = Box<dyn Fn() + 'a>;

/// Everything goes to `origin`, the path `/fixed` answers `body`.
fn text(origin: &Origin, body: &str) -> String {
    let routes = format!("route \"/fixed\" {{ respond 200 body=\"{body}\" }}");
    Setup { endpoints: vec![origin.address()], routes: &routes, ..Setup::default() }.text()
}

#[track_caller]
fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// Sends `body` to `/v1/config`: status and answer.
#[track_caller]
fn put(ringway: &Ringway, target: &str, fields: &str, body: &str) -> (u16, Value) {
    let mut client = Client::connect(ringway.admin_address());
    let (admin, length) = (ringway.admin_address(), body.len());
    client.send(format!(
        "PUT {target} HTTP/1.1\r\nHost: {admin}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    let response = client.response("PUT");
    (response.status, json(&response.body))
}

both! {
    fn r124_a_connection_goes_on_and_its_next_request_has_the_new_configuration(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, "old"), io);
        let mut client = ringway.client();
        assert_eq!((client.get("/fixed").text(), client.get("/").status), ("old".into(), 200));
        let answer = ringway.reload(&text(&origin, "new"));
        assert_eq!((&answer["result"], &answer["generation"]), (&"applied".into(), &2.into()), "{answer}");
        assert_eq!(answer["summary"], "1 changed");
        wait_until("the new configuration is used", || client.get("/fixed").text() == "new");
        assert_eq!(client.get("/").status, 200);
        assert_eq!(origin.connections(), 1, "the pool was kept");
        let status = ringway.status();
        assert_eq!(status["config"]["reloads"]["applied"], 1, "{status}");
        assert_eq!(status["config"]["hash"], answer["hash"]);
        let metrics = ringway.admin("/metrics").text();
        assert!(metrics.contains("ringway_config_reloads_total{result=\"applied\"} 1\n"), "{metrics}");
        assert!(metrics.contains("ringway_config_last_reload_successful 1\n"));
        ringway.says("is in force, generation 2");
        ringway.stop_after((client, origin));
    }

    fn r124_an_exchange_ends_under_the_configuration_that_it_began_with(io) {
        let opener = Gate::default();
        let gate = opener.clone();
        let slow = Origin::start(move |_| {
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then_wait(&gate).then("slow")
        });
        let setup = |route: &str| {
            let (endpoints, listener) = (vec![slow.address()], "timeouts { keep-alive \"60s\" }");
            Setup { endpoints, listener, route, ..Setup::default() }.text()
        };
        let ringway = Ringway::start(&setup("headers { response { set \"X-Version\" \"1\" } }"), io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        slow.wait_for_requests(1);
        ringway.reload(&setup("headers { response { set \"X-Version\" \"2\" } }"));
        assert!(ringway.status()["generations"]["alive"].as_u64() >= Some(2));
        opener.open();
        let response = client.response("GET");
        assert_eq!((response.head.get("x-version"), response.text()), (Some("1"), "slow".to_owned()));
        assert_eq!(client.get("/").head.get("x-version"), Some("2"), "the next one on the same connection");
        wait_until("the old generation is freed", || ringway.status()["generations"]["alive"] == 1);
        ringway.stop_after((client, slow));
    }

    fn r124_sighup_reads_the_file_again(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, "old"), io);
        ringway.rewrite(&text(&origin, "new"));
        ringway.signal("HUP");
        let mut client = ringway.client();
        wait_until("the new configuration is used", || client.get("/fixed").text() == "new");
        ringway.stop_after((client, origin));
    }

    fn r127_a_wrong_configuration_changes_nothing_and_says_why(io) {
        let origin = Origin::ok("x");
        let good = text(&origin, "old");
        let ringway = Ringway::start(&good, io);
        let file = ringway.file();
        let mut client = ringway.client();
        let broken: Vec<(&str, Step)> = vec![
            ("half a text", Box::new(|| ringway.rewrite("site { "))),
            ("a name that nothing carries", Box::new(|| ringway.rewrite(&good.replace("upstream=\"origin\"", "upstream=\"orign\"")))),
            ("a value of the wrong type", Box::new(|| ringway.rewrite(&good.replace("respond 200", "respond \"x\"")))),
            ("no file", Box::new(|| std::fs::remove_file(&file).expect("it is there"))),
            ("an empty file", Box::new(|| std::fs::write(&file, "").expect("ours"))),
            ("no UTF-8", Box::new(|| std::fs::write(&file, [0xff, 0xfe, 0]).expect("ours"))),
            ("a file that is too large", Box::new(|| std::fs::write(&file, "// x\n".repeat(1 << 20)).expect("ours"))),
            ("a directory", Box::new(|| {
                std::fs::remove_file(&file).expect("ours");
                std::fs::create_dir(&file).expect("ours");
            })),
        ];
        let many = broken.len() as u64;
        for (what, break_it) in &broken {
            break_it();
            let answer = ringway.change("/v1/reload", "{}");
            let told = json(&answer.body);
            assert_eq!(answer.status, 422, "{what}: {told}");
            assert_eq!(answer.head.get("content-type"), Some("application/problem+json"));
            let (code, said, complained) = ringway.command(&["reload"]);
            assert_eq!((code, said.as_str()), (Some(2), ""), "{what}: {complained}");
            for problem in told["problems"].as_array().expect("a list") {
                let text = problem["text"].as_str().expect("a text");
                assert!(complained.contains(&format!("{text}\n\n")), "{what}: {complained}");
            }
            assert!(complained.contains("; the one in force stays\n"), "{complained}");
            assert_eq!(client.get("/fixed").text(), "old");
        }
        let status = ringway.status();
        assert_eq!((&status["generation"], &status["config"]["reloads"]["refused"]), (&1.into(), &(2 * many).into()));
        assert!(status["config"]["last_refused"].as_str().is_some_and(|why| !why.is_empty()), "{status}");
        assert!(ringway.admin("/metrics").text().contains("ringway_config_last_reload_successful 0\n"));
        ringway.says("configuration refused, the one in force stays (asked by 127.0.0.1:");
        std::fs::remove_dir(&file).expect("ours");
        drop(broken);
        ringway.reload(&text(&origin, "new"));
        wait_until("it is mended", || client.get("/fixed").text() == "new");
        assert!(ringway.status()["config"]["last_refused"].is_null());
        ringway.stop_after((client, origin));
    }

    fn what_counts_only_after_a_restart_is_said(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, "old"), io);
        let (code, said, _) = {
            ringway.rewrite(&format!("workers 3\n{}", text(&origin, "new")));
            ringway.command(&["reload"])
        };
        assert_eq!(code, Some(0));
        assert!(said.contains("~ workers: 2 -> 3  (takes effect at restart)\n"), "{said}");
        let status = ringway.status();
        assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
        assert_eq!(status["config"]["at_restart"].as_array().map(Vec::len), Some(1), "{status}");
        ringway.says("workers: takes effect at restart");
        let (_, said, _) = {
            ringway.rewrite(&format!("workers 3\n{}", text(&origin, "newer")));
            ringway.command(&["reload"])
        };
        assert!(said.contains("still waits for a restart: ~ workers: 2 -> 3"), "{said}");
        ringway.reload(&text(&origin, "new"));
        assert_eq!(ringway.status()["config"]["at_restart"].as_array().map(Vec::len), Some(0));
        ringway.stop_after(origin);
    }

    fn a_configuration_sent_to_the_admin_api_is_compared_and_put_into_force(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, "old"), io);
        let json_type = "Content-Type: application/json\r\n";
        let shown = ringway.admin("/v1/config");
        let tag = shown.head.get("etag").expect("a tag").to_owned();
        let changed = shown.text().replace("\"old\"", "\"new\"");
        let (status, answer) = put(&ringway, "/v1/config?dry-run=1", json_type, &changed);
        assert_eq!((status, &answer["result"]), (200, &"checked".into()), "{answer}");
        assert_eq!(answer["changes"][0]["name"], "site \"*\" route \"/fixed\" respond body", "{answer}");
        assert_eq!(ringway.status()["generation"], 1);
        let (status, answer) = put(&ringway, "/v1/config", &format!("{json_type}If-Match: {tag}\r\n"), &changed);
        assert_eq!((status, &answer["generation"]), (200, &2.into()), "{answer}");
        let mut client = ringway.client();
        wait_until("the new configuration is used", || client.get("/fixed").text() == "new");
        assert_eq!(ringway.status()["config"]["source"], "the admin API");
        let (status, _) = put(&ringway, "/v1/config", &format!("{json_type}If-Match: {tag}\r\n"), &changed);
        assert_eq!(status, 412, "another one is in force by now");
        let kdl = std::fs::read_to_string(ringway.file()).expect("it is there").replace("\"old\"", "\"kdl\"");
        let (status, answer) = put(&ringway, "/v1/config", "Content-Type: application/kdl\r\n", &kdl);
        assert_eq!(status, 200, "{answer}");
        wait_until("the new configuration is used", || client.get("/fixed").text() == "kdl");
        for (fields, body, expected) in [
            (json_type, "{", 422),
            (json_type, "{\"listeners\": []}", 422),
            ("Content-Type: application/kdl\r\n", "include \"/etc/*.kdl\"", 422),
            ("Content-Type: application/kdl\r\n", "upstream \"x\" { endpoint (file)\"/etc/hostname\" }", 422),
            ("Content-Type: text/plain\r\n", &kdl, 415),
            ("Content-Type: application/json\r\nOrigin: http://localhost\r\n", &changed, 403),
        ] {
            let (status, answer) = put(&ringway, "/v1/config", fields, body);
            assert_eq!(status, expected, "{body}: {answer}");
        }
        assert_eq!(put(&ringway, "/v1/config?dryrun=1", json_type, &changed).0, 400, "no change by misspelling");
        assert_eq!(ringway.status()["generation"], 3);
        ringway.reload(&text(&origin, "file"));
        wait_until("the file counts again", || client.get("/fixed").text() == "file");
        ringway.stop_after((client, origin));
    }

    fn r124_what_was_learnt_survives_a_reload(io) {
        let origins = [Origin::ok("a"), Origin::ok("b")];
        let setup = |weight: u32, routes: &str| {
            let upstream = format!("endpoint \"{}\" weight={weight}\nbalance \"round-robin\"", origins[1].address());
            Setup { endpoints: vec![origins[0].address()], upstream: &upstream, routes, ..Setup::default() }.text()
        };
        let ringway = Ringway::start(&setup(1, ""), io);
        let path = format!("/v1/upstreams/origin/endpoints/{}", origins[1].address());
        assert_eq!(ringway.change(&path, r#"{"state":"drain"}"#).status, 200);
        let mut client = ringway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "a");
        }
        let counted = |name: &str| {
            let metrics = ringway.admin("/metrics").text();
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok()).unwrap_or(-1.0)
        };
        let requests = "ringway_requests_total{route=\"* /\",code=\"2xx\"}";
        // An exchange is counted after its response has been handed over.
        wait_until("all are counted", || counted(requests) == 20.0);
        ringway.reload(&setup(5, "route \"/other\" { respond 204 }"));
        assert_eq!(counted(requests), 20.0, "counters go on");
        let upstream = ringway.upstream();
        let drained = &upstream["endpoints"][1];
        assert_eq!((&drained["service"], &drained["weight"]), (&"drain".into(), &5.into()), "{upstream}");
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "a", "it is still drained");
        }
        assert_eq!(origins[0].connections(), 1, "the connection to it is still used");
        ringway.stop_after((client, origins));
    }

    fn r124_a_hundred_reloads_under_load_cost_no_request(io) {
        let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
        let setup = |n: usize| {
            // Endpoints come and go, routes change their number and what they do.
            let endpoints = origins.iter().enumerate().filter(|(at, _)| at % 3 != n % 3);
            let routes: String = (0..n % 7).map(|at| format!("route \"/r{at}\" {{ respond 200 body=\"{n}\" }}\n")).collect();
            let endpoints = endpoints.map(|(_, origin)| origin.address()).collect();
            // No connection is closed for having carried enough.
            let listener = "limits { requests-per-connection 100000000; }";
            Setup { endpoints, listener, routes: &routes, ..Setup::default() }.text()
        };
        let ringway = Ringway::start(&setup(0), io);
        let load = Load::start(ringway.address("web"), 4);
        for n in 1..=100 {
            ringway.reload(&setup(n));
        }
        wait_until("the last generation is in use, and no other", || {
            let status = ringway.status();
            let mut workers = status["workers"].as_array().expect("a list").iter();
            status["generations"]["alive"] == 1 && workers.all(|worker| worker["generation"] == 101)
        });
        let metrics = ringway.admin("/metrics").text();
        let (answered, wrong) = load.stop();
        assert!(answered > 200 && wrong.is_empty(), "{answered} answered; {wrong:?}");
        // A busy machine may have shed one; nothing else has ended any.
        let ended = metrics.lines().filter(|line| line.starts_with("ringway_connections_ended_total"));
        let ended: Vec<&str> =
            ended.filter(|line| !line.contains("cause=\"shed\"") && !line.ends_with(" 0")).collect();
        assert!(ended.is_empty(), "every client has kept its connection: {ended:?}");
        ringway.stop_after(origins);
    }
}

#[test]
fn a_watched_file_is_read_again_when_it_or_what_it_includes_changes() {
    let origin = Origin::ok("x");
    let main = |body: &str| format!("{}include \"sites/*.kdl\"\n", text(&origin, body));
    let ringway = Ringway::start_with(&["--watch"], &text(&origin, "old"), Io::Epoll);
    let mut client = ringway.client();
    let sites = ringway.file().with_file_name("sites");
    std::fs::create_dir(&sites).expect("ours");
    ringway.rewrite(&main("new"));
    wait_until("the file is read again", || client.get("/fixed").text() == "new");
    let site =
        |body: &str| format!("site \"more.test\" {{ route \"/\" {{ respond 200 body=\"{body}\"; }}; }}\n");
    let mut more = ringway.client();
    let mut body = || {
        more.send("GET / HTTP/1.1\r\nHost: more.test\r\n\r\n");
        more.response("GET").text()
    };
    std::fs::write(sites.join("more.kdl"), site("one")).expect("ours");
    wait_until("a new file is found", || body() == "one");
    std::fs::write(sites.join("more.kdl"), site("two")).expect("ours");
    wait_until("an included file is read again", || body() == "two");
    std::fs::write(sites.join("more.kdl"), "nonsense").expect("ours");
    wait_until("a broken one is refused", || ringway.status()["config"]["reloads"]["refused"] == 1);
    assert_eq!(body(), "two");
    std::fs::write(sites.join("more.kdl"), site("three")).expect("ours");
    wait_until("it is mended", || body() == "three");
    ringway.says("(asked by a change of the file)");
    drop(more);
    ringway.stop_after((client, origin));
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let origin = Origin::ok("x");
    let ringway = Ringway::start(&text(&origin, "old"), Io::Epoll);
    let new = ringway.file().with_file_name("planned.kdl");
    let old = std::fs::read_to_string(ringway.file()).expect("it is there");
    std::fs::write(&new, old.replace("\"old\"", "\"new\"").replace("workers 2", "workers 4")).expect("ours");
    let new = new.display().to_string();
    let (code, said, _) = ringway.command(&["plan", &new]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("2 changed\n  ~ workers: 2 -> 4  (takes effect at restart)"), "{said}");
    assert!(
        said.contains(
            "~ site \"*\" route \"/fixed\" respond body: \"old\" -> \"new\"  (with the next request)"
        ),
        "{said}"
    );
    std::fs::write(&new, "nonsense").expect("ours");
    let (code, said, complained) = ringway.command(&["plan", &new]);
    assert!(code == Some(2) && said.is_empty() && complained.contains("planned.kdl:1:1"), "{complained}");
    assert_eq!(ringway.status()["generation"], 1);
    ringway.stop_after(origin);
}

#[test]
fn r124_five_hundred_reloads_leave_no_memory_and_no_generation_behind() {
    let origin = Origin::ok("x");
    let ringway = Ringway::start(&text(&origin, "0"), Io::Epoll);
    let load = Load::start(ringway.address("web"), 2);
    let mut resident = 0;
    for n in 1..=500 {
        ringway.reload(&text(&origin, &n.to_string()));
        if n == 100 {
            resident = ringway.resident_bytes();
        }
    }
    wait_until("no old generation is left", || ringway.status()["generations"]["alive"] == 1);
    let grown = ringway.resident_bytes().saturating_sub(resident);
    assert!(grown < 2 << 20, "{grown} bytes more after 400 reloads");
    let (answered, wrong) = load.stop();
    assert!(answered > 500 && wrong.is_empty(), "{answered} answered; {wrong:?}");
    ringway.stop_after(origin);
}

#[test]
fn without_a_file_there_is_nothing_to_read_again() {
    let origin = Origin::ok("x");
    let mut process = crate::harness::process::Process::start(
        env!("CARGO_BIN_EXE_ringway"),
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &origin.address().to_string(),
            "--admin",
            "127.0.0.1:0",
        ],
    );
    let admin =
        process.wait_for_line("the admin address", |line| Some(line.strip_prefix("admin on ")?.to_owned()));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["reload", "--admin", &admin])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("started without a configuration file"),
        "{said}"
    );
    process.signal("TERM");
    assert!(process.wait().is_some_and(|status| status.success()));
}

#[test]
fn r124_reloads_at_once_come_one_after_the_other() {
    let origin = Origin::ok("x");
    let ringway = Ringway::start(&text(&origin, "0"), Io::Epoll);
    std::thread::scope(|scope| {
        for n in 1..=8 {
            let (ringway, origin) = (&ringway, &origin);
            scope.spawn(move || {
                for _ in 0..3 {
                    let shown = ringway.admin("/v1/config").text();
                    assert!(shown.contains("\"listeners\""));
                    let body = text(origin, &n.to_string());
                    let kdl = format!("admin {{ bind \"127.0.0.1:0\" }}\n{body}");
                    let (status, answer) =
                        put(ringway, "/v1/config", "Content-Type: application/kdl\r\n", &kdl);
                    assert_eq!((status, &answer["result"]), (200, &"applied".into()), "{answer}");
                }
            });
        }
    });
    let status = ringway.status();
    assert_eq!((&status["generation"], &status["config"]["reloads"]["applied"]), (&25.into(), &24.into()));
    wait_until("only one is left", || ringway.status()["generations"]["alive"] == 1);
    ringway.stop_after(origin);
}

#[test]
fn a_reload_while_the_node_stops_is_refused() {
    let opener = Gate::default();
    let gate = opener.clone();
    let slow = Origin::start(move |_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then_wait(&gate).then("slow")
    });
    let ringway = Setup::to(slow.address()).start(Io::Epoll);
    let mut client = ringway.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.wait_for_requests(1);
    ringway.signal("TERM");
    wait_until("it drains", || ringway.status()["draining"] == true);
    let answer = ringway.change("/v1/reload", "{}");
    assert!(answer.status == 503 && answer.text().contains("about to stop"), "{}", answer.text());
    opener.open();
    assert_eq!(client.response("GET").text(), "slow");
    drop((client, slow));
    ringway.expect_clean_exit();
}
