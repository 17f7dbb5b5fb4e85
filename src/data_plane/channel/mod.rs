//! A connection as exchanges see it: plain bytes, with or without TLS below them.
//!
//! The methods are those of [`runtime::Stream`] and mean the same, so that there is one code path for both. Where they
//! count bytes (`sent_bytes`, `acked_bytes`, `unacked_bytes`), they count those of the socket.
//!
//! ```text
//!   Plain:   exchange ◀──▶ Stream
//!   Secured: exchange ◀──▶ engine ◀──▶ Stream      sealing: at the end of the turn, or when somebody waits for it
//! ```

mod sealing;
mod secured;

pub(crate) use sealing::Sealing;
pub(crate) use secured::{Broken, Secured};

use crate::upstream::h2::EndpointStream;
use runtime::{Arrived, Buf, IdleState, Piped, Refusal, Stream};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use wire::secure::Failure;

/// One connection, owned by one task or by the pool.
pub(crate) enum Channel {
    Plain(Stream),
    /// Shared with the list of those that have something to seal.
    Secured(Rc<Secured>),
    /// One of those that a connection to an endpoint carries at once.
    Http2(Box<EndpointStream>),
}

impl Channel {
    /// The socket, if it is this exchange's alone.
    fn stream(&self) -> Option<&Stream> {
        match self {
            Channel::Plain(stream) => Some(stream),
            Channel::Secured(secured) => Some(secured.stream()),
            Channel::Http2(_) => None,
        }
    }

    /// The stream of a shared connection, if it is one.
    pub(crate) fn as_http2(&self) -> Option<&EndpointStream> {
        match self {
            Channel::Http2(stream) => Some(stream),
            Channel::Plain(_) | Channel::Secured(_) => None,
        }
    }

    /// As [`Stream::local`]. One system call.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream()?.local()
    }

    /// Whether bytes go to the wire as they are.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Channel::Plain(_))
    }

    /// As [`Stream::poll_recv`].
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        match self {
            Channel::Plain(stream) => stream.poll_recv(cx),
            Channel::Secured(secured) => secured.poll_recv(&mut None, cx),
            Channel::Http2(stream) => stream.poll_recv(cx),
        }
    }

    /// As [`Stream::recv`].
    pub(crate) fn recv(&self) -> impl Future<Output = io::Result<Buf>> {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// As [`Stream::recv_into`]; with TLS it is the ciphertext that is received into `buf`.
    pub(crate) fn recv_into(&self, buf: Buf) -> impl Future<Output = io::Result<Buf>> {
        let mut into = Some(buf);
        poll_fn(move |cx| match self {
            Channel::Plain(stream) => stream.poll_recv_into(&mut into, cx),
            Channel::Secured(secured) => secured.poll_recv(&mut into, cx),
            Channel::Http2(stream) => stream.poll_recv(cx),
        })
    }

    /// As [`Stream::unread`].
    pub(crate) fn unread(&self, buf: Buf) {
        match self {
            Channel::Plain(stream) => stream.unread(buf),
            Channel::Secured(secured) => secured.unread(buf),
            Channel::Http2(stream) => stream.unread(buf),
        }
    }

    /// As [`Stream::watch`].
    pub(crate) fn watch(&self) {
        if let Some(stream) = self.stream() {
            stream.watch();
        }
    }

    /// As [`Stream::is_quiet`].
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Channel::Plain(stream) => stream.is_quiet(),
            Channel::Secured(secured) => secured.idle_state() == IdleState::Quiet,
            Channel::Http2(_) => true,
        }
    }

    /// As [`Stream::idle_state`]. What TLS says to itself disturbs nobody.
    pub(crate) fn idle_state(&self) -> IdleState {
        match self {
            Channel::Plain(stream) => stream.idle_state(),
            Channel::Secured(secured) => secured.idle_state(),
            Channel::Http2(_) => IdleState::Quiet,
        }
    }

    /// As [`Stream::idle_state_now`].
    pub(crate) fn idle_state_now(&self) -> IdleState {
        match self {
            Channel::Plain(stream) => stream.idle_state_now(),
            Channel::Secured(secured) => secured.idle_state_now(),
            Channel::Http2(_) => IdleState::Quiet,
        }
    }

    /// As [`Stream::write`].
    pub(crate) fn write(&self, f: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Channel::Plain(stream) => stream.write(f),
            Channel::Secured(secured) => secured.write(f),
            Channel::Http2(stream) => {
                let mut bytes = Vec::new();
                f(&mut bytes);
                stream.queue(&bytes, false);
            }
        }
    }

    /// As [`Stream::write_buf`].
    pub(crate) fn write_buf(&self, buf: Buf) {
        match self {
            Channel::Plain(stream) => stream.write_buf(buf),
            Channel::Secured(secured) => secured.write_buf(&buf),
            Channel::Http2(stream) => stream.queue(&buf, false),
        }
    }

    /// As [`Stream::pending`].
    pub(crate) fn pending(&self) -> usize {
        match self {
            Channel::Plain(stream) => stream.pending(),
            Channel::Secured(secured) => secured.pending(),
            Channel::Http2(stream) => stream.pending(),
        }
    }

    /// As [`Stream::poll_flushed`].
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>, max_pending: usize) -> Poll<io::Result<()>> {
        match self {
            Channel::Plain(stream) => stream.poll_flushed(cx, max_pending),
            Channel::Secured(secured) => secured.poll_flushed(cx, max_pending),
            Channel::Http2(stream) => stream.poll_flushed(cx, max_pending),
        }
    }

    /// As [`Stream::flushed`].
    pub(crate) fn flushed(&self, max_pending: usize) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_flushed(cx, max_pending))
    }

    /// As [`Stream::sent_bytes`].
    pub(crate) fn sent_bytes(&self) -> u64 {
        match self {
            Channel::Http2(stream) => stream.sent_bytes(),
            _ => self.stream().map_or(0, Stream::sent_bytes),
        }
    }

    /// As [`Stream::is_sending`].
    pub(crate) fn is_sending(&self) -> bool {
        self.stream().is_some_and(Stream::is_sending)
    }

    /// As [`Stream::send_failed`].
    pub(crate) fn send_failed(&self) -> bool {
        self.stream().is_some_and(Stream::send_failed)
    }

    /// As [`Stream::unacked_bytes`].
    pub(crate) fn unacked_bytes(&self) -> Option<u64> {
        self.stream()?.unacked_bytes()
    }

    /// As [`Stream::acked_bytes`].
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.stream().map_or(0, Stream::acked_bytes)
    }

    /// As [`Stream::shutdown_write`]; with TLS the peer is told before (`close_notify`).
    pub(crate) fn shutdown_write(&self) {
        match self {
            Channel::Plain(stream) => stream.shutdown_write(),
            Channel::Secured(secured) => secured.shutdown_write(),
            Channel::Http2(stream) => stream.queue(&[], true),
        }
    }

    /// Queues what tells the peer that nothing more will come, without ending anything; false in plain text.
    pub(crate) fn say_goodbye(&self) -> bool {
        match self {
            Channel::Plain(_) | Channel::Http2(_) => false,
            Channel::Secured(secured) => {
                secured.say_goodbye();
                true
            }
        }
    }

    /// Why TLS has broken, if it has.
    pub(crate) fn tls_failure(&self) -> Option<Failure> {
        match self {
            Channel::Plain(_) => None,
            Channel::Secured(secured) => secured.failure(),
            Channel::Http2(_) => None,
        }
    }

    /// As [`Stream::set_keepalive`].
    pub(crate) fn set_keepalive(&self, idle: Duration, interval: Duration, probes: u32) {
        if let Some(stream) = self.stream() {
            stream.set_keepalive(idle, interval, probes);
        }
    }

    /// As [`Stream::reset`]. Nothing is said by TLS either: the peer shall notice that it has not got everything.
    pub(crate) fn reset(self) {
        match self {
            Channel::Plain(stream) => stream.reset(),
            Channel::Secured(secured) => secured.reset(),
            Channel::Http2(stream) => drop(stream),
        }
    }

    /// A new answer begins: with TLS its first bytes go out in records that fit into one packet.
    pub(crate) fn begin_answer(&self) {
        if let Channel::Secured(secured) = self {
            secured.begin_answer();
        }
    }

    /// As [`Stream::recv_piped`]; what is encrypted must be seen and is refused.
    pub(crate) fn recv_piped(&self, max: u64) -> impl Future<Output = io::Result<Arrived>> {
        poll_fn(move |cx| self.poll_recv_piped(cx, max))
    }

    /// As [`Channel::recv_piped`]; the task of the last call is woken.
    pub(crate) fn poll_recv_piped(&self, cx: &mut Context<'_>, max: u64) -> Poll<io::Result<Arrived>> {
        match self {
            Channel::Plain(stream) => stream.poll_recv_piped(cx, max),
            Channel::Secured(_) | Channel::Http2(_) => {
                Poll::Ready(Ok(Arrived::Refused(Refusal::Unsupported)))
            }
        }
    }

    /// As [`Stream::send_piped`]; only for plain ones.
    pub(crate) fn send_piped(&self, piped: &mut Piped) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_send_piped(cx, piped))
    }

    /// As [`Channel::send_piped`]; the task of the last call is woken.
    pub(crate) fn poll_send_piped(&self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<()>> {
        match self {
            Channel::Plain(stream) => stream.poll_send_piped(cx, piped),
            Channel::Secured(_) | Channel::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }
}

impl From<Stream> for Channel {
    fn from(stream: Stream) -> Channel {
        Channel::Plain(stream)
    }
}
