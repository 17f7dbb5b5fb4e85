//! Bytes that a socket still has to send, in order, with the message that the kernel reads them through.
//!
//! Writes made during a turn are merged into one vector; owned buffers are queued without a copy. One message is in
//! flight at a time. While it is, its parts stay where they are: `write` appends only behind them.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::buffers::Buf;

/// The queue of one socket. Pooled by the worker: a socket that has nothing to send has none.
pub(crate) struct Output {
    parts: VecDeque<Part>,
    /// Parts at the front that the message in flight covers; 0 when none is in flight.
    in_flight: usize,
    /// Behind a pointer of its own, so that the kernel's view of it does not depend on who borrows the queue.
    message: NonNull<Message>,
    /// A vector kept for the next `write`.
    spare: Vec<u8>,
}

enum Part {
    Bytes { bytes: Vec<u8>, sent: usize },
    Owned(Buf),
}

/// The open end of a queue while a writer appends to it.
pub(crate) struct Tail {
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    before: usize,
}

/// What one send operation covers: a `msghdr` and its vectors at an address that does not change while it is sent.
///
/// The bytes behind the vectors belong to the parts of the same [`Output`].
pub(crate) struct Message {
    header: libc::msghdr,
    vectors: [libc::iovec; VECTORS_MAX],
}

/// Parts of one message. More are sent by the next one.
const VECTORS_MAX: usize = 16;
/// Larger vectors are given back to the allocator when they are sent.
const SPARE_BYTES_MAX: usize = 32 << 10;

impl Output {
    pub(crate) fn new() -> Box<Output> {
        // SAFETY: all-zero is a valid `msghdr` and a valid `iovec`: null pointers with length 0.
        let message = unsafe { MaybeUninit::<Message>::zeroed().assume_init() };
        let message = NonNull::from(Box::leak(Box::new(message)));
        Box::new(Output { parts: VecDeque::new(), in_flight: 0, message, spare: Vec::new() })
    }

    /// Takes out the merged bytes at the end of the queue, for `write` to append to; see [`Output::put_tail`].
    ///
    /// They leave the queue meanwhile, so that a panic of the writer can only lose them, never what is in flight.
    pub(crate) fn take_tail(&mut self) -> Tail {
        let open = self.parts.len() > self.in_flight && matches!(self.parts.back(), Some(Part::Bytes { .. }));
        match if open { self.parts.pop_back() } else { None } {
            Some(Part::Bytes { bytes, sent }) => Tail { before: bytes.len(), bytes, sent },
            _ => Tail { bytes: std::mem::take(&mut self.spare), sent: 0, before: 0 },
        }
    }

    /// Puts the bytes back at the end of the queue; returns how many were appended.
    pub(crate) fn put_tail(&mut self, tail: Tail) -> usize {
        let Tail { bytes, sent, before } = tail;
        // A writer that shortens the vector takes back only what it wrote itself, if anything.
        let added = bytes.len().saturating_sub(before);
        if bytes.len() > sent {
            self.parts.push_back(Part::Bytes { bytes, sent });
        } else {
            self.keep(bytes);
        }
        added
    }

    /// Queues a buffer behind everything that was written.
    pub(crate) fn push(&mut self, buf: Buf) {
        self.parts.push_back(Part::Owned(buf));
    }

    /// Memory of all parts, sent or not.
    pub(crate) fn held_bytes(&self) -> usize {
        self.parts.iter().map(Part::capacity).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Prepares the message for the front of the queue; None when it is empty. No message may be in flight.
    ///
    /// The message stays valid until [`Output::sent`] or [`Output::discard`]: its bytes lie on the heap, and until
    /// then no part of it is changed or dropped, however the queue itself grows.
    pub(crate) fn prepare(&mut self) -> Option<NonNull<Message>> {
        debug_assert_eq!(self.in_flight, 0, "one message in flight per socket");
        if self.parts.is_empty() {
            return None;
        }
        // SAFETY: made by `new` and freed by `drop`; no message is in flight, so nobody else uses it.
        let message = unsafe { self.message.as_mut() };
        let mut count = 0;
        for (vector, part) in message.vectors.iter_mut().zip(&self.parts) {
            let bytes = part.unsent();
            *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            count += 1;
        }
        self.in_flight = count;
        message.header.msg_iov = message.vectors.as_mut_ptr();
        message.header.msg_iovlen = count;
        Some(self.message)
    }

    /// Ends the message in flight, of which the kernel took the first `n` bytes.
    pub(crate) fn sent(&mut self, mut n: usize) {
        self.in_flight = 0;
        while let Some(part) = self.parts.front_mut() {
            let len = part.unsent().len();
            if n < len {
                return part.skip(n);
            }
            n -= len;
            if let Some(Part::Bytes { bytes, .. }) = self.parts.pop_front() {
                self.keep(bytes);
            }
            if n == 0 {
                return;
            }
        }
    }

    /// Forgets everything that is not in flight; with `all`, the rest as well, for when the operation has ended.
    pub(crate) fn discard(&mut self, all: bool) {
        if all {
            self.in_flight = 0;
        }
        self.parts.truncate(self.in_flight);
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if (self.spare.capacity()..=SPARE_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        debug_assert_eq!(self.in_flight, 0, "the kernel still uses the message");
        // SAFETY: made by `new` from a box. `Socket::is_busy` keeps the queue while its message is in flight.
        drop(unsafe { Box::from_raw(self.message.as_ptr()) });
    }
}

impl Part {
    fn unsent(&self) -> &[u8] {
        match self {
            Part::Bytes { bytes, sent } => &bytes[*sent..],
            Part::Owned(buf) => buf,
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Part::Bytes { bytes, .. } => bytes.capacity(),
            Part::Owned(buf) => buf.capacity(),
        }
    }

    fn skip(&mut self, n: usize) {
        match self {
            Part::Bytes { sent, .. } => *sent += n,
            Part::Owned(buf) => buf.consume(n),
        }
    }
}

impl Message {
    /// For `sendmsg`.
    pub(crate) fn header(&self) -> *const libc::msghdr {
        &self.header
    }

    /// Bytes that it covers.
    pub(crate) fn len(&self) -> usize {
        self.vectors[..self.header.msg_iovlen].iter().map(|vector| vector.iov_len).sum()
    }

    /// Appends at most `max` of its bytes, from `skip` on, for a driver without a kernel; returns how many.
    ///
    /// # Safety
    /// The message has been prepared and its operation has not ended, see [`Output::prepare`].
    pub(crate) unsafe fn copy(&self, skip: usize, max: usize, to: &mut impl Extend<u8>) -> usize {
        let (mut skip, mut copied) = (skip, 0);
        for vector in &self.vectors[..self.header.msg_iovlen] {
            let from = skip.min(vector.iov_len);
            let len = (vector.iov_len - from).min(max - copied);
            skip -= from;
            if len > 0 {
                // SAFETY: the vector covers bytes of a part that stays unchanged until the operation ends, as the
                // caller promises; `from + len` is within it.
                let part = unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>().add(from), len) };
                to.extend(part.iter().copied());
                copied += len;
            }
        }
        copied
    }

    /// The only vector, for the cheaper `send`; None when there are several.
    pub(crate) fn single(&self) -> Option<libc::iovec> {
        (self.header.msg_iovlen == 1).then_some(self.vectors[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &mut Output, bytes: &[u8]) -> usize {
        let mut tail = output.take_tail();
        tail.bytes.extend_from_slice(bytes);
        output.put_tail(tail)
    }

    fn bytes(output: &mut Output) -> Vec<u8> {
        output.parts.iter().flat_map(|part| part.unsent().to_vec()).collect()
    }

    #[test]
    fn writes_are_merged_and_owned_buffers_keep_their_place() {
        let mut output = Output::new();
        assert_eq!(write(&mut output, b"a"), 1);
        assert_eq!(write(&mut output, b"b"), 1);
        output.push(Buf::copied(b"body"));
        write(&mut output, b"c");
        assert_eq!(output.parts.len(), 3);
        assert_eq!(bytes(&mut output), b"abbodyc");
        assert_eq!(write(&mut output, b""), 0);
    }

    #[test]
    fn a_write_never_touches_the_message_in_flight() {
        let mut output = Output::new();
        write(&mut output, b"first");
        let message = output.prepare().expect("one part");
        // SAFETY: `output` lives and was not changed since.
        let at = unsafe { message.as_ref() }.single().expect("one part").iov_base;
        write(&mut output, &[b'x'; 1000]);
        assert_eq!(output.parts.len(), 2);
        assert_eq!(output.parts[0].unsent().as_ptr(), at.cast_const().cast());
        output.sent(2);
        assert_eq!(&bytes(&mut output)[..4], b"rstx");
        output.prepare();
        output.discard(false);
        assert_eq!(output.parts.len(), 2, "what is in flight stays");
        output.discard(true);
        assert!(output.is_empty());
    }

    #[test]
    fn empty_parts_are_passed_over_and_a_long_queue_takes_several_messages() {
        let mut output = Output::new();
        for n in 0..40 {
            output.push(Buf::copied(&vec![b'.'; n % 3]));
        }
        let mut rounds = 0;
        while let Some(message) = output.prepare() {
            // SAFETY: `output` lives and was not changed since.
            output.sent(unsafe { message.as_ref() }.len());
            rounds += 1;
            assert!(rounds <= 40);
        }
        assert!(output.is_empty());
    }
}
