//! Bytes both ways between a client and an endpoint, whatever they mean, until both have ended or one breaks: tunnels
//! after 101, and the flows of TCP listeners.
//!
//! ```text
//!   receive ─bytes─▶ send ─▶ receive …        each direction for itself
//!      │ end                  the end is passed on behind the last byte; the other direction goes on
//!      ▼
//!    ended
//! ```
//!
//! Neither side is read faster than the other takes: at most 16 KiB of copies, one buffer, or one filled pipe are between
//! them per direction, and nothing while nothing arrives. How bytes pass is decided per direction from what arrives, see
//! `Way`. A connection that breaks, or is cut by us, is told to both sides as a reset: an end always means that every byte
//! before it has been passed on.

use crate::channel::Channel;
use crate::crowd::Place;
use crate::downstream::ClientStream;
use crate::relay::COPY_MAX;
use crate::worker::Worker;
use base::Instant;
use runtime::{Arrived, Buf, Piped, Refusal, Timer};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use traffic::flow::{Moved, Reason};
use traffic::overload::PIPE_BYTES;

/// How long both sides may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// Without a byte from one side after the other has ended.
    pub(crate) half_closed: Duration,
}

/// Why a pump has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Both sides have ended, and both ends have been passed on.
    Ended,
    /// The client reset the connection, or it was lost.
    ClientBroke,
    /// The endpoint reset the connection, or it was lost.
    UpstreamBroke,
    Idle,
    HalfClosed,
    /// The node wants the memory that the connection holds.
    Shed,
    /// The process ends, and waits no longer.
    Stopping,
}

/// Both directions of one connection, with what is around them.
pub(crate) struct Pump<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a ClientStream,
    pub(crate) upstream: &'a Channel,
    /// The client's place in the crowd.
    pub(crate) place: Place,
    pub(crate) timer: &'a Timer,
    pub(crate) patience: Patience,
    pub(crate) stats: &'a Moved,
    pub(crate) up: Direction,
    pub(crate) down: Direction,
    /// When the endpoint's first bytes came.
    pub(crate) answered: Option<Instant>,
    /// When the last byte moved.
    moved: Instant,
}

/// Bytes from one side to the other.
pub(crate) struct Direction {
    way: Way,
    state: State,
    /// What was on its way to the receiver when the idle timer looked last; `None` when bytes have come since.
    held: Option<u64>,
    pub(crate) bytes: u64,
}

enum State {
    Receiving,
    /// Until so much or less is queued for the receiver.
    Sending {
        pending_max: usize,
    },
    Piping(Piped),
    /// The end has been queued.
    Ending,
    Ended,
}

/// How the bytes of a direction pass.
///
/// A pipe costs four short system calls more than a copy, and saves two copies of what it carries. Which is cheaper is
/// seen from how much is there whenever somebody looks: a receive that fills its buffer leaves more behind.
#[derive(Clone, Copy)]
enum Way {
    /// So many receives in a row were full.
    Copy { full: u8 },
    /// Copying until so many more receives were full, because no pipe was to be had.
    Wait { full: u8 },
    /// So many pieces in a row were small.
    Pipe { small: u8 },
    /// Copying for good: the kernel does not splice these sockets.
    Never,
}

/// A receive of at least so much is full: the receive buffers hold little more.
const FULL: usize = 16 << 10;
/// So many full receives in a row, 64 KiB, begin the use of pipes; so many small pieces in a row end it.
const IN_A_ROW: u8 = 4;
/// Full receives before a pipe is asked for again where there was none: 1 MiB.
const WAIT: u8 = 64;
/// Copies that may wait for the receiver while more is received: a turn's end sends them together.
const PENDING_MAX: usize = 16 << 10;

/// TCP keep-alive on both connections, so that a peer that vanished is found although nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// One side of the pump.
#[derive(Clone, Copy)]
enum Side<'a> {
    Client(&'a ClientStream),
    Upstream(&'a Channel),
}

impl Way {
    /// The first receives are copies: whether more follows is seen from them.
    const FIRST: Way = Way::Copy { full: 0 };

    /// The way after a copy of so many bytes, and why it is another one.
    fn after_copy(self, bytes: usize) -> (Way, Option<Reason>) {
        let is_full = bytes >= FULL;
        match self {
            Way::Copy { full } if is_full && full + 1 >= IN_A_ROW => {
                (Way::Pipe { small: 0 }, Some(Reason::Bulk))
            }
            Way::Copy { full } => (Way::Copy { full: if is_full { full + 1 } else { 0 } }, None),
            Way::Wait { full } if is_full && full > 1 => (Way::Wait { full: full - 1 }, None),
            Way::Wait { full: 0..=1 } if is_full => (Way::Pipe { small: 0 }, Some(Reason::Bulk)),
            Way::Wait { .. } if !is_full => (Way::FIRST, None),
            other => (other, None),
        }
    }

    fn after_piece(self, bytes: usize) -> (Way, Option<Reason>) {
        match self {
            Way::Pipe { .. } if bytes >= FULL => (Way::Pipe { small: 0 }, None),
            Way::Pipe { small } if small + 1 >= IN_A_ROW => (Way::FIRST, Some(Reason::Small)),
            Way::Pipe { small } => (Way::Pipe { small: small + 1 }, None),
            other => (other, None),
        }
    }

    fn after_refusal(self, refusal: Refusal) -> (Way, Option<Reason>) {
        match refusal {
            // Bytes came in the ordinary way meanwhile, and are taken so.
            Refusal::Received => (Way::Copy { full: IN_A_ROW - 1 }, None),
            Refusal::NoPipe => (Way::Wait { full: WAIT }, Some(Reason::NoPipe)),
            Refusal::Unsupported => (Way::Never, Some(Reason::Unsupported)),
        }
    }
}

impl Direction {
    /// Nothing has passed.
    pub(crate) fn new(can_splice: bool) -> Direction {
        let way = if can_splice { Way::FIRST } else { Way::Never };
        Direction { way, state: State::Receiving, held: None, bytes: 0 }
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Ending | State::Ended)
    }

    fn is_piping(&self) -> bool {
        matches!(self.state, State::Piping(_))
    }

    fn turn(&mut self, (way, reason): (Way, Option<Reason>), stats: &Moved) {
        self.way = way;
        if let Some(reason) = reason {
            stats.switch(reason);
        }
    }

    /// Goes as far as it can. `Err(from_broke)`: a side has broken, and whether it is the one that bytes come from.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (Side<'_>, Side<'_>),
        mut arrived: impl FnMut(usize, bool),
        stats: &Moved,
    ) -> Poll<Result<(), bool>> {
        loop {
            match &mut self.state {
                State::Receiving => match self.way {
                    Way::Pipe { .. } => match ready!(from.poll_recv_piped(cx)).map_err(|_| true)? {
                        Arrived::Piped(piped) => {
                            arrived(piped.len(), true);
                            self.bytes += piped.len() as u64;
                            self.held = None;
                            self.turn(self.way.after_piece(piped.len()), stats);
                            self.state = State::Piping(piped);
                        }
                        Arrived::End => self.end(to),
                        Arrived::Refused(refusal) => self.turn(self.way.after_refusal(refusal), stats),
                    },
                    _ => {
                        let buf = ready!(from.poll_recv(cx)).map_err(|_| true)?;
                        if buf.is_empty() {
                            self.end(to);
                            continue;
                        }
                        arrived(buf.len(), false);
                        self.bytes += buf.len() as u64;
                        self.held = None;
                        self.turn(self.way.after_copy(buf.len()), stats);
                        self.state = State::Sending { pending_max: to.queue(buf) };
                    }
                },
                State::Sending { pending_max } => {
                    ready!(to.poll_flushed(cx, *pending_max)).map_err(|_| false)?;
                    arrived(0, false);
                    self.state = State::Receiving;
                }
                State::Piping(piped) => {
                    ready!(to.poll_send_piped(cx, piped)).map_err(|_| false)?;
                    arrived(0, true);
                    self.state = State::Receiving;
                }
                State::Ending => {
                    ready!(to.poll_flushed(cx, 0)).map_err(|_| false)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn end(&mut self, to: Side<'_>) {
        to.shutdown_write();
        self.state = State::Ending;
    }

    /// Whether the receiver has taken a part of what is on its way to it since the last look: out of our queue, or out
    /// of the kernel's.
    fn has_progressed(&mut self, to: Side<'_>) -> bool {
        let piped = match &self.state {
            State::Piping(piped) => piped.len(),
            _ => 0,
        };
        let held = (piped + to.pending()) as u64 + to.unconfirmed_bytes();
        match self.held.replace(held) {
            Some(before) => held < before,
            // Nobody has looked since the last bytes came. What is left of them gets as much time again.
            None => held > 0,
        }
    }
}

impl<'a> Pump<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        (client, place): (&'a ClientStream, Place),
        upstream: &'a Channel,
        timer: &'a Timer,
        patience: Patience,
        stats: &'a Moved,
    ) -> Pump<'a> {
        let can_splice = client.can_splice() && upstream.is_plain();
        Pump {
            worker,
            client,
            upstream,
            place,
            timer,
            patience,
            stats,
            up: Direction::new(can_splice),
            down: Direction::new(can_splice),
            answered: None,
            moved: worker.rt.now(),
        }
    }

    /// Passes bytes on until there is nothing more to do.
    ///
    /// An orderly end closes both connections by dropping them; everything else is for the caller to tell both sides by
    /// a reset.
    ///
    /// `answered` is called when the endpoint's first bytes are there.
    pub(crate) async fn run(&mut self, mut answered: impl FnMut()) -> Stopped {
        self.client.set_keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES);
        self.upstream.set_keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES);
        let mut drain = self.worker.drain.seat();
        self.timer.set(self.deadline());
        poll_fn(|cx| {
            drain.take(cx.waker());
            let was_half = self.is_half_closed();
            if let Poll::Ready(stopped) = self.poll_directions(cx, &mut answered) {
                return Poll::Ready(stopped);
            }
            let crowd = &self.worker.overload.crowd;
            if crowd.is_told(self.place, cx.waker()) {
                return Poll::Ready(Stopped::Shed);
            }
            if was_half != self.is_half_closed() || self.worker.drain.is_draining() {
                self.timer.set(self.deadline());
            }
            while self.timer.poll_expired(cx).is_ready() {
                if let Some(stopped) = self.look_at_the_clock() {
                    return Poll::Ready(stopped);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn poll_directions(&mut self, cx: &mut Context<'_>, answered: &mut impl FnMut()) -> Poll<Stopped> {
        let (client, upstream) = (Side::Client(self.client), Side::Upstream(self.upstream));
        let now = self.worker.rt.now();
        let held_pipes = self.pipes();
        let stats = self.stats;
        let moved = &mut self.moved;
        let mut count = |bytes: usize, spliced: bool, counter: &base::stat::Counter| {
            *moved = now;
            counter.add(bytes as u64);
            if spliced {
                stats.spliced_bytes.add(bytes as u64);
            }
        };
        let up = self.up.poll(
            cx,
            (client, upstream),
            |bytes, spliced| count(bytes, spliced, &stats.up_bytes),
            stats,
        );
        if let Poll::Ready(Err(from_broke)) = up {
            return Poll::Ready(if from_broke { Stopped::ClientBroke } else { Stopped::UpstreamBroke });
        }
        let is_first = self.down.bytes == 0;
        let down = self.down.poll(
            cx,
            (upstream, client),
            |bytes, spliced| count(bytes, spliced, &stats.down_bytes),
            stats,
        );
        if is_first && self.down.bytes > 0 {
            self.answered = Some(now);
            answered();
        }
        if let Poll::Ready(Err(from_broke)) = down {
            return Poll::Ready(if from_broke { Stopped::UpstreamBroke } else { Stopped::ClientBroke });
        }
        if self.pipes() != held_pipes {
            self.worker.overload.crowd.holds(self.place, self.pipes() * PIPE_BYTES);
        }
        if up.is_ready() && down.is_ready() { Poll::Ready(Stopped::Ended) } else { Poll::Pending }
    }

    fn pipes(&self) -> u64 {
        u64::from(self.up.is_piping()) + u64::from(self.down.is_piping())
    }

    fn is_half_closed(&self) -> bool {
        self.up.has_ended() != self.down.has_ended()
    }

    /// When nothing may have moved any more.
    fn deadline(&self) -> Instant {
        let patience = self.patience;
        let silence =
            if self.is_half_closed() { patience.idle.min(patience.half_closed) } else { patience.idle };
        let stop = self.worker.drain.cut_at().unwrap_or(Instant::NEVER);
        (self.moved + silence).min(stop)
    }

    /// The timer has expired: why the pump must stop, or nothing, and the timer is set again.
    ///
    /// It is not moved with every byte; only now somebody asks when the last one moved.
    fn look_at_the_clock(&mut self) -> Option<Stopped> {
        let now = self.worker.rt.now();
        let (client, upstream) = (Side::Client(self.client), Side::Upstream(self.upstream));
        // A receiver that takes its time moves all the same.
        let up = self.up.has_progressed(upstream);
        if self.down.has_progressed(client) || up {
            self.moved = now;
        }
        if self.worker.drain.cut_at().is_some_and(|at| at <= now) {
            return Some(Stopped::Stopping);
        }
        if self.deadline() <= now {
            let is_short = self.is_half_closed() && now < self.moved + self.patience.idle;
            return Some(if is_short { Stopped::HalfClosed } else { Stopped::Idle });
        }
        self.timer.set(self.deadline());
        None
    }
}

impl Side<'_> {
    fn poll_recv(self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        match self {
            Side::Client(stream) => stream.poll_recv(cx),
            Side::Upstream(stream) => stream.poll_recv(cx),
        }
    }

    fn poll_recv_piped(self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        match self {
            Side::Client(stream) => stream.poll_recv_piped(cx, u64::MAX),
            Side::Upstream(stream) => stream.poll_recv_piped(cx, u64::MAX),
        }
    }

    fn poll_send_piped(self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<()>> {
        match self {
            Side::Client(stream) => stream.poll_send_piped(cx, piped),
            Side::Upstream(stream) => stream.poll_send_piped(cx, piped),
        }
    }

    fn poll_flushed(self, cx: &mut Context<'_>, pending_max: usize) -> Poll<io::Result<()>> {
        match self {
            Side::Client(stream) => stream.poll_flushed(cx, pending_max),
            Side::Upstream(stream) => stream.poll_flushed(cx, pending_max),
        }
    }

    /// Queues what was received; how much may be queued before more is received.
    fn queue(self, buf: Buf) -> usize {
        // A buffer of the driver is worth more than its copy when it would wait for a slow receiver with little in it.
        if buf.len() <= COPY_MAX {
            match self {
                Side::Client(stream) => stream.write(|out| out.extend_from_slice(&buf)),
                Side::Upstream(stream) => stream.write(|out| out.extend_from_slice(&buf)),
            }
            return PENDING_MAX;
        }
        match self {
            Side::Client(stream) => stream.write_buf(buf),
            Side::Upstream(stream) => stream.write_buf(buf),
        }
        0
    }

    fn pending(self) -> usize {
        match self {
            Side::Client(stream) => stream.pending(),
            Side::Upstream(stream) => stream.pending(),
        }
    }

    /// Bytes that our kernel has taken, and of which it does not know that the other one has them.
    fn unconfirmed_bytes(self) -> u64 {
        let (sent, acked) = match self {
            Side::Client(stream) => (stream.sent_bytes(), stream.acked_bytes()),
            Side::Upstream(stream) => (stream.sent_bytes(), stream.acked_bytes()),
        };
        sent.saturating_sub(acked)
    }

    fn shutdown_write(self) {
        match self {
            Side::Client(stream) => stream.shutdown_write(),
            Side::Upstream(stream) => stream.shutdown_write(),
        }
    }
}
