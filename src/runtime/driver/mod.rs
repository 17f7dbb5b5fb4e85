//! The seam between the worker and the kernel: what a driver does, and what it promises.
//!
//! There is one driver per worker, chosen when the worker starts: [`Ring`] (io_uring), [`Epoll`], or [`Sim`] for
//! tests. The choice is an enum and a branch at each call. Everything above (`socket`, `core`, the
//! public types) is the same for all of them, and is written for completions; a driver over readiness performs the
//! operation itself once the descriptor is ready.
//!
//! # Words
//!
//! A *socket* is named by its [`Token`] and its descriptor; the caller passes both. Per socket at most one receive,
//! one send, one accept, one connect and one wait for each kind of readiness are pending. Every *operation* ends with exactly one terminal event (only an
//! accept reports several, each but the last with `more`), either in the return value of the call that started it
//! ([`Submitted::Done`]) or as a [`Completion`] from `reap`, never both.
//!
//! # What each driver keeps
//!
//! 1. Memory behind a send, a connect and an owned receive is used only until the terminal event, and the caller
//!    (`socket::Socket`) neither frees nor touches it before that. Dropping a future reaches no driver.
//! 2. `cancel` is a wish. [`Cancelled::Now`] says that the operation has ended and that no event follows;
//!    [`Cancelled::Later`] says that its terminal event follows, which may still be a success: received bytes,
//!    accepted descriptors and sent counts are never lost.
//! 3. `close` comes after the terminal events of all operations of the socket. From then on the driver never
//!    mentions the token again.
//! 4. `receive` into the pool lends no memory to a quiet socket: the buffer is taken when bytes are there. A driver
//!    that finds no free buffer keeps the operation pending, in the order of arrival, until one comes back; it counts
//!    this and neither polls nor waits on a timer.
//! 5. An empty result of a receive is the end of the stream. The caller never passes an owned target without room.
//! 6. A send may be short: the result says how much was taken, and the caller sends the rest as a new operation.
//! 7. `wait` submits everything, then blocks until a completion is there, the timeout is over, or the worker was woken
//!    by another thread (`wake::Shared`). It does not block while completions are already waiting. It may return early. An error says that
//!    the driver's state is unknown (EBADR: the kernel has dropped completions) and the worker cannot go on.
//! 8. `reap` hands out at most `budget` completions and leaves the rest for the next turn; it makes no socket wait
//!    for ever behind others.
//! 9. Errors are `errno` values. `ECANCELED` ends a cancelled operation. `ENOBUFS` is never reported, and `EAGAIN`
//!    only by a connect to a Unix socket whose queue is full.
//! 10. `splice_in` and `splice_out` move bytes between a socket and a pipe at once, as far as both allow, and never wait
//!     for either; EAGAIN says that nothing could be moved.
//! 11. `receive_datagrams` and `send_datagrams` never wait, and use the batch only during the call. An error that the network
//!     has told of a connected datagram socket makes it readable, and is reported once.
//! 12. `live_ops` is the number of operations without a terminal event, and is 0 after all sockets are closed.

mod datagrams;
pub(crate) mod epoll;
pub(crate) mod ring;
pub(crate) mod sim;
mod splice;

use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

use base::Key;
use base::addr::Addr;
use base::time::Instant;

use crate::bind::Bound;
use crate::buffers::Buf;
use crate::connect::ConnectOptions;
use crate::output::Message;
use crate::socket::Socket;
use crate::sys::{self, End, Peeked, SockAddr};
use epoll::Epoll;
use ring::Ring;
use sim::Sim;

/// Names a socket of the worker; a driver stores its 24-bit generation and its index, and compares both.
pub(crate) type Token = Key<Socket>;

/// An error number of the system.
pub(crate) type Errno = i32;

/// The driver of one worker.
#[expect(clippy::large_enum_variant, reason = "there is one per worker, and it never moves")]
pub(crate) enum Driver {
    Ring(Ring),
    Epoll(Epoll),
    Sim(Sim),
}

/// An operation that can be pending on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Receive,
    Send,
    Accept,
    Connect,
    /// Waits until there is something to read: bytes, the end, or an error.
    Readable,
    /// Waits until there is room to write, or an error.
    Writable,
}

/// Where received bytes go.
pub(crate) enum Target {
    /// A buffer of the worker's pool, taken when bytes are there.
    Pool,
    /// Memory of the caller, valid until the terminal event; `len` is not 0.
    Owned { at: *mut u8, len: usize },
}

/// How a send began.
pub(crate) enum Submitted {
    /// The result comes as a [`Completion`].
    Pending,
    /// The operation has already ended.
    Done(Result<usize, Errno>),
}

/// How a cancellation began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The operation has ended; no event follows.
    Now,
    /// The terminal event follows.
    Later,
}

/// One event of one operation.
pub(crate) struct Completion {
    pub(crate) token: Token,
    pub(crate) event: Event,
}

pub(crate) enum Event {
    Received(Result<Received, Errno>),
    Sent(Result<usize, Errno>),
    /// `more` is false on the terminal event. The descriptor belongs to the receiver of the event.
    Accepted {
        result: Result<RawFd, Errno>,
        more: bool,
    },
    Connected(Result<(), Errno>),
    /// A wait for readiness has ended. It may have been cancelled, or be mistaken: only trying tells.
    Ready(Op),
}

/// What a receive brought.
pub(crate) enum Received {
    /// A pool buffer with its bytes, for [`Target::Pool`]; empty at the end of the stream.
    Pooled(Buf),
    /// Bytes written to the caller's memory, for [`Target::Owned`]; 0 at the end of the stream.
    Owned(usize),
}

/// Calls the same method on whichever driver there is.
macro_rules! each {
    ($driver:expr, $it:ident => $call:expr) => {
        match $driver {
            Driver::Ring($it) => $call,
            Driver::Epoll($it) => $call,
            Driver::Sim($it) => $call,
        }
    };
}

/// Operations that wait for a peer.
impl Driver {
    /// Takes over a connected or accepted socket, before its first operation.
    pub(crate) fn attach(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        each!(self, driver => driver.attach(token, fd))
    }

    /// Starts a receive. `expect_quiet` says that no bytes are expected yet, so that a first attempt is wasted.
    ///
    /// # Safety
    /// An owned target is valid to write and untouched by others until the terminal event.
    pub(crate) unsafe fn receive(&mut self, token: Token, fd: RawFd, target: Target, expect_quiet: bool) {
        // SAFETY: the caller's promise is handed on.
        each!(self, driver => unsafe { driver.receive(token, fd, target, expect_quiet) })
    }

    /// Starts to send a message.
    ///
    /// # Safety
    /// The message and all its vectors are valid and unchanged until the terminal event.
    pub(crate) unsafe fn send(&mut self, token: Token, fd: RawFd, message: *const Message) -> Submitted {
        // SAFETY: the caller's promise is handed on.
        each!(self, driver => unsafe { driver.send(token, fd, message) })
    }

    /// Starts to accept, until cancelled or failed. Accepted descriptors are in the mode that this driver needs.
    pub(crate) fn accept(&mut self, token: Token, fd: RawFd) {
        each!(self, driver => driver.accept(token, fd))
    }

    /// Starts to connect a socket from [`Driver::open`].
    ///
    /// # Safety
    /// The address is valid and unchanged until the terminal event.
    pub(crate) unsafe fn connect(&mut self, token: Token, fd: RawFd, to: *const SockAddr) {
        // SAFETY: the caller's promise is handed on.
        each!(self, driver => unsafe { driver.connect(token, fd, to) })
    }

    /// Starts to wait for `op`, which is `Readable` or `Writable`. The event comes from `reap`, never before the next turn.
    pub(crate) fn ready(&mut self, token: Token, fd: RawFd, op: Op) {
        each!(self, driver => driver.ready(token, fd, op))
    }

    /// Asks a pending operation to end.
    pub(crate) fn cancel(&mut self, token: Token, op: Op) -> Cancelled {
        each!(self, driver => driver.cancel(token, op))
    }

    /// Closes a socket that has no pending operation.
    pub(crate) fn close(&mut self, token: Token, fd: RawFd) {
        each!(self, driver => driver.close(token, fd))
    }

    /// Submits, and blocks at most `timeout` (None: without limit); see the module doc, 7.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        each!(self, driver => driver.wait(timeout))
    }

    /// Appends at most `budget` completions; an accept may exceed it by one batch.
    pub(crate) fn reap(&mut self, budget: usize, completions: &mut Vec<Completion>) {
        each!(self, driver => driver.reap(budget, completions))
    }

    /// Ends every operation, when the worker's state goes. After false the memory behind them must be kept for ever.
    pub(crate) fn end(&mut self) -> bool {
        each!(self, driver => driver.end())
    }

    /// Operations without a terminal event.
    pub(crate) fn live_ops(&self) -> u64 {
        each!(self, driver => driver.live_ops())
    }

    /// What the driver has counted since it started.
    pub(crate) fn counts(&self) -> Counts {
        each!(self, driver => driver.counts())
    }
}

/// Totals that only the driver knows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) starved: u64,
    pub(crate) stale_completions: u64,
    pub(crate) cq_overflows: u64,
    /// Events of the worker's event counter; several signals may be one.
    pub(crate) wakes: u64,
}

/// What completes at once: the clock and calls on one descriptor. A simulated network has its own answers.
impl Driver {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::clock(),
            Driver::Sim(sim) => sim.now(),
        }
    }

    /// The wall clock in nanoseconds since 1970.
    pub(crate) fn wall_nanos(&self) -> u64 {
        match self {
            Driver::Epoll(_) | Driver::Ring(_) => sys::wall_clock(),
            Driver::Sim(sim) => sim.wall_nanos(),
        }
    }

    /// A new socket for connecting, in the mode that this driver needs.
    pub(crate) fn open(&mut self, family: i32) -> io::Result<RawFd> {
        match self {
            Driver::Ring(_) => sys::stream_socket(family, false).map(IntoRawFd::into_raw_fd),
            Driver::Epoll(_) => sys::stream_socket(family, true).map(IntoRawFd::into_raw_fd),
            Driver::Sim(sim) => sim.open(),
        }
    }

    /// Takes over a listening socket, in the mode that this driver needs.
    pub(crate) fn adopt_listener(&mut self, token: Token, socket: Bound) -> io::Result<RawFd> {
        match self {
            Driver::Ring(ring) => {
                let shared = socket.is_shared();
                ring.adopt_listener(socket.into_owned_fd()?, shared)
            }
            Driver::Epoll(epoll) => epoll.adopt_listener(token, socket.into_owned_fd()?),
            Driver::Sim(sim) => sim.adopt_listener(token, socket.into_simulated()?),
        }
    }

    /// Prepares an IP socket from [`Driver::open`]: no delay, and the address to connect from.
    pub(crate) fn set_source(&mut self, fd: RawFd, options: ConnectOptions) -> io::Result<()> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => {
                sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1_i32)?;
                options.source.map_or(Ok(()), |source| sys::bind_source(fd, source, options.transparent))
            }
            Driver::Sim(sim) => sim.set_source(fd, options.source),
        }
    }

    pub(crate) fn address(&self, fd: RawFd, end: End) -> Option<Addr> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::address(fd, end),
            Driver::Sim(sim) => sim.address(fd, end),
        }
    }

    pub(crate) fn shutdown_write(&mut self, fd: RawFd) {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::shutdown_write(fd),
            Driver::Sim(sim) => sim.shutdown_write(fd),
        }
    }

    pub(crate) fn set_reset_on_close(&mut self, fd: RawFd) {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::set_reset_on_close(fd),
            Driver::Sim(sim) => sim.set_reset_on_close(fd),
        }
    }

    pub(crate) fn set_keepalive(&mut self, fd: RawFd, idle: Duration, interval: Duration, probes: u32) {
        match self {
            // A socket that is gone, or a Unix socket, needs no probes.
            Driver::Ring(_) | Driver::Epoll(_) => drop(sys::set_keepalive(fd, idle, interval, probes)),
            // Simulated peers never vanish without a word unless told to.
            Driver::Sim(_) => {}
        }
    }

    pub(crate) fn acked_bytes(&self, fd: RawFd) -> Option<u64> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::acked_bytes(fd),
            Driver::Sim(sim) => sim.acked_bytes(fd),
        }
    }

    /// Bytes taken by the kernel that the peer has not acknowledged.
    pub(crate) fn unacked_bytes(&self, fd: RawFd) -> Option<u64> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::unacked_bytes(fd),
            Driver::Sim(sim) => sim.unacked_bytes(fd),
        }
    }

    /// What a receive would find now; takes nothing, and does not concern one that is pending.
    pub(crate) fn peek(&self, fd: RawFd) -> Peeked {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::peek(fd),
            Driver::Sim(sim) => sim.peek(fd),
        }
    }

    /// A connection that waits in the kernel's queue of a listener that accepts no more; never waits for one.
    pub(crate) fn accept_now(&mut self, fd: RawFd) -> Option<RawFd> {
        match self {
            Driver::Ring(_) => sys::accept_now(fd, false),
            Driver::Epoll(_) => sys::accept_now(fd, true),
            // A simulated listener has no queue but its driver's.
            Driver::Sim(_) => None,
        }
    }

    /// Closes a descriptor that never became a socket of the worker.
    pub(crate) fn discard(&mut self, fd: RawFd) {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => sys::close(fd),
            Driver::Sim(sim) => sim.discard(fd),
        }
    }
}
