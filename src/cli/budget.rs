//! The memory budget for people: the table of `control_plane::Budget`, as status and the refusal to start show it.

use crate::table::table;
use serde_json::Value;

/// The table of a budget in JSON; empty when there is none.
pub(crate) fn for_people(budget: &Value) -> String {
    let Some(rows) = budget["rows"].as_array() else { return String::new() };
    let mut lines: Vec<Vec<String>> = rows.iter().map(row).collect();
    lines.push(vec!["all together".into(), String::new(), String::new(), mib(budget["sum_bytes"].as_u64())]);
    let limit = match budget["limit_bytes"].as_u64() {
        limit @ Some(_) => mib(limit),
        None => "-".to_owned(),
    };
    let from = budget["limit_from"].as_str().unwrap_or("unknown").replace('-', " ");
    lines.push(vec![format!("limit: {from}"), String::new(), String::new(), limit]);
    table(&["memory at most", "count", "KiB each", "MiB"], &lines)
}

fn row(row: &Value) -> Vec<String> {
    let (count, each) = (row["count"].as_u64().unwrap_or(0), row["each_bytes"].as_u64().unwrap_or(0));
    let what = row["what"].as_str().unwrap_or("-").to_owned();
    vec![what, count.to_string(), each.div_ceil(1024).to_string(), mib(Some(count.saturating_mul(each)))]
}

/// Mebibytes with one digit behind the point.
fn mib(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_see_what_takes_how_much() {
        let text = for_people(&json!({
            "rows": [{ "what": "log ring of a worker", "count": 2, "each_bytes": 4 << 20, "fixed": true }],
            "sum_bytes": 8 << 20, "limit_bytes": 64 << 20, "limit_from": "control-group",
        }));
        for part in ["log ring of a worker", "4096", "8.0", "limit: control group", "64.0"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert_eq!(for_people(&Value::Null), "");
    }
}
