//! A connected byte stream, TCP or Unix.
//!
//! Methods take `&self`, so that one task drives both directions. All waiting methods are safe to drop at any time:
//! what was received or written lives in the worker's table, not in the future.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::time::Instant;

use crate::buffers::Buf;
use crate::core::Core;
use crate::driver::Token;
use crate::socket::{End, Role, Socket};
use crate::sys::{End as Side, Peeked};
use crate::timer::remember;

/// The state of a connection on which nothing is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleState {
    /// It can be used.
    Quiet,
    /// The peer has ended its direction, without another byte; noticed at this time.
    Ended { at: Instant },
    /// Bytes that nobody has asked for, or an error.
    Disturbed,
}

/// One connection, owned by one task. Dropping it discards unsent output and closes it once its operations have ended.
pub struct Stream {
    pub(crate) core: Rc<Core>,
    pub(crate) token: Token,
}

impl Stream {
    /// Takes over an accepted descriptor.
    pub(crate) fn accepted(core: Rc<Core>, fd: RawFd) -> io::Result<Stream> {
        let token = core.insert(Socket::new(fd, Role::Stream));
        let stream = Stream { core, token };
        stream.core.with(token, |_, driver| driver.attach(token, fd))?;
        Ok(stream)
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Takes over a connected socket of the table.
    pub(crate) fn connected(core: Rc<Core>, token: Token) -> Stream {
        Stream { core, token }
    }

    /// The other end's address; None for Unix sockets and when the connection is already gone. One system call.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.core.with(self.token, |socket, driver| driver.address(socket.fd, Side::Peer))?.ip()
    }

    /// Our own address; None for Unix sockets. One system call.
    pub fn local(&self) -> Option<SocketAddr> {
        self.core.with(self.token, |socket, driver| driver.address(socket.fd, Side::Local))?.ip()
    }

    /// The next bytes, at most one lease; an empty buffer at the end of the stream, then and ever after.
    pub fn recv(&self) -> impl Future<Output = io::Result<Buf>> {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// As [`Stream::recv`], behind what `buf` already holds.
    ///
    /// When bytes are already there, or a receive is already armed, its buffer is returned and `buf` is dropped; so
    /// pass an empty one. A `buf` without spare room is dropped as well.
    pub fn recv_into(&self, buf: Buf) -> impl Future<Output = io::Result<Buf>> {
        let mut into = Some(buf);
        poll_fn(move |cx| self.poll_recv_into(&mut into, cx))
    }

    /// As [`Stream::recv_into`]; the buffer is taken out of `into` when it is used. The task of the last call is woken.
    pub fn poll_recv_into(&self, into: &mut Option<Buf>, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        self.core.poll_receive(self.token, into, cx)
    }

    /// As [`Stream::recv`]; the task of the last call is woken.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        self.core.poll_receive(self.token, &mut None, cx)
    }

    /// Arms a receive without waiting, on a connection that should stay quiet. No memory is lent until bytes come.
    ///
    /// The task of the last `poll_recv` is woken when bytes, the end or an error arrive.
    pub fn watch(&self) {
        self.core.with(self.token, |socket, driver| socket.arm(self.token, driver, None, true));
    }

    /// False once bytes, the end of the stream or an error have arrived that nobody took.
    pub fn is_quiet(&self) -> bool {
        self.core.with(self.token, |socket, _| {
            socket.inbox.is_none() && socket.end.is_none() && socket.send_error.is_none()
        })
    }

    /// What has happened to a connection that should be quiet, as far as the loop has reaped it.
    pub fn idle_state(&self) -> IdleState {
        self.core.with(self.token, |socket, _| match socket.end {
            None if socket.inbox.is_none() && socket.send_error.is_none() => IdleState::Quiet,
            Some(End::Eof) if socket.inbox.is_none() => IdleState::Ended { at: socket.ended_at },
            _ => IdleState::Disturbed,
        })
    }

    /// As [`Stream::idle_state`], and asks the kernel what has arrived since. One system call (0.35 us).
    pub fn idle_state_now(&self) -> IdleState {
        let known = self.idle_state();
        if known != IdleState::Quiet {
            return known;
        }
        self.core.with(self.token, |socket, driver| match driver.peek(socket.fd) {
            Peeked::Nothing => IdleState::Quiet,
            Peeked::End => IdleState::Ended { at: self.core.now() },
            Peeked::Bytes | Peeked::Failed => IdleState::Disturbed,
        })
    }

    /// Puts bytes back in front of what the next receive returns.
    pub fn unread(&self, buf: Buf) {
        self.core.with(self.token, |socket, _| socket.unread(buf));
    }

    /// Lets `f` append to the output, which is sent at the end of the turn together with all other writes.
    pub fn write(&self, f: impl FnOnce(&mut Vec<u8>)) {
        self.core.write(self.token, f);
    }

    /// Queues a buffer behind everything written, without copying it.
    pub fn write_buf(&self, buf: Buf) {
        self.core.write_buf(self.token, buf);
    }

    /// Bytes written that the kernel has not taken. After a send error they are dropped and this is 0.
    pub fn pending(&self) -> usize {
        self.core.with(self.token, |socket, _| socket.pending)
    }

    /// Ends when at most `max_pending` bytes are pending, or with the error that sending ended with.
    pub fn flushed(&self, max_pending: usize) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_flushed(cx, max_pending))
    }

    /// As [`Stream::flushed`]; the task and the bound of the last call count.
    pub fn poll_flushed(&self, cx: &mut Context<'_>, max_pending: usize) -> Poll<io::Result<()>> {
        self.core.with(self.token, |socket, _| {
            if let Some(errno) = socket.send_error {
                return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
            }
            if socket.pending <= max_pending {
                return Poll::Ready(Ok(()));
            }
            socket.flush_at = max_pending;
            remember(&mut socket.writer, cx);
            Poll::Pending
        })
    }

    /// Bytes that our kernel has taken so far.
    pub fn sent_bytes(&self) -> u64 {
        self.core.with(self.token, |socket, _| socket.sent)
    }

    /// Whether the kernel is about to take bytes: how many, [`Stream::sent_bytes`] tells only afterwards.
    pub fn is_sending(&self) -> bool {
        self.core.with(self.token, |socket, _| socket.sending)
    }

    /// Whether a send has failed. What ended the connection may then have been told to the send alone.
    pub fn send_failed(&self) -> bool {
        self.core.with(self.token, |socket, _| socket.send_error.is_some())
    }

    /// Bytes that our kernel has taken and of which it does not know that the peer's kernel has them. They are the last
    /// ones that were sent. Also after the connection has ended or was reset. None without TCP. Two system calls.
    pub fn unacked_bytes(&self) -> Option<u64> {
        self.core.with(self.token, |socket, driver| driver.unacked_bytes(socket.fd))
    }

    /// Bytes that the peer has acknowledged so far, from TCP_INFO; without TCP, [`Stream::sent_bytes`].
    pub fn acked_bytes(&self) -> u64 {
        self.core.with(self.token, |socket, driver| driver.acked_bytes(socket.fd).unwrap_or(socket.sent))
    }

    /// Bytes received so far, taken or not.
    pub fn received_bytes(&self) -> u64 {
        self.core.with(self.token, |socket, _| socket.received)
    }

    /// Ends our direction after the pending output; the peer can still send.
    pub fn shutdown_write(&self) {
        self.core.with(self.token, |socket, driver| {
            socket.ends_after_output = true;
            if socket.pending == 0 {
                socket.send(self.token, driver);
            }
        });
    }

    /// Lets the kernel probe a silent peer after `idle`, every `interval`, and give up after `probes`.
    pub fn set_keepalive(&self, idle: Duration, interval: Duration, probes: u32) {
        self.core.with(self.token, |socket, driver| driver.set_keepalive(socket.fd, idle, interval, probes));
    }

    /// Closes with RST: the peer learns that the stream was cut, not that it ended.
    pub fn reset(self) {
        self.core.with(self.token, |socket, driver| driver.set_reset_on_close(socket.fd));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.core.close(self.token);
    }
}
