//! `ringway why`: what became of a past request and why, as far as it is remembered.

use crate::args::Why;
use crate::ask::{AskError, ask};
use crate::exit::{Exit, complain, print};
use crate::status::{not_asked, place};
use crate::table::{ago, micros, printable, table};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn why(args: &Why) -> Exit {
    let admin = match place(args.admin.as_ref(), args.config.as_deref()) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    let path = match &args.id {
        Some(id) => format!("/v1/requests/{}", escaped(id)),
        None => listed(args),
    };
    match ask(&admin, &path) {
        Ok(told) if args.json => print(&format!("{told}\n")),
        Ok(told) if args.id.is_some() => print(&for_people(&told, now_ms())),
        Ok(told) => print(&list(&told, now_ms())),
        Err(AskError::Status { status: 400 | 404, detail, .. }) => complain(Exit::Failed, detail, None),
        Err(error) => not_asked(&admin, &error),
    }
}

fn listed(args: &Why) -> String {
    let mut path = format!("/v1/requests?limit={}", args.limit);
    let filters = [("cause", &args.cause), ("route", &args.route), ("upstream", &args.upstream)];
    for (name, value) in filters {
        if let Some(value) = value {
            // Writing to a String cannot fail, here and below.
            let _ = write!(path, "&{name}={}", escaped(value));
        }
    }
    if let Some(status) = args.status {
        let _ = write!(path, "&status={status}");
    }
    path
}

/// Percent-encoded but for what may stand anywhere (RFC 3986 §2.3).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One request, step by step.
fn for_people(told: &Value, now_ms: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<10} {what}");
    };
    let placed = |one: &Value| {
        let origin = one["origin"].as_str().filter(|origin| !origin.is_empty());
        let origin = origin.map(|origin| format!("  [{origin}]")).unwrap_or_default();
        format!("{}{origin}", word(&one["name"]))
    };
    line("request", format!("{}  {} ago", word(&told["id"]), age(told, now_ms)));
    line("asked", asked(told));
    line("client", format!("{} at listener {}", word(&told["client"]), word(&told["listener"])));
    if told["route"].is_null() {
        line("route", "none was found".to_owned());
    } else {
        line("route", placed(&told["route"]));
    }
    if let Some(auth) = told["auth"].as_str() {
        let consumer = told["consumer"].as_str().map(|who| format!(", caller {who}")).unwrap_or_default();
        line("filter", format!("{auth}{consumer}"));
    }
    if !told["upstream"].is_null() {
        line("upstream", placed(&told["upstream"]));
    }
    for tried in items(&told["tried"]) {
        line("attempt", attempt(tried));
    }
    line("time", time(told));
    line("worker", format!("{}, generation {}", told["worker"], told["generation"]));
    let cause = &told["cause"];
    let status = match told["status"].as_u64() {
        None | Some(0) => "no answer".to_owned(),
        Some(status) => format!("status {status}"),
    };
    if cause.is_null() {
        line("outcome", format!("{status}, as the endpoint answered"));
    } else {
        line("outcome", format!("{status}: {}: {}", word(&cause["name"]), word(&cause["title"])));
        line("", format!("  by the {} side, at the stage {}", side(cause), word(&cause["stage"])));
    }
    text
}

fn side(cause: &Value) -> &str {
    match cause["side"].as_str() {
        Some("downstream") => "client's",
        Some("upstream") => "endpoint's",
        _ => "Ringway's own",
    }
}

fn asked(told: &Value) -> String {
    if told["subject"] != json!("exchange") {
        return format!("a {} of bytes that were passed through", word(&told["subject"]));
    }
    let parts = [&told["method"], &told["host"], &told["path"], &told["protocol"]];
    let [method, host, path, protocol] = parts.map(|part| printable(part.as_str().unwrap_or_default()));
    format!("{method} {host}{path} {protocol}").trim().to_owned()
}

fn attempt(tried: &Value) -> String {
    let took = |key: &str| tried[key].as_u64().map_or_else(|| "-".to_owned(), micros);
    let end = match (tried["outcome"].as_str(), tried["cause"].as_str(), tried["status"].as_u64()) {
        (Some("failed"), Some(cause), _) => format!("failed: {cause}"),
        (Some("answered"), _, Some(status)) => format!("answered {status}"),
        (outcome, ..) => outcome.unwrap_or("-").to_owned(),
    };
    format!("{}  {end}  (connect {}, wait {})", word(&tried["endpoint"]), took("connect_us"), took("wait_us"))
}

fn time(told: &Value) -> String {
    let total = told["total_us"].as_u64().map_or_else(|| "-".to_owned(), micros);
    let phases = told["phases_us"].as_object().into_iter().flatten();
    let phases: Vec<_> = phases
        .filter_map(|(name, spent)| spent.as_u64().map(|spent| format!("{name} {}", micros(spent))))
        .collect();
    if phases.is_empty() { total } else { format!("{total}: {}", phases.join(", ")) }
}

/// A row per request, the newest first.
fn list(told: &Value, now_ms: u64) -> String {
    let row = |one: &Value| {
        vec![
            word(&one["id"]),
            age(one, now_ms),
            one["status"].to_string(),
            one["cause"]["name"].as_str().unwrap_or("").to_owned(),
            one["route"]["name"].as_str().unwrap_or("").to_owned(),
            items(&one["tried"]).last().map(|tried| word(&tried["endpoint"])).unwrap_or_default(),
            one["total_us"].as_u64().map_or_else(|| "-".to_owned(), micros),
            asked(one),
        ]
    };
    let rows: Vec<Vec<String>> = items(&told["requests"]).map(row).collect();
    if rows.is_empty() {
        return "nothing is remembered that fits\n".to_owned();
    }
    let heading = ["request", "ago", "status", "cause", "route", "endpoint", "time", "asked"];
    let mut text = table(&heading, &rows);
    if told["more"] == json!(true) {
        text.push_str("there are more; see --limit, --cause, --status, --route, --upstream\n");
    }
    text
}

fn age(told: &Value, now_ms: u64) -> String {
    told["time_unix_ms"]
        .as_u64()
        .map_or_else(|| "-".to_owned(), |then| ago(now_ms.saturating_sub(then) / 1000))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    printable(value.as_str().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_told_from_the_client_to_the_cause() {
        let told = json!({
            "id": "0123456789abcdef0123456789abcdef", "time_unix_ms": 1_000, "kept": "failure", "worker": 1,
            "generation": 4, "subject": "exchange", "listener": "web", "client": "192.0.2.1", "method": "GET",
            "host": "shop.test", "path": "/a", "protocol": "HTTP/1.1", "status": 502, "attempts": 2,
            "cause": { "name": "connect_refused", "title": "The endpoint refused the connection.",
                       "side": "upstream", "stage": "lease" },
            "route": { "name": "shop.test /", "origin": "a.kdl:3:5" },
            "upstream": { "name": "api", "origin": "a.kdl:2:1" },
            "tried": [
                { "endpoint": "10.0.0.1:80", "outcome": "answered", "status": 503, "connect_us": 10, "wait_us": 1200 },
                { "endpoint": "10.0.0.2:80", "outcome": "failed", "cause": "connect_refused", "connect_us": 9, "wait_us": 0 },
            ],
            "total_us": 5_000, "phases_us": { "retry": 4_900 },
        });
        let text = for_people(&told, 62_000);
        for part in [
            "request    0123456789abcdef0123456789abcdef  1m 1s ago\n",
            "asked      GET shop.test/a HTTP/1.1\n",
            "route      shop.test /  [a.kdl:3:5]\n",
            "attempt    10.0.0.1:80  answered 503",
            "attempt    10.0.0.2:80  failed: connect_refused",
            "outcome    status 502: connect_refused: The endpoint refused the connection.\n",
            "by the endpoint's side, at the stage lease\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        let rows = list(&json!({ "requests": [told], "more": true }), 62_000);
        assert!(rows.contains("connect_refused") && rows.contains("there are more"), "{rows}");
    }

    #[test]
    fn what_a_client_sent_moves_no_cursor() {
        let told = json!({ "subject": "exchange", "method": "GET", "host": "a", "path": "/\u{1b}[2J\r\n" });
        assert!(!list(&json!({ "requests": [told] }), 0).contains('\u{1b}'));
        assert_eq!(escaped("a b/ü~"), "a%20b%2F%C3%BC~");
    }
}
