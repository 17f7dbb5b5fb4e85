//! Decisions: which route, which endpoint, whether to retry, what to answer. Pure functions over compiled tables.
//!
//! No socket and no clock: `now`, the request and random numbers are arguments. The data plane performs what is decided
//! here; the control plane compiles the tables. The two meet in [`Snapshot`], the shared cells of `health`, and
//! [`record`].
#![forbid(unsafe_code)]

pub mod admission;
pub mod ask;
pub mod balance;
pub mod cause;
mod cause_wire;
pub mod compression;
pub mod egress;
pub mod filter;
pub mod flow;
pub mod grpc;
pub mod health;
pub mod hedge;
pub mod limit;
pub mod origin;
pub mod overload;
pub mod phase;
pub mod proxy_protocol;
pub mod recent;
pub mod record;
pub mod retry;
pub mod route;
pub mod selector;
pub mod snapshot;
pub mod source;
pub mod stats;
pub mod sticky;
mod sync;
pub mod udp;
pub mod upstream_stats;

pub use cause::{Cause, Side, Stage};
pub use origin::Origin;
pub use phase::{Phase, Phases};
pub use record::Record;
pub use snapshot::Snapshot;

#[cfg(test)]
mod testing;
