//! The place of a flow once it stands: what is left of its attempt, without the generation that this was made in.

use crate::worker::Worker;
use base::Instant;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::admission::Gate;
use traffic::health::{EjectionRules, EndpointCell, Outcome};
use traffic::snapshot::{Endpoint, Upstream};

/// A flow's place at its endpoint and among what its upstream may have. Dropped, the next one is let in.
///
/// How long it lasted says nothing about how long others have to wait, so nobody is told.
pub(crate) struct Presence {
    worker: Rc<Worker>,
    cell: Arc<EndpointCell>,
    /// `None` where nothing is limited.
    gate: Option<Arc<Gate>>,
    rules: EjectionRules,
    began: Instant,
    /// How long connecting took: the only latency that can be measured.
    connect: Duration,
    has_answered: bool,
}

impl Presence {
    /// For an attempt that the cell, and the gate if there is one, count already, and that began at `began`.
    pub(super) fn new(
        worker: &Rc<Worker>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        began: Instant,
    ) -> Presence {
        Presence {
            worker: Rc::clone(worker),
            cell: Arc::clone(&endpoint.cell),
            gate: upstream.admission.as_ref().map(|admission| Arc::clone(&admission.gate)),
            rules: upstream.ejection,
            began,
            connect: worker.rt.now().since(began),
            has_answered: false,
        }
    }

    /// The endpoint has sent something: it is alive. Counts once.
    pub(crate) fn praise(&mut self) {
        if !std::mem::replace(&mut self.has_answered, true) && self.began >= self.worker.stalled.get() {
            self.cell.observe(self.worker.rt.now(), self.connect, Outcome::Success, &self.rules);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.cell.end();
        if let Some(gate) = &self.gate {
            gate.leave();
            if gate.line.is_waited_for() {
                self.worker.queues.of(gate).pass_on();
            }
        }
    }
}
