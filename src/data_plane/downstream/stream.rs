//! The bytes between us and a client in one exchange.
//!
//! What is written is a response: a head, payload behind it, an end. Each version of HTTP has its own way to say where
//! these begin and end, and this is the one place that knows about it.

use super::h2::Http2Stream;
use crate::channel::Channel;
use crate::relay::{self, Trailers};
use http2::Reason;
use runtime::{Arrived, Buf, Piped, Refusal};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll};
use std::time::Duration;
use wire::h1::BodyError;
use wire::http::BodyLength;
use wire::secure::Failure;

/// A client's stream. One enum and no trait object: what HTTP/1.1 does with it is a call of `Channel`.
pub(crate) enum ClientStream {
    /// The connection itself. Also of a flow, which has no HTTP at all.
    Http1(Channel),
    /// One of those that a connection carries at once.
    Http2(Box<Http2Stream>),
}

impl ClientStream {
    /// Queues a response head, which `head` writes, and the `payload` that is there already; `done` ends the response.
    pub(crate) fn start(
        &self,
        framing: BodyLength,
        payload: &[u8],
        done: bool,
        head: impl FnOnce(&mut Vec<u8>),
    ) {
        match self {
            ClientStream::Http1(stream) => {
                stream.begin_answer();
                stream.write(|out| {
                    head(out);
                    relay::append(out, payload, framing == BodyLength::Chunked, done);
                });
            }
            ClientStream::Http2(stream) => stream.start(payload, done, head),
        }
    }

    /// Queues an informational response.
    pub(crate) fn inform(&self, head: impl FnOnce(&mut Vec<u8>)) {
        match self {
            ClientStream::Http1(stream) => stream.write(head),
            ClientStream::Http2(stream) => stream.inform(head),
        }
    }

    /// Queues the `payload` of `buf` behind what was started; `done` ends the response.
    pub(crate) fn emit(&self, buf: Buf, payload: Range<usize>, framing: BodyLength, done: bool) {
        match self {
            ClientStream::Http1(stream) => relay::emit(stream, buf, payload, framing, done),
            ClientStream::Http2(stream) => stream.queue(&buf[payload], done),
        }
    }

    /// Ends a response that was queued without its end with `trailers`, which the client takes.
    pub(crate) fn end_with(&self, trailers: &Trailers) {
        match self {
            ClientStream::Http1(stream) => stream.write(|out| trailers.write_last_chunk(out)),
            ClientStream::Http2(stream) => stream.end_with(trailers.text()),
        }
    }

    /// Trailers of a request that has been received to its end, as far as they are not part of its framing.
    pub(crate) fn take_trailers(&self, bytes_max: u32, fields_max: u16) -> Result<Trailers, BodyError> {
        match self {
            ClientStream::Http1(_) => Ok(Trailers::NONE),
            ClientStream::Http2(stream) => {
                Trailers::of_stream(&stream.take_trailers(), bytes_max, fields_max)
            }
        }
    }

    /// Lets `f` append bytes of a tunnel to what is queued.
    pub(crate) fn write(&self, f: impl FnOnce(&mut Vec<u8>)) {
        match self {
            ClientStream::Http1(stream) => stream.write(f),
            ClientStream::Http2(stream) => {
                let mut bytes = Vec::new();
                f(&mut bytes);
                stream.queue(&bytes, false);
            }
        }
    }

    /// Bytes that are queued.
    pub(crate) fn pending(&self) -> usize {
        match self {
            ClientStream::Http1(stream) => stream.pending(),
            ClientStream::Http2(stream) => stream.pending(),
        }
    }

    /// Queues bytes of a tunnel.
    pub(crate) fn write_buf(&self, buf: Buf) {
        match self {
            ClientStream::Http1(stream) => stream.write_buf(buf),
            ClientStream::Http2(stream) => stream.queue(&buf, false),
        }
    }

    /// Ends our direction after what is queued; the client can still send.
    pub(crate) fn shutdown_write(&self) {
        match self {
            ClientStream::Http1(stream) => stream.shutdown_write(),
            ClientStream::Http2(stream) => stream.queue(&[], true),
        }
    }

    /// Queues what tells a client with TLS that nothing more will come; false in plain text.
    pub(crate) fn say_goodbye(&self) -> bool {
        match self {
            ClientStream::Http1(stream) => stream.say_goodbye(),
            ClientStream::Http2(_) => false,
        }
    }

    /// Why TLS has broken, if it has.
    pub(crate) fn tls_failure(&self) -> Option<Failure> {
        match self {
            ClientStream::Http1(stream) => stream.tls_failure(),
            ClientStream::Http2(_) => None,
        }
    }

    /// Cuts the response off: the client learns that it is not complete.
    pub(crate) fn reset(self) {
        match self {
            ClientStream::Http1(stream) => stream.reset(),
            ClientStream::Http2(stream) => stream.reset(Reason::Cancel),
        }
    }

    /// Ends when at most `max_pending` bytes are queued, or with the error that sending ended with.
    pub(crate) fn flushed(&self, max_pending: usize) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_flushed(cx, max_pending))
    }

    /// As [`ClientStream::flushed`].
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>, max_pending: usize) -> Poll<io::Result<()>> {
        match self {
            ClientStream::Http1(stream) => stream.poll_flushed(cx, max_pending),
            ClientStream::Http2(stream) => match stream.poll_taken(cx) {
                Poll::Pending if stream.pending() <= max_pending => Poll::Ready(Ok(())),
                other => other,
            },
        }
    }

    /// Whether it is one of several that a connection carries: the connection outlives it, whatever becomes of it.
    pub(crate) fn is_multiplexed(&self) -> bool {
        matches!(self, ClientStream::Http2(_))
    }

    /// Ready when the client has taken its request back.
    pub(crate) fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            ClientStream::Http1(_) => Poll::Pending,
            ClientStream::Http2(stream) => stream.poll_gone(cx),
        }
    }

    /// The next bytes of the request; an empty buffer at its end, then and ever after.
    pub(crate) fn recv(&self) -> impl Future<Output = io::Result<Buf>> {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// As [`ClientStream::recv`]; the task of the last call is woken.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        match self {
            ClientStream::Http1(stream) => stream.poll_recv(cx),
            ClientStream::Http2(stream) => stream.poll_recv(cx),
        }
    }

    /// As [`ClientStream::recv`], of a body of which `remaining` are known to come.
    pub(crate) async fn recv_sized(
        &self,
        size: &relay::ReceiveSize,
        rt: &runtime::Runtime,
        remaining: Option<u64>,
    ) -> io::Result<Buf> {
        match self {
            ClientStream::Http1(stream) => size.receive(rt, stream, remaining).await,
            ClientStream::Http2(stream) => poll_fn(|cx| stream.poll_recv(cx)).await,
        }
    }

    /// The longest piece of a response that is to be received for it at once; `most` is that of a connection of its own.
    pub(crate) fn piece_max(&self, most: usize) -> usize {
        match self {
            ClientStream::Http1(_) => most,
            ClientStream::Http2(stream) => stream.piece_max(most),
        }
    }

    /// Puts bytes back in front of what the next receive returns.
    pub(crate) fn unread(&self, buf: Buf) {
        match self {
            ClientStream::Http1(stream) => stream.unread(buf),
            ClientStream::Http2(stream) => stream.unread(buf),
        }
    }

    /// False once bytes, the end or an error have arrived that nobody took.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            ClientStream::Http1(stream) => stream.is_quiet(),
            ClientStream::Http2(_) => true,
        }
    }

    /// Whether payload can pass through a pipe of the kernel.
    pub(crate) fn can_splice(&self) -> bool {
        match self {
            ClientStream::Http1(stream) => stream.is_plain(),
            ClientStream::Http2(_) => false,
        }
    }

    /// The next bytes of the request, at most `max`, in a pipe.
    pub(crate) async fn recv_piped(&self, max: u64) -> io::Result<Arrived> {
        poll_fn(|cx| self.poll_recv_piped(cx, max)).await
    }

    /// As [`ClientStream::recv_piped`]; the task of the last call is woken.
    pub(crate) fn poll_recv_piped(&self, cx: &mut Context<'_>, max: u64) -> Poll<io::Result<Arrived>> {
        match self {
            ClientStream::Http1(stream) => stream.poll_recv_piped(cx, max),
            ClientStream::Http2(_) => Poll::Ready(Ok(Arrived::Refused(Refusal::Unsupported))),
        }
    }

    /// Sends what is in a pipe.
    pub(crate) async fn send_piped(&self, piped: &mut Piped) -> io::Result<()> {
        poll_fn(|cx| self.poll_send_piped(cx, piped)).await
    }

    /// As [`ClientStream::send_piped`]; the task of the last call is woken.
    pub(crate) fn poll_send_piped(&self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<()>> {
        match self {
            ClientStream::Http1(stream) => stream.poll_send_piped(cx, piped),
            ClientStream::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Bytes that our kernel has taken so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        match self {
            ClientStream::Http1(stream) => stream.sent_bytes(),
            ClientStream::Http2(stream) => stream.sent_bytes(),
        }
    }

    /// Bytes that the client has taken so far, as far as we know.
    pub(crate) fn acked_bytes(&self) -> u64 {
        match self {
            ClientStream::Http1(stream) => stream.acked_bytes(),
            ClientStream::Http2(stream) => stream.sent_bytes(),
        }
    }

    /// Bytes of which our kernel does not know that the client's has them; None where nobody can tell.
    pub(crate) fn unacked_bytes(&self) -> Option<u64> {
        match self {
            ClientStream::Http1(stream) => stream.unacked_bytes(),
            ClientStream::Http2(_) => None,
        }
    }

    /// Lets the kernel find out about a client that has vanished.
    pub(crate) fn set_keepalive(&self, idle: Duration, interval: Duration, probes: u32) {
        match self {
            ClientStream::Http1(stream) => stream.set_keepalive(idle, interval, probes),
            // Its connection is not this tunnel's alone.
            ClientStream::Http2(_) => {}
        }
    }
}

const _: () = assert!(
    size_of::<ClientStream>() <= size_of::<Channel>() + size_of::<usize>(),
    "in every idle connection"
);
