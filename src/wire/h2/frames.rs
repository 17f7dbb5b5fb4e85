//! The heads of frames within a stream of bytes (RFC 9113 §4.1).

/// Length of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;

/// The head of a frame, and, of the few frames where that matters, the first bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

impl FrameHead {
    fn parse(bytes: [u8; HEAD_BYTES]) -> FrameHead {
        FrameHead {
            length: u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]),
            kind: bytes[3],
            flags: bytes[4],
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// Finds one frame after the other, whatever the pieces are that the bytes come in.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// Bytes that come before the next head: of the preface, or of the payload of the last frame.
    skip: u32,
    head: [u8; HEAD_BYTES],
    filled: usize,
}

impl Frames {
    /// `before` bytes come before the first frame.
    pub(super) fn new(before: u32) -> Frames {
        Frames { skip: before, head: [0; HEAD_BYTES], filled: 0 }
    }

    /// Takes bytes from the front of `input` up to the end of the next head, and returns it.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<FrameHead> {
        let skipped = input.len().min(self.skip as usize);
        *input = &input[skipped..];
        self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
        let taken = input.len().min(HEAD_BYTES - self.filled);
        self.head[self.filled..self.filled + taken].copy_from_slice(&input[..taken]);
        *input = &input[taken..];
        self.filled += taken;
        if self.filled < HEAD_BYTES {
            return None;
        }
        self.filled = 0;
        let head = FrameHead::parse(self.head);
        self.skip = head.length;
        Some(head)
    }

    /// Takes what is there of the payload of the frame whose head was returned last; true when it has ended.
    pub(super) fn pass(&mut self, input: &mut &[u8]) -> bool {
        let skipped = input.len().min(self.skip as usize);
        *input = &input[skipped..];
        self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
        self.skip == 0
    }
}
