//! From samples to a table: medians and minima, ratios, and whether the targets are met.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::idle::IdleCost;
use crate::workload::{Sample, Workload};

/// All runs of one contender in one workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// All rows of one workload.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) workload: Workload,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        match (values.get(half), values.len() % 2) {
            (None, _) => f64::NAN,
            (Some(middle), 1) => *middle,
            (Some(upper), _) => (values.get(half.saturating_sub(1)).unwrap_or(upper) + upper) / 2.0,
        }
    }

    fn cpu_median(&self) -> f64 {
        self.median(|sample| sample.cpu_us)
    }

    /// Interference only ever adds CPU time per request, so the least is the cleanest reading.
    fn cpu_min(&self) -> f64 {
        self.samples.iter().map(|sample| sample.cpu_us).fold(f64::INFINITY, f64::min)
    }

    fn errors(&self) -> u64 {
        self.samples.iter().map(|sample| sample.errors).sum()
    }
}

impl Table {
    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The least CPU time of a peer by the given measure.
    fn best_peer(&self, measure: impl Fn(&Row) -> f64) -> Option<f64> {
        self.rows
            .iter()
            .filter(|row| !row.name.starts_with("ringway") && !row.name.ends_with("-log"))
            .map(measure)
            .reduce(f64::min)
    }

    /// The table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("### {}: {}\n\n", self.workload.name(), self.workload.describe());
        text += "| contender | runs | requests/s | p50 ms | p99 ms | CPU us/request: median | min | \
                 ratio to the best peer: median | min | busy | foreign cores | errors |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|---|\n";
        let (peer_median, peer_min) = (self.best_peer(Row::cpu_median), self.best_peer(Row::cpu_min));
        for row in &self.rows {
            let ratio =
                |value: f64, peer: Option<f64>| peer.map_or("-".into(), |p| format!("{:.2}", value / p));
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} | {:.2} | {:.2} | {} |",
                row.name,
                row.samples.len(),
                row.median(|s| s.rate),
                row.median(|s| s.p50_us) / 1e3,
                row.median(|s| s.p99_us) / 1e3,
                row.cpu_median(),
                row.cpu_min(),
                ratio(row.cpu_median(), peer_median),
                ratio(row.cpu_min(), peer_min),
                row.median(|s| s.busy),
                row.median(|s| s.foreign),
                row.errors(),
            );
        }
        for verdict in self.verdicts() {
            let _ = writeln!(text, "\n{verdict}");
        }
        let foreign = self.rows.iter().map(|row| row.median(|s| s.foreign)).fold(0.0, f64::max);
        if foreign > FOREIGN_CORES_MAX {
            let _ = writeln!(
                text,
                "\nOther work kept up to {foreign:.2} cores busy: repeat this on a quiet machine before relying on it."
            );
        }
        text
    }

    /// One sentence per target that applies to the contenders present.
    fn verdicts(&self) -> Vec<String> {
        let mut verdicts = Vec::new();
        let mut judge = |what: String, row: &str, base: Option<(f64, f64)>, target: f64| {
            let (Some(row), Some((base_median, base_min))) = (self.row(row), base) else { return };
            let (median, min) = (row.cpu_median() / base_median, row.cpu_min() / base_min);
            let met = if median <= target { "met" } else { "NOT met" };
            verdicts.push(format!("{what}: {median:.2} (min {min:.2}), target {target:.2}: {met}"));
        };
        let both = |name: &str| self.row(name).map(|row| (row.cpu_median(), row.cpu_min()));
        if self.workload == Workload::LogOn {
            for plain in ["ringway-io_uring", "ringway-epoll"] {
                judge(format!("{plain}: log on / off"), &format!("{plain}-log"), both(plain), 1.10);
            }
            return verdicts;
        }
        let peer = self.best_peer(Row::cpu_median).zip(self.best_peer(Row::cpu_min));
        if let Some(target) = self.workload.target_ratio() {
            judge("ringway-io_uring / best peer".into(), "ringway-io_uring", peer, target);
        }
        judge("epoll / io_uring".into(), "ringway-epoll", both("ringway-io_uring"), 1.25);
        verdicts
    }

    /// Every sample, for machines.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_json).collect();
        json!({ "workload": self.workload.name(), "contenders": rows })
    }
}

fn row_json(row: &Row) -> Value {
    let samples: Vec<Value> = row
        .samples
        .iter()
        .map(|s| {
            json!({ "requests": s.requests, "requests_per_second": s.rate, "p50_us": s.p50_us, "p99_us": s.p99_us,
                    "cpu_us_per_request": s.cpu_us, "busy": s.busy, "foreign_cores": s.foreign,
                    "errors": s.errors })
        })
        .collect();
    json!({ "name": row.name, "cpu_us_median": row.cpu_median(), "cpu_us_min": row.cpu_min(), "samples": samples })
}

/// The idle table as Markdown.
pub(crate) fn idle_markdown(workload: Workload, costs: &[IdleCost]) -> String {
    let mut text = format!("### {}: {}\n\n", workload.name(), workload.describe());
    text += "| contender | connections | baseline KiB (PSS) | bytes per connection |\n|---|---|---|---|\n";
    for cost in costs {
        let (name, count, each) = (cost.name, cost.connections, cost.per_connection_bytes);
        let _ = writeln!(text, "| {name} | {count} | {} | {each:.0} |", cost.baseline_bytes >> 10);
    }
    let judged = |cost: &&IdleCost| workload == Workload::Idle && cost.name.starts_with("ringway");
    for cost in costs.iter().filter(judged) {
        let met = if cost.per_connection_bytes <= IDLE_TARGET_BYTES { "met" } else { "NOT met" };
        let each = cost.per_connection_bytes;
        let _ = writeln!(text, "\n{}: {each:.0} B, target {IDLE_TARGET_BYTES:.0} B: {met}", cost.name);
    }
    text
}

/// The idle table for machines.
pub(crate) fn idle_json(costs: &[IdleCost]) -> Value {
    costs
        .iter()
        .map(|cost| {
            json!({ "name": cost.name, "connections": cost.connections, "baseline_bytes": cost.baseline_bytes,
                    "per_connection_bytes": cost.per_connection_bytes })
        })
        .collect()
}

const IDLE_TARGET_BYTES: f64 = 2048.0;

/// Above this the caches and the core that wrk shares are disturbed enough to move CPU time per request.
const FOREIGN_CORES_MAX: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_us: f64) -> Sample {
        Sample {
            requests: 1,
            rate: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            cpu_us,
            busy: 0.5,
            foreign: 0.0,
            errors: 0,
        }
    }

    fn row(name: &'static str, cpu: &[f64]) -> Row {
        Row { name, samples: cpu.iter().copied().map(sample).collect() }
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(row("x", &[4.0, 1.0, 3.0, 2.0]).cpu_median(), 2.5);
        assert_eq!(row("x", &[9.0, 1.0, 3.0]).cpu_median(), 3.0);
        assert!(row("x", &[]).cpu_median().is_nan());
    }

    #[test]
    fn ratios_are_taken_to_the_best_peer_and_judged_by_the_median() {
        let rows =
            vec![row("ringway-io_uring", &[9.5]), row("nginx", &[12.0, 10.0, 14.0]), row("haproxy", &[11.0])];
        let table = Table { workload: Workload::Small64, rows };
        assert_eq!(table.best_peer(Row::cpu_median), Some(11.0));
        assert_eq!(table.best_peer(Row::cpu_min), Some(10.0));
        assert_eq!(
            table.verdicts(),
            ["ringway-io_uring / best peer: 0.86 (min 0.95), target 0.90: met".to_string()]
        );
    }
}
