//! `ringway status`: what a running Ringway says of itself.

use crate::args::{AdminAddr, Status};
use crate::ask::{AskError, ask};
use crate::check;
use crate::exit::{Exit, complain, print};
use crate::limits;
use crate::table::{ago, micros, table};
use config::Address;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Where examples and documentation put the admin API.
pub(crate) const USUAL: AdminAddr =
    AdminAddr::Ip(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901));

pub(crate) fn status(args: &Status) -> Exit {
    let admin = match place(args.admin.as_ref(), args.config.as_deref()) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    let answers = ask(&admin, "/v1/status").and_then(|status| Ok((status, ask(&admin, "/v1/upstreams")?)));
    match answers {
        Ok((status, upstreams)) if args.json => {
            print(&format!("{}\n", json!({ "status": status, "upstreams": upstreams["upstreams"] })))
        }
        Ok((status, upstreams)) => print(&for_people(&status, &upstreams)),
        Err(error) => not_asked(&admin, &error),
    }
}

/// Says that the admin API could not be asked, and what may help.
pub(crate) fn not_asked(admin: &AdminAddr, error: &AskError) -> Exit {
    let next_step = match error {
        AskError::Connect(_) => Some(
            "is it running, and is `admin { bind … }` in its configuration? name its address with --admin",
        ),
        _ => None,
    };
    complain(Exit::Failed, format_args!("admin API at {admin}: {error}"), next_step)
}

/// The admin address that was named, or the one in the configuration file that was, or the usual one.
pub(crate) fn place(admin: Option<&AdminAddr>, config: Option<&Path>) -> Result<AdminAddr, Exit> {
    let Some(file) = config else { return Ok(admin.cloned().unwrap_or(USUAL)) };
    let loaded = check::load(file).map_err(|problems| {
        check::report(&problems.0);
        complain(Exit::Refused, format_args!("{} does not load", file.display()), None)
    })?;
    match loaded.config.admin.binds.first() {
        Some(Address::Ip(addr)) if addr.port() == 0 => Err(complain(
            Exit::Refused,
            format_args!("{} leaves the port of the admin API to the kernel", file.display()),
            Some("name the address that `ringway run` printed with --admin"),
        )),
        Some(Address::Ip(addr)) => Ok(AdminAddr::Ip(reachable(*addr))),
        Some(Address::Unix(path)) => Ok(AdminAddr::Unix(path.clone())),
        // The admin API has no passed socket; the file did not load.
        Some(Address::Passed(_)) | None => Err(complain(
            Exit::Refused,
            format_args!("{} does not switch the admin API on", file.display()),
            Some("add `admin { bind \"127.0.0.1:9901\" }`"),
        )),
    }
}

/// Somebody who listens on all addresses is asked on loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// Fields that an older or newer node does not send are shown as `-`.
fn for_people(status: &Value, upstreams: &Value) -> String {
    let mut text = String::new();
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let pause_left = &status["drain"]["pause_left_seconds"];
    let state = match (status["draining"].as_bool(), status["ready"].as_bool()) {
        (Some(true), _) if pause_left.is_number() => {
            format!("not ready, draining in {} s", pause_left.as_f64().unwrap_or(0.0))
        }
        (Some(true), _) => "draining".to_owned(),
        (_, Some(true)) => "ready".to_owned(),
        _ => "not ready".to_owned(),
    };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "ringway {}  pid {}  up {}  generation {}  {state}",
        word(&status["version"]),
        number(&status["pid"]),
        status["uptime_seconds"].as_u64().map_or_else(|| "-".to_owned(), ago),
        number(&status["generation"]),
    );
    for reason in items(&status["reasons"]) {
        let _ = writeln!(text, "  because {}", word(reason));
    }
    let driver = &status["driver"];
    let reason = driver["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    let _ = writeln!(text, "driver {}{reason}", word(&driver["name"]));
    let connections = &status["connections"];
    let _ = writeln!(
        text,
        "connections {} of at most {}, {} accepted, {} refused; requests {}",
        number(&connections["active"]),
        number(&connections["max"]),
        number(&connections["accepted"]),
        number(&connections["refused"]),
        number(&status["requests"]),
    );
    for udp in items(&status["udp"]) {
        let _ = writeln!(
            text,
            "datagrams of \"{}\": {} of at most {} flows, {} opened, {} refused, {} moved; {} in, {} out{}",
            word(&udp["listener"]),
            number(&udp["flows"]),
            number(&udp["flows_max"]),
            number(&udp["opened"]),
            number(&udp["refused"]),
            number(&udp["moved"]),
            number(&udp["datagrams_in"]),
            number(&udp["datagrams_out"]),
            lost(&udp["lost"]),
        );
    }
    if let Some(log) = status.get("access_log").filter(|log| !log.is_null()) {
        let trouble = if log["failing"] == json!(true) { ", cannot write now" } else { "" };
        let _ = writeln!(
            text,
            "access log {} lines, {} dropped{trouble}",
            number(&log["lines"]),
            number(&log["dropped"])
        );
    }
    text.push_str(&certificates(&status["tls"]));
    text.push_str(&alarms(upstreams));
    if let Some(overload) = status.get("overload") {
        let _ = writeln!(text, "{}", overload_for_people(overload));
    }
    let row = |one: &Value| vec![word(&one["name"]), word(&one["address"]), word(&one["kind"])];
    let rows: Vec<Vec<String>> = items(&status["listeners"]).map(row).collect();
    let _ = write!(text, "\n{}", table(&["listener", "address", "kind"], &rows));
    text.push_str(&crate::flows::for_people(status));
    let columns =
        ["id", "connections", "requests", "retries", "pool_idle", "live_ops", "leases", "sockets", "tasks"];
    let rows: Vec<Vec<String>> = items(&status["workers"])
        .map(|one| columns.iter().map(|&column| number(&one[column])).collect())
        .collect();
    let mut heading = columns;
    heading[0] = "worker";
    let _ = write!(text, "\n{}", table(&heading, &rows));
    let _ = write!(text, "\n{}", endpoints(upstreams, &number, &word));
    text.push_str(&limits::of_upstreams(upstreams));
    let budget = crate::budget::for_people(&status["budget"]);
    if !budget.is_empty() {
        let _ = write!(text, "\n{budget}");
    }
    if let Some(names) = names(upstreams) {
        let _ = write!(text, "\n{names}");
    }
    text
}

/// What about TLS somebody should look at: certificates that end soon or were not renewed, and upstreams that believe anybody.
fn certificates(tls: &Value) -> String {
    const SOON_DAYS: i64 = 14;
    let mut text = String::new();
    for one in items(&tls["certificates"]) {
        let days = one["expires_days"].as_i64().unwrap_or(i64::MAX);
        let failed = one["renewal_failed"].as_str();
        if days >= SOON_DAYS && failed.is_none() {
            continue;
        }
        let (name, file) = (one["name"].as_str().unwrap_or("-"), one["file"].as_str().unwrap_or("-"));
        let why = failed.map(|why| format!("; not renewed: {why}")).unwrap_or_default();
        let _ = writeln!(text, "certificate of {name}, {file}: valid for {days} more days{why}");
    }
    for upstream in items(&tls["insecure_upstreams"]).filter_map(Value::as_str) {
        let _ = writeln!(text, "upstream \"{upstream}\" takes any certificate (insecure)");
    }
    text
}

/// Why datagrams were not passed on, if any were not.
fn lost(reasons: &Value) -> String {
    let reasons = reasons.as_object().into_iter().flatten();
    let told = reasons.filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0));
    let told: Vec<String> = told.map(|(reason, count)| format!("{count} {reason}")).collect();
    if told.is_empty() { String::new() } else { format!("; lost {}", told.join(", ")) }
}

/// One line: how hard pressed the node is, and what it has shed.
fn overload_for_people(overload: &Value) -> String {
    if overload["sheds"] == json!(false) {
        return "overload: nothing is ever shed (overload \"off\")".to_owned();
    }
    let most =
        |key: &str| items(&overload["workers"]).filter_map(|worker| worker[key].as_u64()).max().unwrap_or(0);
    let mib =
        |key: &str| overload[key].as_u64().map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
    let mut text = format!(
        "overload: {}; pressure on space {} %, on time {} %; memory {} of {} MiB",
        overload["level"].as_str().unwrap_or("-"),
        most("space_permille") / 10,
        most("time_permille") / 10,
        mib("memory_used_bytes"),
        mib("memory_limit_bytes"),
    );
    for (action, count) in overload["shed"].as_object().into_iter().flatten() {
        if count.as_u64().is_some_and(|count| count > 0) {
            let _ = write!(text, ", {action} {count}");
        }
    }
    text
}

fn endpoints(
    upstreams: &Value,
    number: &dyn Fn(&Value) -> String,
    word: &dyn Fn(&Value) -> String,
) -> String {
    let mut rows = Vec::new();
    for upstream in items(&upstreams["upstreams"]) {
        for one in items(&upstream["endpoints"]) {
            rows.push(vec![
                word(&upstream["name"]),
                word(&one["address"]),
                state(one),
                number(&one["weight"]),
                number(&one["tier"]),
                number(&one["in_flight"]),
                one["latency_us"].as_u64().map_or_else(|| "-".to_owned(), micros),
                number(&one["requests"]),
                number(&one["failures"]),
                one["reason"].as_str().unwrap_or("").to_owned(),
            ]);
        }
    }
    let heading = [
        "upstream",
        "endpoint",
        "state",
        "weight",
        "tier",
        "in flight",
        "latency",
        "requests",
        "failures",
        "reason",
    ];
    table(&heading, &rows)
}

/// What names of endpoints stand for; `None` when there are none.
fn names(upstreams: &Value) -> Option<String> {
    let mut rows = Vec::new();
    for upstream in items(&upstreams["upstreams"]) {
        for one in items(&upstream["names"]) {
            rows.push(vec![
                upstream["name"].as_str().unwrap_or("-").to_owned(),
                one["name"].as_str().unwrap_or("-").to_owned(),
                items(&one["addresses"]).count().to_string(),
                one["ttl_left_seconds"].as_u64().map_or_else(|| "-".to_owned(), ago),
                one["error"].as_str().unwrap_or("").to_owned(),
            ]);
        }
    }
    let heading = ["upstream", "name", "addresses", "asked again in", "error"];
    (!rows.is_empty()).then(|| table(&heading, &rows))
}

/// The state, and for how long unless that is as long as the endpoint exists; behind what an operator asked for.
fn state(endpoint: &Value) -> String {
    let name = endpoint["state"].as_str().unwrap_or("-");
    let since = endpoint["state_seconds"].as_u64();
    let health = since.map_or_else(|| name.to_owned(), |since| format!("{name} {}", ago(since)));
    match endpoint["service"].as_str() {
        Some(service) if service != "ready" => format!("{service} ({health})"),
        _ => health,
    }
}

/// Lines that nobody should have to look for in a table.
fn alarms(upstreams: &Value) -> String {
    let panics = items(&upstreams["upstreams"]).filter(|upstream| upstream["panic"] == json!(true));
    let line = |upstream: &Value| {
        let name = upstream["name"].as_str().unwrap_or("-");
        format!("panic: too few endpoints of \"{name}\" are healthy to be believed; all are used\n")
    };
    panics.map(line).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn people_see_who_is_down_and_why() {
        let status = json!({
            "version": "0.1.0", "pid": 7, "uptime_seconds": 61, "generation": 1, "ready": true, "draining": false,
            "driver": { "name": "epoll", "reason": "io_uring is disabled" },
            "connections": { "active": 3, "max": 450, "accepted": 9, "refused": 0 }, "requests": 12,
            "listeners": [{ "name": "web", "address": "127.0.0.1:8080", "kind": "http" }],
            "workers": [{ "id": 0, "connections": 3, "requests": 12 }],
        });
        let upstreams = json!({ "upstreams": [{ "name": "api", "panic": true, "endpoints": [
            { "address": "127.0.0.1:9001", "state": "down", "state_seconds": 75, "reason": "connection refused", "latency_us": 1290 },
        ]}]});
        let text = for_people(&status, &upstreams);
        for part in [
            "ringway 0.1.0  pid 7  up 1m 1s  generation 1  ready",
            "driver epoll: io_uring is disabled",
            "connections 3 of at most 450, 9 accepted, 0 refused; requests 12",
            "web       127.0.0.1:8080  http",
            "panic: too few endpoints of \"api\" are healthy",
            "down 1m 15s",
            "connection refused",
            "1.2ms",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }

    #[test]
    fn the_admin_address_comes_from_the_file_when_asked() {
        let scratch = Scratch::new();
        let file = |admin: &str| {
            let text = format!(
                "{admin}\nlistener \"web\" {{ bind \"127.0.0.1:0\" }}\nsite \"*\" {{ route \"/\" {{ respond 200 }} }}\n"
            );
            let config = Some(scratch.write("a.kdl", &text));
            place(None, config.as_deref())
        };
        let loopback = AdminAddr::Ip(([127, 0, 0, 1], 9901).into());
        assert_eq!(file("admin { bind \"0.0.0.0:9901\" }"), Ok(loopback));
        assert_eq!(file("admin { bind \"unix:/run/a.sock\" }"), Ok(AdminAddr::Unix("/run/a.sock".into())));
        assert_eq!(file("admin { bind \"127.0.0.1:0\" }"), Err(Exit::Refused));
        assert_eq!(file(""), Err(Exit::Refused));
        assert_eq!(file("nonsense"), Err(Exit::Refused));
    }
}
