//! The control plane: everything around the traffic that may take its time. Ordinary code on tokio, one thread.
//!
//! It compiles the configuration into the snapshot that workers read, hands it to them, checks endpoints, answers the
//! admin API and writes the access log. It is never asked anything by a worker: the two sides meet in
//! [`traffic::Snapshot`], in the shared cells that hang on it, in per-worker statistics and in the mailboxes of `base`.
//!
//! ```text
//!   compile/     config::Config → traffic::Snapshot         probes/      active health checks
//!   admin/       the HTTP API                               telemetry/   metrics, access log
//!   budget.rs    memory on paper                           overload.rs  what is said of overload
//!   deploy/      the door through which later generations get into force
//!   explain/     what becomes of a request, and why
//!   names/       what names of endpoints stand for
//!   process.rs   orders to the process as a whole
//!   watch.rs     the configuration file, watched          last_good.rs the last one in force, on disk
//!   service/     services that Ringway itself asks        issuers/     keys of issuers of tokens, fetched
//!   rulings/     services that judge requests and tokens
//!   passwords/   comparing passwords, on threads of their own
//!   plane.rs     starts and stops all of them               node.rs      what they share
//! ```
#![forbid(unsafe_code)]

mod admin;
mod budget;
mod certificates;
pub mod compile;
mod deploy;
mod explain;
mod issuers;
mod last_good;
mod names;
mod node;
mod notice;
mod overload;
mod passwords;
mod plane;
mod probes;
mod process;
mod rulings;
mod service;
mod telemetry;
mod watch;

pub use budget::{Budget, DoesNotFit, LimitFrom, MemoryLimit, OfWorker, Row};
pub use certificates::Secrets;
pub use compile::{Compiled, Problem, compile};
pub use deploy::{Bound, Entrances, Wake};
pub use explain::{Explanation, Question, Subject, Unclear, explain};
pub use last_good::last_good;
pub use node::NodeFacts;
pub use plane::{ControlPlane, LogReopener, ReadyState, Start, spawn};
pub use probes::{Trial, try_endpoints};
pub use process::{Draining, ProcessOrder, ProcessOrders};
pub use telemetry::access_log::Formatter;
