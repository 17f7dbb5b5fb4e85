//! The driver over io_uring.
//!
//! Receives are one-shot and select a buffer of the worker's ring of provided buffers, so that a quiet connection
//! holds none and a slow one at most one; only accept is multishot. Sends ask the kernel to finish short ones itself
//! (MSG_WAITALL). Every descriptor is in blocking mode: on a non-blocking one the kernel would report EAGAIN instead
//! of waiting.
//!
//! `user_data` is kind (8 bits), generation (24), index (32). The driver keeps no state per socket: what an event
//! means follows from its kind, and whom it concerns is checked by `core` against the generation.

#![expect(clippy::cast_possible_truncation, reason = "a token is taken apart")]

pub(crate) mod kernel;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};

use super::{Cancelled, Completion, Counts, Event, Op, Received, Submitted, Target, Token};
use crate::buffers::Buffers;
use crate::leases::Leases;
use crate::output::Message;
use crate::sys::{self, SockAddr};
use kernel::{BUFFER_GROUP, Kernel};

pub(crate) struct Ring {
    kernel: Kernel,
    buffers: Rc<Buffers>,
    /// Receives that found no free buffer, in the order in which they did.
    starved: VecDeque<Token>,
    /// By index of the token: the descriptor of its last receive, for repeating it.
    descriptors: Vec<RawFd>,
    /// Listeners whose queue other rings have as well; a number that is used again for another is struck out then.
    shared: Vec<RawFd>,
    /// The worker's event counter and where it is read to.
    wake: RawFd,
    wake_count: Box<u64>,
    wake_armed: bool,
    wakes: u64,
    live: u64,
    starved_total: u64,
}

/// The first byte of `user_data`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Receive = 1,
    Send,
    Accept,
    Connect,
    Wake,
    Readable,
    Writable,
    /// Cancellations and closes: their success is not reported, and their failure needs no answer.
    Ignored,
}

/// IORING_RECVSEND_POLL_FIRST: wait for readiness before the first attempt.
const POLL_FIRST: u16 = 1;
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
/// Completions copied out of the queue at once.
const BATCH: usize = 64;
/// How long the end of a ring waits for its operations; each was asked to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

impl Ring {
    pub(crate) fn new(wake: RawFd, buffers: Rc<Buffers>, entries: u32) -> io::Result<Ring> {
        let mut kernel = Kernel::new(entries)?;
        let leases = Leases::new(buffers.lease_count(), buffers.lease_bytes())?;
        // SAFETY: `buffers` keeps the leases for as long as it lives, and the driver drops `kernel` before it.
        unsafe { kernel.lend(&leases) }?;
        buffers.install(leases);
        Ok(Ring {
            kernel,
            buffers,
            starved: VecDeque::new(),
            descriptors: Vec::new(),
            shared: Vec::new(),
            wake,
            wake_count: Box::new(0),
            wake_armed: false,
            wakes: 0,
            live: 0,
            starved_total: 0,
        })
    }

    pub(crate) fn attach(&mut self, _: Token, _: RawFd) -> io::Result<()> {
        Ok(())
    }

    /// `shared`: other rings accept from the same queue. The kernel wakes the one that has waited for longest and, with a
    /// multishot accept, that is always the same; so these accept one connection at a time and go to the end of the line.
    pub(crate) fn adopt_listener(&mut self, socket: OwnedFd, shared: bool) -> io::Result<RawFd> {
        sys::set_nonblocking(socket.as_raw_fd(), false)?;
        self.shared.retain(|fd| *fd != socket.as_raw_fd());
        if shared {
            self.shared.push(socket.as_raw_fd());
        }
        Ok(socket.into_raw_fd())
    }

    /// See `Driver::receive`.
    pub(crate) unsafe fn receive(&mut self, token: Token, fd: RawFd, target: Target, expect_quiet: bool) {
        let ioprio = if expect_quiet { POLL_FIRST } else { 0 };
        self.live += 1;
        match target {
            Target::Pool => {
                let index = token.index() as usize;
                if self.descriptors.len() <= index {
                    self.descriptors.resize(index + 1, -1);
                }
                self.descriptors[index] = fd;
                self.receive_leased(token, fd, ioprio);
            }
            Target::Owned { at, len } => {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                let entry = opcode::Recv::new(Fd(fd), at, len).ioprio(ioprio).build();
                // SAFETY: the caller keeps the target valid until the terminal event.
                unsafe { self.kernel.push(entry.user_data(pack(Kind::Receive, token))) };
            }
        }
    }

    fn receive_leased(&mut self, token: Token, fd: RawFd, ioprio: u16) {
        let receive =
            opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0).buf_group(BUFFER_GROUP).ioprio(ioprio);
        let entry = receive.build().flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the entry names no memory; the kernel takes a lease, which outlives the ring.
        unsafe { self.kernel.push(entry.user_data(pack(Kind::Receive, token))) };
    }

    /// See `Driver::send`.
    pub(crate) unsafe fn send(&mut self, token: Token, fd: RawFd, message: *const Message) -> Submitted {
        // SAFETY: the caller keeps the message valid until the terminal event.
        let message = unsafe { &*message };
        let entry = match message.single() {
            Some(part) => {
                let len = u32::try_from(part.iov_len).unwrap_or(u32::MAX);
                opcode::Send::new(Fd(fd), part.iov_base.cast(), len).flags(SEND_FLAGS).build()
            }
            None => opcode::SendMsg::new(Fd(fd), message.header()).flags(SEND_FLAGS.cast_unsigned()).build(),
        };
        self.live += 1;
        // SAFETY: as above; the vectors and the bytes behind them are part of the caller's promise.
        unsafe { self.kernel.push(entry.user_data(pack(Kind::Send, token))) };
        Submitted::Pending
    }

    pub(crate) fn accept(&mut self, token: Token, fd: RawFd) {
        let entry = if self.shared.contains(&fd) {
            opcode::Accept::new(Fd(fd), std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        } else {
            opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build()
        };
        self.live += 1;
        // SAFETY: the entry names no memory; the peer's address is not asked for.
        unsafe { self.kernel.push(entry.user_data(pack(Kind::Accept, token))) };
    }

    /// See `Driver::connect`.
    pub(crate) unsafe fn connect(&mut self, token: Token, fd: RawFd, to: *const SockAddr) {
        // SAFETY: the caller keeps the address valid until the terminal event.
        let to = unsafe { &*to };
        let entry = opcode::Connect::new(Fd(fd), to.as_ptr(), to.len()).build();
        self.live += 1;
        // SAFETY: as above.
        unsafe { self.kernel.push(entry.user_data(pack(Kind::Connect, token))) };
    }

    pub(crate) fn ready(&mut self, token: Token, fd: RawFd, op: Op) {
        let (kind, events) = match op {
            Op::Writable => (Kind::Writable, libc::POLLOUT),
            _ => (Kind::Readable, libc::POLLIN | libc::POLLRDHUP),
        };
        let entry = opcode::PollAdd::new(Fd(fd), u32::from(events.cast_unsigned())).build();
        self.live += 1;
        // SAFETY: the entry names no memory.
        unsafe { self.kernel.push(entry.user_data(pack(kind, token))) };
    }

    pub(crate) fn cancel(&mut self, token: Token, op: Op) -> Cancelled {
        let kind = match op {
            Op::Receive => {
                if let Some(at) = self.starved.iter().position(|starved| *starved == token) {
                    // Not with the kernel: it waits for a buffer on our side.
                    self.starved.remove(at);
                    self.live -= 1;
                    return Cancelled::Now;
                }
                Kind::Receive
            }
            Op::Send => Kind::Send,
            Op::Accept => Kind::Accept,
            Op::Connect => Kind::Connect,
            Op::Readable => Kind::Readable,
            Op::Writable => Kind::Writable,
        };
        self.push_ignored(opcode::AsyncCancel::new(pack(kind, token)).build(), token);
        Cancelled::Later
    }

    pub(crate) fn close(&mut self, token: Token, fd: RawFd) {
        self.push_ignored(opcode::Close::new(Fd(fd)).build(), token);
    }

    fn push_ignored(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(pack(Kind::Ignored, token));
        // SAFETY: cancellations and closes name no memory.
        unsafe { self.kernel.push(entry) };
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.wake_armed {
            self.wake_armed = true;
            let entry = opcode::Read::new(Fd(self.wake), (&raw mut *self.wake_count).cast(), 8).build();
            let nobody = Token::from_parts(0, 0);
            // SAFETY: `wake_count` is a box of the driver, which is kept until the read has ended (`end`).
            unsafe { self.kernel.push(entry.user_data(pack(Kind::Wake, nobody))) };
        }
        self.feed_starved();
        self.kernel.enter(timeout)
    }

    /// Repeats starved receives, as many as there are free buffers, the oldest first.
    ///
    /// Called once per turn, after tasks have given buffers back. A buffer that looks free may be on its way to us in
    /// a completion; that receive then starves again, behind those that waited longer.
    fn feed_starved(&mut self) {
        let free = u32::from(self.buffers.lease_count()).saturating_sub(self.buffers.out());
        for _ in 0..free {
            let Some(token) = self.starved.pop_front() else { return };
            let fd = self.descriptors[token.index() as usize];
            // Without bytes no buffer is needed: wait for them first.
            self.receive_leased(token, fd, POLL_FIRST);
        }
    }

    pub(crate) fn reap(&mut self, budget: usize, completions: &mut Vec<Completion>) {
        let mut left = budget;
        while left > 0 {
            let mut room = [const { MaybeUninit::uninit() }; BATCH];
            let asked = left.min(BATCH);
            let entries = self.kernel.completions(&mut room[..asked]);
            for entry in entries.iter() {
                completions.extend(self.translate(entry));
            }
            if entries.len() < asked {
                return;
            }
            left -= asked;
        }
    }

    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (kind, token) = unpack(entry.user_data())?;
        let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
        let event = match kind {
            Kind::Receive => self.received(token, entry, result)?,
            Kind::Send => Event::Sent(match result {
                // Nothing was taken; the caller sends the same bytes again.
                Err(libc::EAGAIN | libc::EINTR) => Ok(0),
                result => result.map(|n| n as usize),
            }),
            Kind::Accept => {
                let more = cqueue::more(entry.flags());
                let result = result.map(u32::cast_signed);
                self.live -= u64::from(!more);
                return Some(Completion { token, event: Event::Accepted { result, more } });
            }
            Kind::Connect => Event::Connected(result.map(drop)),
            Kind::Readable => Event::Ready(Op::Readable),
            Kind::Writable => Event::Ready(Op::Writable),
            Kind::Wake => {
                self.wake_armed = false;
                self.wakes += 1;
                return None;
            }
            Kind::Ignored => return None,
        };
        self.live -= 1;
        Some(Completion { token, event })
    }

    /// None when the receive starves, or is not over.
    fn received(&mut self, token: Token, entry: &cqueue::Entry, result: Result<u32, i32>) -> Option<Event> {
        let lease = cqueue::buffer_select(entry.flags());
        if let (Err(libc::ENOBUFS), None) = (result, lease) {
            self.starved_total += 1;
            self.starved.push_back(token);
            return None;
        }
        let n = result.unwrap_or(0) as usize;
        let pooled = lease.map(|index| {
            // SAFETY: this completion reports the lease and how much of it was filled; each is looked at once.
            unsafe { self.buffers.lease(index, n) }
        });
        Some(Event::Received(match (result, pooled) {
            (Err(errno), _) => Err(errno),
            (Ok(_), Some(buf)) => Ok(Received::Pooled(buf)),
            (Ok(_), None) => Ok(Received::Owned(n)),
        }))
    }

    pub(crate) fn live_ops(&self) -> u64 {
        self.live
    }

    pub(crate) fn counts(&self) -> Counts {
        let cq_overflows = self.kernel.overflows();
        Counts { starved: self.starved_total, cq_overflows, wakes: self.wakes, ..Counts::default() }
    }
}

/// Ending.
impl Ring {
    /// Asks every operation to end and waits until each has; false when one did not.
    ///
    /// Called when the worker's state goes, before the memory behind the operations does. After false the caller
    /// keeps that memory for ever, as is done here with the driver's own.
    pub(crate) fn end(&mut self) -> bool {
        self.live -= self.starved.len() as u64;
        self.starved.clear();
        let until = Instant::now() + END_PATIENCE;
        let mut rest = Vec::new();
        while self.live > 0 || self.wake_armed {
            let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            self.push_ignored(entry, Token::from_parts(0, 0));
            if self.kernel.enter(Some(Duration::from_millis(20))).is_err() || Instant::now() > until {
                std::mem::forget(std::mem::replace(&mut self.wake_count, Box::new(0)));
                std::mem::forget(Rc::clone(&self.buffers));
                return false;
            }
            self.reap(usize::MAX, &mut rest);
            for completion in rest.drain(..) {
                if let Event::Accepted { result: Ok(fd), .. } = completion.event {
                    sys::close(fd);
                }
            }
        }
        // Closes that were queued last.
        let _ = self.kernel.enter(Some(Duration::ZERO));
        true
    }
}

fn pack(kind: Kind, token: Token) -> u64 {
    (kind as u64) << 56 | u64::from(token.generation()) << 32 | u64::from(token.index())
}

/// None for a kind that was never submitted.
fn unpack(data: u64) -> Option<(Kind, Token)> {
    const KINDS: [Kind; 8] = [
        Kind::Receive,
        Kind::Send,
        Kind::Accept,
        Kind::Connect,
        Kind::Wake,
        Kind::Readable,
        Kind::Writable,
        Kind::Ignored,
    ];
    let kind = KINDS.into_iter().find(|&kind| kind as u64 == data >> 56)?;
    Some((kind, Token::from_parts(data as u32, (data >> 32) as u32)))
}
