//! Bytes between two sockets: taken, in flight, arrived, read; and the two ways in which a direction ends.
//!
//! ```text
//!   send ─▶ outbox ──(room at the receiver, latency)──▶ in flight ─▶ inbox ─▶ receive
//! ```
//!
//! A side that is closed with unread bytes, or receives bytes afterwards, answers with a reset. A reset destroys what
//! was not sent; what had arrived can still be read unless a fault says otherwise.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use base::Key;
use base::time::Instant;

use super::super::{Errno, Event, Op, Received, Submitted, Target, Token};
use super::listen::Sending;
use super::net::Call;
use super::world::{Happening, World};
use crate::output::Message;
use crate::sys::Peeked;

/// A connection, or an attempt at one. Side 0 is the client's.
pub(super) struct Link {
    pub(super) sides: [Side; 2],
    /// The first bytes of each direction arrive one by one.
    pub(super) dribbles: bool,
}

/// One side: what it sends, and what has arrived for it.
pub(super) struct Side {
    pub(super) addr: SocketAddr,
    /// None before it is accepted and after it is closed.
    pub(super) fd: Option<RawFd>,
    /// The handshake is done as far as this side is concerned.
    pub(super) open: bool,
    closed: bool,
    pub(super) outbox: VecDeque<u8>,
    in_flight: usize,
    /// Bytes of this side that have arrived at the other.
    acked: u64,
    /// Bytes that this side has taken to send them.
    pub(super) taken: u64,
    /// How many of them it knows to have arrived. Only what the other side sends tells it: acknowledgements on their own
    /// may be late or lost, so here they always are.
    told: u64,
    pub(super) last_arrival: Instant,
    /// This direction ends once `outbox` is empty.
    pub(super) ends: bool,
    fin_sent: bool,
    pub(super) inbox: VecDeque<u8>,
    /// The other side's direction has ended.
    pub(super) eof: bool,
    pub(super) reset: bool,
    /// Somebody has been told of the reset. As in Linux that happens once; afterwards it reads like an end.
    reset_told: bool,
    pub(super) stalled_until: Instant,
}

/// Bytes of each direction of a dribbling link that arrive alone.
const DRIBBLE_BYTES: u64 = 300;
const SEGMENT_MAX: usize = 16 << 10;

impl Side {
    pub(super) fn new(addr: SocketAddr) -> Side {
        Side {
            addr,
            fd: None,
            open: false,
            closed: false,
            outbox: VecDeque::new(),
            in_flight: 0,
            acked: 0,
            taken: 0,
            told: 0,
            last_arrival: Instant::ZERO,
            ends: false,
            fin_sent: false,
            inbox: VecDeque::new(),
            eof: false,
            reset: false,
            reset_told: false,
            stalled_until: Instant::ZERO,
        }
    }

    /// What a receive finds when nothing is left to receive; None while more may come. An end that came before a reset
    /// is still an end, as in Linux.
    pub(super) fn end(&mut self) -> Option<Result<(), Errno>> {
        match (self.eof, self.reset) {
            (false, false) => None,
            (false, true) if !std::mem::replace(&mut self.reset_told, true) => Some(Err(libc::ECONNRESET)),
            _ => Some(Ok(())),
        }
    }

    /// Why a send fails, if it does.
    pub(super) fn send_failure(&mut self) -> Option<Errno> {
        match (self.reset, self.ends) {
            (false, false) => None,
            (true, _) if !self.eof && !std::mem::replace(&mut self.reset_told, true) => {
                Some(libc::ECONNRESET)
            }
            _ => Some(libc::EPIPE),
        }
    }
}

/// Receiving.
impl World {
    /// See `Driver::receive`.
    pub(super) unsafe fn receive(&mut self, token: Token, fd: RawFd, target: Target) {
        self.live += 1;
        let Some(sock) = self.sock(fd) else {
            return self.complete(token, fd, Event::Received(Err(libc::EBADF)));
        };
        debug_assert!(sock.receive.is_none(), "one receive per socket");
        sock.token = Some(token);
        if let Some(errno) = self.failure(Call::Receive) {
            return self.complete(token, fd, Event::Received(Err(errno)));
        }
        let Some(sock) = self.sock(fd) else { return };
        sock.receive = Some(target);
        self.try_receive(fd, true);
    }

    /// Ends the pending receive if there is something to receive.
    pub(super) fn try_receive(&mut self, fd: RawFd, faulty: bool) {
        let (now, faults) = (self.now, self.faults);
        let Some((key, at)) = self.link_of(fd) else { return };
        let Some(sock) = self.sock(fd) else { return };
        let (Some(target), Some(token)) = (&sock.receive, sock.token) else { return };
        let (pooled, room) = match *target {
            Target::Pool => (true, usize::MAX),
            Target::Owned { len, .. } => (false, len),
        };
        if self.starved.contains(&fd) {
            return;
        }
        let Some(side) = self.links.get_mut(key).map(|link| &mut link.sides[at]) else { return };
        if side.inbox.is_empty() {
            let result = match side.end() {
                None => return,
                Some(Ok(())) if pooled => Ok(Received::Pooled(crate::buffers::Buf::empty())),
                Some(Ok(())) => Ok(Received::Owned(0)),
                Some(Err(errno)) => Err(errno),
            };
            self.take_pending(fd, Op::Receive);
            return self.complete(token, fd, Event::Received(result));
        }
        if side.stalled_until > now {
            return;
        }
        if faulty && !faults.stall_max.is_zero() && self.rng.one_in(faults.stalls) {
            let nanos = u64::try_from(faults.stall_max.as_nanos()).unwrap_or(u64::MAX);
            let until = now + Duration::from_nanos(self.rng.below(nanos));
            side.stalled_until = until;
            return self.schedule(until, Happening::Resume { link: key, side: at });
        }
        let available = side.inbox.len().min(room);
        if pooled && (!self.has_buffer() || (faulty && self.rng.one_in(faults.starvation))) {
            self.starved_total += 1;
            self.starved.push_back(fd);
            return self.note("starved", fd, 0);
        }
        let short = self.rng.one_in(faults.short_receives);
        let wanted = if short { 1 + self.rng.index(available) } else { available };
        let event = self.take_inbox(key, at, fd, wanted);
        self.complete(token, fd, Event::Received(Ok(event)));
        self.pump(key, 1 - at);
    }

    /// Moves bytes that have arrived to where the pending receive wants them.
    fn take_inbox(&mut self, key: Key<Link>, at: usize, fd: RawFd, wanted: usize) -> Received {
        let target = self.sock(fd).and_then(|sock| sock.receive.take());
        let buffers = Rc::clone(&self.buffers);
        let inbox = &mut self.links.get_mut(key).expect("looked up by the caller").sides[at].inbox;
        match target {
            Some(Target::Owned { at, len }) => {
                let n = wanted.min(len);
                let bytes: Vec<u8> = inbox.drain(..n).collect();
                // SAFETY: the target is valid to write `len >= n` bytes to until the terminal event, which is reported
                // after this; `bytes` is memory of its own.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, n) };
                Received::Owned(n)
            }
            Some(Target::Pool) | None => {
                let mut buf = buffers.pooled();
                let n = wanted.min(buf.spare()).min(buffers.lease_bytes());
                let bytes: Vec<u8> = inbox.drain(..n).collect();
                buf.append(&bytes);
                Received::Pooled(buffers.relieved(buf))
            }
        }
    }

    pub(super) fn resume(&mut self, link: Key<Link>, side: usize) {
        if let Some(fd) = self.links.get(link).and_then(|link| link.sides[side].fd) {
            self.try_receive(fd, false);
            self.try_ready(fd, Op::Readable);
        }
    }
}

/// Sending.
impl World {
    /// See `Driver::send`.
    pub(super) unsafe fn send(&mut self, token: Token, fd: RawFd, message: *const Message) -> Submitted {
        self.live += 1;
        let immediate = self.rng.one_in(self.faults.immediate_sends);
        let Some(sock) = self.sock(fd) else {
            self.live -= 1;
            return Submitted::Done(Err(libc::EBADF));
        };
        debug_assert!(sock.send.is_none(), "one send per socket");
        sock.token = Some(token);
        if let Some(errno) = self.failure(Call::Send) {
            self.complete(token, fd, Event::Sent(Err(errno)));
            return Submitted::Pending;
        }
        let Some(sock) = self.sock(fd) else { return Submitted::Pending };
        sock.send = Some(Sending { message, taken: 0 });
        match self.advance_send(fd) {
            Some(result) if immediate => {
                self.live -= 1;
                let amount = result.map_or_else(|e| -i64::from(e), |n| i64::try_from(n).unwrap_or(i64::MAX));
                self.note("sent at once", fd, amount);
                return Submitted::Done(result);
            }
            Some(result) => self.complete(token, fd, Event::Sent(result)),
            None => {}
        }
        Submitted::Pending
    }

    fn try_send(&mut self, fd: RawFd) {
        let Some(token) = self.sock(fd).and_then(|sock| sock.token) else { return };
        if let Some(result) = self.advance_send(fd) {
            self.complete(token, fd, Event::Sent(result));
        }
    }

    /// Takes what fits of the pending send; its result once it has ended.
    fn advance_send(&mut self, fd: RawFd) -> Option<Result<usize, i32>> {
        let (key, at) = self.link_of(fd)?;
        let short = self.rng.one_in(self.faults.short_sends);
        let capacity = self.options.send_capacity;
        let sock = self.sock(fd)?;
        let Sending { message, taken } = *sock.send.as_ref()?;
        // SAFETY: the caller of `send` keeps the message valid until the terminal event, and `Sock::send` is Some only
        // until that is reported.
        let total = unsafe { (*message).len() };
        let side = &mut self.links.get_mut(key)?.sides[at];
        if side.reset || side.ends {
            // What was taken before is told first; the next send hears of the failure.
            let result = if taken > 0 { Ok(taken) } else { Err(side.send_failure()?) };
            self.sock(fd)?.send = None;
            return Some(result);
        }
        let mut room = capacity.saturating_sub(side.outbox.len()).min(total - taken);
        if short && room > 1 {
            room = 1 + self.rng.index(room);
        }
        let side = &mut self.links.get_mut(key)?.sides[at];
        // SAFETY: as above.
        let copied = unsafe { (*message).copy(taken, room, &mut side.outbox) };
        side.taken += copied as u64;
        let taken = taken + copied;
        let ended = taken == total || (short && taken > 0);
        self.sock(fd)?.send = if ended { None } else { Some(Sending { message, taken }) };
        self.pump_quietly(key, at);
        ended.then_some(Ok(taken))
    }

    /// Sends what the receiver has room for, then takes more of the pending send.
    pub(super) fn pump(&mut self, link: Key<Link>, from: usize) {
        self.pump_quietly(link, from);
        if let Some(fd) = self.links.get(link).and_then(|link| link.sides[from].fd) {
            self.try_send(fd);
            self.try_ready(fd, Op::Writable);
        }
    }

    pub(super) fn pump_quietly(&mut self, key: Key<Link>, from: usize) {
        let (capacity, faults) = (self.options.receive_capacity, self.faults);
        while let Some(link) = self.links.get(key) {
            let (here, there) = (&link.sides[from], &link.sides[1 - from]);
            let acks = there.acked;
            if self.is_blackholed(here.addr.ip(), there.addr.ip()) {
                return;
            }
            let window = capacity.saturating_sub(here.in_flight + there.inbox.len());
            let mut len = here.outbox.len().min(window).min(SEGMENT_MAX);
            if len == 0 {
                let fin = here.ends && here.outbox.is_empty() && !here.fin_sent && !here.reset;
                if fin && let Some(at) = self.arrival(key, from) {
                    self.links.get_mut(key).expect("just looked up").sides[from].fin_sent = true;
                    self.schedule(at, Happening::Fin { link: key, to: 1 - from, acks });
                }
                return;
            }
            if link.dribbles && here.acked + (here.in_flight as u64) < DRIBBLE_BYTES {
                len = 1;
            } else if self.rng.one_in(faults.cut_segments) {
                len = 1 + self.rng.index(len);
            }
            let Some(at) = self.arrival(key, from) else { return };
            let side = &mut self.links.get_mut(key).expect("just looked up").sides[from];
            let bytes: Vec<u8> = side.outbox.drain(..len).collect();
            side.in_flight += len;
            self.schedule(at, Happening::Arrive { link: key, to: 1 - from, bytes, acks });
        }
    }

    pub(super) fn shutdown_write(&mut self, fd: RawFd) {
        let Some((link, side)) = self.link_of(fd) else { return };
        self.note("shutdown", fd, 0);
        if let Some(link) = self.links.get_mut(link) {
            link.sides[side].ends = true;
        }
        self.pump_quietly(link, side);
    }

    pub(super) fn unacked_bytes(&self, fd: RawFd) -> Option<u64> {
        let (link, side) = self.link_of(fd)?;
        let side = &self.links.get(link)?.sides[side];
        Some(side.taken - side.told)
    }

    pub(super) fn peek(&self, fd: RawFd) -> Peeked {
        let side = self.link_of(fd).and_then(|(link, side)| Some(&self.links.get(link)?.sides[side]));
        match side {
            None => Peeked::Failed,
            Some(side) if !side.inbox.is_empty() => Peeked::Bytes,
            Some(side) if side.eof => Peeked::End,
            Some(side) if side.reset => Peeked::Failed,
            Some(_) => Peeked::Nothing,
        }
    }

    pub(super) fn acked_bytes(&self, fd: RawFd) -> Option<u64> {
        let (link, side) = self.link_of(fd)?;
        Some(self.links.get(link)?.sides[side].acked)
    }
}

/// Arriving and ending.
impl World {
    pub(super) fn arrive(&mut self, key: Key<Link>, to: usize, bytes: &[u8], acks: u64) {
        let Some(link) = self.links.get_mut(key) else { return };
        let sender = &mut link.sides[1 - to];
        sender.in_flight -= bytes.len();
        let here = &mut link.sides[to];
        if here.closed || here.reset {
            return self.send_reset(key, to);
        }
        here.inbox.extend(bytes);
        here.told = here.told.max(acks);
        let fd = here.fd;
        link.sides[1 - to].acked += bytes.len() as u64;
        self.note("arrived", fd.unwrap_or(-1), i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        if let Some(fd) = fd {
            self.try_receive(fd, true);
            self.try_ready(fd, Op::Readable);
        }
    }

    pub(super) fn fin(&mut self, key: Key<Link>, to: usize, acks: u64) {
        let Some(side) = self.links.get_mut(key).map(|link| &mut link.sides[to]) else { return };
        if side.reset {
            return;
        }
        side.eof = true;
        side.told = side.told.max(acks);
        let fd = side.fd;
        self.note("fin", fd.unwrap_or(-1), 0);
        if let Some(fd) = fd {
            self.try_receive(fd, true);
            self.try_ready(fd, Op::Readable);
        }
    }

    /// The other side has cut the connection.
    pub(super) fn reset(&mut self, key: Key<Link>, to: usize) {
        let discards = self.rng.one_in(self.faults.reset_discards);
        let Some(side) = self.links.get_mut(key).map(|link| &mut link.sides[to]) else { return };
        side.reset = true;
        side.outbox.clear();
        if discards && !side.inbox.is_empty() {
            side.inbox.clear();
            side.eof = false;
        }
        let Some(fd) = side.fd else { return };
        self.note("reset", fd, 0);
        // Both directions learn of it at the same moment, in either order.
        if self.rng.one_in(2) {
            self.try_receive(fd, true);
            self.try_send(fd);
        } else {
            self.try_send(fd);
            self.try_receive(fd, true);
        }
        self.try_ready(fd, Op::Readable);
        self.try_ready(fd, Op::Writable);
    }

    /// Cuts the connection for the other side.
    pub(super) fn send_reset(&mut self, key: Key<Link>, from: usize) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.sides[from].outbox.clear();
        let (here, there) = (link.sides[from].addr.ip(), link.sides[1 - from].addr.ip());
        let told = link.sides[1 - from].closed || self.is_blackholed(here, there);
        if !told && let Some(at) = self.arrival(key, from) {
            self.schedule(at, Happening::Reset { link: key, to: 1 - from });
        }
    }

    /// The descriptor of this side is gone. What it has taken is still sent, unless it is cut.
    pub(super) fn close_side(&mut self, key: Key<Link>, at: usize, cut: bool) {
        let Some(link) = self.links.get_mut(key) else { return };
        let side = &mut link.sides[at];
        side.closed = true;
        side.fd = None;
        side.ends = true;
        let cut = cut || !side.inbox.is_empty();
        side.inbox.clear();
        let never_opened = at == 0 && !side.open;
        if link.sides[1 - at].closed || (never_opened && !link.sides[1].open) {
            self.links.remove(key);
        } else if cut || never_opened {
            self.send_reset(key, at);
        } else {
            self.pump_quietly(key, at);
        }
    }
}
