//! The world itself: the clock, what is due when, what has completed, and who is cancelled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use base::rng::Rng;
use base::time::Instant;
use base::{Key, Slab};

use super::super::{Cancelled, Completion, Counts, Event, Op, Token};
use super::link::Link;
use super::listen::Sock;
use super::net::{Call, Faults, SimOptions};
use super::trace::Trace;
use crate::buffers::Buffers;

pub(crate) struct World {
    pub(super) now: Instant,
    pub(super) turns: u64,
    /// How long the process stands still in the next wait.
    pub(super) stop_for: Duration,
    pub(super) rng: Rng,
    pub(super) options: SimOptions,
    pub(super) faults: Faults,
    pub(super) buffers: Rc<Buffers>,
    /// By descriptor; the lowest free one is given out, as a kernel does.
    pub(super) sockets: Vec<Option<Sock>>,
    pub(super) links: Slab<Link>,
    pub(super) bound: BTreeMap<SocketAddr, RawFd>,
    /// Datagram sockets by their address.
    pub(super) datagrams: BTreeMap<SocketAddr, RawFd>,
    pub(super) latencies: BTreeMap<(IpAddr, IpAddr), Duration>,
    pub(super) blackholes: BTreeSet<IpAddr>,
    pub(super) next_port: u16,
    pub(super) trace: Trace,
    pub(super) live: u64,
    pub(super) starved_total: u64,
    /// Receives that wait for a buffer, in the order of arrival.
    pub(super) starved: VecDeque<RawFd>,
    /// Operations that are to fail when they start.
    pub(super) failing: Vec<(Call, i32)>,
    agenda: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// What `reap` hands out.
    ready: Vec<Completion>,
    /// Waits since time last moved.
    turns_at_once: u32,
}

/// Something that will happen.
pub(super) enum Happening {
    Arrive {
        link: Key<Link>,
        to: usize,
        bytes: Vec<u8>,
        /// How many bytes of the other direction had arrived when this left.
        acks: u64,
    },
    Fin {
        link: Key<Link>,
        to: usize,
        acks: u64,
    },
    Reset {
        link: Key<Link>,
        to: usize,
    },
    Syn {
        link: Key<Link>,
    },
    Established {
        link: Key<Link>,
    },
    Refused {
        link: Key<Link>,
        errno: i32,
    },
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Nobody took a datagram that `from` had sent to `to`.
    Unreachable {
        from: SocketAddr,
        to: SocketAddr,
    },
    /// A stalled reader goes on.
    Resume {
        link: Key<Link>,
        side: usize,
    },
    /// A cancellation takes effect, unless the operation has ended.
    Cancelled {
        token: Token,
        fd: RawFd,
        op: Op,
    },
}

struct Due {
    at: Instant,
    /// Decides among those at one time, and keeps their order.
    sequence: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Where the clock starts: late enough that subtracting does not meet the beginning of time.
const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// Of the wall clock: a day in 2026.
pub(super) const EPOCH_NANOS: u64 = 1_780_000_000_000_000_000;
/// Turns without any time passing, after which the loop is said to make no progress.
const TURNS_AT_ONCE_MAX: u32 = 50_000;
/// How late a cancellation may take effect.
const CANCEL_MICROS_MAX: u64 = 300;

impl World {
    pub(crate) fn new(options: SimOptions, buffers: Rc<Buffers>) -> World {
        World {
            now: START,
            turns: 0,
            stop_for: Duration::ZERO,
            rng: Rng::new(options.seed),
            faults: options.faults,
            options,
            buffers,
            sockets: Vec::new(),
            links: Slab::new(),
            bound: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            latencies: BTreeMap::new(),
            blackholes: BTreeSet::new(),
            next_port: 32_768,
            trace: Trace::new(),
            live: 0,
            starved_total: 0,
            starved: VecDeque::new(),
            failing: Vec::new(),
            agenda: BinaryHeap::new(),
            sequence: 0,
            ready: Vec::new(),
            turns_at_once: 0,
        }
    }

    pub(super) fn note(&mut self, what: &'static str, fd: RawFd, amount: i64) {
        self.trace.note(self.now, what, fd, amount);
    }

    pub(super) fn schedule(&mut self, at: Instant, what: Happening) {
        self.sequence += 1;
        self.agenda.push(Reverse(Due { at: at.max(self.now), sequence: self.sequence, what }));
    }

    /// The error with which an operation that starts now has to fail.
    pub(super) fn failure(&mut self, call: Call) -> Option<i32> {
        let at = self.failing.iter().position(|(failing, _)| *failing == call)?;
        Some(self.failing.remove(at).1)
    }

    /// Reports an event of an operation by the next `reap`.
    pub(super) fn complete(&mut self, token: Token, fd: RawFd, event: Event) {
        let (what, amount) = describe(&event);
        self.note(what, fd, amount);
        self.ready.push(Completion { token, event });
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.turns += 1;
        self.feed_starved();
        self.happen();
        let until = timeout.map(|timeout| self.now + timeout);
        self.now = self.now + std::mem::take(&mut self.stop_for);
        if self.ready.is_empty() && timeout != Some(Duration::ZERO) {
            let next = self.agenda.peek().map(|Reverse(due)| due.at);
            let at = match (next, until) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b).ok_or_else(|| {
                    io::Error::other("nothing can happen in the simulated world, and somebody waits for it")
                })?,
            };
            if at > self.now {
                self.now = at;
                self.turns_at_once = 0;
            }
            self.happen();
        }
        self.turns_at_once += 1;
        if self.turns_at_once > TURNS_AT_ONCE_MAX {
            return Err(io::Error::other("the loop turns without end while time stands still"));
        }
        Ok(())
    }

    /// Lets everything happen that is due.
    fn happen(&mut self) {
        while let Some(Reverse(due)) = self.agenda.peek() {
            if due.at > self.now {
                return;
            }
            let Some(Reverse(due)) = self.agenda.pop() else { return };
            match due.what {
                Happening::Arrive { link, to, bytes, acks } => self.arrive(link, to, &bytes, acks),
                Happening::Fin { link, to, acks } => self.fin(link, to, acks),
                Happening::Reset { link, to } => self.reset(link, to),
                Happening::Syn { link } => self.syn(link),
                Happening::Established { link } => self.established(link),
                Happening::Refused { link, errno } => self.refused(link, errno),
                Happening::Datagram { from, to, bytes } => self.datagram(from, to, bytes),
                Happening::Unreachable { from, to } => self.unreachable(from, to),
                Happening::Resume { link, side } => self.resume(link, side),
                Happening::Cancelled { token, fd, op } => self.cancelled(token, fd, op),
            }
        }
    }

    pub(super) fn reap(&mut self, budget: usize, completions: &mut Vec<Completion>) {
        for _ in 0..budget.min(self.ready.len()) {
            let mut place = 0;
            if self.faults.any_order {
                // Any socket, but what belongs to one socket in its order: one event may be the cause of another.
                let token = self.ready[self.rng.index(self.ready.len())].token;
                place = self.ready.iter().position(|completion| completion.token == token).unwrap_or(0);
            }
            let completion = self.ready.remove(place);
            self.live -= u64::from(is_terminal(&completion.event));
            completions.push(completion);
        }
    }

    pub(super) fn cancel(&mut self, token: Token, op: Op) -> Cancelled {
        let Some(fd) = self.descriptor(token) else { return Cancelled::Now };
        if !self.is_pending(fd, op) {
            // Its terminal event waits to be reaped, or the operation never was.
            let waits = |completion: &Completion| completion.token == token && op_of(&completion.event) == op;
            return if self.ready.iter().any(waits) { Cancelled::Later } else { Cancelled::Now };
        }
        self.note("cancel", fd, op as i64);
        if op == Op::Receive
            && let Some(at) = self.starved.iter().position(|&starved| starved == fd)
        {
            self.starved.remove(at);
            self.take_pending(fd, op);
            self.live -= 1;
            return Cancelled::Now;
        }
        if self.rng.one_in(self.faults.cancel_races) {
            let after = Duration::from_micros(self.rng.below(CANCEL_MICROS_MAX));
            self.schedule(self.now + after, Happening::Cancelled { token, fd, op });
            return Cancelled::Later;
        }
        // A send that was taken in part must say so.
        if op == Op::Send && self.taken(fd) > 0 {
            self.cancelled(token, fd, op);
            return Cancelled::Later;
        }
        self.take_pending(fd, op);
        self.live -= 1;
        Cancelled::Now
    }

    fn cancelled(&mut self, token: Token, fd: RawFd, op: Op) {
        if self.descriptor(token) != Some(fd) || !self.is_pending(fd, op) {
            return;
        }
        self.starved.retain(|&starved| starved != fd || op != Op::Receive);
        let taken = self.taken(fd);
        self.take_pending(fd, op);
        let event = match op {
            Op::Receive => Event::Received(Err(libc::ECANCELED)),
            Op::Send if taken > 0 => Event::Sent(Ok(taken)),
            Op::Send => Event::Sent(Err(libc::ECANCELED)),
            Op::Accept => Event::Accepted { result: Err(libc::ECANCELED), more: false },
            Op::Connect => Event::Connected(Err(libc::ECANCELED)),
            Op::Readable | Op::Writable => Event::Ready(op),
        };
        self.complete(token, fd, event);
    }

    /// Repeats starved receives while there are buffers, the oldest first.
    fn feed_starved(&mut self) {
        for _ in 0..self.starved.len() {
            if !self.has_buffer() {
                return;
            }
            let Some(fd) = self.starved.pop_front() else { return };
            self.try_receive(fd, false);
        }
    }

    pub(super) fn has_buffer(&self) -> bool {
        self.buffers.out() < u32::from(self.buffers.lease_count())
    }

    pub(super) fn live_ops(&self) -> u64 {
        self.live
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { starved: self.starved_total, ..Counts::default() }
    }

    /// Lets go of every pointer that an operation has lent.
    pub(super) fn forget_operations(&mut self) {
        for sock in self.sockets.iter_mut().flatten() {
            sock.forget();
        }
        self.ready.clear();
        self.starved.clear();
        self.live = 0;
    }
}

fn op_of(event: &Event) -> Op {
    match event {
        Event::Received(_) => Op::Receive,
        Event::Sent(_) => Op::Send,
        Event::Accepted { .. } => Op::Accept,
        Event::Connected(_) => Op::Connect,
        Event::Ready(op) => *op,
    }
}

fn is_terminal(event: &Event) -> bool {
    !matches!(event, Event::Accepted { more: true, .. })
}

fn describe(event: &Event) -> (&'static str, i64) {
    use super::super::Received::{Owned, Pooled};
    let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    match event {
        Event::Received(Ok(Pooled(buf))) => ("received", size(buf.len())),
        Event::Received(Ok(Owned(n))) => ("received", size(*n)),
        Event::Received(Err(errno)) => ("received", -i64::from(*errno)),
        Event::Sent(Ok(n)) => ("sent", size(*n)),
        Event::Sent(Err(errno)) => ("sent", -i64::from(*errno)),
        Event::Accepted { result, .. } => ("accepted", result.map_or_else(|e| -i64::from(e), i64::from)),
        Event::Ready(op) => ("ready", *op as i64),
        Event::Connected(Ok(())) => ("connected", 0),
        Event::Connected(Err(errno)) => ("connected", -i64::from(*errno)),
    }
}
