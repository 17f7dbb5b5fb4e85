//! What is remembered of past requests: `/v1/requests` and `ringway why`.

use crate::harness::{Client, Origin, Reply, Ringway, wait_until};
use serde_json::Value;
use std::net::TcpListener;

fn json(ringway: &Ringway, path: &str) -> Value {
    let response = ringway.admin(path);
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    serde_json::from_slice(&response.body).expect("it is JSON")
}

/// What is remembered of a request that somebody has just been answered: it is written after the answer.
#[track_caller]
fn remembered(ringway: &Ringway, filter: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    wait_until(&format!("{count} remembered requests with {filter}"), || {
        let list = json(ringway, &format!("/v1/requests?limit=1000&{filter}"));
        found = list["requests"].as_array().expect("a list").clone();
        found.len() >= count
    });
    found
}

both! {
    fn a_failed_request_is_told_with_its_attempts_and_the_lines_that_decided(io) {
        let busy = Origin::start(|_| Reply::bytes("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
        let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let text = format!(
            "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n\
             upstream \"api\" {{ endpoint \"{}\"; endpoint \"{gone}\" tier=\"backup\"; balance \"round-robin\"; }}\n\
             site \"*\" {{\n\
             route \"/api/\" upstream=\"api\" {{ retry attempts=2 on=\"connect,503\"; }}\n\
             }}\n",
            busy.address()
        );
        let ringway = Ringway::start(&text, io);
        let response = ringway.client().get("/api/x?token=canary");
        assert!([502, 503].contains(&response.status), "{}", response.text());
        let nowhere = ringway.client().get("/elsewhere");
        assert_eq!(nowhere.status, 404);

        let failed = remembered(&ringway, "upstream=api", 1).remove(0);
        assert_eq!((failed["kept"].as_str(), failed["method"].as_str()), (Some("failure"), Some("GET")), "{failed}");
        assert_eq!(failed["path"], "/api/x", "{failed}");
        assert!(!failed.to_string().contains("canary"), "the query is not kept: {failed}");
        let origin = failed["route"]["origin"].as_str().expect("an origin");
        let text = std::fs::read_to_string(ringway.file()).expect("its file");
        let line = text.lines().position(|line| line.starts_with("route")).expect("the route") + 1;
        assert!(origin.ends_with(&format!("ringway.kdl:{line}:1")), "{origin}");
        let tried = failed["tried"].as_array().expect("a list");
        assert!(tried.len() >= 2, "both attempts are told: {failed}");
        let of_busy = tried.iter().find(|one| one["endpoint"] == busy.address().to_string()).expect("asked");
        assert_eq!((of_busy["outcome"].as_str(), of_busy["status"].as_u64()), (Some("answered"), Some(503)));

        let id = failed["id"].as_str().expect("an id");
        assert_eq!(json(&ringway, &format!("/v1/requests/{id}")), failed);
        let (status, out, _) = ringway.command(&["why", id]);
        assert_eq!(status, Some(0));
        for part in ["route", origin, "attempt", "answered 503", "outcome"] {
            assert!(out.contains(part), "{part:?} is missing:\n{out}");
        }
        assert_eq!(remembered(&ringway, "cause=no_route", 1)[0]["route"], Value::Null);
        let (status, out, _) = ringway.command(&["why", "--recent", "--cause", "no_route"]);
        assert!(status == Some(0) && out.contains("/elsewhere") && !out.contains("/api/x"), "{out}");

        let unknown = "0".repeat(32);
        let (status, _, error) = ringway.command(&["why", &unknown]);
        assert!(status == Some(1) && error.contains("nothing is known of"), "{status:?} {error}");
        for (path, status) in [("/v1/requests/xyz", 400), ("/v1/requests?cause=nonsense", 400),
                               ("/v1/requests?colour=red", 400), (&format!("/v1/requests/{unknown}")[..], 404)] {
            assert_eq!(ringway.admin(path).status, status, "{path}");
        }
        ringway.stop_after(busy);
    }

    fn what_went_well_is_sampled_and_memory_stays_fixed(io) {
        let origin = Origin::ok("fine");
        let of = |decisions: &str| format!(
            "{decisions}\nlistener \"web\" {{ bind \"127.0.0.1:0\"; }}\nworkers 1\n\
             upstream \"api\" {{ endpoint \"{}\"; }}\n\
             site \"*\" {{ route \"/\" upstream=\"api\"; route \"/no/\" {{ respond 404; }}; }}\n",
            origin.address()
        );
        let ringway = Ringway::start(&of("decisions { memory \"16KiB\"; sample \"10%\"; }"), io);
        let mut client = ringway.client();
        (0..100).for_each(|_| assert_eq!(client.get("/").status, 200));
        assert_eq!(remembered(&ringway, "status=200", 10).len(), 10, "one in ten");
        // A client that floods us with mistakes fills its ring and no more.
        for _ in 0..400 {
            let mut broken = Client::connect(ringway.address("web"));
            broken.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
            broken.response("GET");
        }
        wait_until("all failures are counted", || ringway.counted("ringway_decisions_kept") >= 410);
        let failures = remembered(&ringway, "cause=bad_host", 10).len();
        assert!(failures < 200, "the oldest are forgotten: {failures}");
        assert_eq!(remembered(&ringway, "status=200", 10).len(), 10, "and the sample stays");

        drop(client);
        ringway.reload(&of("decisions { memory \"0B\"; }"));
        let kept = ringway.counted("ringway_decisions_kept");
        (0..20).for_each(|_| assert_eq!(ringway.client().get("/").status, 200));
        assert_eq!(ringway.counted("ringway_decisions_kept"), kept, "nothing is kept any more");
        ringway.stop_after(origin);
    }
}
