//! Bytes on their way from one socket to another that stay in the kernel, in a pipe.
//!
//! [`Stream::recv_piped`] and [`Stream::send_piped`] are to [`Piped`] what `recv` and `write_buf` with `flushed` are to
//! `Buf`: one side is not read further before the other has taken what was read. A relay of one direction is a loop of
//! the two, and a tunnel is two of them.
//!
//! ```text
//!   socket ──readable, splice──▶ pipe ──splice, and again when writable──▶ socket
//! ```
//!
//! Each `recv_piped` waits for the driver to tell that there is something, so a relay takes at most one pipe's capacity
//! in a turn and then lets others go on. As elsewhere no state lives in a future: dropping one loses nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::core::Core;
use crate::driver::{Errno, Op, Token};
use crate::pipe::{CAPACITY, Pipe};
use crate::socket::{End, Readiness, Receive};
use crate::stream::Stream;
use crate::timer::remember;

/// Received bytes in a pipe, to be sent by [`Stream::send_piped`]. Dropping it throws them away.
pub struct Piped {
    core: Rc<Core>,
    /// None once everything is sent.
    pipe: Option<Pipe>,
}

/// What [`Stream::recv_piped`] has brought.
pub enum Arrived {
    /// At least one byte.
    Piped(Piped),
    /// The end of the stream.
    End,
    /// Nothing was taken, and the bytes must be received in the ordinary way.
    Refused(Refusal),
}

/// Why bytes cannot go through a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Some have been received already, or a receive is under way.
    Received,
    /// All pipes of the worker are in use, or the kernel gives none.
    NoPipe,
    /// The kernel does not do it for these sockets or these bytes.
    Unsupported,
}

impl Piped {
    /// Bytes that are still to be sent.
    pub fn len(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held)
    }

    /// Everything was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.core.pipes.borrow_mut().give_back(pipe);
        }
    }
}

impl Stream {
    /// Waits for bytes and takes at most `max` of them, which must not be 0, and at most 256 KiB into a pipe.
    pub fn recv_piped(&self, max: u64) -> impl Future<Output = io::Result<Arrived>> {
        poll_fn(move |cx| self.poll_recv_piped(cx, max))
    }

    /// As [`Stream::recv_piped`]; the task of the last call is woken.
    pub fn poll_recv_piped(&self, cx: &mut Context<'_>, max: u64) -> Poll<io::Result<Arrived>> {
        loop {
            if let Some(arrived) = self.core.received_otherwise(self.token) {
                return Poll::Ready(arrived);
            }
            ready!(self.core.poll_ready(self.token, Op::Readable, cx));
            let max = usize::try_from(max).unwrap_or(usize::MAX).min(CAPACITY);
            let taken = self.core.take_piped(self.token, max);
            if let Some(arrived) = taken {
                return Poll::Ready(arrived);
            }
        }
    }

    /// Sends all bytes of `piped` behind everything written. After an error the stream can send nothing more.
    pub fn send_piped(&self, piped: &mut Piped) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_send_piped(cx, piped))
    }

    /// As [`Stream::send_piped`]; the task of the last call is woken.
    pub fn poll_send_piped(&self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<()>> {
        debug_assert!(Rc::ptr_eq(&self.core, &piped.core), "pipes do not leave their worker");
        // Nothing may overtake what was written before.
        ready!(self.poll_flushed(cx, 0))?;
        while let Some(pipe) = &mut piped.pipe {
            match self.core.send_some(self.token, pipe) {
                Ok(()) if pipe.held == 0 => {
                    let empty = piped.pipe.take().expect("just looked at");
                    self.core.pipes.borrow_mut().give_back(empty);
                }
                // The socket took a part and then had no room.
                Ok(()) | Err(libc::EAGAIN) => ready!(self.core.poll_ready(self.token, Op::Writable, cx)),
                Err(errno) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Core {
    /// Waits for `Op::Readable` or `Op::Writable`. Each readiness is told once, by the next turn at the earliest.
    fn poll_ready(&self, token: Token, op: Op, cx: &mut Context<'_>) -> Poll<()> {
        self.with(token, |socket, driver| {
            let waker = if op == Op::Writable { &mut socket.writer } else { &mut socket.reader };
            remember(waker, cx);
            let fd = socket.fd;
            let readiness = socket.readiness(op);
            match *readiness {
                Readiness::Reported => {
                    *readiness = Readiness::Unknown;
                    return Poll::Ready(());
                }
                Readiness::Awaited => {}
                Readiness::Unknown => {
                    *readiness = Readiness::Awaited;
                    driver.ready(token, fd, op);
                }
            }
            Poll::Pending
        })
    }

    /// What an ordinary receive has brought, or still may, goes first.
    fn received_otherwise(&self, token: Token) -> Option<io::Result<Arrived>> {
        self.with(token, |socket, _| {
            if socket.inbox.is_some() || !matches!(socket.receive, Receive::Idle) {
                return Some(Ok(Arrived::Refused(Refusal::Received)));
            }
            match socket.end? {
                End::Eof => Some(Ok(Arrived::End)),
                End::Failed(errno) => Some(Err(io::Error::from_raw_os_error(errno))),
            }
        })
    }

    /// Takes bytes of a socket that is said to be readable; None when there was nothing after all.
    fn take_piped(self: &Rc<Self>, token: Token, max: usize) -> Option<io::Result<Arrived>> {
        let lent = self.pipes.borrow_mut().lend(|| self.driver.borrow_mut().pipe());
        let Some(mut pipe) = lent else { return Some(Ok(Arrived::Refused(Refusal::NoPipe))) };
        let now = self.now();
        let taken = self.with(token, |socket, driver| {
            let taken = driver.splice_in(token, socket.fd, &mut pipe, max);
            match taken {
                Ok(0) => socket.peer_ended(now),
                Ok(n) => socket.received += n as u64,
                Err(errno) if !is_refusal(errno) && errno != libc::EAGAIN => {
                    (socket.end, socket.ended_at) = (Some(End::Failed(errno)), now);
                }
                Err(_) => {}
            }
            taken
        });
        if let Ok(1..) = taken {
            return Some(Ok(Arrived::Piped(Piped { core: Rc::clone(self), pipe: Some(pipe) })));
        }
        self.pipes.borrow_mut().give_back(pipe);
        match taken {
            // Ended, in an orderly way or not.
            Ok(_) => self.received_otherwise(token),
            Err(libc::EAGAIN) => None,
            Err(errno) if is_refusal(errno) => Some(Ok(Arrived::Refused(Refusal::Unsupported))),
            Err(errno) => Some(Err(io::Error::from_raw_os_error(errno))),
        }
    }

    /// Sends what the socket takes of a pipe now.
    fn send_some(&self, token: Token, pipe: &mut Pipe) -> Result<(), Errno> {
        self.with(token, |socket, driver| match driver.splice_out(token, socket.fd, pipe) {
            Err(libc::EAGAIN) => Err(libc::EAGAIN),
            Ok(n @ 1..) => {
                socket.sent += n as u64;
                socket.expect_quiet = true;
                Ok(())
            }
            // A pipe that holds bytes and gives none would be asked for ever.
            result => {
                let errno = result.err().unwrap_or(libc::EIO);
                socket.send_error = Some(errno);
                Err(errno)
            }
        })
    }
}

/// The kernel cannot do it, but nothing is wrong with the connection.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM | libc::ENOMEM)
}
