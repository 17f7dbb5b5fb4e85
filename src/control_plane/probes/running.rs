//! Which checks run: one task per endpoint of the generation in force, started and ended as endpoints come and go.

use super::budget::{Budget, Pulse};
use super::{AT_ONCE_MAX, PER_SECOND_MAX, Probe, Watch, heartbeat, observer, rules};
use crate::node::Node;
use base::rng::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::AbortHandle;
use traffic::health;

/// The checks that run now. They end with the runtime, or when they are not followed any more.
pub(crate) struct Running {
    node: Arc<Node>,
    /// By the address of the endpoint's cell, which identifies the endpoint over all generations.
    by_cell: HashMap<usize, Watched>,
    budget: Arc<Budget>,
    pulse: Arc<Pulse>,
    seeds: Rng,
}

/// One of them.
struct Watched {
    probe: Arc<Probe>,
    task: AbortHandle,
}

/// Whether the node is not ready before new checks have a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// It is not, and their number is in `Node::first_round` already.
    Counted,
    /// It is not.
    Count,
    /// It is, if it was.
    Ignore,
}

impl Running {
    /// Nothing is checked yet.
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        Running {
            node: Arc::clone(node),
            by_cell: HashMap::new(),
            budget: Arc::new(Budget::new(AT_ONCE_MAX, PER_SECOND_MAX)),
            pulse: Arc::default(),
            // Nodes that start together must not check together: the clock and the process id differ between them.
            seeds: Rng::new(node.now().as_nanos() ^ u64::from(node.facts.pid) << 32),
        }
    }

    /// Starts what looks at all endpoints together.
    pub(crate) fn observe(&self) {
        tokio::spawn(heartbeat(Arc::clone(&self.node), Arc::clone(&self.pulse)));
        tokio::spawn(observer::run(Arc::clone(&self.node)));
    }

    /// From now on these are checked and no others; checks that go on as before are not disturbed.
    pub(crate) fn follow(&mut self, probes: Vec<Probe>, first: First) {
        let mut before = std::mem::take(&mut self.by_cell);
        for probe in probes {
            // The probe that is watched holds the cell, so that its address cannot be another one's.
            let key = Arc::as_ptr(&probe.cell).addr();
            let watched = match before.remove(&key) {
                Some(watched) if watched.probe.is_like(&probe) && !watched.task.is_finished() => watched,
                Some(changed) => {
                    changed.task.abort();
                    self.start(probe, first)
                }
                None => self.start(probe, first),
            };
            self.by_cell.insert(key, watched);
        }
        before.into_values().for_each(|gone| gone.task.abort());
    }

    fn start(&mut self, probe: Probe, first: First) -> Watched {
        if first == First::Count {
            self.node.first_round.expect(1);
        }
        let probe = Arc::new(probe);
        let watch = Watch {
            node: Arc::clone(&self.node),
            budget: Arc::clone(&self.budget),
            pulse: Arc::clone(&self.pulse),
            failures: probe.cell.failures(),
            state: health::Check::new(rules(probe.check.schedule()), probe.cell.health()),
            rng: Rng::new(self.seeds.next_u64()),
            is_first: first != First::Ignore,
            probe: Arc::clone(&probe),
        };
        Watched { probe, task: tokio::spawn(watch.run()).abort_handle() }
    }
}
