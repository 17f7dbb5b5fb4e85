//! What is shown: two samples of the admin API become the lines of a screen. No terminal, no clock, no sockets.

use crate::table::{ago, micros, printable};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was read at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at_ms: u64,
    pub(super) status: Value,
    pub(super) upstreams: Value,
    pub(super) traffic: Value,
    /// The newest failures.
    pub(super) failures: Value,
}

/// What endpoints and routes are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Latency,
    Failures,
    Name,
}

impl Sort {
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Latency,
            Sort::Latency => Sort::Failures,
            Sort::Failures => Sort::Name,
            Sort::Name => Sort::Rate,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sort::Rate => "rate",
            Sort::Latency => "latency",
            Sort::Failures => "failures",
            Sort::Name => "name",
        }
    }
}

/// What somebody has asked for with keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) sort: Sort,
    /// Endpoints and routes whose names hold this.
    pub(super) filter: String,
    /// Place of the marked endpoint among those that are shown.
    pub(super) marked: usize,
    /// Colours and marks; not for scripts.
    pub(super) decorated: bool,
    /// The last line: keys, a question, or how something went.
    pub(super) footer: String,
}

/// An endpoint as a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) upstream: String,
    pub(super) address: String,
    pub(super) service: String,
    state: String,
    in_flight: u64,
    rate: f64,
    failure_rate: f64,
    latency_us: u64,
    reason: String,
}

/// The endpoints that pass the filter, in the order that is asked for.
pub(super) fn endpoints(before: &Sample, now: &Sample, wanted: &Wanted) -> Vec<Row> {
    let mut earlier = BTreeMap::new();
    for (upstream, endpoint) in all_endpoints(&before.upstreams) {
        earlier.insert((word(&upstream["name"]), word(&endpoint["address"])), endpoint);
    }
    let seconds = seconds(before, now);
    let mut rows: Vec<Row> = all_endpoints(&now.upstreams)
        .map(|(upstream, endpoint)| {
            let (name, address) = (word(&upstream["name"]), word(&endpoint["address"]));
            let was = earlier.get(&(name.clone(), address.clone()));
            let rate = |key: &str| {
                was.map_or(0.0, |was| {
                    number(&endpoint[key]).saturating_sub(number(&was[key])) as f64 / seconds
                })
            };
            let since = endpoint["state_seconds"].as_u64().map(|since| format!(" {}", ago(since)));
            Row {
                rate: rate("requests"),
                failure_rate: rate("failures"),
                service: word(&endpoint["service"]),
                state: format!("{}{}", word(&endpoint["state"]), since.unwrap_or_default()),
                in_flight: number(&endpoint["in_flight"]),
                latency_us: number(&endpoint["latency_us"]),
                reason: endpoint["reason"].as_str().map(printable).unwrap_or_default(),
                upstream: name,
                address,
            }
        })
        .filter(|row| row.upstream.contains(&wanted.filter) || row.address.contains(&wanted.filter))
        .collect();
    rows.sort_by(|a, b| match wanted.sort {
        Sort::Rate => b.rate.total_cmp(&a.rate),
        Sort::Latency => b.latency_us.cmp(&a.latency_us),
        Sort::Failures => b.failure_rate.total_cmp(&a.failure_rate),
        Sort::Name => (&a.upstream, &a.address).cmp(&(&b.upstream, &b.address)),
    });
    rows
}

/// The whole screen of `columns` and `rows`; with `rows` 0 as long as it gets.
pub(super) fn frame(
    before: &Sample,
    now: &Sample,
    wanted: &Wanted,
    (columns, rows): (usize, usize),
) -> Vec<String> {
    let mut lines = head(before, now);
    lines.push(String::new());
    lines.extend(latencies(before, now));
    lines.push(String::new());
    lines.extend(workers(before, now));
    lines.push(String::new());
    // What is left is shared out: routes and failures have a few lines each, endpoints the rest.
    let left = if rows == 0 { usize::MAX } else { rows.saturating_sub(lines.len() + 1) };
    let some = if rows == 0 { usize::MAX } else { (left / 4).clamp(2, 8) };
    let mut after = vec![String::new()];
    after.extend(routes(before, now, wanted, some));
    after.push(String::new());
    after.extend(failures(now, some));
    lines.extend(endpoint_lines(&endpoints(before, now, wanted), wanted, left.saturating_sub(after.len())));
    lines.extend(after);
    if rows > 0 {
        lines.truncate(rows - 1);
        lines.resize(rows - 1, String::new());
    }
    let mut lines: Vec<String> = lines.iter().map(|line| cut(line, columns)).collect();
    if wanted.decorated {
        decorate(&mut lines);
    }
    if rows > 0 {
        lines.push(cut(&wanted.footer, columns));
    }
    lines
}

fn head(before: &Sample, now: &Sample) -> Vec<String> {
    let (status, seconds) = (&now.status, seconds(before, now));
    let state = match (status["draining"].as_bool(), status["ready"].as_bool()) {
        (Some(true), _) => "draining",
        (_, Some(true)) => "ready",
        _ => "NOT READY",
    };
    let rate = |old: &Value, new: &Value| number(new).saturating_sub(number(old)) as f64 / seconds;
    let connections = &status["connections"];
    let routes = |sample: &Sample, key: &str| {
        items(&sample.traffic["routes"]).map(|one| number(&one[key])).sum::<u64>()
    };
    let delta = |key: &str| routes(now, key).saturating_sub(routes(before, key)) as f64 / seconds;
    let mut lines = vec![
        format!(
            "ringway {}  pid {}  up {}  generation {}  {}  {state}",
            word(&status["version"]),
            number(&status["pid"]),
            ago(number(&status["uptime_seconds"])),
            number(&status["generation"]),
            word(&status["driver"]["name"]),
        ),
        format!(
            "requests {}/s  failed {}/s  in {}/s  out {}/s  connections {} of {}, {} new/s",
            short(rate(&before.status["requests"], &status["requests"])),
            short(delta("failed")),
            bytes(delta("bytes_in")),
            bytes(delta("bytes_out")),
            number(&connections["active"]),
            number(&connections["max"]),
            short(rate(&before.status["connections"]["accepted"], &connections["accepted"])),
        ),
    ];
    lines.extend(items(&status["reasons"]).map(|reason| format!("  because {}", word(reason))));
    if let Some(level) =
        status["overload"]["level"].as_str().filter(|level| *level != "none" && *level != "calm")
    {
        lines.push(format!("overload: {level}"));
    }
    lines
}

/// Percentiles of what ended between the two samples; since the start where nothing did.
fn latencies(before: &Sample, now: &Sample) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<10} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "latency", "count/s", "p50", "p90", "p99", "max"
    )];
    let seconds = seconds(before, now);
    let mut line = |name: &str, old: &Value, new: &Value| {
        let buckets = since(old, new);
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        if count == 0 && name != "total" {
            return;
        }
        let at = |share: f64| quantile(&buckets, share).map_or_else(|| "-".to_owned(), micros);
        lines.push(format!(
            "{name:<10} {:>9} {:>8} {:>8} {:>8} {:>8}",
            short(count as f64 / seconds),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        ));
    };
    line("total", &before.traffic["total"], &now.traffic["total"]);
    for (phase, buckets) in PHASES.iter().map(|phase| (phase, &now.traffic["phases"][phase])) {
        line(phase, &before.traffic["phases"][phase], buckets);
    }
    lines
}

/// In the order in which they happen.
const PHASES: [&str; 11] =
    ["tls", "head", "route", "filter", "retry", "queue", "connect", "send", "wait", "receive", "deliver"];

fn workers(before: &Sample, now: &Sample) -> Vec<String> {
    let seconds = seconds(before, now);
    let mut lines = vec![format!(
        "{:<8} {:>11} {:>10} {:>7} {:>6} {:>10} {:>12}",
        "worker", "connections", "requests/s", "share", "busy", "turn, mean", "turn, longest"
    )];
    let all: Vec<(&Value, u64, u64, u64)> = items(&now.status["workers"])
        .enumerate()
        .map(|(place, worker)| {
            let was = &before.status["workers"][place];
            let delta = |key: &str| number(&worker[key]).saturating_sub(number(&was[key]));
            (worker, delta("requests"), delta("busy_us"), delta("turns"))
        })
        .collect();
    let sum: u64 = all.iter().map(|(_, requests, ..)| requests).sum();
    for (worker, requests, busy_us, turns) in all {
        lines.push(format!(
            "{:<8} {:>11} {:>10} {:>6}% {:>5}% {:>10} {:>12}",
            number(&worker["id"]),
            number(&worker["connections"]),
            short(requests as f64 / seconds),
            (requests * 100).checked_div(sum).unwrap_or(0),
            (busy_us as f64 / seconds / 10_000.0).round(),
            micros(busy_us.checked_div(turns).unwrap_or(0)),
            micros(number(&worker["turn_longest_us"])),
        ));
    }
    lines
}

fn endpoint_lines(rows: &[Row], wanted: &Wanted, room: usize) -> Vec<String> {
    let mut title = format!("by {}", wanted.sort.name());
    if !wanted.filter.is_empty() {
        title = format!("{title}, with \"{}\"", printable(&wanted.filter));
    }
    let mut lines = vec![format!(
        "  {:<16} {:<24} {:<20} {:>9} {:>9} {:>9} {:>9}  {title}",
        "upstream", "endpoint", "state", "in flight", "req/s", "failed/s", "latency"
    )];
    let room = room.saturating_sub(1).max(1);
    // The marked one stays in view.
    let first = (wanted.marked + 1).saturating_sub(room);
    for (place, row) in rows.iter().enumerate().skip(first).take(room) {
        let mark = if wanted.decorated && place == wanted.marked { '>' } else { ' ' };
        let state = if row.service == "ready" {
            row.state.clone()
        } else {
            format!("{} ({})", row.service, row.state)
        };
        lines.push(
            format!(
                "{mark} {:<16} {:<24} {:<20} {:>9} {:>9} {:>9} {:>9}  {}",
                row.upstream,
                row.address,
                state,
                row.in_flight,
                short(row.rate),
                short(row.failure_rate),
                micros(row.latency_us),
                row.reason
            )
            .trim_end()
            .to_owned(),
        );
    }
    if rows.is_empty() {
        lines.push("  none".to_owned());
    }
    lines
}

fn routes(before: &Sample, now: &Sample, wanted: &Wanted, room: usize) -> Vec<String> {
    let seconds = seconds(before, now);
    let earlier: BTreeMap<&str, &Value> =
        items(&before.traffic["routes"]).filter_map(|one| Some((one["name"].as_str()?, one))).collect();
    let mut rows: Vec<(f64, f64, u64, String)> = items(&now.traffic["routes"])
        .filter(|one| one["name"].as_str().unwrap_or_default().contains(&wanted.filter))
        .map(|one| {
            let was = earlier.get(one["name"].as_str().unwrap_or_default());
            let rate = |key: &str| {
                number(&one[key]).saturating_sub(was.map_or(0, |was| number(&was[key]))) as f64 / seconds
            };
            let buckets = since(was.map_or(&Value::Null, |was| &was["total"]), &one["total"]);
            (rate("requests"), rate("failed"), quantile(&buckets, 0.99).unwrap_or(0), word(&one["name"]))
        })
        .collect();
    rows.sort_by(|a, b| match wanted.sort {
        Sort::Rate => b.0.total_cmp(&a.0),
        Sort::Latency => b.2.cmp(&a.2),
        Sort::Failures => b.1.total_cmp(&a.1),
        Sort::Name => a.3.cmp(&b.3),
    });
    let mut lines = vec![format!("  {:>9} {:>9} {:>8}  route", "req/s", "failed/s", "p99")];
    let row = |(rate, failed, p99, name): &(f64, f64, u64, String)| {
        let p99 = if *p99 == 0 { "-".to_owned() } else { micros(*p99) };
        format!("  {:>9} {:>9} {p99:>8}  {name}", short(*rate), short(*failed))
    };
    lines.extend(rows.iter().take(room).map(row));
    lines
}

fn failures(now: &Sample, room: usize) -> Vec<String> {
    let mut lines = vec![format!("  {:>6} {:>6}  {:<24} latest failures", "ago", "status", "cause")];
    for one in items(&now.failures["requests"]).take(room) {
        let then = one["time_unix_ms"].as_u64().unwrap_or(now.at_ms);
        lines.push(format!(
            "  {:>6} {:>6}  {:<24} {} {}{}  {}",
            ago(now.at_ms.saturating_sub(then) / 1000),
            number(&one["status"]),
            one["cause"]["name"].as_str().unwrap_or("-"),
            word(&one["method"]),
            word(&one["host"]),
            word(&one["path"]),
            word(&one["id"]),
        ));
    }
    if lines.len() == 1 {
        lines.push("  none".to_owned());
    }
    lines
}

/// Headings stand out, and so does what is wrong.
fn decorate(lines: &mut [String]) {
    let mut is_heading = true;
    for line in lines {
        let is_bad =
            [" down ", " ejected ", "NOT READY", "drain (", "down ("].iter().any(|bad| line.contains(bad));
        if is_heading && !line.is_empty() {
            *line = format!("\x1b[1m{line}\x1b[0m");
        } else if line.starts_with('>') {
            *line = format!("\x1b[7m{line}\x1b[0m");
        } else if is_bad {
            *line = format!("\x1b[31m{line}\x1b[0m");
        }
        is_heading = line.is_empty();
    }
}

/// Upper bounds in microseconds and counts of what is in `new` and was not in `old`.
fn since(old: &Value, new: &Value) -> Vec<(u64, u64)> {
    let read = |buckets: &Value| -> BTreeMap<u64, u64> {
        items(buckets).map(|bucket| (number(&bucket[0]), number(&bucket[1]))).collect()
    };
    let old = read(old);
    let left =
        |(bound, count): (u64, u64)| (bound, count.saturating_sub(old.get(&bound).copied().unwrap_or(0)));
    read(new).into_iter().map(left).filter(|(_, count)| *count > 0).collect()
}

/// The bound below which the share lies; `None` when there is nothing.
fn quantile(buckets: &[(u64, u64)], share: f64) -> Option<u64> {
    let count: u64 = buckets.iter().map(|(_, count)| count).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a share of a u64")]
    let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
    let mut seen = 0;
    buckets.iter().find_map(|(bound, count)| {
        seen += count;
        (seen >= rank).then_some(*bound)
    })
}

fn seconds(before: &Sample, now: &Sample) -> f64 {
    (now.at_ms.saturating_sub(before.at_ms).max(1)) as f64 / 1000.0
}

fn all_endpoints(upstreams: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    items(&upstreams["upstreams"])
        .flat_map(|upstream| items(&upstream["endpoints"]).map(move |endpoint| (upstream, endpoint)))
}

/// Three digits are enough: `0`, `0.4`, `12`, `3.1k`.
fn short(value: f64) -> String {
    match value {
        value if value <= 0.0 => "0".to_owned(),
        value if value < 10.0 => format!("{value:.1}"),
        value if value < 10_000.0 => format!("{value:.0}"),
        value if value < 1_000_000.0 => format!("{:.1}k", value / 1000.0),
        value => format!("{:.1}M", value / 1_000_000.0),
    }
}

fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{value:.0} B"),
        value if value < 1024.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
        value => format!("{:.1} MiB", value / 1024.0 / 1024.0),
    }
}

fn cut(line: &str, columns: usize) -> String {
    if columns == 0 { line.to_owned() } else { line.chars().take(columns).collect() }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), printable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An answer without anything in it.
    fn nothing() -> Sample {
        let empty = || json!({});
        Sample { at_ms: 0, status: empty(), upstreams: empty(), traffic: empty(), failures: empty() }
    }

    fn sample(at_ms: u64, requests: u64) -> Sample {
        Sample {
            at_ms,
            status: json!({
                "version": "0.1.0", "pid": 7, "uptime_seconds": 61, "generation": 2, "ready": true,
                "driver": { "name": "epoll" }, "requests": requests,
                "connections": { "active": 3, "max": 100, "accepted": 9 },
                "workers": [{ "id": 0, "connections": 2, "requests": requests, "busy_us": requests * 10, "turns": requests,
                              "turn_longest_us": 900 }],
            }),
            upstreams: json!({ "upstreams": [{ "name": "api", "endpoints": [
                { "address": "10.0.0.1:80", "state": "up", "service": "ready", "requests": requests, "failures": 0, "latency_us": 900 },
                { "address": "10.0.0.2:80", "state": "down", "service": "ready", "reason": "refused", "requests": 0,
                  "failures": requests / 2, "latency_us": 0 },
            ]}]}),
            traffic: json!({
                "total": [[100, requests], [9000, 1]], "phases": { "wait": [[80, requests]] },
                "routes": [{ "name": "* /", "requests": requests, "failed": 1, "bytes_in": 0, "bytes_out": requests * 1000,
                             "total": [[100, requests]] }],
            }),
            failures: json!({ "requests": [{ "time_unix_ms": at_ms - 500, "status": 502, "cause": { "name": "connect_refused" },
                "method": "GET", "host": "a", "path": "/\u{1b}[2J", "id": "abc" }]}),
        }
    }

    #[test]
    fn rates_are_those_of_the_time_between_two_samples() {
        let (before, now) = (sample(1_000, 100), sample(3_000, 500));
        let text = frame(&before, &now, &Wanted::default(), (0, 0)).join("\n");
        for part in [
            "ringway 0.1.0  pid 7  up 1m 1s  generation 2  epoll  ready",
            "requests 200/s",
            "out 195.3 KiB/s",
            "total            200    100us    100us    100us    100us",
            "wait             200",
            "0                  2        200    100%",
            "10.0.0.2:80              down",
            "502  connect_refused",
            "* /",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "nothing moves the cursor");
        assert!(!text.contains("9.0ms"), "what was before is not counted again:\n{text}");
    }

    #[test]
    fn endpoints_are_ordered_and_filtered() {
        let (before, now) = (sample(1_000, 100), sample(3_000, 500));
        let first = |sort| {
            let wanted = Wanted { sort, ..Wanted::default() };
            endpoints(&before, &now, &wanted)[0].address.clone()
        };
        assert_eq!([first(Sort::Rate), first(Sort::Failures)], ["10.0.0.1:80", "10.0.0.2:80"]);
        let wanted = Wanted { filter: "0.2".to_owned(), ..Wanted::default() };
        assert_eq!(endpoints(&before, &now, &wanted).len(), 1);
        assert_eq!(Sort::Rate.next().next().next().next(), Sort::Rate);
    }

    #[test]
    fn a_frame_fits_any_screen() {
        let (before, now) = (sample(1_000, 100), sample(3_000, 500));
        for (columns, rows) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            let lines = frame(&before, &now, &Wanted::default(), (columns, rows));
            assert_eq!(lines.len(), rows);
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:?}");
        }
        let empty = frame(&nothing(), &nothing(), &Wanted::default(), (80, 24));
        assert_eq!(empty.len(), 24, "an older node that says nothing is shown all the same");
    }
}
