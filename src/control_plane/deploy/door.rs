//! What can be ordered of the deployer, and what it answers.

use super::{NotReplaced, Replaced, Replacement};
use crate::certificates::Secrets;
use crate::compile::live::Found;
use config::Target;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use traffic::Snapshot;
use traffic::health::Service;
use traffic::snapshot::Endpoint;

/// The way to the deployer; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door(mpsc::Sender<Order>);

/// A change of what generations are made of.
#[derive(Debug)]
pub(crate) enum Order {
    /// A name stands for other addresses than before.
    Found { upstream: String, name: Target, found: Arc<[Found]> },
    /// Files of certificates have changed.
    Secrets {
        /// What they were read beside; if something else is in force by now, nobody waits for these.
        instead_of: Arc<Secrets>,
        secrets: Arc<Secrets>,
    },
    /// An operator asks something of an endpoint.
    Endpoint {
        upstream: String,
        address: String,
        change: Change,
        /// Who asks, for the audit line.
        by: String,
        answer: oneshot::Sender<Result<Changed, Refused>>,
    },
    /// Somebody confirms the configuration that is on trial.
    Confirm { by: String, answer: oneshot::Sender<Option<Arc<str>>> },
    /// Another configuration.
    Replace { replacement: Replacement, answer: oneshot::Sender<Result<Replaced, NotReplaced>> },
}

/// What is to be different; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) service: Option<Service>,
    /// `Some(None)` goes back to the weight of the configuration or of the name.
    pub(crate) weight: Option<Option<u16>>,
}

/// How an endpoint is after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) service: Service,
    pub(crate) weight: u32,
    /// The weight is not the configured one.
    pub(crate) overridden: bool,
    /// The generation that has it.
    pub(crate) generation: u64,
}

/// Somebody who waits for a generation, and what to tell them.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) upstream: String,
    pub(super) address: String,
    pub(super) changed: Changed,
    pub(super) answer: oneshot::Sender<Result<Changed, Refused>>,
}

impl Waiting {
    /// `snapshot` has come into force. Whoever asked may have gone away.
    pub(super) fn conclude(self, snapshot: &Snapshot) {
        let Changed { weight, .. } = self.changed;
        let weight = find(snapshot, &self.upstream, &self.address).map_or(weight, |endpoint| endpoint.weight);
        let _ = self.answer.send(Ok(Changed { weight, generation: snapshot.generation, ..self.changed }));
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// With the upstreams that there are.
    NoUpstream(Vec<String>),
    /// With the endpoints that the upstream has.
    NoEndpoint(Vec<String>),
    /// More wishes than are kept.
    TooMany(usize),
    /// No generation could be made.
    NotCompiled(String),
    /// The node stops.
    Stopping,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, what: &str, names: &[String]| {
            if names.is_empty() {
                return write!(f, "{what}; there is none now");
            }
            let shown = names.len().min(NAMES_SHOWN_MAX);
            let rest = names.len() - shown;
            write!(f, "{what}; there are: {}", names[..shown].join(", "))?;
            if rest > 0 { write!(f, " and {rest} more") } else { Ok(()) }
        };
        match self {
            Refused::NoUpstream(names) => list(f, "no upstream of that name", names),
            Refused::NoEndpoint(names) => list(f, "the upstream has no such endpoint", names),
            Refused::TooMany(max) => {
                write!(f, "changes of {max} endpoints are kept already; undo some first")
            }
            Refused::NotCompiled(why) => write!(f, "the change cannot be put into force: {why}"),
            Refused::Stopping => f.write_str("the node is about to stop"),
        }
    }
}

pub(super) fn channel() -> (Door, mpsc::Receiver<Order>) {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    (Door(sender), receiver)
}

impl Door {
    /// A name stands for these addresses now. Whether anybody is there to hear it.
    pub(crate) async fn found(&self, upstream: String, name: Target, found: Arc<[Found]>) -> bool {
        self.0.send(Order::Found { upstream, name, found }).await.is_ok()
    }

    /// Puts another configuration into force, and waits until it is.
    pub(crate) async fn replace(&self, replacement: Replacement) -> Result<Replaced, NotReplaced> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Replace { replacement, answer };
        self.0.send(order).await.map_err(|_| NotReplaced::Stopping)?;
        answered.await.unwrap_or(Err(NotReplaced::Stopping))
    }

    /// Confirms the configuration that is on trial; its hash, or `None` when none is.
    pub(crate) async fn confirm(&self, by: String) -> Option<Arc<str>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Order::Confirm { by, answer }).await.ok()?;
        answered.await.ok()?
    }

    /// The same as [`Door::replace`] from another thread, for whoever does not wait; what becomes of it is logged. False when too many orders
    /// wait already.
    pub(crate) fn replace_later(&self, replacement: Replacement) -> bool {
        let (answer, _) = oneshot::channel();
        self.0.try_send(Order::Replace { replacement, answer }).is_ok()
    }

    /// Certificates are to be used instead of others. Whether anybody is there to hear it.
    pub(crate) async fn secrets(&self, instead_of: Arc<Secrets>, secrets: Arc<Secrets>) -> bool {
        self.0.send(Order::Secrets { instead_of, secrets }).await.is_ok()
    }

    /// Changes an endpoint, and waits until that is in force.
    pub(crate) async fn set_endpoint(
        &self,
        upstream: String,
        address: String,
        change: Change,
        by: String,
    ) -> Result<Changed, Refused> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Endpoint { upstream, address, change, by, answer };
        self.0.send(order).await.map_err(|_| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }
}

/// The endpoint of these names in a generation.
pub(super) fn find<'s>(
    snapshot: &'s Snapshot,
    upstream: &str,
    address: &str,
) -> Result<&'s Endpoint, Refused> {
    let Some(found) = snapshot.upstreams.iter().find(|found| &*found.name == upstream) else {
        let names = snapshot.upstreams.iter().map(|upstream| upstream.name.to_string());
        return Err(Refused::NoUpstream(names.collect()));
    };
    let endpoint = found.endpoints.iter().find(|endpoint| is_at(endpoint, address));
    endpoint.ok_or_else(|| {
        Refused::NoEndpoint(found.endpoints.iter().map(|endpoint| endpoint.text.to_string()).collect())
    })
}

/// An address can be written in several ways, above all one of IPv6.
fn is_at(endpoint: &Endpoint, address: &str) -> bool {
    &*endpoint.text == address || address.parse().is_ok_and(|addr| endpoint.addr.ip() == Some(addr))
}

/// An overriding weight as the audit line shows it.
pub(super) fn weight_text(weight: Option<u16>) -> String {
    weight.map_or_else(|| "as configured".to_owned(), |weight| weight.to_string())
}

/// Orders that wait; who sends more waits too.
const ORDERS_MAX: usize = 256;
const NAMES_SHOWN_MAX: usize = 50;
