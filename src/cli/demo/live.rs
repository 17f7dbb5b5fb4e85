//! Figures of the last second: rate, median and 99th percentile, share and health of each endpoint.
//!
//! On a terminal the block is drawn in place; anywhere else one line is appended per second.

use super::PEERS;
use crate::start::Node;
use crate::table::{micros, table};
use base::stat::Totals;
use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use traffic::Snapshot;
use traffic::health::EndpointCell;

/// What was counted so far, to subtract from what will have been counted a second later.
pub(super) struct Live {
    in_place: bool,
    seconds: u64,
    /// Lines of the block that was drawn last.
    drawn: usize,
    before: Count,
    /// Of every endpoint of every upstream.
    states: Vec<&'static str>,
}

/// Sums at one moment.
#[derive(Clone, Debug, Default)]
struct Count {
    requests: u64,
    failed: u64,
    total: Totals,
    /// By endpoint; those of all upstreams with the same address together.
    attempts: Vec<u64>,
}

/// What happened within one second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Second {
    requests: u64,
    failed: u64,
    p50_us: u64,
    p99_us: u64,
    endpoints: Vec<Share>,
}

#[derive(Debug, PartialEq, Eq)]
struct Share {
    name: &'static str,
    state: &'static str,
    attempts: u64,
    percent: u64,
    in_flight: u32,
}

impl Live {
    pub(super) fn new(node: &Node) -> Live {
        Live {
            in_place: stdout().is_terminal(),
            seconds: 0,
            drawn: 0,
            before: Count::of(&node.control.snapshot()),
            states: Vec::new(),
        }
    }

    /// The text that shows the second that has just passed.
    pub(super) fn tick(&mut self, node: &Node) -> String {
        self.seconds += 1;
        let snapshot = node.control.snapshot();
        let now = Count::of(&snapshot);
        let second = Second::between(&self.before, &now, &snapshot);
        self.before = now;
        if !self.in_place {
            return second.line(self.seconds);
        }
        let block =
            second.block(self.seconds, node.stats.iter().map(|worker| worker.connections_active.get()).sum());
        let now = runtime::clock();
        let states = endpoints(&snapshot).flatten().map(|cell| cell.state_name(now)).collect();
        if states != self.states {
            // The checks have just said so below the last block; drawing over it would take their words away.
            self.states = states;
            self.drawn = 0;
        }
        // Up to the first line of the last block, and clear from there to the end of the screen.
        let up = if self.drawn == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.drawn) };
        self.drawn = block.lines().count();
        format!("{up}{block}")
    }
}

impl Count {
    fn of(snapshot: &Snapshot) -> Count {
        let mut count = Count::default();
        for shard in snapshot.routes.iter().flat_map(|route| route.stats.shards()) {
            count.requests += (0..6).map(|class| shard.requests(class)).sum::<u64>();
            count.failed += shard.requests(5) + shard.requests(0);
            shard.total.merge_into(&mut count.total);
        }
        count.attempts = endpoints(snapshot).map(|cells| cells.map(EndpointCell::requests).sum()).collect();
        count
    }
}

/// For each of [`PEERS`] its cells: every upstream of the demo has the same endpoints in the same order.
fn endpoints(snapshot: &Snapshot) -> impl Iterator<Item = impl Iterator<Item = &EndpointCell>> {
    let upstreams = || snapshot.upstreams.iter();
    (0..PEERS.len()).map(move |index| {
        upstreams().filter_map(move |upstream| upstream.endpoints.get(index)).map(|endpoint| &*endpoint.cell)
    })
}

impl Second {
    fn between(before: &Count, after: &Count, snapshot: &Snapshot) -> Second {
        let total = after.total.since(&before.total);
        let quantile = |share| u64::try_from(total.quantile(share).as_micros()).unwrap_or(u64::MAX);
        let attempts: Vec<u64> = after
            .attempts
            .iter()
            .zip(&before.attempts)
            .map(|(after, before)| after.saturating_sub(*before))
            .collect();
        let all: u64 = attempts.iter().sum();
        let now = runtime::clock();
        let mut shares = Vec::new();
        for ((mut cells, (name, _)), attempts) in endpoints(snapshot).zip(PEERS).zip(attempts) {
            // All upstreams check the same three; what the first one found is what the others find.
            let first = cells.next();
            shares.push(Share {
                name,
                state: first.map_or("-", |cell| cell.state_name(now)),
                attempts,
                percent: (attempts * 100).checked_div(all).unwrap_or(0),
                in_flight: first.into_iter().chain(cells).map(EndpointCell::in_flight).sum(),
            });
        }
        Second {
            requests: after.requests.saturating_sub(before.requests),
            failed: after.failed.saturating_sub(before.failed),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            endpoints: shares,
        }
    }

    /// For a file or a pipe.
    fn line(&self, seconds: u64) -> String {
        let mut line = format!("{seconds:>4}s {:>6} requests/s {:>4} failed", self.requests, self.failed);
        // Writing to a String cannot fail.
        let _ = write!(line, "  p50 {:>7} p99 {:>7}", micros(self.p50_us), micros(self.p99_us));
        for share in &self.endpoints {
            let _ = write!(line, "  | {} {} {}%", share.name, share.state, share.percent);
        }
        line.push('\n');
        line
    }

    /// For a terminal.
    fn block(&self, seconds: u64, connections: u64) -> String {
        let mut block = format!(
            "{seconds}s  {} requests/s, {} failed  p50 {}  p99 {}  {connections} connections\n",
            self.requests,
            self.failed,
            micros(self.p50_us),
            micros(self.p99_us)
        );
        let rows: Vec<Vec<String>> = self.endpoints.iter().map(Share::row).collect();
        block.push_str(&table(&["endpoint", "state", "requests/s", "in flight", "share", ""], &rows));
        block
    }
}

impl Share {
    fn row(&self) -> Vec<String> {
        vec![
            self.name.to_owned(),
            self.state.to_owned(),
            self.attempts.to_string(),
            self.in_flight.to_string(),
            format!("{}%", self.percent),
            "#".repeat(usize::try_from(self.percent / 4).unwrap_or(0)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second() -> Second {
        let share =
            |name, state, percent| Share { name, state, attempts: percent * 10, percent, in_flight: 2 };
        Second {
            requests: 1000,
            failed: 3,
            p50_us: 1_290,
            p99_us: 99_000,
            endpoints: vec![share("fast", "up", 96), share("slow", "down", 4)],
        }
    }

    #[test]
    fn a_pipe_gets_one_line_per_second() {
        let line = second().line(7);
        let expected =
            "   7s   1000 requests/s    3 failed  p50   1.2ms p99  99.0ms  | fast up 96%  | slow down 4%\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_terminal_gets_a_bar_per_endpoint() {
        let block = second().block(7, 8);
        assert!(
            block.starts_with("7s  1000 requests/s, 3 failed  p50 1.2ms  p99 99.0ms  8 connections\n"),
            "{block}"
        );
        let bars: Vec<usize> = block.lines().map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [0, 0, 24, 1], "{block}");
    }
}
