//! Metrics against the access log: what was counted is what was written down.

use std::collections::{BTreeMap, HashMap};

use crate::oracle::Record;

/// Where the metrics of a run that is over differ from its log. Counts of endpoints that went away meanwhile (`moves`)
/// are gone with them.
pub(crate) fn compare(metrics: &str, log: &HashMap<u32, Vec<Record>>, moves: bool) -> Vec<String> {
    let records = || log.values().flatten();
    let attempts = || records().map(|record| record.attempts as u64);
    let counted = [
        ("ringway_log_dropped_total", 0),
        ("ringway_endpoint_in_flight", 0),
        ("ringway_worker_requests_total", records().count() as u64),
        ("ringway_requests_total", records().count() as u64),
        ("ringway_endpoint_requests_total", attempts().sum()),
        ("ringway_retries_total", attempts().map(|attempts| attempts.saturating_sub(1)).sum()),
    ];
    let different = counted.into_iter().filter(|(name, logged)| {
        let counted = sum(metrics, name);
        counted > *logged || counted < *logged && !(moves && *name == "ringway_endpoint_requests_total")
    });
    let mut wrong: Vec<String> = different
        .map(|(name, logged)| format!("{name} is {}, by the log it should be {logged}", sum(metrics, name)))
        .collect();
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for cause in records().filter_map(|record| record.cause.clone()) {
        *causes.entry(cause).or_default() += 1;
    }
    let counted = by_label(metrics, "ringway_causes_total", "cause");
    if counted != causes {
        wrong.push(format!("causes are counted as {counted:?} and logged as {causes:?}"));
    }
    wrong
}

/// Sum of a metric over all its labels.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    series(metrics, name).map(|(_, value)| value).sum()
}

/// Values of a metric by one of its labels, without zeros.
fn by_label(metrics: &str, name: &str, label: &str) -> BTreeMap<String, u64> {
    let mark = format!("{label}=\"");
    let labelled = series(metrics, name).filter_map(|(labels, value)| {
        let (_, rest) = labels.split_once(&mark)?;
        Some((rest.split('"').next()?.to_string(), value))
    });
    let mut values = BTreeMap::new();
    for (name, value) in labelled.filter(|(_, value)| *value > 0) {
        *values.entry(name).or_default() += value;
    }
    values
}

fn series<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    metrics.lines().filter_map(move |line| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('{'))?;
        Some((labels, value.parse().ok()?))
    })
}
