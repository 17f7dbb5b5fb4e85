//! One connection with TLS.
//!
//! What is idle holds an engine and no buffer: received ciphertext is decrypted at once, what is left of a record that
//! is still on its way is kept in a vector of its own, and plaintext waits no longer than to the end of the turn.

use super::sealing::Sealing;
use base::Instant;
use runtime::{Buf, IdleState, Stream};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use wire::secure::{Client, Engine, Facts, Failure, Plaintext, Taken};

/// A stream and the engine above it.
pub(crate) struct Secured {
    stream: Stream,
    sealing: Rc<Sealing>,
    me: std::rc::Weak<Secured>,
    /// Listed to be sealed at the end of the turn.
    is_due: Cell<bool>,
    state: RefCell<State>,
}

struct State {
    engine: Box<dyn Engine>,
    /// Received bytes that make no whole record yet; of a handshake message, those that make no whole message.
    partial: Vec<u8>,
    /// Decrypted bytes that nobody has taken.
    plain: Option<Buf>,
    /// Written bytes that are not encrypted yet.
    unsealed: Vec<u8>,
    /// Why the connection cannot go on.
    failure: Option<Failure>,
    /// The peer has said that nothing more will come.
    ended: bool,
    /// An end of the connection without a word before counts as an error: bytes may be missing.
    demands_end: bool,
    /// Payload sent in small records since the answer began.
    ramp: usize,
    sealed_at: Instant,
    /// Records without payload since `control_since`.
    control_records: u32,
    control_since: Instant,
}

/// Why a handshake did not succeed.
#[derive(Debug)]
pub(crate) enum Broken {
    Failed(Failure),
    /// The peer ended or reset the connection.
    Ended,
}

impl Secured {
    /// `demands_end`: what is read until the end must be known to be whole.
    pub(crate) fn new(
        stream: Stream,
        engine: Box<dyn Engine>,
        sealing: Rc<Sealing>,
        demands_end: bool,
    ) -> Rc<Secured> {
        let now = sealing.rt.now();
        Rc::new_cyclic(|me| Secured {
            stream,
            sealing,
            me: me.clone(),
            is_due: Cell::new(false),
            state: RefCell::new(State {
                engine,
                partial: Vec::new(),
                plain: None,
                unsealed: Vec::new(),
                failure: None,
                ended: false,
                demands_end,
                ramp: 0,
                sealed_at: now,
                control_records: 0,
                control_since: now,
            }),
        })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Runs the handshake to its end. There is no time limit here: race it against a timer.
    pub(crate) async fn handshake(&self) -> Result<(), Broken> {
        // A client speaks first.
        self.take(Buf::empty()).map_err(Broken::Failed)?;
        while self.state.borrow().engine.is_handshaking() {
            match self.stream.recv().await {
                Ok(buf) if !buf.is_empty() => self.take(buf).map_err(Broken::Failed)?,
                _ => return Err(Broken::Ended),
            }
        }
        // What the handshake still had to say counts as sent before the first request.
        self.stream.flushed(0).await.map_err(|_| Broken::Ended)
    }

    /// Whether the handshake waits for the rest of the client's first message, rather than for a later one.
    pub(crate) fn awaits_hello(&self) -> bool {
        self.stream.sent_bytes() == 0 && self.stream.pending() == 0
    }

    /// Whether the peer has not sent a byte.
    pub(crate) fn is_untouched(&self) -> bool {
        self.stream.received_bytes() == 0
    }

    /// Ends our side after what was written, an alert above all, and hears the peer out: closing the connection now would
    /// reset it and destroy what it has not read.
    pub(crate) async fn part(&self) {
        self.stream.shutdown_write();
        let mut left = PART_BYTES_MAX;
        while let Ok(buf) = self.stream.recv().await {
            if buf.is_empty() || buf.len() > left {
                return;
            }
            left -= buf.len();
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        self.state.borrow().engine.facts()
    }

    pub(crate) fn client(&self) -> Option<Client> {
        self.state.borrow().engine.client()
    }

    /// Why the connection broke, if TLS is the reason.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.state.borrow().failure
    }

    pub(super) fn poll_recv(&self, into: &mut Option<Buf>, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        loop {
            {
                let mut state = self.state.borrow_mut();
                if let Some(plain) = state.plain.take() {
                    return Poll::Ready(Ok(plain));
                }
                if let Some(failure) = state.failure {
                    return Poll::Ready(Err(io::Error::other(failure.to_string())));
                }
                if state.ended {
                    return Poll::Ready(Ok(Buf::empty()));
                }
            }
            let received = ready!(self.stream.poll_recv_into(into, cx))?;
            if received.is_empty() {
                let demands_end = self.state.borrow().demands_end;
                let torn = io::ErrorKind::UnexpectedEof;
                return Poll::Ready(if demands_end { Err(torn.into()) } else { Ok(received) });
            }
            // What went wrong is told by the next round, behind what arrived before it.
            let _ = self.take(received);
        }
    }

    pub(super) fn unread(&self, buf: Buf) {
        if buf.is_empty() {
            return;
        }
        let plain = &mut self.state.borrow_mut().plain;
        *plain = Some(match plain.take() {
            None => buf,
            Some(behind) => {
                let mut joined = Vec::with_capacity(buf.len() + behind.len());
                joined.extend_from_slice(&buf);
                joined.extend_from_slice(&behind);
                Buf::from_vec(joined)
            }
        });
    }

    pub(super) fn idle_state(&self) -> IdleState {
        // Tickets and changes of keys come when they like. Taking them out needs no task to be woken.
        let mut cx = Context::from_waker(Waker::noop());
        let mut state = self.stream.idle_state();
        while state == IdleState::Disturbed {
            match self.stream.poll_recv(&mut cx) {
                Poll::Ready(Ok(buf)) if !buf.is_empty() => {
                    if self.take(buf).is_err() {
                        return IdleState::Disturbed;
                    }
                    state = self.stream.idle_state();
                }
                Poll::Pending => break,
                Poll::Ready(_) => return IdleState::Disturbed,
            }
        }
        let inner = self.state.borrow();
        if inner.plain.is_some() || inner.failure.is_some() || !inner.partial.is_empty() {
            return IdleState::Disturbed;
        }
        match state {
            IdleState::Quiet if inner.ended => IdleState::Ended { at: self.sealing.rt.now() },
            state => state,
        }
    }

    pub(super) fn idle_state_now(&self) -> IdleState {
        match self.idle_state() {
            // Bytes that are still in the kernel may be a ticket or an answer to nothing: not worth finding out.
            IdleState::Quiet => self.stream.idle_state_now(),
            known => known,
        }
    }

    pub(super) fn write(&self, f: impl FnOnce(&mut Vec<u8>)) {
        let too_much = {
            let unsealed = &mut self.state.borrow_mut().unsealed;
            if unsealed.capacity() == 0 {
                *unsealed = self.sealing.lend();
            }
            f(unsealed);
            unsealed.len() >= UNSEALED_MAX
        };
        if too_much {
            self.seal();
        } else if !self.is_due.replace(true) {
            self.sealing.list(self.me.clone());
        }
    }

    pub(super) fn write_buf(&self, buf: &Buf) {
        if buf.len() <= MERGE_MAX {
            return self.write(|out| out.extend_from_slice(buf));
        }
        self.seal();
        self.encrypt(&mut self.state.borrow_mut(), buf);
    }

    pub(super) fn pending(&self) -> usize {
        self.stream.pending() + self.state.borrow().unsealed.len()
    }

    pub(super) fn poll_flushed(&self, cx: &mut Context<'_>, max_pending: usize) -> Poll<io::Result<()>> {
        if !self.state.borrow().unsealed.is_empty() {
            self.seal();
        }
        if let Some(failure) = self.state.borrow().failure {
            return Poll::Ready(Err(io::Error::other(failure.to_string())));
        }
        self.stream.poll_flushed(cx, max_pending)
    }

    /// Encrypts what was written and gives it to the stream.
    pub(super) fn seal(&self) {
        self.is_due.set(false);
        let mut state = self.state.borrow_mut();
        let unsealed = std::mem::take(&mut state.unsealed);
        if !unsealed.is_empty() {
            self.encrypt(&mut state, &unsealed);
        }
        self.sealing.give_back(unsealed);
    }

    fn encrypt(&self, state: &mut State, plain: &[u8]) {
        if state.failure.is_some() {
            return;
        }
        let now = self.sealing.rt.now();
        if now.since(state.sealed_at) >= RAMP_AGAIN_AFTER {
            state.ramp = 0;
        }
        state.sealed_at = now;
        let (small, rest) = plain.split_at(plain.len().min(RAMP_BYTES.saturating_sub(state.ramp)));
        state.ramp += small.len();
        let mut sealed = Ok(());
        self.stream.write(|out| {
            sealed = state.engine.seal(small, SMALL_RECORD, out);
            if sealed.is_ok() && !rest.is_empty() {
                sealed = state.engine.seal(rest, LARGE_RECORD, out);
            }
        });
        if let Err(failure) = sealed {
            state.failure.get_or_insert(failure);
        }
    }

    pub(super) fn begin_answer(&self) {
        self.state.borrow_mut().ramp = 0;
    }

    pub(super) fn shutdown_write(&self) {
        self.say_goodbye();
        self.stream.shutdown_write();
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn say_goodbye(&self) {
        self.seal();
        let mut state = self.state.borrow_mut();
        if state.failure.is_none() {
            self.stream.write(|out| state.engine.close(out));
        }
    }

    pub(super) fn reset(self: Rc<Self>) {
        self.state.borrow_mut().unsealed = Vec::new();
        // The list of those to seal does not keep it alive, so this is the last one.
        if let Some(secured) = Rc::into_inner(self) {
            secured.stream.reset();
        }
    }

    /// Decrypts what arrived. What it made of it is in the state.
    fn take(&self, received: Buf) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        let mut out = Vec::new();
        let mut filling = Filling(self.room(state.partial.len() + received.len()));
        let taken = state.decrypt(received, &mut filling, &mut out);
        if !filling.0.is_empty() {
            state.plain = Some(filling.0);
        }
        if !out.is_empty() {
            self.stream.write(|to| to.extend_from_slice(&out));
        }
        let checked = taken.and_then(|taken| state.account(taken, self.sealing.rt.now()));
        if let Err(failure) = checked {
            state.failure = Some(failure);
        }
        checked
    }

    /// A buffer for the payload of `bytes` of ciphertext, which is never longer than that.
    fn room(&self, bytes: usize) -> Buf {
        if bytes <= MERGE_MAX {
            return Buf::from_vec(Vec::with_capacity(bytes));
        }
        let relay = self.sealing.rt.relay_buf(bytes);
        // At the bound of relay buffers only small ones are lent; the ciphertext then was in one as well, or nearly.
        if relay.spare() >= bytes { relay } else { Buf::from_vec(Vec::with_capacity(bytes)) }
    }
}

impl State {
    fn decrypt(
        &mut self,
        mut received: Buf,
        plain: &mut dyn Plaintext,
        out: &mut Vec<u8>,
    ) -> Result<Taken, Failure> {
        let mut all = Taken::default();
        let is_handshaking = self.engine.is_handshaking();
        while !self.partial.is_empty() {
            // Only so much that the rest can be decrypted where it is.
            let missing = if is_handshaking { received.len() } else { missing(&self.partial) };
            let some = missing.min(received.len());
            self.partial.extend_from_slice(&received[..some]);
            received.consume(some);
            if self.partial.len() > PARTIAL_BYTES_MAX {
                return Err(Failure::TooLarge);
            }
            if some == missing {
                let taken = self.engine.receive(&mut self.partial, plain, out)?;
                self.partial.drain(..taken.bytes);
                all = added(all, taken);
            }
            if received.is_empty() {
                self.trim();
                return Ok(all);
            }
        }
        let taken = self.engine.receive(&mut received, plain, out)?;
        self.partial.extend_from_slice(&received[taken.bytes..]);
        self.trim();
        Ok(added(all, taken))
    }

    /// An idle connection holds no buffer.
    fn trim(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }

    /// Bounds what a peer can keep us busy with that carries nothing.
    fn account(&mut self, taken: Taken, now: Instant) -> Result<(), Failure> {
        self.ended |= taken.ended;
        // The end is a record without payload as well.
        let control = taken.control_records.saturating_sub(u32::from(taken.ended));
        if control == 0 {
            return Ok(());
        }
        if now.since(self.control_since) >= CONTROL_WINDOW {
            (self.control_since, self.control_records) = (now, 0);
        }
        self.control_records += control;
        if self.control_records > CONTROL_RECORDS_MAX { Err(Failure::Flood) } else { Ok(()) }
    }
}

fn added(one: Taken, other: Taken) -> Taken {
    Taken {
        bytes: one.bytes + other.bytes,
        ended: one.ended || other.ended,
        control_records: one.control_records + other.control_records,
    }
}

/// Bytes up to the end of the header or of the record that `partial` ends in; never 0.
fn missing(partial: &[u8]) -> usize {
    const HEADER: usize = 5;
    let mut rest = partial;
    loop {
        let Some(header) = rest.first_chunk::<HEADER>() else { return HEADER - rest.len() };
        let record = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
        match rest.get(record..) {
            Some(behind) => rest = behind,
            None => return record - rest.len(),
        }
    }
}

/// A buffer that takes payload.
struct Filling(Buf);

impl Plaintext for Filling {
    fn push(&mut self, payload: &[u8]) {
        if self.0.spare() < payload.len() {
            let mut more = Vec::with_capacity(self.0.len() + payload.len());
            more.extend_from_slice(&self.0);
            self.0 = Buf::from_vec(more);
        }
        self.0.append(payload);
    }
}

/// What is written in one turn is encrypted before its end when it is as much as this.
const UNSEALED_MAX: usize = 64 << 10;
/// Buffers up to this size are merged with what is written around them.
const MERGE_MAX: usize = 4 << 10;
/// Payload of a record that fits into one TCP segment with room for options: the client can use each as it arrives.
const SMALL_RECORD: usize = 1400;
/// Payload of the largest record that there may be (RFC 8446 §5.1).
const LARGE_RECORD: usize = 16 << 10;
/// So much of an answer goes out in small records: what a new connection may send before it is acknowledged.
const RAMP_BYTES: usize = 16 << 10;
/// After so long without a byte the network starts slowly again, and so do records.
const RAMP_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// More of a handshake message or a record than may be on its way: 64 KiB of handshake, and one record.
const PARTIAL_BYTES_MAX: usize = (64 << 10) + (18 << 10);
/// What a peer may still send on a connection that has failed.
const PART_BYTES_MAX: usize = 64 << 10;
/// Records without payload that a peer may send within [`CONTROL_WINDOW`].
const CONTROL_RECORDS_MAX: u32 = 10;
const CONTROL_WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn what_is_missing_ends_at_a_header_or_at_a_record() {
        assert_eq!(missing(&[23]), 4);
        assert_eq!(missing(&[23, 3, 3, 0, 7]), 7);
        assert_eq!(missing(&[23, 3, 3, 0, 7, 1, 2]), 5);
        assert_eq!(missing(&[23, 3, 3, 0, 1, 9]), 5, "whole, and kept: the next header");
        assert_eq!(missing(&[23, 3, 3, 0, 1, 9, 22, 3, 3, 1, 0]), 256);
    }
}
