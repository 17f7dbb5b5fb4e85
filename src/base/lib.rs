//! Data structures of the product: no I/O, no clock, no protocol, no dependency.
//!
//! Every other crate may use this one. `unsafe` is refused everywhere but in the files that name a reason.

#![deny(unsafe_code)]

pub mod addr;
pub mod cache_padded;
pub mod ids;
pub mod limits;
pub mod publish;
pub mod rng;
pub mod slab;
pub mod spsc;
pub mod stat;
pub mod time;
pub mod wheel;

pub use rng::Rng;
pub use slab::{Key, Slab};
pub use time::Instant;
pub use wheel::Wheel;
