//! What operators hear of overload: whether the node should get traffic, and one line when something changes.
//!
//! The workers measure and shed by themselves; here their gauges are looked at once a second. So there is at most one line
//! per second and level, however fast things change.

use crate::node::Node;
use crate::notice::notice;
use base::Instant;
use base::stat::Counter;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use traffic::overload::{Level, ShedStats};
use traffic::stats::WorkerStats;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// All workers must have paused for so long before the node asks not to get traffic: a load balancer that takes a node out
/// at once only moves the overload to the next one.
const PAUSED_FOR: Duration = Duration::from_secs(3);
/// A turn that lasts longer is reported while it lasts.
const TURN_MAX: Duration = Duration::from_secs(1);

/// Why traffic should not be sent here because of overload.
pub(crate) fn reason(node: &Node) -> Option<String> {
    let latest =
        node.stats.iter().map(|worker| worker.shed.paused_since.get()).try_fold(0, |latest, since| {
            // 0: this one accepts.
            (since != 0).then_some(latest.max(since))
        })?;
    let paused = latest != 0 && node.now().since(Instant::from_nanos(latest)) >= PAUSED_FOR;
    paused.then(|| "overloaded: no worker accepts connections".to_owned())
}

/// Starts to look; ends with the runtime.
pub(crate) fn watch(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let mut watcher = Watcher::new(node.stats.len());
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            looks.tick().await;
            for line in watcher.look(&node.stats, node.now()) {
                notice(format_args!("{line}"));
            }
        }
    });
}

/// What was reported of each worker.
struct Watcher(Vec<Reported>);

#[derive(Clone, Copy, Default)]
struct Reported {
    level: u64,
    /// The turn that was reported to last, by its beginning.
    turn_began: u64,
    long_turns: u64,
    gaps: u64,
}

impl Watcher {
    fn new(workers: usize) -> Watcher {
        Watcher(vec![Reported::default(); workers])
    }

    /// The lines about what has changed since the last look.
    fn look(&mut self, stats: &[Arc<WorkerStats>], now: Instant) -> Vec<String> {
        let mut lines = self.levels(stats);
        let mut gaps = Vec::new();
        for (id, (reported, worker)) in self.0.iter_mut().zip(stats).enumerate() {
            lines.extend(reported.turn(id, &worker.shed, now));
            if std::mem::replace(&mut reported.gaps, worker.shed.gaps.get()) < reported.gaps {
                gaps.push(id);
            }
        }
        if !gaps.is_empty() {
            let who = names(&gaps);
            lines.push(format!("{who} stood still for more than 2 s; deadlines were moved by as much"));
        }
        lines
    }

    /// One line for all workers that changed to one level.
    fn levels(&mut self, stats: &[Arc<WorkerStats>]) -> Vec<String> {
        let mut changed: [Vec<usize>; Level::ALL.len()] = Default::default();
        for (id, (reported, worker)) in self.0.iter_mut().zip(stats).enumerate() {
            let level = worker.shed.level.get();
            if std::mem::replace(&mut reported.level, level) != level {
                changed[Level::from_number(level) as usize].push(id);
            }
        }
        let mut lines = Vec::new();
        for (level, ids) in Level::ALL.into_iter().zip(&changed).filter(|(_, ids)| !ids.is_empty()) {
            let who = names(ids);
            if level == Level::Calm {
                lines.push(format!("overload is over for {who}"));
                continue;
            }
            let most = |read: fn(&ShedStats) -> &Counter| {
                ids.iter().map(|&id| read(&stats[id].shed).get()).max().unwrap_or(0)
            };
            let (space, time) = (most(|shed| &shed.space), most(|shed| &shed.time));
            lines.push(format!(
                "overload: level {} ({}) for {who}; memory and descriptors {}, waiting time {} of what is allowed",
                level as u64,
                level.name(),
                percent(space),
                percent(time),
            ));
        }
        lines
    }
}

impl Reported {
    /// The watchdog: a turn that lasts, or that lasted too long while nobody looked; once per turn.
    fn turn(&mut self, id: usize, shed: &ShedStats, now: Instant) -> Option<String> {
        let (began, long_turns) = (shed.turn_began.get(), shed.long_turns.get());
        let ended = std::mem::replace(&mut self.long_turns, long_turns) < long_turns;
        let lasts = began != 0 && now.since(Instant::from_nanos(began)) >= TURN_MAX;
        if lasts && began != self.turn_began {
            self.turn_began = began;
            let seconds = now.since(Instant::from_nanos(began)).as_secs_f64();
            return Some(format!(
                "worker {id} has been busy with one turn for {seconds:.1} s and serves nobody meanwhile"
            ));
        }
        let was_reported = std::mem::take(&mut self.turn_began) != 0;
        if ended && !lasts && !was_reported {
            let seconds = Duration::from_nanos(shed.long_turn_nanos.get()).as_secs_f64();
            return Some(format!(
                "worker {id} was busy with one turn for {seconds:.1} s and served nobody meanwhile"
            ));
        }
        if lasts {
            self.turn_began = began;
        }
        None
    }
}

fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// `worker 1`, `workers 0, 2`.
fn names(ids: &[usize]) -> String {
    let mut text = if ids.len() == 1 { "worker ".to_owned() } else { "workers ".to_owned() };
    for (place, id) in ids.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{id}", if place == 0 { "" } else { ", " });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize) -> Vec<Arc<WorkerStats>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    const fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_change_of_level_is_said_once_for_all_workers_that_made_it() {
        let stats = workers(3);
        let mut watcher = Watcher::new(3);
        assert!(watcher.look(&stats, at(0)).is_empty());
        for id in [0, 2] {
            stats[id].shed.level.set(Level::Refuse as u64);
            stats[id].shed.space.set(912);
        }
        let lines = watcher.look(&stats, at(1_000));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("workers 0, 2") && lines[0].contains("refuse") && lines[0].contains("91.2 %")
        );
        assert!(watcher.look(&stats, at(2_000)).is_empty(), "nothing has changed");
        stats[0].shed.level.set(0);
        let lines = watcher.look(&stats, at(3_000));
        assert!(lines.len() == 1 && lines[0].contains("over for worker 0"), "{lines:?}");
    }

    #[test]
    fn r145_a_turn_that_lasts_is_said_once_while_it_lasts() {
        let stats = workers(1);
        let mut watcher = Watcher::new(1);
        let shed = &stats[0].shed;
        shed.turn_began.set(at(500).as_nanos());
        assert!(watcher.look(&stats, at(1_000)).is_empty());
        assert!(watcher.look(&stats, at(2_000))[0].contains("for 1.5 s"));
        assert!(watcher.look(&stats, at(3_000)).is_empty(), "the same turn");
        shed.turn_began.set(0);
        shed.long_turns.add(1);
        assert!(watcher.look(&stats, at(4_000)).is_empty(), "it was said already");
        shed.long_turn_nanos.set(1_200_000_000);
        shed.long_turns.add(1);
        assert!(
            watcher.look(&stats, at(5_000))[0].contains("was busy with one turn for 1.2 s"),
            "between two looks"
        );
    }

    #[test]
    fn r144_a_gap_is_said() {
        let stats = workers(2);
        let mut watcher = Watcher::new(2);
        stats[1].shed.gaps.add(1);
        assert!(watcher.look(&stats, at(0))[0].starts_with("worker 1 stood still"));
        assert!(watcher.look(&stats, at(1_000)).is_empty());
    }
}
