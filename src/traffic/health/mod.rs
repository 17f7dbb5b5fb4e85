//! The state of endpoints: one shared cell each, written by workers (what they see of live traffic) and by the control
//! plane (what active checks say).

mod cell;
mod check;
mod ejection;
mod idle;

pub use cell::{EndpointCell, Health, Outcome};
pub use check::{Check, CheckRules};
pub use ejection::{EJECTED_FIRST, EJECTED_LONGEST, FAILURES_IN_A_ROW, SLOW_START};
pub use idle::IdleTimeout;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests;
