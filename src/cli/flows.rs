//! What `ringway status` shows of TCP listeners: flows, bytes, and how these pass.

use crate::table::table;
use serde_json::Value;

/// A table with a row per TCP listener; empty when there is none.
pub(crate) fn for_people(status: &Value) -> String {
    let listeners = status["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for listener in listeners {
        let flows = &listener["flows"];
        let name = listener["name"].as_str().unwrap_or("-").to_owned();
        // One listener may have several addresses, and its flows are counted once.
        if flows.is_null() || rows.iter().any(|row| row[0] == name) {
            continue;
        }
        let number = |key: &str| flows[key].as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
        let mib = |key: &str| {
            let bytes = flows[key].as_u64();
            bytes.map_or_else(
                || "-".to_owned(),
                |bytes| format!("{}.{}", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024),
            )
        };
        let switches = flows["switches"].as_object();
        let reasons = switches.into_iter().flatten().filter(|(_, count)| count.as_u64() > Some(0));
        let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
        rows.push(vec![
            name,
            flows["upstream"].as_str().unwrap_or("-").to_owned(),
            number("open"),
            number("total"),
            number("failed"),
            mib("received_bytes"),
            mib("sent_bytes"),
            spliced(flows),
            if reasons.is_empty() { "-".to_owned() } else { reasons.join(", ") },
        ]);
    }
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["tcp", "upstream", "open", "total", "failed", "MiB in", "MiB out", "spliced", "switches"];
    format!("\n{}", table(&heading, &rows))
}

/// The share of all bytes that the kernel has passed on.
fn spliced(flows: &Value) -> String {
    let bytes = |key: &str| flows[key].as_u64().unwrap_or(0);
    match bytes("received_bytes") + bytes("sent_bytes") {
        0 => "-".to_owned(),
        all => format!("{} %", bytes("spliced_bytes").saturating_mul(100) / all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_listener_of_two_addresses_has_one_row_and_one_of_http_none() {
        let flows = json!({
            "upstream": "pg", "open": 3, "total": 9, "failed": 1, "received_bytes": 1_048_576, "sent_bytes": 3_145_728,
            "spliced_bytes": 1_048_576, "switches": { "bulk": 2, "small": 0 }
        });
        let status = json!({ "listeners": [
            { "name": "web", "kind": "http" },
            { "name": "db", "kind": "tcp", "flows": flows },
            { "name": "db", "kind": "tcp", "flows": flows },
        ]});
        let text = for_people(&status);
        assert_eq!(text.matches("db ").count(), 1, "{text}");
        for part in ["pg", "1.0", "3.0", "25 %", "bulk 2"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert!(!text.contains("web") && !text.contains("small"), "{text}");
        assert_eq!(for_people(&json!({ "listeners": [{ "name": "web" }] })), "");
    }
}
