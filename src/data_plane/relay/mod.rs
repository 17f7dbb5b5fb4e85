//! Bodies, both ways: pull-based, so that neither side is read faster than the other takes.
//!
//! Small bodies leave together with their head. Longer ones move through one buffer at a time: it is filled by a
//! receive, its payload is re-framed in place, and it is handed to the other socket without being copied. Buffers start
//! at 16 KiB and grow to 256 KiB while the sender fills them; nothing is held while a sender is silent.
//!
//! The rest of a long response that needs no re-framing does not come into the process at all (`piped`).

mod coded;
mod piped;
mod response;
mod trailers;
mod upload;

pub(crate) use response::{
    finish_downstream, flush_downstream, give_back_unread, keeps, response, settle_request_body,
};
pub(crate) use trailers::{Trailers, announce as announce_trailers, are_asked_for};
pub(crate) use upload::{UploadFault, UploadLimits, upload};

use crate::channel::Channel;
use runtime::{Buf, Runtime};
use wire::h1::{BodyReader, encode};
use wire::http::BodyLength;

/// Payload up to this size is copied behind what is queued already; beyond it handing over the buffer is cheaper.
pub(crate) const COPY_MAX: usize = 4096;
/// The smallest receive of a long body, and the size of the buffers that the driver lends.
pub(crate) const RECEIVE_MIN: usize = 16 << 10;

/// How much to ask for in the next receive of one body.
pub(crate) struct ReceiveSize {
    bytes: usize,
    max: usize,
}

impl ReceiveSize {
    fn new(max: usize) -> ReceiveSize {
        ReceiveSize { bytes: RECEIVE_MIN, max }
    }

    /// `received` bytes arrived. A full buffer means that more was waiting; a mostly empty one that less would do.
    fn learn(&mut self, received: usize) {
        if received >= self.bytes {
            self.bytes = (self.bytes * 4).min(self.max);
        } else if received < self.bytes / 8 {
            self.bytes = (self.bytes / 4).max(RECEIVE_MIN);
        }
    }

    /// The next bytes of a body of which `remaining` are known to come.
    pub(crate) async fn receive(
        &self,
        rt: &Runtime,
        from: &Channel,
        remaining: Option<u64>,
    ) -> std::io::Result<Buf> {
        let wanted = remaining.map_or(self.bytes, |left| {
            usize::try_from(left).unwrap_or(usize::MAX).clamp(RECEIVE_MIN, self.max)
        });
        if wanted <= RECEIVE_MIN {
            // The driver lends a buffer once there is something to put into it.
            return from.recv().await;
        }
        from.recv_into(rt.relay_buf(wanted)).await
    }
}

/// How much of a body is certain to come. The rest of a chunk says little about the rest of its body.
fn known_rest(length: BodyLength, body: &BodyReader) -> Option<u64> {
    match length {
        BodyLength::Length(_) => body.remaining(),
        _ => None,
    }
}

/// Queues `payload` of `buf` on `to`, framed as `framing` asks; `done` ends the body.
pub(crate) fn emit(
    to: &Channel,
    mut buf: Buf,
    payload: std::ops::Range<usize>,
    framing: BodyLength,
    done: bool,
) {
    if let Some(stream) = to.as_http2() {
        return stream.queue(&buf[payload], done);
    }
    let chunked = framing == BodyLength::Chunked;
    if payload.len() <= COPY_MAX {
        if !payload.is_empty() || (chunked && done) {
            to.write(|out| append(out, &buf[payload], chunked, done));
        }
        return;
    }
    let header = encode::chunk_header(payload.len());
    buf.truncate(payload.end);
    buf.consume(payload.start);
    if chunked {
        if buf.headroom() >= header.as_slice().len() {
            buf.prepend(header.as_slice());
        } else {
            to.write(|out| out.extend_from_slice(header.as_slice()));
        }
    }
    to.write_buf(buf);
    if chunked {
        to.write(|out| {
            out.extend_from_slice(encode::CHUNK_END);
            if done {
                out.extend_from_slice(encode::LAST_CHUNK);
            }
        });
    }
}

/// Appends a payload and its framing.
pub(crate) fn append(out: &mut Vec<u8>, payload: &[u8], chunked: bool, done: bool) {
    if !chunked {
        out.extend_from_slice(payload);
        return;
    }
    if !payload.is_empty() {
        out.extend_from_slice(encode::chunk_header(payload.len()).as_slice());
        out.extend_from_slice(payload);
        out.extend_from_slice(encode::CHUNK_END);
    }
    if done {
        out.extend_from_slice(encode::LAST_CHUNK);
    }
}
