//! One socket of the worker: what it has received and not handed out, what it still sends, and what is pending.
//!
//! Futures hold a key to it and nothing else, so that dropping one at any time loses no byte and frees no memory that
//! the kernel may still use.
//!
//! ```text
//!              submit               event
//!   receive: idle ───────▶ armed ──────────▶ idle, bytes in `inbox` (or `end` is set)
//!   send:    idle ───────▶ in flight ──────▶ idle, or the next message
//!   close:   open ──cancel what is pending──▶ closing ──last terminal event──▶ descriptor closed, slot freed
//! ```
//!
//! The future's part in this is to look into `inbox` and to leave a waker.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::task::Waker;

use base::time::Instant;

use crate::buffers::Buf;
use crate::datagram::Herded;
use crate::driver::{Cancelled, Driver, Errno, Op, Submitted, Target, Token};
use crate::output::Output;
use crate::sys::SockAddr;

/// The entry of one descriptor in the worker's table.
pub(crate) struct Socket {
    pub(crate) fd: RawFd,
    pub(crate) role: Role,
    /// The owner has dropped its handle; only terminal events are awaited.
    pub(crate) closing: bool,
    /// Listed in the worker's `dirty` list for the end of this turn.
    pub(crate) dirty: bool,
    /// A message of `output` is with the driver.
    pub(crate) sending: bool,
    /// Our direction ends once everything is sent.
    pub(crate) ends_after_output: bool,
    /// Bytes were sent since the last receive ended: an answer takes a round trip.
    pub(crate) expect_quiet: bool,
    pub(crate) receive: Receive,
    pub(crate) readable: Readiness,
    pub(crate) writable: Readiness,
    /// Received bytes that nobody has taken.
    pub(crate) inbox: Option<Buf>,
    /// Why nothing more will be received; reported after `inbox`, and again every time.
    pub(crate) end: Option<End>,
    /// When `end` was noticed.
    pub(crate) ended_at: Instant,
    /// Why nothing more will be sent.
    pub(crate) send_error: Option<Errno>,
    /// The task of the last receive, accept or connect; kept after it was woken.
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// `writer` is woken when `pending` is not above this.
    pub(crate) flush_at: usize,
    /// None while there is nothing to send.
    pub(crate) output: Option<Box<Output>>,
    /// Bytes in `output` that the kernel has not taken.
    pub(crate) pending: usize,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

const _: () = assert!(size_of::<Socket>() <= 256, "every idle connection has one");

pub(crate) enum Role {
    Stream,
    Connecting {
        /// Read by the kernel, through its address, while the attempt is pending.
        to: Box<SockAddr>,
        pending: bool,
    },
    Listener(Box<Accepts>),
    Datagrams(Box<Herded>),
}

/// What a listening socket has besides.
#[derive(Default)]
pub(crate) struct Accepts {
    /// Accepted and not yet handed out.
    pub(crate) queue: VecDeque<RawFd>,
    pub(crate) error: Option<Errno>,
    pub(crate) armed: bool,
    pub(crate) paused: bool,
    pub(crate) cancelling: bool,
}

/// The receive side of a socket.
pub(crate) enum Receive {
    Idle,
    /// Pending, into a buffer of the pool.
    Pool,
    /// Pending, into this buffer's spare room.
    Owned(Buf),
}

/// What is known of one direction whose bytes are moved without being received or sent; see `piped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Unknown,
    /// The driver waits for it.
    Awaited,
    /// It was reported, and nobody has tried since.
    Reported,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    Failed(Errno),
}

impl Socket {
    pub(crate) fn new(fd: RawFd, role: Role) -> Socket {
        Socket {
            fd,
            role,
            closing: false,
            dirty: false,
            sending: false,
            ends_after_output: false,
            expect_quiet: false,
            receive: Receive::Idle,
            readable: Readiness::Unknown,
            writable: Readiness::Unknown,
            inbox: None,
            end: None,
            ended_at: Instant::ZERO,
            send_error: None,
            reader: None,
            writer: None,
            flush_at: 0,
            output: None,
            pending: 0,
            sent: 0,
            received: 0,
        }
    }

    /// Whether the driver still holds an operation of this socket.
    pub(crate) fn is_busy(&self) -> bool {
        let role = match &self.role {
            Role::Stream | Role::Datagrams(_) => false,
            Role::Connecting { pending, .. } => *pending,
            Role::Listener(accepts) => accepts.armed,
        };
        let awaited = self.readable == Readiness::Awaited || self.writable == Readiness::Awaited;
        role || self.sending || awaited || !matches!(self.receive, Receive::Idle)
    }

    /// What is known of `op`, which is `Readable` or `Writable`.
    pub(crate) fn readiness(&mut self, op: Op) -> &mut Readiness {
        if op == Op::Writable { &mut self.writable } else { &mut self.readable }
    }

    /// Starts a receive unless one is pending, bytes are waiting, or the end was reached.
    pub(crate) fn arm(&mut self, token: Token, driver: &mut Driver, into: Option<Buf>, watch: bool) {
        if !matches!(self.receive, Receive::Idle) || self.inbox.is_some() || self.end.is_some() {
            return;
        }
        let target = match into.filter(|buf| buf.spare() > 0) {
            None => {
                self.receive = Receive::Pool;
                Target::Pool
            }
            Some(mut buf) => {
                let target = Target::Owned { at: buf.spare_at(), len: buf.spare() };
                self.receive = Receive::Owned(buf);
                target
            }
        };
        // SAFETY: the buffer is kept in `receive`, untouched, until `Core::received` sees the terminal event; the
        // socket's slot is not freed before that (`is_busy`). Moving `Buf` does not move its memory.
        unsafe { driver.receive(token, self.fd, target, watch || self.expect_quiet) };
    }

    /// Puts bytes in front of what is waiting.
    pub(crate) fn unread(&mut self, buf: Buf) {
        self.inbox = match self.inbox.take() {
            _ if buf.is_empty() => return,
            None => Some(buf),
            Some(behind) => Some(joined(buf, &behind)),
        };
    }

    /// A receive has found the end.
    ///
    /// The kernel tells of a reset once. If it told a send, what reads like an orderly end afterwards is none: bytes may
    /// be missing, and nothing is known of what the peer has read. Where an orderly end came before the reset, the send
    /// gets EPIPE.
    pub(crate) fn peer_ended(&mut self, now: Instant) {
        let reset = self.send_error.filter(|errno| *errno != libc::EPIPE);
        self.end = Some(reset.map_or(End::Eof, End::Failed));
        self.ended_at = now;
    }

    /// Puts received bytes behind what is waiting.
    pub(crate) fn deliver(&mut self, buf: Buf) {
        self.received += buf.len() as u64;
        self.inbox = match self.inbox.take() {
            None => Some(buf),
            Some(front) => Some(joined(front, &buf)),
        };
    }

    /// Sends until the driver keeps a message, everything is sent, or the socket fails.
    pub(crate) fn send(&mut self, token: Token, driver: &mut Driver) {
        while !self.sending && self.send_error.is_none() {
            let Some(message) = self.output.as_mut().and_then(|output| output.prepare()) else { break };
            // SAFETY: `output` keeps the message and its bytes in place until `Output::sent` or `discard(true)`, which
            // follow the terminal event only; the slot is not freed before that (`is_busy`).
            match unsafe { driver.send(token, self.fd, message.as_ptr()) } {
                Submitted::Pending => self.sending = true,
                Submitted::Done(result) => self.sent(result),
            }
        }
        if self.ends_after_output && self.pending == 0 && !self.sending {
            self.ends_after_output = false;
            driver.shutdown_write(self.fd);
        }
    }

    /// Takes the result of the message in flight.
    pub(crate) fn sent(&mut self, result: Result<usize, Errno>) {
        self.sending = false;
        let Some(output) = self.output.as_mut() else { return };
        match result {
            Ok(n) => {
                output.sent(n);
                self.pending = self.pending.saturating_sub(n);
                self.sent += n as u64;
                self.expect_quiet = true;
            }
            Err(errno) => {
                output.discard(true);
                self.send_error = Some(errno);
                self.pending = 0;
            }
        }
        if self.closing {
            output.discard(true);
            self.pending = 0;
        }
    }

    /// The queue to give back to the worker's pool, once it is empty.
    pub(crate) fn take_drained(&mut self) -> Option<Box<Output>> {
        if self.sending { None } else { self.output.take_if(|output| output.is_empty()) }
    }

    /// The task to wake because enough was sent or nothing more can be.
    pub(crate) fn flush_waker(&mut self) -> Option<Waker> {
        let enough = self.pending <= self.flush_at || self.send_error.is_some();
        if enough { self.writer.take() } else { None }
    }

    /// Drops what no operation uses and asks every pending operation to end.
    pub(crate) fn begin_close(&mut self, token: Token, driver: &mut Driver) {
        self.closing = true;
        (self.inbox, self.reader, self.writer) = (None, None, None);
        if let Some(output) = &mut self.output {
            output.discard(!self.sending);
            self.pending = 0;
        }
        if self.sending && driver.cancel(token, Op::Send) == Cancelled::Now {
            self.sent(Err(libc::ECANCELED));
        }
        if !matches!(self.receive, Receive::Idle) && driver.cancel(token, Op::Receive) == Cancelled::Now {
            self.receive = Receive::Idle;
        }
        for op in [Op::Readable, Op::Writable] {
            let awaited = *self.readiness(op) == Readiness::Awaited;
            if awaited && driver.cancel(token, op) == Cancelled::Now {
                *self.readiness(op) = Readiness::Unknown;
            }
        }
        match &mut self.role {
            Role::Stream | Role::Datagrams(_) | Role::Connecting { pending: false, .. } => {}
            Role::Connecting { pending, .. } => {
                *pending = driver.cancel(token, Op::Connect) == Cancelled::Later
            }
            Role::Listener(accepts) => {
                if accepts.armed && !accepts.cancelling {
                    accepts.armed = driver.cancel(token, Op::Accept) == Cancelled::Later;
                    accepts.cancelling = accepts.armed;
                }
            }
        }
    }
}

fn joined(mut front: Buf, behind: &Buf) -> Buf {
    if front.spare() >= behind.len() {
        front.append(behind);
        return front;
    }
    let mut bytes = Vec::with_capacity(front.len() + behind.len());
    bytes.extend_from_slice(&front);
    bytes.extend_from_slice(behind);
    Buf::from_vec(bytes)
}
