//! When there is more to do than the node can: what is measured, how much pressure that is, and what is shed first.
//!
//! ```text
//!   node.rs      what there is and who holds how much        lag.rs       how long ready work waits
//!   pressure.rs  measurements → level, with hysteresis        shedding.rs  level → what is shed
//!   clients.rs   connections per client address
//! ```
//!
//! The worker measures (`data_plane::overload`) and does what [`Shedding`] says; the control plane reports.

mod clients;
mod lag;
mod node;
mod pressure;
mod shedding;
mod stats;

pub use clients::{Admitted, Clients, TooMany};
pub use lag::{LAG_LIMIT, Lag};
pub use node::{Node, PIPE_BYTES, SOCKET_BYTES, Supply};
pub use pressure::{HOLD, HYSTERESIS, Ladder, Level, Permille, permille};
pub use shedding::{REFUSED_FOR_TIME_MAX, Shedding};
pub use stats::ShedStats;

#[cfg(all(test, not(loom)))]
mod tests;
