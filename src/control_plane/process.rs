//! What the admin API asks of the process as a whole. The control plane only passes it on: whoever started the workers
//! decides, answers, and says how far it is.

use crate::node::Node;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// An order to the process, with who gave it and where the answer goes. Whoever asked may have gone away.
#[derive(Debug)]
pub enum ProcessOrder {
    /// Stop gracefully; nothing but readiness changes before `pause` is over.
    Drain { pause: Duration, by: String, answer: oneshot::Sender<Result<(), String>> },
    /// Do not stop after all, while the pause lasts.
    Resume { by: String, answer: oneshot::Sender<Result<(), String>> },
}

/// Where the orders arrive.
#[derive(Debug)]
pub struct ProcessOrders(mpsc::Receiver<ProcessOrder>);

impl ProcessOrders {
    /// The next one; never ends by itself.
    pub async fn next(&mut self) -> ProcessOrder {
        match self.0.recv().await {
            Some(order) => order,
            // The control plane is gone: nobody can order anything any more.
            None => std::future::pending().await,
        }
    }
}

/// The other end.
pub(crate) type Process = mpsc::Sender<ProcessOrder>;

pub(crate) fn channel() -> (Process, ProcessOrders) {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    (sender, ProcessOrders(receiver))
}

/// Orders that wait; who sends more waits too.
const ORDERS_MAX: usize = 16;

/// How far a graceful stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draining {
    #[default]
    No,
    /// `/ready` says no, and everything goes on until then.
    Announced { until: Instant },
    /// Nothing new is accepted.
    Begun,
}

impl Draining {
    /// As `/v1/status` names it; `None` while there is no drain.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Draining::No => None,
            Draining::Announced { .. } => Some("announced"),
            Draining::Begun => Some("begun"),
        }
    }

    /// How long everything still goes on.
    pub(crate) fn pause_left(self) -> Option<Duration> {
        match self {
            Draining::Announced { until } => Some(until.saturating_duration_since(Instant::now())),
            Draining::No | Draining::Begun => None,
        }
    }
}

/// Gives an order and waits for the answer; the error says why it is not carried out.
pub(crate) async fn order(
    node: &Arc<Node>,
    make: impl FnOnce(oneshot::Sender<Result<(), String>>) -> ProcessOrder,
) -> Result<(), String> {
    let (answer, answered) = oneshot::channel();
    let stopping = || "the node is about to end".to_owned();
    node.process.send(make(answer)).await.map_err(|_| stopping())?;
    answered.await.unwrap_or_else(|_| Err(stopping()))
}
