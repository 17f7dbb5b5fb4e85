//! Explanations of a file: what is told, and what is not clear.

use super::*;
use config::{Format, Sealed};
use serde_json::{Value, json};

const CONFIG: &str = r#"
listener "web" { bind "127.0.0.1:8080"; trusted-proxies "10.0.0.0/8"; }
listener "inner" { bind "127.0.0.1:8081"; }
tcp "db" { bind "127.0.0.1:5432"; upstream "api"; }
upstream "api" { endpoint "10.0.0.1:80"; endpoint "10.0.0.2:80"; balance "maglev"; hash-key "path"; }
upstream "none" { endpoint "names.example:80"; }
site "shop.example" {
    listeners "web"
    headers { response { set "X-Site" "shop"; remove "Server"; }; }
    route "/api/" upstream="api" { methods "POST"; }
    route "/api/" upstream="api" {
        match { header "X-Beta" "1"; query "v"; }
        rewrite { strip-prefix "/api"; host "api.internal"; }
        headers { request { set "X-Env" "prod"; remove "X-Debug"; }; }
        limits { body "1KiB"; }
        timeouts { total "7s"; }
    }
    route "/old/" { redirect 308 to="https://new.example{path}"; }
    route "/empty" upstream="none"
}
site "inner.example" { listeners "inner"; route "/" { respond 200 body="inner"; }; }
"#;

fn ask(method: &str, url: &str, fields: &[&str], from: &str) -> Result<Value, Unclear> {
    let config = config::parse(CONFIG, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
    let snapshot = crate::compile(&config, 1, None).unwrap().snapshot;
    let mut question = Question::new(method, url)?;
    fields.iter().try_for_each(|field| question.field(field))?;
    question.from = from.parse().unwrap();
    let now = Instant::ZERO;
    let subject = Subject { config: &config, snapshot: &snapshot, listening: &[], now, live: false };
    explain(subject, &question).map(|told| serde_json::to_value(told).unwrap())
}

fn get(url: &str, fields: &[&str]) -> Value {
    ask("GET", url, fields, "127.0.0.1").unwrap_or_else(|unclear| panic!("{unclear}"))
}

#[test]
fn routes_that_were_passed_over_say_what_was_missing() {
    let told = get("http://shop.example:8080/api/x?v=1", &[]);
    assert_eq!(told["listener"]["name"], "web");
    let missed: Vec<&str> =
        told["considered"].as_array().unwrap().iter().filter_map(|one| one["missed"].as_str()).collect();
    assert_eq!(missed, ["header X-Beta is not \"1\"", "the method is none of POST"]);
    assert_eq!(told["considered"][1]["origin"], "test.kdl:10:5");
    assert_eq!(
        told["outcome"],
        json!({ "what": "answered", "status": 404, "cause": "no_route", "title": "No route matches the request." })
    );
    let told = get("http://shop.example:8080/api/x", &["X-Beta: 1"]);
    assert_eq!(told["considered"][0]["missed"], "there is no query parameter v");
}

#[test]
fn what_is_sent_and_what_is_in_force_is_told_with_its_place() {
    let told = get("http://shop.example:8080/api/x?v=1", &["X-Beta: 1", "X-Debug: y", "Cookie: a=b"]);
    let sent = &told["to_endpoint"];
    assert_eq!((&sent["target"], &sent["host"]), (&json!("/x?v=1"), &json!("api.internal")));
    assert_eq!(sent["fields"], json!({ "set": [["X-Env", "prod"]], "removed": ["X-Debug"] }));
    assert_eq!(told["response"]["set"], json!([["X-Site", "shop"]]));
    assert!(told["response"]["removed"].as_array().unwrap().contains(&json!("Server")));
    let settings = told["route"]["settings"].as_array().unwrap();
    let of = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap();
    assert_eq!(
        (&of("timeouts total")["value"], &of("timeouts total")["from"]),
        (&json!("\"7s\""), &json!("test.kdl:16:26"))
    );
    assert_eq!(of("retry attempts")["from"], "default");
    let upstream = &told["upstream"];
    assert_eq!((&upstream["balance"], &upstream["is_determined"]), (&json!("maglev"), &json!(true)));
    assert!(["10.0.0.1:80", "10.0.0.2:80"].contains(&upstream["chosen"].as_str().unwrap()), "{upstream}");
    assert_eq!(told["outcome"], json!({ "what": "forwarded" }));
}

#[test]
fn the_same_request_is_always_explained_in_the_same_way_where_keys_are_hashed() {
    let chosen = |path: u32| {
        get(&format!("http://shop.example:8080/api/{path}?v"), &["X-Beta: 1"])["upstream"]["chosen"].clone()
    };
    for path in 0..20 {
        assert_eq!(chosen(path), chosen(path));
    }
}

#[test]
fn ends_that_need_no_endpoint_are_told() {
    let told = get("http://shop.example:8080/old/x", &[]);
    assert_eq!(
        (&told["location"], &told["outcome"]["status"]),
        (&json!("https://new.example/old/x"), &json!(308))
    );
    let told = get("http://inner.example:8081/", &[]);
    assert_eq!(
        (&told["listener"]["name"], &told["outcome"]["cause"]),
        (&json!("inner"), &json!("fixed_response"))
    );
    let told = get("http://shop.example:8080/empty", &[]);
    assert_eq!(told["outcome"]["cause"], "name_unresolved");
    let fields = ["X-Beta: 1", "Content-Length: 2000"];
    assert_eq!(get("http://shop.example:8080/api/x?v", &fields)["outcome"]["cause"], "body_too_large");
    assert_eq!(get("http://shop.example:8080/%zz", &[])["outcome"]["status"], 400);
    let fields = ["Content-Length: 1", "Transfer-Encoding: chunked"];
    assert_eq!(get("http://shop.example:8080/", &fields)["outcome"]["cause"], "cl_and_te");
}

#[test]
fn the_client_is_who_a_trusted_proxy_says() {
    let forwarded = ["X-Forwarded-For: 203.0.113.9"];
    let told = ask("GET", "http://shop.example:8080/", &forwarded, "10.1.1.1").unwrap();
    assert_eq!((&told["client"], &told["client_from_forwarded"]), (&json!("203.0.113.9"), &json!(true)));
    let told = ask("GET", "http://shop.example:8080/", &forwarded, "192.0.2.1").unwrap();
    assert_eq!((&told["client"], &told["client_from_forwarded"]), (&json!("192.0.2.1"), &json!(false)));
}

#[test]
fn what_is_not_clear_is_said() {
    let unclear = |method: &str, url: &str| ask(method, url, &[], "127.0.0.1").unwrap_err();
    assert_eq!(unclear("GET", "http://shop.example:5432/"), Unclear::NotHttp("db".to_owned()));
    assert!(matches!(unclear("GET", "shop.example"), Unclear::Url(_)));
    let told = ask("GET", "http://shop.example/", &[], "127.0.0.1").unwrap();
    assert_eq!(told["listener"]["name"], "web", "nobody listens on 80: the first one");
}
