//! The driver over edge-triggered epoll: the same operations, performed with ordinary calls once a socket is ready.
//!
//! Every socket is registered once, for both directions. The driver remembers per socket what epoll last said
//! (`readable`, `writable`) and what is pending; readiness is cleared by EAGAIN and by a short result, after which the
//! kernel promises another edge. After the peer has ended its direction there is no further edge, so then only EAGAIN
//! clears `readable`.
//!
//! Sends are tried when they are submitted; receives and accepts only in `reap`, so that a busy socket waits for its
//! turn like any other.

#![expect(clippy::cast_possible_truncation, reason = "a token is taken apart, and EVENTS_MAX is small")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use super::{Cancelled, Completion, Counts, Errno, Event, Op, Received, Submitted, Target, Token};
use crate::buffers::Buffers;
use crate::output::Message;
use crate::sys::{self, SockAddr, check, errno};

pub(crate) struct Epoll {
    epoll: OwnedFd,
    /// The worker's event counter, registered level-triggered under [`WAKE`].
    wake: RawFd,
    buffers: Rc<Buffers>,
    /// By index of the token.
    states: Vec<State>,
    /// What the last `wait` brought and `reap` has not looked at.
    events: Vec<libc::epoll_event>,
    seen: usize,
    /// Sockets with a pending operation that looked ready when it was submitted.
    attempts: VecDeque<Token>,
    live: u64,
    stale: u64,
    wakes: u64,
}

struct State {
    token: Token,
    fd: RawFd,
    readable: bool,
    writable: bool,
    /// The peer has ended its direction, or the socket has failed: no further edge comes for reading.
    ended: bool,
    queued: bool,
    accepting: bool,
    connecting: bool,
    listener: bool,
    /// Somebody waits for readiness itself.
    awaits_readable: bool,
    awaits_writable: bool,
    /// Why connecting failed at once.
    refused: Option<Errno>,
    receive: Option<Target>,
    send: Option<*const Message>,
}

/// `data` of the worker's event counter; no token has this value because a generation has 24 bits only.
const WAKE: u64 = u64::MAX;
const EVENTS_MAX: usize = 256;
/// Connections accepted in one go before other sockets have their turn.
const ACCEPT_BATCH: usize = 64;

impl Epoll {
    pub(crate) fn new(wake: RawFd, buffers: Rc<Buffers>) -> io::Result<Epoll> {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let driver = Epoll {
            epoll,
            wake,
            buffers,
            states: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            seen: 0,
            attempts: VecDeque::new(),
            live: 0,
            stale: 0,
            wakes: 0,
        };
        driver.control(libc::EPOLL_CTL_ADD, wake, libc::EPOLLIN, WAKE)?;
        Ok(driver)
    }

    fn control(&self, what: i32, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: data };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &mut event) }).map(drop)
    }

    pub(crate) fn attach(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        self.admit(token, fd);
        self.watch(token, fd)
    }

    /// Without EPOLLOUT, which would be reported after each datagram that has left.
    pub(crate) fn attach_datagrams(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        self.admit(token, fd);
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN | libc::EPOLLET, pack(token))
    }

    fn watch(&self, token: Token, fd: RawFd) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events, pack(token))
    }

    fn admit(&mut self, token: Token, fd: RawFd) -> &mut State {
        let index = token.index() as usize;
        while self.states.len() <= index {
            self.states.push(State::vacant());
        }
        self.states[index] = State { token, fd, writable: true, ..State::vacant() };
        &mut self.states[index]
    }

    pub(crate) fn adopt_listener(&mut self, token: Token, socket: OwnedFd) -> io::Result<RawFd> {
        sys::set_nonblocking(socket.as_raw_fd(), true)?;
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, pack(token))?;
        let fd = socket.into_raw_fd();
        self.admit(token, fd).listener = true;
        Ok(fd)
    }

    /// See `Driver::receive`.
    pub(crate) unsafe fn receive(&mut self, token: Token, _: RawFd, target: Target, _: bool) {
        let Some(state) = self.state(token) else { return };
        debug_assert!(state.receive.is_none(), "one receive per socket");
        state.receive = Some(target);
        self.started(token);
    }

    pub(crate) fn accept(&mut self, token: Token, _: RawFd) {
        let Some(state) = self.state(token) else { return };
        state.accepting = true;
        self.started(token);
    }

    fn started(&mut self, token: Token) {
        self.live += 1;
        if self.state(token).is_some_and(|state| state.readable) {
            self.attempt(token);
        }
    }

    /// Lets `reap` look at the socket without waiting for an edge.
    fn attempt(&mut self, token: Token) {
        let Some(state) = self.state(token).filter(|state| !state.queued) else { return };
        state.queued = true;
        self.attempts.push_back(token);
    }

    /// See `Driver::send`.
    pub(crate) unsafe fn send(&mut self, token: Token, _: RawFd, message: *const Message) -> Submitted {
        let Some(state) = self.state(token) else { return Submitted::Done(Err(libc::EBADF)) };
        if state.writable {
            // SAFETY: the caller keeps the message valid until the terminal event, so also through this call.
            if let Some(result) = state.try_send(unsafe { &*message }) {
                return Submitted::Done(result);
            }
        }
        state.send = Some(message);
        self.live += 1;
        Submitted::Pending
    }

    /// See `Driver::connect`.
    pub(crate) unsafe fn connect(&mut self, token: Token, fd: RawFd, to: *const SockAddr) {
        let state = self.admit(token, fd);
        state.connecting = true;
        self.live += 1;
        // SAFETY: the caller keeps the address valid until the terminal event, so also through this call.
        let failed = match sys::connect(fd, unsafe { &*to }) {
            Ok(()) | Err(libc::EINPROGRESS) => self.watch(token, fd).err().and_then(|e| e.raw_os_error()),
            Err(errno) => Some(errno),
        };
        if let (Some(errno), Some(state)) = (failed, self.state(token)) {
            // Reported by the next `reap`, as one that comes later is.
            state.refused = Some(errno);
            self.attempt(token);
        }
    }

    pub(crate) fn ready(&mut self, token: Token, _: RawFd, op: Op) {
        let Some(state) = self.state(token) else { return };
        let is_ready = match op {
            Op::Writable => {
                state.awaits_writable = true;
                state.writable
            }
            _ => {
                state.awaits_readable = true;
                state.readable
            }
        };
        self.live += 1;
        if is_ready {
            self.attempt(token);
        }
    }

    /// A splice has found that the socket has nothing to read, or no room: the next edge says when to try again.
    pub(crate) fn unready(&mut self, token: Token, op: Op) {
        if let Some(state) = self.state(token) {
            match op {
                Op::Writable => state.writable = false,
                _ => state.readable = false,
            }
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, op: Op) -> Cancelled {
        if let Some(state) = self.state(token) {
            let pending = match op {
                Op::Receive => state.receive.take().is_some(),
                Op::Send => state.send.take().is_some(),
                Op::Accept => std::mem::take(&mut state.accepting),
                Op::Connect => std::mem::take(&mut state.connecting),
                Op::Readable => std::mem::take(&mut state.awaits_readable),
                Op::Writable => std::mem::take(&mut state.awaits_writable),
            };
            self.live -= u64::from(pending);
        }
        Cancelled::Now
    }

    pub(crate) fn close(&mut self, token: Token, fd: RawFd) {
        if let Some(state) = self.state(token) {
            let listener = state.listener;
            *state = State::vacant();
            if listener {
                // Other workers may hold duplicates, and a duplicate keeps the registration alive.
                let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
            }
        }
        sys::close(fd);
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.seen < self.events.len() {
            return Ok(());
        }
        self.seen = 0;
        self.events.clear();
        let millis = match timeout {
            _ if !self.attempts.is_empty() => 0,
            Some(timeout) => i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
            None => -1,
        };
        let (at, room) = (self.events.as_mut_ptr(), EVENTS_MAX as i32);
        // SAFETY: `events` is empty and has room for EVENTS_MAX entries from `at` on.
        match check(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), at, room, millis) }) {
            Ok(count) => {
                // SAFETY: the kernel has written `count <= EVENTS_MAX` entries.
                unsafe { self.events.set_len(count.unsigned_abs() as usize) };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn reap(&mut self, budget: usize, completions: &mut Vec<Completion>) {
        let until = completions.len().saturating_add(budget);
        // Sockets that were ready before come first, each once; those that still are go to the end of the queue.
        for _ in 0..self.attempts.len() {
            if completions.len() >= until {
                return;
            }
            let Some(token) = self.attempts.pop_front() else { break };
            if let Some(state) = self.state(token) {
                state.queued = false;
                self.serve(token, completions);
            }
        }
        while self.seen < self.events.len() && completions.len() < until {
            let event = self.events[self.seen];
            self.seen += 1;
            self.notice(event, completions);
        }
    }

    fn notice(&mut self, event: libc::epoll_event, completions: &mut Vec<Completion>) {
        let (data, flags) = (event.u64, event.events.cast_signed());
        if data == WAKE {
            self.wakes += 1;
            return sys::take_signal(self.wake);
        }
        let token = unpack(data);
        let Some(state) = self.state(token) else {
            // Closed after `wait` had collected its event.
            self.stale += 1;
            return;
        };
        let failed = flags & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        state.ended |= failed || flags & libc::EPOLLRDHUP != 0;
        state.readable |= failed || flags & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0;
        state.writable |= failed || flags & libc::EPOLLOUT != 0;
        if state.connecting && (failed || flags & libc::EPOLLOUT != 0) {
            state.connecting = false;
            let error = sys::take_error(state.fd);
            let result = if error == 0 { Ok(()) } else { Err(error) };
            completions.push(Completion { token, event: Event::Connected(result) });
            self.live -= 1;
        }
        self.serve(token, completions);
    }

    /// Performs what is pending on a socket as far as its readiness goes.
    fn serve(&mut self, token: Token, completions: &mut Vec<Completion>) {
        let buffers = Rc::clone(&self.buffers);
        let Some(state) = self.state(token) else { return };
        let mut ended = 0;
        if let Some(errno) = state.refused.take_if(|_| state.connecting) {
            state.connecting = false;
            ended += 1;
            completions.push(Completion { token, event: Event::Connected(Err(errno)) });
        }
        if let Some(result) = state.try_receive(&buffers) {
            ended += 1;
            completions.push(Completion { token, event: Event::Received(result) });
        }
        if let Some(message) = state.send.filter(|_| state.writable) {
            // SAFETY: the caller keeps the message valid until the terminal event, which has not been reported.
            if let Some(result) = state.try_send(unsafe { &*message }) {
                state.send = None;
                ended += 1;
                completions.push(Completion { token, event: Event::Sent(result) });
            }
        }
        for (awaited, ready, op) in [
            (&mut state.awaits_readable, state.readable, Op::Readable),
            (&mut state.awaits_writable, state.writable, Op::Writable),
        ] {
            if *awaited && ready {
                *awaited = false;
                ended += 1;
                completions.push(Completion { token, event: Event::Ready(op) });
            }
        }
        let mut again = false;
        if state.accepting && state.readable {
            again = state.try_accept(token, completions);
            ended += u64::from(!state.accepting);
        }
        self.live -= ended;
        if again {
            self.attempt(token);
        }
    }

    /// Nothing outlives the calls of this driver.
    pub(crate) fn end(&mut self) -> bool {
        true
    }

    pub(crate) fn live_ops(&self) -> u64 {
        self.live
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { stale_completions: self.stale, wakes: self.wakes, ..Counts::default() }
    }

    fn state(&mut self, token: Token) -> Option<&mut State> {
        self.states.get_mut(token.index() as usize).filter(|state| state.fd >= 0 && state.token == token)
    }
}

impl State {
    fn vacant() -> State {
        State {
            token: Token::from_parts(u32::MAX, 0),
            fd: -1,
            readable: false,
            writable: false,
            ended: false,
            queued: false,
            accepting: false,
            connecting: false,
            listener: false,
            awaits_readable: false,
            awaits_writable: false,
            refused: None,
            receive: None,
            send: None,
        }
    }

    /// The terminal result of the pending receive; None when nothing is pending or nothing is there.
    fn try_receive(&mut self, buffers: &Rc<Buffers>) -> Option<Result<Received, Errno>> {
        if !self.readable {
            return None;
        }
        let mut pooled = None;
        let (at, len) = match *self.receive.as_ref()? {
            Target::Owned { at, len } => (at, len),
            Target::Pool => {
                let buf = pooled.insert(buffers.pooled());
                (buf.spare_at(), buf.spare().min(buffers.lease_bytes()))
            }
        };
        let n = loop {
            // SAFETY: `at..at + len` is the spare room of the pool buffer just taken, or of the caller's target, which
            // stays valid until the terminal event.
            let result = unsafe { libc::recv(self.fd, at.cast(), len, libc::MSG_DONTWAIT) };
            match usize::try_from(result).map_err(|_| errno()) {
                Ok(n) => break n,
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => {
                    self.readable = false;
                    return None;
                }
                Err(errno) => {
                    self.receive = None;
                    return Some(Err(errno));
                }
            }
        };
        self.receive = None;
        self.readable = n == len || self.ended;
        Some(Ok(match pooled {
            None => Received::Owned(n),
            Some(mut buf) => {
                // SAFETY: the kernel has written `n` bytes to the spare room.
                unsafe { buf.filled(n) };
                Received::Pooled(buffers.relieved(buf))
            }
        }))
    }

    /// The result of sending once; None when the socket takes nothing now.
    fn try_send(&mut self, message: &Message) -> Option<Result<usize, Errno>> {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the vectors point into the parts of the `Output` that owns the message, see `Output::prepare`.
        let result = unsafe {
            match message.single() {
                Some(part) => libc::send(self.fd, part.iov_base, part.iov_len, flags),
                None => libc::sendmsg(self.fd, message.header(), flags),
            }
        };
        match usize::try_from(result) {
            Ok(n) => {
                self.writable = n == message.len();
                Some(Ok(n))
            }
            Err(_) => match errno() {
                libc::EAGAIN => {
                    self.writable = false;
                    None
                }
                libc::EINTR => Some(Ok(0)),
                errno => Some(Err(errno)),
            },
        }
    }

    /// Accepts one batch; returns whether more may be waiting.
    fn try_accept(&mut self, token: Token, completions: &mut Vec<Completion>) -> bool {
        for _ in 0..ACCEPT_BATCH {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: null pointers say that the peer's address is not wanted here.
            let fd = unsafe { libc::accept4(self.fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
            let result = if fd >= 0 { Ok(fd) } else { Err(errno()) };
            match result {
                Err(libc::EAGAIN) => {
                    self.readable = false;
                    return false;
                }
                // The peer gave up while it waited, or a signal came: neither says anything about the next one.
                Err(libc::ECONNABORTED | libc::EINTR) => {}
                Err(_) => {
                    self.accepting = false;
                    completions.push(Completion { token, event: Event::Accepted { result, more: false } });
                    return false;
                }
                Ok(_) => {
                    completions.push(Completion { token, event: Event::Accepted { result, more: true } })
                }
            }
        }
        true
    }
}

fn pack(token: Token) -> u64 {
    u64::from(token.generation()) << 32 | u64::from(token.index())
}

fn unpack(data: u64) -> Token {
    Token::from_parts(data as u32, (data >> 32) as u32)
}
