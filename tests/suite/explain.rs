//! What is explained is what happens: the same request is explained and sent, and the access log is compared.

use crate::harness::{Client, Io, Origin, Ringway, wait_until};
use serde_json::{Value, json};

/// A configuration with something of everything that decides about a request.
fn text(origins: &[Origin; 3]) -> String {
    let [one, two, three] = origins.each_ref().map(Origin::address);
    format!(
        r#"
listener "web" {{ bind "127.0.0.1:0"; trusted-proxies "127.0.0.1"; }}
listener "inner" {{ bind "127.0.0.1:0"; }}
upstream "one" {{ endpoint "{one}"; }}
upstream "many" {{ endpoint "{one}"; endpoint "{two}"; endpoint "{three}"; balance "maglev"; hash-key "header:X-Key"; }}
upstream "kept" {{ endpoint "{one}"; endpoint "{two}"; sticky {{ cookie "S"; }}; }}
upstream "down" {{ endpoint "{three}"; }}
site "shop.test" "*.shop.test" {{
    listeners "web"
    route "/" upstream="one"
    route "/api/" upstream="many"
    route "/api/" upstream="one" {{ match {{ header "X-Beta" "1"; }}; rewrite {{ strip-prefix "/api"; }}; }}
    route "/api/" upstream="one" {{ methods "DELETE"; match {{ header "X-Beta" "1"; query "all"; }}; }}
    route exact="/api/exact" {{ respond 201 body="x"; }}
    route regex="^/users/[0-9]+$" priority=1 {{ redirect 307 to="/people{{path}}"; }}
    route "/small" upstream="one" {{ limits {{ body "10B"; }}; }}
    route "/from" {{ match {{ source "203.0.113.0/24"; }}; respond 200 body="near"; }}
    route "/kept" upstream="kept"
    route "/down" upstream="down"
}}
site "inner.test" {{ listeners "inner"; route "/only" {{ match {{ cookie "c" "1"; }}; respond 204; }}; }}
"#
    )
}

/// Method, listener, host, target, further fields.
const TABLE: &[(&str, &str, &str, &str, &[&str])] = &[
    ("GET", "web", "shop.test", "/", &[]),
    ("GET", "web", "a.shop.test", "/x/y?z=1", &[]),
    ("GET", "web", "SHOP.test", "/api/x", &["X-Key: 1"]),
    ("GET", "web", "shop.test", "/api/x", &["X-Key: 2"]),
    ("GET", "web", "shop.test", "/api/x", &["X-Key: 3"]),
    ("GET", "web", "shop.test", "/api/x", &["X-Beta: 1"]),
    ("GET", "web", "shop.test", "/api/x", &["X-Beta: 2", "X-Key: 7"]),
    ("DELETE", "web", "shop.test", "/api/x?all", &["X-Beta: 1"]),
    ("DELETE", "web", "shop.test", "/api/x?some", &["X-Beta: 1"]),
    ("GET", "web", "shop.test", "/api/exact", &[]),
    ("GET", "web", "shop.test", "/api/exact/", &["X-Key: 8"]),
    ("GET", "web", "shop.test", "/users/12", &[]),
    ("GET", "web", "shop.test", "/users/ab", &[]),
    ("POST", "web", "shop.test", "/small", &["Content-Length: 11"]),
    ("GET", "web", "shop.test", "/from", &["X-Forwarded-For: 203.0.113.9"]),
    ("GET", "web", "shop.test", "/from", &["X-Forwarded-For: 198.51.100.1"]),
    ("GET", "web", "shop.test", "/down", &[]),
    ("GET", "web", "other.test", "/", &[]),
    ("GET", "inner", "inner.test", "/only", &["Cookie: a=b; c=1"]),
    ("GET", "inner", "inner.test", "/only", &["Cookie: c=2"]),
    ("GET", "inner", "shop.test", "/", &[]),
    ("GET", "web", "shop.test", "/%zz", &[]),
    ("GET", "web", "shop.test", "/a/../../b", &[]),
    ("GET", "web", "shop.test", "/", &["Content-Length: 1", "Transfer-Encoding: chunked"]),
    ("GET", "web", "shop.test", "/", &["Expect: the-unexpected"]),
    ("GET", "web", "shop.test", "/", &["Bad Name: x"]),
];

#[track_caller]
fn explained(ringway: &Ringway, method: &str, url: &str, fields: &[&str], listener: &str) -> Value {
    let body = json!({ "method": method, "url": url, "headers": fields, "listener": listener });
    let response = ringway.change("/v1/explain", &body.to_string());
    assert_eq!(response.status, 200, "{method} {url}: {}", response.text());
    serde_json::from_slice(&response.body).expect("it is JSON")
}

both! {
    fn what_is_explained_is_what_happens(io) {
        let origins = [Origin::ok("1"), Origin::ok("2"), Origin::ok("3")];
        let ringway = Ringway::start(&text(&origins), io);
        let address = origins[2].address();
        let path = format!("/v1/upstreams/down/endpoints/{address}");
        assert_eq!(ringway.change(&path, r#"{"state":"down"}"#).status, 200);
        for (place, &(method, listener, host, target, fields)) in TABLE.iter().enumerate() {
            let told = explained(&ringway, method, &format!("http://{host}{target}"), fields, listener);
            let mut client = Client::connect(ringway.address(listener));
            let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
            let response = client.response(method);
            let record = ringway.records(place + 1).pop().expect("one for each request");
            let what = format!("{method} {host}{target} {fields:?}\n{told}\n{record}");
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            assert_eq!(word(&told["route"]["name"]), word(&record["route"]), "{what}");
            assert_eq!(word(&told["outcome"]["cause"]), word(&record["cause"]), "{what}");
            if told["outcome"]["what"] == "answered" {
                assert_eq!(told["outcome"]["status"], response.status, "{what}");
            } else {
                assert_eq!(word(&told["upstream"]["name"]), word(&record["upstream"]), "{what}");
                assert_eq!(told["upstream"]["is_determined"], true, "{what}");
                assert_eq!(word(&told["upstream"]["chosen"]), word(&record["endpoint"]), "{what}");
            }
            assert_eq!(word(&told["listener"]["name"]), word(&record["listener"]), "{what}");
            if told["route"].is_object() {
                assert_eq!(word(&told["client"]), word(&record["client"]), "{what}");
            }
        }
        ringway.stop_after(origins);
    }

    fn a_session_is_explained_by_its_cookie(io) {
        let origins = [Origin::ok("1"), Origin::ok("2"), Origin::ok("3")];
        let ringway = Ringway::start(&text(&origins), io);
        let mut client = ringway.client();
        client.send("GET /kept HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let cookie = client.response("GET").head.get("set-cookie").expect("a session").to_owned();
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let endpoint = ringway.records(1)[0]["endpoint"].clone();
        for _ in 0..10 {
            let field = format!("Cookie: {cookie}");
            let told = explained(&ringway, "GET", "http://shop.test/kept", &[&field], "web");
            assert_eq!((&told["upstream"]["chosen"], &told["upstream"]["is_determined"]), (&endpoint, &true.into()));
        }
        drop(client);
        ringway.stop_after(origins);
    }
}

#[test]
fn the_running_one_and_a_file_are_asked_on_the_command_line() {
    let origins = [Origin::ok("1"), Origin::ok("2"), Origin::ok("3")];
    let ringway = Ringway::start(&text(&origins), Io::Epoll);
    let address = origins[0].address();
    let url = format!("http://shop.test:{}/api/x", ringway.address("web").port());
    let (code, said, _) = ringway.command(&["explain", "GET", &url, "-H", "X-Beta: 1"]);
    assert_eq!(code, Some(0));
    for part in [
        "listener   web  127.0.0.1:".to_owned(),
        "not        shop.test /api/ DELETE header:X-Beta=1 query:all: the method is none of DELETE"
            .to_owned(),
        "sends      /x to Host shop.test".to_owned(),
        "timeouts response-header \"30s\"  [default]".to_owned(),
        format!("endpoint * {address}  up, weight 1"),
        format!("outcome    goes to {address}, whose answer is passed on"),
    ] {
        assert!(said.contains(&part), "{part}\n{said}");
    }
    let path = format!("/v1/upstreams/one/endpoints/{address}");
    assert_eq!(ringway.change(&path, r#"{"state":"down"}"#).status, 200);
    wait_until("the endpoint is down", || {
        let (_, said, _) = ringway.command(&["explain", "GET", "http://shop.test/"]);
        said.contains("; an operator took it down")
            && said.contains("Ringway answers 503 itself: no_endpoint")
    });
    let (code, _, complained) = ringway.command(&["explain", "GET", "nonsense"]);
    assert!(code == Some(1) && complained.contains("is no URL"), "{complained}");
    let bad = ringway.change("/v1/explain", r#"{"url":"/","body":"x"}"#);
    assert!(bad.status == 400 && bad.text().contains("only url is needed"), "{}", bad.text());
    let file = ringway.file().display().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["explain", "GET", "http://shop.test/api/exact", "--config", &file])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Ringway answers 201 itself: fixed_response"), "{said}");
    ringway.stop_after(origins);
}
