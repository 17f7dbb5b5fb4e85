//! Thread-per-core I/O: one loop per worker over io_uring or epoll, with the same owned-buffer API on both, and on a
//! simulated network for tests.
//!
//! This crate knows sockets, buffers, timers and tasks, and no protocol. `data_plane` is its only caller in the
//! product. It is the home of `unsafe`; every block names who keeps its promise.
//!
//! # The parts
//!
//! - [`Runtime`] is one worker's loop; `data_plane::worker` calls its steps in order.
//! - [`UdpSocket`] and [`Batch`] are the same for datagrams, many at a time.
//! - [`Stream`], [`Listener`], [`Connect`] are what tasks see of the network, [`Timer`] what they see of time.
//! - [`Piped`] is bytes on their way from socket to socket that stay in the kernel.
//! - [`Buf`] is owned memory: what a receive returns and what `write_buf` takes.
//! - `driver` is the seam to the kernel. Its module doc states what each driver keeps.
//!
//! # Why dropping a future is safe
//!
//! Nothing that the kernel reads or writes belongs to a future. Receive and send state live in the worker's table of
//! sockets; a slot is freed, and its descriptor closed, only after the terminal event of its last operation. Slots
//! carry generations: an event for an earlier owner releases what it carries and does nothing else.
//!
//! # What an idle connection costs
//!
//! One slot of the socket table (at most 256 B, asserted), its task, its timers, and nothing lent: the ring lends a
//! buffer when bytes arrive, and epoll takes one then. Output queues are pooled and given back once they are sent.
//! Measured with a small echo server and 6,000 idle keep-alive connections: 840 B each on io_uring, 590 B on epoll.
//!
//! # Memory rules, and tools that check them
//!
//! The tests of this crate pass under AddressSanitizer with leak detection:
//! `RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p base -p runtime --target x86_64-unknown-linux-gnu`.
//! Miri runs no system call of ours, so it can check only what needs none. The code keeps to what it would ask for:
//!
//! - A pointer that is with the kernel is never derived from a reference that is used again. [`Buf`] and the message
//!   of a send are allocations behind raw pointers, the address of a connect is taken after its box has its place,
//!   and moving the owner moves none of them.
//! - No reference is made to bytes that are not initialised: `Buf` exposes the filled range only, and the spare room
//!   is handed out as a raw pointer.
//! - Integers are not turned into pointers. A waker's data is a number in a pointer without provenance that is never
//!   followed; addresses that the kernel keeps as integers are exposed first.
//! - Memory that the kernel writes at any time (the tail of the ring of buffers) is accessed atomically.

mod bind;
mod buffers;
mod combine;
mod connect;
mod core;
mod datagram;
mod driver;
mod gap;
pub mod host;
mod leases;
mod listener;
mod options;
mod output;
mod passed;
mod pipe;
mod piped;
mod pressure;
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

/// A world without a kernel, for tests: see [`Runtime::simulated`].
pub mod sim {
    pub use crate::driver::sim::{Call, Faults, Net, SimOptions};
}

pub use crate::bind::{BindOptions, Bound, FileOptions, bind};
pub use crate::buffers::Buf;
pub use crate::combine::{Either, race, select2};
pub use crate::connect::{Connect, ConnectOptions, NoSource, try_source};
pub use crate::datagram::{
    Arrivals, Batch, Datagram, DatagramOptions, Local, Offload, Sent, UdpSocket, bind_datagrams,
};
pub use crate::gap::Gaps;
pub use crate::listener::Listener;
pub use crate::options::{Gauges, Options};
pub use crate::passed::passed;
pub use crate::piped::{Arrived, Piped, Refusal};
pub use crate::pressure::{Queued, ResidentMeter, StreamId, return_free_memory};
pub use crate::probe::{DriverKind, IoChoice, ProbeError, Selection, probe};
pub use crate::runtime::{Runtime, clock};
pub use crate::stream::{IdleState, Stream};
pub use crate::timer::Timer;
pub use crate::wake::Remote;
