//! What one side of a stream has still to send: bytes, and how they end.

use crate::head;
use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::HeaderMap;
use std::task::{Context, Poll, ready};

/// Bytes that wait for the peer's windows.
#[derive(Default)]
pub(crate) struct Outbound {
    queued: BytesMut,
    ends: bool,
    /// Behind the last byte.
    trailers: Option<HeaderMap>,
    sent: u64,
    is_over: bool,
}

/// Why the peer takes no more.
pub(crate) enum Untaken {
    /// The stream ended while its window was awaited.
    Gone,
    Failed(h2::Error),
}

impl Outbound {
    /// Queues `payload`; `ends` ends the message.
    pub(crate) fn queue(&mut self, payload: &[u8], ends: bool) {
        self.queued.extend_from_slice(payload);
        self.ends |= ends;
    }

    /// Ends the message behind what was queued with `trailers`, a line of text for each field.
    pub(crate) fn end_with(&mut self, trailers: &[u8]) {
        self.trailers = head::parse_trailers(trailers);
        self.ends = true;
    }

    /// Bytes that are queued and have not been taken.
    pub(crate) fn pending(&self) -> usize {
        self.queued.len()
    }

    /// Payload bytes that the peer's windows had room for.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the end of the message has been handed over, or could not be.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ready when the peer's windows had room for everything that was queued.
    pub(crate) fn poll_taken(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Untaken>> {
        while !self.is_over {
            if self.queued.is_empty() {
                if !self.ends {
                    break;
                }
                self.is_over = true;
                let ended = match self.trailers.take() {
                    Some(trailers) => stream.send_trailers(trailers),
                    None => stream.send_data(Bytes::new(), true),
                };
                return Poll::Ready(ended.map_err(Untaken::Failed));
            }
            stream.reserve_capacity(self.queued.len());
            let room = match stream.capacity() {
                0 => match ready!(stream.poll_capacity(cx)) {
                    None => return Poll::Ready(Err(Untaken::Gone)),
                    Some(room) => room.map_err(Untaken::Failed)?,
                },
                room => room,
            };
            let now = self.queued.len().min(room);
            if now == 0 {
                continue;
            }
            let is_last = self.ends && now == self.queued.len() && self.trailers.is_none();
            let part = self.queued.split_to(now).freeze();
            stream.send_data(part, is_last).map_err(Untaken::Failed)?;
            self.sent += now as u64;
            self.is_over = is_last;
        }
        Poll::Ready(Ok(()))
    }
}
