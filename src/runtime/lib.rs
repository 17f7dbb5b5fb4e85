//! Thread-per-core I/O: one loop per worker over io_uring or epoll, with the same owned-buffer API on both.
//!
//! This crate knows sockets, buffers, timers and tasks, and no protocol. `data_plane` is its only caller in the
//! product. It is the home of `unsafe`; every block names who keeps its promise.
//!
//! # The parts
//!
//! - [`Runtime`] is one worker's loop; `data_plane::worker` calls its steps in order.
//! - [`Stream`], [`Listener`], [`Connect`] are what tasks see of the network, [`Timer`] what they see of time.
//! - [`Buf`] is owned memory: what a receive returns and what `write_buf` takes.
//! - `driver` is the seam to the kernel. Its module doc states what each driver keeps.
//!
//! # Why dropping a future is safe
//!
//! Nothing that the kernel reads or writes belongs to a future. Receive and send state live in the worker's table of
//! sockets; a slot is freed, and its descriptor closed, only after the terminal event of its last operation. Slots
//! carry generations: an event for an earlier owner releases what it carries and does nothing else.

mod bind;
mod buffers;
mod combine;
mod connect;
mod core;
mod driver;
mod leases;
mod listener;
mod options;
mod output;
mod probe;
mod runtime;
mod socket;
mod stream;
mod sys;
mod task;
mod timer;
mod wake;

#[cfg(test)]
mod tests;

pub use crate::bind::{BindOptions, Bound, bind};
pub use crate::buffers::Buf;
pub use crate::combine::{Either, race, select2};
pub use crate::connect::{Connect, ConnectOptions};
pub use crate::listener::Listener;
pub use crate::options::{Gauges, Options};
pub use crate::probe::{DriverKind, IoChoice, ProbeError, Selection, probe};
pub use crate::runtime::{Runtime, clock};
pub use crate::stream::Stream;
pub use crate::timer::Timer;
pub use crate::wake::Remote;
