//! The state of one worker's runtime, and what happens to it when a completion arrives.
//!
//! `runtime::Runtime` runs the loop over it; `Stream`, `Listener`, `Connect` and `Timer` hold an `Rc` to it.
//! Each table has its own cell. They are borrowed in the order sockets, driver, buffers, and no foreign code (a waker,
//! a future, a closure of the caller) runs while one is.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base::Slab;
use base::time::Instant;

use crate::buffers::{Buf, Buffers};
use crate::datagram::Offload;
use crate::driver::{Cancelled, Completion, Driver, Errno, Event, Op, Received, Token};
use crate::gap::Gaps;
use crate::options::{Gauges, Options};
use crate::output::Output;
use crate::pipe::Pipes;
use crate::socket::{End, Readiness, Receive, Role, Socket};
use crate::task::Tasks;
use crate::timer::{Timers, remember};
use crate::wake::{self, Local, Shared};

pub(crate) struct Core {
    pub(crate) driver: RefCell<Driver>,
    pub(crate) sockets: RefCell<Slab<Socket>>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) tasks: RefCell<Tasks>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) pipes: RefCell<Pipes>,
    /// Sockets with output that was written in this turn.
    dirty: RefCell<Vec<Token>>,
    #[expect(clippy::vec_box, reason = "the kernel may hold the address of what is in the box")]
    outputs: RefCell<Vec<Box<Output>>>,
    /// Scratch space of `reap`.
    completions: RefCell<Vec<Completion>>,
    now: Cell<Instant>,
    late_accepts: Cell<u64>,
    stale: Cell<u64>,
    pub(crate) gaps: Cell<Gaps>,
    /// Asked for with the first datagram socket.
    offload: OnceCell<Offload>,
    pub(crate) local: Rc<Local>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
}

/// Accepted connections waiting for `Listener::accept` before accepting is suspended.
const ACCEPT_QUEUE_MAX: usize = 256;
/// Output queues kept for the next writer.
const OUTPUTS_MAX: usize = 256;

impl Core {
    pub(crate) fn new(
        driver: Driver,
        buffers: Rc<Buffers>,
        local: Rc<Local>,
        shared: Arc<Shared>,
        options: Options,
    ) -> Core {
        let now = driver.now();
        Core {
            driver: RefCell::new(driver),
            sockets: RefCell::default(),
            timers: RefCell::new(Timers::new(now)),
            tasks: RefCell::new(Tasks::new()),
            buffers,
            pipes: RefCell::new(Pipes::new(options.pipes_max)),
            dirty: RefCell::default(),
            outputs: RefCell::default(),
            completions: RefCell::default(),
            now: Cell::new(now),
            late_accepts: Cell::new(0),
            stale: Cell::new(0),
            gaps: Cell::default(),
            offload: OnceCell::new(),
            local,
            shared,
            options,
        }
    }

    /// The clock as of the last wait.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn wall_nanos(&self) -> u64 {
        self.driver.borrow().wall_nanos()
    }

    /// The clock as it is at this moment; `now` stays what it was at the start of the turn.
    pub(crate) fn driver_now(&self) -> Instant {
        self.driver.borrow().now()
    }

    pub(crate) fn read_clock(&self) {
        self.now.set(self.driver.borrow().now());
    }

    /// What the kernel does for datagrams; a simulated network does nothing.
    pub(crate) fn offload(&self) -> Offload {
        *self.offload.get_or_init(|| match *self.driver.borrow() {
            Driver::Ring(_) | Driver::Epoll(_) => Offload::probe(),
            Driver::Sim(_) => Offload::default(),
        })
    }

    /// Runs `f` on a socket that its owner still holds, with the driver beside it.
    pub(crate) fn with<R>(&self, token: Token, f: impl FnOnce(&mut Socket, &mut Driver) -> R) -> R {
        let mut sockets = self.sockets.borrow_mut();
        let socket = sockets.get_mut(token).expect("a socket lives as long as its owner");
        f(socket, &mut self.driver.borrow_mut())
    }

    pub(crate) fn insert(&self, socket: Socket) -> Token {
        self.sockets.borrow_mut().insert(socket)
    }

    /// Polls for received bytes. An `into` that cannot be used (bytes are there, or a receive is armed) is dropped.
    pub(crate) fn poll_receive(
        &self,
        token: Token,
        into: &mut Option<Buf>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Buf>> {
        self.with(token, |socket, driver| {
            remember(&mut socket.reader, cx);
            if let Some(buf) = socket.inbox.take() {
                return Poll::Ready(Ok(buf));
            }
            match socket.end {
                Some(End::Eof) => return Poll::Ready(Ok(Buf::empty())),
                Some(End::Failed(errno)) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
                None => {}
            }
            socket.arm(token, driver, into.take(), false);
            Poll::Pending
        })
    }

    /// Lets `f` append to the socket's merged output. It is the caller's code, so no table is borrowed meanwhile.
    pub(crate) fn write(&self, token: Token, f: impl FnOnce(&mut Vec<u8>)) {
        let Some(mut tail) = self.output(token, Output::take_tail) else { return };
        f(&mut tail.bytes);
        let added = self.output(token, |output| output.put_tail(tail)).unwrap_or(0);
        self.written(token, added);
    }

    /// Queues a buffer without copying it.
    pub(crate) fn write_buf(&self, token: Token, buf: Buf) {
        let added = buf.len();
        if added > 0 && self.output(token, |output| output.push(buf)).is_some() {
            self.written(token, added);
        }
    }

    /// None once sending has failed: what is written then has nowhere to go.
    fn output<R>(&self, token: Token, f: impl FnOnce(&mut Output) -> R) -> Option<R> {
        let mut sockets = self.sockets.borrow_mut();
        let socket = sockets.get_mut(token).filter(|socket| socket.send_error.is_none())?;
        let pooled = || self.outputs.borrow_mut().pop().unwrap_or_else(Output::new);
        Some(f(socket.output.get_or_insert_with(pooled)))
    }

    fn written(&self, token: Token, added: usize) {
        self.with(token, |socket, _| {
            socket.pending += added;
            if added > 0 && !std::mem::replace(&mut socket.dirty, true) {
                self.dirty.borrow_mut().push(token);
            }
        });
    }

    /// Starts to send what was written in this turn.
    pub(crate) fn flush_writes(&self) {
        let mut dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        for token in dirty.drain(..) {
            let waker = {
                let mut sockets = self.sockets.borrow_mut();
                let Some(socket) = sockets.get_mut(token).filter(|socket| !socket.closing) else { continue };
                socket.dirty = false;
                socket.send(token, &mut self.driver.borrow_mut());
                self.recycle(socket.take_drained());
                socket.flush_waker()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        // Wakers may have written again, to a list of their own.
        let mut list = self.dirty.borrow_mut();
        if list.is_empty() {
            *list = dirty;
        }
    }

    /// Frees what is kept for reuse: buffers and output queues.
    pub(crate) fn trim(&self) -> u64 {
        self.outputs.borrow_mut().clear();
        let mut pipes = self.pipes.borrow_mut();
        // The first call closes those that were long free, the second all.
        pipes.trim();
        pipes.trim();
        self.buffers.trim()
    }

    fn recycle(&self, output: Option<Box<Output>>) {
        let mut outputs = self.outputs.borrow_mut();
        if let Some(output) = output.filter(|_| outputs.len() < OUTPUTS_MAX) {
            outputs.push(output);
        }
    }

    /// Hands at most one turn's budget of completions to their sockets.
    pub(crate) fn reap(&self) {
        let mut completions = std::mem::take(&mut *self.completions.borrow_mut());
        self.driver.borrow_mut().reap(self.options.turn_budget as usize, &mut completions);
        for completion in completions.drain(..) {
            if let Some(waker) = self.complete(completion) {
                waker.wake();
            }
        }
        *self.completions.borrow_mut() = completions;
    }

    pub(crate) fn complete(&self, completion: Completion) -> Option<Waker> {
        let token = completion.token;
        let mut sockets = self.sockets.borrow_mut();
        let Some(socket) = sockets.get_mut(token) else {
            drop(sockets);
            self.release(completion.event);
            return None;
        };
        let waker = match completion.event {
            Event::Received(result) => received(socket, result, self.now.get()),
            Event::Sent(result) => {
                socket.sent(result);
                if !socket.closing {
                    socket.send(token, &mut self.driver.borrow_mut());
                }
                self.recycle(socket.take_drained());
                socket.flush_waker()
            }
            Event::Connected(result) => {
                connected(socket, result);
                socket.reader.clone()
            }
            Event::Accepted { result, more } => self.accepted(token, socket, result, more),
            Event::Ready(op) => {
                *socket.readiness(op) = Readiness::Reported;
                match (op, &socket.role) {
                    (Op::Writable, _) => socket.writer.clone(),
                    (_, Role::Datagrams(herded)) if !socket.closing => herded.arrived(),
                    _ => socket.reader.clone(),
                }
            }
        };
        if socket.closing {
            let idle = !socket.is_busy();
            drop(sockets);
            if idle {
                self.finish_close(token);
            }
            return None;
        }
        waker
    }

    /// An event for a slot that was freed or reused: only what it carries matters.
    fn release(&self, event: Event) {
        self.stale.set(self.stale.get() + 1);
        if let Event::Accepted { result: Ok(fd), .. } = event {
            self.driver.borrow_mut().discard(fd);
        }
    }

    fn accepted(
        &self,
        token: Token,
        socket: &mut Socket,
        result: Result<RawFd, Errno>,
        more: bool,
    ) -> Option<Waker> {
        let Role::Listener(accepts) = &mut socket.role else { return None };
        if !more {
            (accepts.armed, accepts.cancelling) = (false, false);
        }
        match result {
            Ok(fd) if socket.closing => {
                self.late_accepts.set(self.late_accepts.get() + 1);
                self.driver.borrow_mut().discard(fd);
            }
            Ok(fd) => {
                accepts.queue.push_back(fd);
                if accepts.queue.len() >= ACCEPT_QUEUE_MAX {
                    suspend(accepts, token, &mut self.driver.borrow_mut());
                }
            }
            // Neither says anything about the next connection; `poll_accept` starts again.
            Err(libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) => {}
            Err(errno) => accepts.error = Some(errno),
        }
        socket.reader.clone()
    }

    /// Takes the next accepted descriptor, and keeps the driver accepting.
    pub(crate) fn poll_accept(&self, token: Token, cx: &mut Context<'_>) -> Poll<io::Result<RawFd>> {
        self.with(token, |socket, driver| {
            remember(&mut socket.reader, cx);
            let fd = socket.fd;
            let Role::Listener(accepts) = &mut socket.role else {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EINVAL)));
            };
            if let Some(fd) = accepts.queue.pop_front() {
                return Poll::Ready(Ok(fd));
            }
            if let Some(errno) = accepts.error.take() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
            }
            if !accepts.armed && !accepts.paused {
                accepts.armed = true;
                driver.accept(token, fd);
            }
            Poll::Pending
        })
    }

    /// What is still accepted after accepting was stopped for good; None once the driver has told
    /// everything and nothing is left in the kernel's queue.
    pub(crate) fn poll_last_accepted(&self, token: Token, cx: &mut Context<'_>) -> Poll<Option<RawFd>> {
        self.with(token, |socket, driver| {
            remember(&mut socket.reader, cx);
            let listener = socket.fd;
            let Role::Listener(accepts) = &mut socket.role else { return Poll::Ready(None) };
            accepts.paused = true;
            suspend(accepts, token, driver);
            match accepts.queue.pop_front() {
                Some(fd) => Poll::Ready(Some(fd)),
                None if accepts.armed => Poll::Pending,
                None => Poll::Ready(driver.accept_now(listener)),
            }
        })
    }

    /// Stops or resumes accepting; what is already accepted stays in the queue.
    pub(crate) fn set_paused(&self, token: Token, paused: bool) {
        let waker = self.with(token, |socket, driver| {
            let Role::Listener(accepts) = &mut socket.role else { return None };
            accepts.paused = paused;
            if paused {
                suspend(accepts, token, driver);
                return None;
            }
            socket.reader.clone()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives a socket up; its descriptor is closed after its last operation.
    pub(crate) fn close(&self, token: Token) {
        let idle = {
            let mut sockets = self.sockets.borrow_mut();
            let Some(socket) = sockets.get_mut(token).filter(|socket| !socket.closing) else { return };
            let mut driver = self.driver.borrow_mut();
            socket.begin_close(token, &mut driver);
            if let Role::Listener(accepts) = &mut socket.role {
                for fd in accepts.queue.drain(..) {
                    self.late_accepts.set(self.late_accepts.get() + 1);
                    driver.discard(fd);
                }
            }
            !socket.is_busy()
        };
        if idle {
            self.finish_close(token);
        }
    }

    fn finish_close(&self, token: Token) {
        let removed = self.sockets.borrow_mut().remove(token);
        if let Some(mut socket) = removed {
            self.driver.borrow_mut().close(token, socket.fd);
            if let Some(output) = &mut socket.output {
                output.discard(true);
            }
            self.recycle(socket.take_drained());
        }
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let driver = self.driver.borrow();
        let counts = driver.counts();
        let pipes = self.pipes.borrow();
        Gauges {
            live_ops: driver.live_ops(),
            leases_out: u64::from(self.buffers.out()),
            sockets: self.sockets.borrow().len() as u64,
            tasks: self.tasks.borrow().live() as u64,
            timers: self.timers.borrow().len() as u64,
            relay_buffer_bytes: self.buffers.relay_out_bytes(),
            starved: counts.starved,
            stale_completions: counts.stale_completions + self.stale.get(),
            late_accepts: self.late_accepts.get(),
            cq_overflows: counts.cq_overflows,
            copied_out_bytes: self.buffers.copied_out_bytes(),
            relay_downsized: self.buffers.relay_downsized(),
            pipes_out: u64::from(pipes.out()),
            pipes: pipes.count() as u64,
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        wake::unregister(self.local.slot());
        let (driver, sockets) = (self.driver.get_mut(), std::mem::take(self.sockets.get_mut()));
        if !driver.end() {
            // The kernel may still use memory of these.
            return std::mem::forget(sockets);
        }
        for (_, socket) in sockets.iter().filter(|(_, socket)| socket.fd >= 0) {
            driver.discard(socket.fd);
        }
    }
}

fn suspend(accepts: &mut crate::socket::Accepts, token: Token, driver: &mut Driver) {
    if accepts.armed && !accepts.cancelling {
        accepts.armed = driver.cancel(token, Op::Accept) == Cancelled::Later;
        accepts.cancelling = accepts.armed;
    }
}

fn received(socket: &mut Socket, result: Result<Received, Errno>, now: Instant) -> Option<Waker> {
    let armed = std::mem::replace(&mut socket.receive, Receive::Idle);
    socket.expect_quiet = false;
    let buf = match (result, armed) {
        (Ok(Received::Pooled(buf)), _) => buf,
        (Ok(Received::Owned(n)), Receive::Owned(mut buf)) => {
            // An empty result means the end of the stream, whatever the buffer held before.
            if n > 0 {
                // SAFETY: the driver reports `n` bytes written to the target, which was this buffer's spare room.
                unsafe { buf.filled(n) };
                buf
            } else {
                Buf::empty()
            }
        }
        (Ok(Received::Owned(_)), _) => Buf::empty(),
        // Nothing was received; whoever still waits starts again.
        (Err(libc::EAGAIN | libc::EINTR), _) => return socket.reader.clone(),
        // Only a closing socket cancels its receive, and nobody asks it for the reason.
        (Err(errno), _) => {
            (socket.end, socket.ended_at) = (Some(End::Failed(errno)), now);
            return socket.reader.clone();
        }
    };
    match buf.is_empty() {
        true => socket.peer_ended(now),
        false => socket.deliver(buf),
    }
    socket.reader.clone()
}

fn connected(socket: &mut Socket, result: Result<(), Errno>) {
    match result {
        Ok(()) => socket.role = Role::Stream,
        Err(errno) => {
            socket.end = Some(End::Failed(errno));
            if let Role::Connecting { pending, .. } = &mut socket.role {
                *pending = false;
            }
        }
    }
}
