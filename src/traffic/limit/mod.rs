//! How often, and how many at once: limits per key, counted once for all workers.
//!
//! ```text
//!   key.rs     request, caller → key           meter.rs   state, cost, time → state and level, or no
//!   table.rs   key → state, of fixed size      limiter.rs a limit of the configuration with its table
//!   tally.rs   what one exchange was charged   fields.rs  what clients are told (RateLimit, RateLimit-Policy)
//! ```
//!
//! A charge is one compare-and-exchange on a cell that holds the key and its state together: checking and consuming are
//! one step, whatever the other workers do. The filters are in [`crate::filter`].

mod fields;
mod key;
mod limiter;
mod meter;
mod table;
mod tally;
mod wide;

pub use fields::{FieldSet, policy, quoted};
pub use key::{Absent, Key, KeyPart, Prefixes};
pub use limiter::{LimitStats, Limiter, Outcome};
pub use meter::{Gcra, Level, Measure, Moment, Periods, Refusal, Sliding};
pub use table::{KEYS_MAX, KEYS_MIN, Table};
pub use tally::{Charge, Tally};

#[cfg(all(test, not(loom)))]
mod tests;

/// `RUSTFLAGS="--cfg loom" cargo test -p traffic --release loom_tests`
#[cfg(all(test, loom))]
mod loom_tests;
