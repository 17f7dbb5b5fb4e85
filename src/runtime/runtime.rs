//! The loop of one worker and the handle to everything in it.
//!
//! `data_plane::worker` calls the steps of a turn one by one, in the order in which they stand here. Tests and small
//! programs use [`Runtime::block_on`] or [`Runtime::turn`].

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::addr::Addr;
use base::time::Instant;

use crate::bind::Bound;
use crate::buffers::{Buf, Buffers};
use crate::connect::{Connect, ConnectOptions};
use crate::core::Core;
use crate::datagram::{Arrivals, Offload, UdpSocket};
use crate::driver::Driver;
use crate::driver::epoll::Epoll;
use crate::driver::ring::Ring;
use crate::driver::sim::{Net, Sim, SimOptions, World};
use crate::listener::Listener;
use crate::options::{Gauges, Options};
use crate::probe::{DriverKind, Selection};
use crate::task::MAIN;
use crate::timer::Timer;
use crate::wake::{self, Remote};

/// One worker's loop: its sockets, timers and tasks. Not `Send`; made on the thread that runs it.
///
/// Clones refer to the same runtime. Dropping the handle that [`Runtime::new`] returned ends it, as
/// [`Runtime::shutdown`] does; the clones that tasks hold do not keep it alive.
pub struct Runtime {
    pub(crate) core: Rc<Core>,
    owner: bool,
}

impl Clone for Runtime {
    fn clone(&self) -> Self {
        Runtime { core: Rc::clone(&self.core), owner: false }
    }
}

impl Runtime {
    /// Sets up the selected driver on this thread.
    ///
    /// Fails as the kernel does (memory or descriptor limits), also after a successful probe.
    pub fn new(selection: &Selection, options: Options) -> io::Result<Runtime> {
        let entries = options.ring_entries;
        Runtime::over(options, |event, buffers| match selection.kind {
            DriverKind::Epoll => Epoll::new(event, buffers).map(Driver::Epoll),
            DriverKind::IoUring => Ring::new(event, buffers, entries).map(Driver::Ring),
            // A simulated network is made from a seed, not selected.
            DriverKind::Simulated => Err(io::Error::from(io::ErrorKind::Unsupported)),
        })
    }

    /// A runtime over a simulated network and clock, and the hand that steers them; see [`crate::sim`].
    ///
    /// `submit_and_wait` then takes no time, and fails when nothing can happen any more although somebody waits, and
    /// when turns follow each other without end while time stands still. Fails when no event counter can be had.
    pub fn simulated(options: SimOptions) -> io::Result<(Runtime, Net)> {
        let mut world = None;
        let runtime = Runtime::over(options.runtime.clone(), |_, buffers| {
            let made = Rc::new(RefCell::new(World::new(options, buffers)));
            world = Some(Rc::clone(&made));
            Ok(Driver::Sim(Sim::new(made)))
        })?;
        let world = world.expect("made with the driver");
        Ok((runtime, Net::new(world)))
    }

    /// A runtime over the driver that `make` returns, given the worker's event counter and its buffers.
    pub(crate) fn over(
        options: Options,
        make: impl FnOnce(RawFd, Rc<Buffers>) -> io::Result<Driver>,
    ) -> io::Result<Runtime> {
        let buffers = Buffers::new(options.lease_count, options.lease_bytes, options.relay_buffers_bytes_max);
        let (local, shared) = wake::register()?;
        match make(shared.event(), Rc::clone(&buffers)) {
            Ok(driver) => {
                let core = Rc::new(Core::new(driver, buffers, local, shared, options));
                Ok(Runtime { core, owner: true })
            }
            Err(error) => {
                wake::unregister(local.slot());
                Err(error)
            }
        }
    }

    /// Step 1: sends what was written, submits, and waits for a completion, the next timer, `latest` or a wake from
    /// another thread. Returns at once while tasks are ready.
    ///
    /// An error is final: the driver no longer knows what the kernel does, and the worker must end.
    pub fn submit_and_wait(&self, latest: Option<Instant>) -> io::Result<()> {
        let core = &self.core;
        core.flush_writes();
        let next = core.timers.borrow().next();
        let until = match (next, latest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let is_ready = core.local.waiting() > 0 || core.shared.is_notified();
        let timeout = if is_ready {
            Some(std::time::Duration::ZERO)
        } else {
            until.map(|until| until.since(core.driver.borrow().now()))
        };
        // Without a timeout nothing can come too late.
        let expected =
            if is_ready { core.now() } else { until.map_or(Instant::NEVER, |at| at.max(core.now())) };
        core.driver.borrow_mut().wait(timeout)?;
        core.read_clock();
        core.notice_gap(expected);
        Ok(())
    }

    /// Step 2: the time, read once per turn right after the wait.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The wall clock in nanoseconds since 1970, for logs and `Date`; reads the clock anew.
    pub fn wall_nanos(&self) -> u64 {
        self.core.wall_nanos()
    }

    /// Real time since `now`: what this turn has taken so far. Zero in the simulation, where turns take none.
    pub fn time_in_turn(&self) -> Duration {
        self.core.driver_now().since(self.core.now())
    }

    /// Step 3: hands completions to their sockets and wakes tasks, at most `turn_budget` of them.
    pub fn reap(&self) {
        self.core.shared.take(&self.core.local);
        self.core.reap();
    }

    /// Step 4: wakes the tasks of timers that have expired.
    pub fn expire_timers(&self) {
        let now = self.core.now();
        loop {
            let waker = self.core.timers.borrow_mut().expire(now);
            match waker {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    /// Step 5: polls the tasks that are ready, each once and at most `turn_budget` of them.
    pub fn run_ready(&self) {
        self.run(|| ());
    }

    /// As `run_ready`; calls `main` when the future of `block_on` is among them.
    fn run(&self, mut main: impl FnMut()) {
        let core = &self.core;
        let budget = core.local.waiting().min(core.options.turn_budget as usize);
        for _ in 0..budget {
            let Some(index) = core.local.pop() else { return };
            if index == MAIN {
                main();
                continue;
            }
            let taken = core.tasks.borrow_mut().take(index);
            let Some(mut future) = taken else { continue };
            let waker = core.local.waker(index);
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => core.tasks.borrow_mut().put(index, future),
                Poll::Ready(()) => {
                    drop(future);
                    core.local.retire(index);
                    core.tasks.borrow_mut().finish(index);
                }
            }
        }
    }

    /// All steps of one turn.
    pub fn turn(&self, latest: Option<Instant>) -> io::Result<()> {
        self.submit_and_wait(latest)?;
        self.reap();
        self.expire_timers();
        self.run_ready();
        Ok(())
    }

    /// Turns the loop until `future` ends. Not to be called within a task or another `block_on` of this runtime.
    pub fn block_on<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let mut future = pin!(future);
        let core = &self.core;
        core.local.admit(MAIN);
        loop {
            let mut output = None;
            self.run(|| {
                let waker = core.local.waker(MAIN);
                if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    output = Some(done);
                }
            });
            if let Some(output) = output {
                core.local.retire(MAIN);
                return Ok(output);
            }
            self.submit_and_wait(None)?;
            self.reap();
            self.expire_timers();
        }
    }

    /// Starts a task; it is polled for the first time in the next `run_ready`.
    ///
    /// Callers bound how many there are: one per connection, at most `Limits::connections_max`.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let index = self.core.tasks.borrow_mut().insert(Box::pin(future));
        self.core.local.admit(index);
    }

    /// Lets everything else that is ready run once, and completions be reaped, before the caller goes on.
    pub fn yield_now(&self) -> impl Future<Output = ()> + use<> {
        let mut yielded = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// A handle with which other threads end this worker's wait.
    pub fn remote(&self) -> Remote {
        self.core.shared.remote()
    }

    /// A new timer, not set.
    pub fn timer(&self) -> Timer {
        Timer::new(Rc::clone(&self.core))
    }

    /// Takes over a bound socket; accepting starts with the first `accept`.
    pub fn listen(&self, socket: Bound) -> io::Result<Listener> {
        Listener::new(Rc::clone(&self.core), socket)
    }

    /// Takes over a bound datagram socket. `arrivals` brings up `tag` when there is something to read.
    pub fn datagrams(&self, socket: Bound, arrivals: &Arrivals, tag: u64) -> io::Result<UdpSocket> {
        UdpSocket::listening(&self.core, socket, arrivals, tag)
    }

    /// A datagram socket of which `to` is the only peer, with a port of its own; done at once. `arrivals` brings up `tag`
    /// when there is something to read.
    ///
    /// Fails when there is no way to the address, or no descriptor (EMFILE) or port (EAGAIN) left.
    pub fn connect_datagrams(
        &self,
        to: SocketAddr,
        options: ConnectOptions,
        arrivals: &Arrivals,
        tag: u64,
    ) -> io::Result<UdpSocket> {
        UdpSocket::connected(&self.core, to, options, arrivals, tag)
    }

    /// What the kernel does for many datagrams of one size.
    pub fn datagram_offload(&self) -> Offload {
        self.core.offload()
    }

    /// Starts to connect at once; errors of the setup are reported by the future as well. Dropping it cancels.
    pub fn connect(&self, to: &Addr, options: ConnectOptions) -> Connect {
        Connect::new(Rc::clone(&self.core), to, options)
    }

    /// An empty buffer for bodies: capacity 16, 64 or 256 KiB, the smallest that holds `bytes`, and 32 B of headroom.
    ///
    /// When `relay_buffers_bytes_max` is reached it has 16 KiB.
    pub fn relay_buf(&self, bytes: usize) -> Buf {
        self.core.buffers.relay(bytes)
    }

    /// Closes the pipes that were not needed since the last call; for a task that calls it every now and then.
    pub fn trim_pipes(&self) {
        self.core.pipes.borrow_mut().trim();
    }

    /// What is held and counted now.
    pub fn gauges(&self) -> Gauges {
        self.core.gauges()
    }

    /// Drops all tasks, and turns the loop until their operations have ended and their descriptors are closed.
    ///
    /// Handles that the caller still holds stay open. Gives up after a bounded number of turns, when an operation
    /// does not end; its memory is then kept for ever rather than reused.
    pub fn shutdown(&self) {
        loop {
            let any = self.core.tasks.borrow().any();
            let Some(index) = any else { break };
            let future = self.core.tasks.borrow_mut().take(index);
            drop(future);
            self.core.local.retire(index);
            self.core.tasks.borrow_mut().finish(index);
        }
        for _ in 0..SHUTDOWN_TURNS_MAX {
            let closing = self.core.sockets.borrow().iter().any(|(_, socket)| socket.closing);
            let latest = self.core.driver.borrow().now() + SHUTDOWN_TURN;
            if !closing || self.submit_and_wait(Some(latest)).is_err() {
                break;
            }
            self.reap();
        }
        // The last closes have been queued, not submitted.
        let _ = self.core.driver.borrow_mut().wait(Some(std::time::Duration::ZERO));
    }
}

const SHUTDOWN_TURNS_MAX: usize = 200;
const SHUTDOWN_TURN: std::time::Duration = std::time::Duration::from_millis(10);

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.owner {
            self.shutdown();
        }
    }
}

/// The clock of all runtimes of this machine: CLOCK_MONOTONIC. Between turns, tasks use [`Runtime::now`].
pub fn clock() -> Instant {
    crate::sys::clock()
}
