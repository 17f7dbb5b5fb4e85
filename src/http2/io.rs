//! What `h2` reads from and writes to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of one connection. Owned buffers on both sides, so that dropping it at any time loses nothing.
pub trait Transport: Unpin {
    /// Received bytes that were not consumed yet, at least one; none at the end of the connection, then and ever after.
    ///
    /// # Errors
    /// When the connection broke.
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>;

    /// So many of the bytes that `poll_received` showed have been taken.
    fn consume(&mut self, bytes: usize);

    /// Ready while there is room for more output.
    ///
    /// # Errors
    /// When the connection broke.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Queues everything; asked only after `poll_room`.
    fn write(&mut self, parts: &[IoSlice<'_>]);
}

/// A transport with the traits that `h2` wants.
pub(crate) struct Io<T>(pub(crate) T);

impl<T: Transport> AsyncRead for Io<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = ready!(self.0.poll_received(cx))?;
        let taken = received.len().min(into.remaining());
        into.put_slice(&received[..taken]);
        self.0.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_room(cx))?;
        self.0.write(&[IoSlice::new(bytes)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_room(cx))?;
        self.0.write(parts);
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is queued leaves at the end of the worker's turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Whoever owns the connection ends it, once the peer has everything.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
