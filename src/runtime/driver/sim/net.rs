//! What a test holds of a simulated world: its options, its faults, and the hand that breaks things.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use base::addr::Addr;
use base::rng::Rng;
use base::time::Instant;

use super::world::World;
use crate::bind::Bound;
use crate::options::Options;

/// What a simulated world is made from. Everything that happens in it follows from these and from its tasks.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Seed of every choice.
    pub seed: u64,
    /// Of the runtime itself; `ring_entries` has no meaning here.
    pub runtime: Options,
    pub faults: Faults,
    /// From one host to another, each way. Default 100 us, at least 1 us.
    pub latency: Duration,
    /// At most so much is added to the latency of each segment; order is kept. Default 0.
    pub jitter: Duration,
    /// Bytes that a socket takes before they are in flight. Default 64 KiB.
    pub send_capacity: usize,
    /// Bytes in flight and unread at the receiver together. Default 64 KiB.
    pub receive_capacity: usize,
    /// Connections that a listener keeps until they are accepted; further attempts are repeated after 1 s. Default 128.
    pub backlog: usize,
    /// Where connections without a source address come from. Default 10.0.0.1.
    pub host: IpAddr,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions {
            seed: 0,
            runtime: Options::default(),
            faults: Faults::NONE,
            latency: Duration::from_micros(100),
            jitter: Duration::ZERO,
            send_capacity: 64 << 10,
            receive_capacity: 64 << 10,
            backlog: 128,
            host: IpAddr::from([10, 0, 0, 1]),
        }
    }
}

/// How inconvenient the world is, within what sockets may do. A number is "once in so many times"; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A receive brings fewer bytes than are there.
    pub short_receives: u64,
    /// A send takes fewer bytes than it could.
    pub short_sends: u64,
    /// A segment is cut at a random place.
    pub cut_segments: u64,
    /// A connection delivers its first bytes one by one.
    pub dribbling_links: u64,
    /// A receive finds no buffer although some are free, and starves for a turn.
    pub starvation: u64,
    /// A receive that could complete waits up to `stall_max`.
    pub stalls: u64,
    pub stall_max: Duration,
    /// A cancelled operation ends later, and may succeed meanwhile; otherwise it ends at once.
    pub cancel_races: u64,
    /// A send that completes at once reports so as its return value, as a driver over readiness does.
    pub immediate_sends: u64,
    /// A reset destroys what was received and not read.
    pub reset_discards: u64,
    /// Completions of one turn are reported in any order (those of one socket keep theirs).
    pub any_order: bool,
    /// A socket is said to be ready when it is not.
    pub false_readiness: u64,
    /// A datagram does not arrive.
    pub lost_datagrams: u64,
    /// A datagram arrives twice.
    pub repeated_datagrams: u64,
    /// A datagram arrives later than others that were sent after it.
    pub reordered_datagrams: u64,
    /// There is no room to send a datagram now.
    pub blocked_datagrams: u64,
    /// Of several datagrams that are there only one is received.
    pub short_batches: u64,
}

impl Faults {
    /// A world in which everything goes as one would like.
    pub const NONE: Faults = Faults {
        short_receives: 0,
        short_sends: 0,
        cut_segments: 0,
        dribbling_links: 0,
        starvation: 0,
        stalls: 0,
        stall_max: Duration::ZERO,
        cancel_races: 0,
        immediate_sends: 0,
        reset_discards: 0,
        any_order: false,
        false_readiness: 0,
        lost_datagrams: 0,
        repeated_datagrams: 0,
        reordered_datagrams: 0,
        blocked_datagrams: 0,
        short_batches: 0,
    };

    /// Each kind is there or not, and frequent or rare.
    pub fn random(rng: &mut Rng) -> Faults {
        let mut often = |most: u64| if rng.one_in(2) { 0 } else { 1 + rng.below(most) };
        Faults {
            short_receives: often(8),
            short_sends: often(8),
            cut_segments: often(4),
            dribbling_links: often(6),
            starvation: often(8),
            stalls: often(40),
            stall_max: Duration::from_millis(often(50)),
            cancel_races: often(2),
            immediate_sends: often(2),
            reset_discards: often(2),
            any_order: often(1) > 0,
            false_readiness: 2 * often(5),
            ..Faults::NONE
        }
    }

    /// As [`Faults::random`], for a world of datagrams: they are lost, repeated and out of order as well.
    pub fn random_with_datagrams(rng: &mut Rng) -> Faults {
        let faults = Faults::random(rng);
        let mut often = |most: u64| if rng.one_in(2) { 0 } else { 2 + rng.below(most) };
        Faults {
            lost_datagrams: often(20),
            repeated_datagrams: often(10),
            reordered_datagrams: often(6),
            blocked_datagrams: often(20),
            short_batches: often(3),
            ..faults
        }
    }
}

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Receive,
    Send,
    Accept,
    Connect,
    /// Making a pipe.
    Pipe,
    SpliceIn,
    SpliceOut,
}

/// The hand of the test in a simulated network. Clones steer the same network.
#[derive(Clone)]
pub struct Net {
    world: Rc<RefCell<World>>,
}

impl Net {
    pub(crate) fn new(world: Rc<RefCell<World>>) -> Net {
        Net { world }
    }

    /// A listening socket. Port 0 chooses one; the address 0.0.0.0 is not special. `AddrInUse` while another has it.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<Bound> {
        let (fd, addr) = self.world.borrow_mut().bind(addr)?;
        Ok(Bound::simulated(fd, Addr::Ip(addr)))
    }

    /// A datagram socket. Port 0 chooses one; at 0.0.0.0 it receives what is sent to any address that nobody else has.
    pub fn bind_datagrams(&self, addr: SocketAddr) -> io::Result<Bound> {
        let (fd, addr) = self.world.borrow_mut().bind_datagrams(addr)?;
        Ok(Bound::simulated(fd, Addr::Ip(addr)))
    }

    /// The process on this host dies: its connections are reset, its listeners are gone.
    pub fn kill(&self, host: IpAddr) {
        self.world.borrow_mut().kill(host);
    }

    /// Whether segments from and to this host vanish; what a socket has taken is sent once they pass again.
    pub fn set_blackholed(&self, host: IpAddr, blackholed: bool) {
        self.world.borrow_mut().set_blackholed(host, blackholed);
    }

    /// Latency of one direction, in place of the general one.
    pub fn set_latency(&self, from: IpAddr, to: IpAddr, latency: Duration) {
        self.world.borrow_mut().set_latency(from, to, latency);
    }

    /// The next `times` attempts to accept on this address fail with EMFILE.
    pub fn exhaust_descriptors(&self, listener: SocketAddr, times: u32) {
        self.world.borrow_mut().exhaust_descriptors(listener, times);
    }

    /// The next operation of this kind that starts ends with this error number, on whichever socket it is. An accept
    /// ends so without having brought anything, as a multishot may.
    pub fn fail_next(&self, call: Call, errno: i32) {
        self.world.borrow_mut().failing.push((call, errno));
    }

    /// Operations that were to fail and have not started.
    pub fn failures_left(&self) -> usize {
        self.world.borrow().failing.len()
    }

    /// Operations that were to fail and have not started shall not.
    pub fn forget_failures(&self) {
        self.world.borrow_mut().failing.clear();
    }

    /// Changes the faults from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.borrow_mut().faults = faults;
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.world.borrow().now
    }

    /// The whole process stands still for so long, from the next wait on, as after SIGSTOP.
    pub fn stop_process(&self, time: Duration) {
        self.world.borrow_mut().stop_for = time;
    }

    /// Waits of the loop so far.
    pub fn turns(&self) -> u64 {
        self.world.borrow().turns
    }

    /// Descriptors of the network that are open, listeners included.
    pub fn descriptors(&self) -> usize {
        self.world.borrow().descriptors()
    }

    /// A hash over everything that has happened; the same seed and the same tasks give the same.
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace.hash()
    }

    /// How many things have happened.
    pub fn steps(&self) -> u64 {
        self.world.borrow().trace.steps()
    }

    /// The last 2,000 things that happened, one per line.
    pub fn recent(&self) -> Vec<String> {
        self.world.borrow().trace.recent()
    }
}
