//! The state of endpoints: one shared cell each, written by workers (what they see of live traffic) and by the control
//! plane (what active checks say).

mod cell;
mod check;
mod ejection;
mod idle;
mod service;
mod slow_start;
mod success_rate;

pub use cell::{EndpointCell, Health, Outcome};
pub use check::{Check, CheckRules, Evidence, FLAP_WINDOW, PROVEN_EVERY, RISE_FACTOR_MAX};
pub use ejection::{EjectionRules, Why};
pub use idle::IdleTimeout;
pub use service::Service;
pub use success_rate::{DIFFERENCE_MIN, Interval, Outliers, SuccessRateRules, outliers};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests;
