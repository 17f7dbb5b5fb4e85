//! What limited upstreams have in use, for people.

use crate::table::table;
use serde_json::Value;

/// A table after an empty line; nothing when no upstream is limited.
pub(crate) fn of_upstreams(upstreams: &Value) -> String {
    let all = upstreams["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = all.iter().filter(|one| one["queued"].is_u64()).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["upstream", "in flight", "connections", "queued", "longest", "breaker"];
    format!("\n{}", table(&heading, &rows))
}

fn row(upstream: &Value) -> Vec<String> {
    let of = |now: &str, max: &str| match (upstream[now].as_u64(), upstream[max].as_u64()) {
        (Some(now), Some(max)) => format!("{now} of {max}"),
        (Some(now), None) => now.to_string(),
        (None, _) => "-".to_owned(),
    };
    let longest = upstream["queue_oldest_ms"].as_u64().unwrap_or(0);
    vec![
        upstream["name"].as_str().unwrap_or("-").to_owned(),
        of("in_flight", "in_flight_max"),
        of("connections", "connections_max"),
        of("queued", "queue_max"),
        format!("{longest}ms"),
        breakers(upstream),
    ]
}

/// The state of the upstream's breaker, or how many of its endpoints have one that is not closed.
fn breakers(upstream: &Value) -> String {
    if let Some(state) = upstream["breaker"]["state"].as_str() {
        return state.to_owned();
    }
    let endpoints = upstream["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let states: Vec<&str> = endpoints.iter().filter_map(|one| one["breaker"]["state"].as_str()).collect();
    match states.iter().filter(|state| **state != "closed").count() {
        _ if states.is_empty() => "-".to_owned(),
        0 => "closed".to_owned(),
        open => format!("open at {open} of {}", states.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_see_how_full_an_upstream_is() {
        let text = of_upstreams(&json!({ "upstreams": [
            { "name": "free", "endpoints": [] },
            { "name": "api", "in_flight": 9, "in_flight_max": 10, "connections": 12, "queued": 3, "queue_max": 20,
              "queue_oldest_ms": 250, "endpoints": [{ "breaker": { "state": "open" } }, { "breaker": { "state": "closed" } }] },
        ]}));
        for part in ["9 of 10", "3 of 20", "250ms", "open at 1 of 2"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert!(!text.contains("free"));
        assert_eq!(of_upstreams(&json!({ "upstreams": [{ "name": "free" }] })), "");
    }
}
