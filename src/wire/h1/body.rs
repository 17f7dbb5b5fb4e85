//! Message bodies: takes framing off, in place, whatever the framing is.

use std::fmt;
use std::ops::Range;

use base::limits::HttpLimits;

use super::chunk::ChunkReader;
use crate::http::BodyLength;

/// Reads one message body.
///
/// ```text
///  Remaining(n) ──n bytes──▶ Done        Chunked ──last chunk, trailers──▶ Done        UntilClose ──eof──▶ Done
/// ```
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    payload_bytes: u64,
    payload_bytes_max: u64,
    /// Of a complete body.
    trailers: Vec<u8>,
}

#[derive(Clone, Debug)]
enum State {
    Remaining(u64),
    Chunked(ChunkReader),
    UntilClose,
    Done,
}

/// What one call of [`BodyReader::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyPart {
    /// Bytes taken from the front of the input; what follows them belongs to the next message.
    pub consumed: usize,
    /// Where the payload stands now, within the consumed part of the input.
    pub payload: Range<usize>,
    /// The body is complete.
    pub done: bool,
}

/// Why a body cannot be read any further; the connection that it came from ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not `1*16HEXDIG` below 2^63, or something other than `;` or CRLF after it.
    BadChunkSize,
    /// An extension that is not `;name[=value]`.
    BadChunkExtension,
    /// The extensions of one chunk, or of all chunks, are longer than the limit.
    ChunkExtensionTooLong { limit_bytes: u32 },
    /// A chunk is longer than its size says.
    MissingChunkEnd,
    /// A line of the framing ends with LF alone.
    BareLf,
    /// A CR that is not followed by LF.
    BareCr,
    /// A malformed trailer field.
    BadTrailer,
    /// Trailers longer, or more, than the head has left of its limits.
    TrailersTooLarge,
    /// More payload than the limit.
    TooLarge { limit_bytes: u64 },
    /// The connection ended before the body did.
    Truncated,
}

impl BodyReader {
    /// A body that must fit into `limits.body_bytes_max`.
    pub fn new(length: BodyLength, limits: &HttpLimits) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Length(0) => State::Done,
            BodyLength::Length(bytes) => State::Remaining(bytes),
            BodyLength::Chunked => State::Chunked(ChunkReader::new(limits)),
            BodyLength::UntilClose => State::UntilClose,
        };
        BodyReader { state, payload_bytes: 0, payload_bytes_max: limits.body_bytes_max, trailers: Vec::new() }
    }

    /// A response body: `limits.body_bytes_max` is about requests and does not hold for it.
    pub fn for_response(length: BodyLength, limits: &HttpLimits) -> Self {
        BodyReader { payload_bytes_max: u64::MAX, ..BodyReader::new(length, limits) }
    }

    /// Takes what the head has used off the budget that trailers share with it.
    pub fn after_head(mut self, head_bytes: u32, fields: usize) -> Self {
        if let State::Chunked(chunks) = &mut self.state {
            chunks.charge_head(head_bytes, fields);
        }
        self
    }

    /// Takes as much as possible from the front of `input`. Payload of several chunks is moved together within
    /// `input`; that of a single one stays where it is.
    pub fn read(&mut self, input: &mut [u8]) -> Result<BodyPart, BodyError> {
        let part = match &mut self.state {
            State::Done => BodyPart { consumed: 0, payload: 0..0, done: true },
            State::UntilClose => BodyPart { consumed: input.len(), payload: 0..input.len(), done: false },
            State::Remaining(left) => {
                // Known before the first byte is taken.
                if self.payload_bytes.saturating_add(*left) > self.payload_bytes_max {
                    return Err(BodyError::TooLarge { limit_bytes: self.payload_bytes_max });
                }
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                BodyPart { consumed: taken, payload: 0..taken, done: *left == 0 }
            }
            State::Chunked(chunks) => {
                let budget = self.payload_bytes_max - self.payload_bytes;
                chunks.read(input, budget).map_err(|error| match error {
                    BodyError::TooLarge { .. } => BodyError::TooLarge { limit_bytes: self.payload_bytes_max },
                    other => other,
                })?
            }
        };
        self.payload_bytes += part.payload.len() as u64;
        if part.done {
            if let State::Chunked(chunks) = &mut self.state {
                self.trailers = chunks.take_trailers();
            }
            self.state = State::Done;
        }
        Ok(part)
    }

    /// The body is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The peer has closed its side: the end of a body that lasts until then, an error in the middle of any other.
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Remaining(_) | State::Chunked(_) => Err(BodyError::Truncated),
        }
    }

    /// Payload bytes that are certain to come: the rest of a body of known length, or of the current chunk. None when
    /// nothing is known.
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Remaining(left) => Some(*left),
            State::Done => Some(0),
            State::Chunked(chunks) => chunks.remaining(),
            State::UntilClose => None,
        }
    }

    /// Payload bytes that come next with nothing between them: those of a body of known length that are left, or
    /// `u64::MAX` if the body lasts until the end. None for bodies with a framing of their own, and complete ones.
    pub fn unframed(&self) -> Option<u64> {
        match self.state {
            State::Remaining(left) => Some(left),
            State::UntilClose => Some(u64::MAX),
            State::Chunked(_) | State::Done => None,
        }
    }

    /// Counts `bytes` of payload that went by without being shown to [`BodyReader::read`]; there were at most as many as
    /// [`BodyReader::unframed`] had said. True when the body is complete.
    pub fn pass(&mut self, bytes: u64) -> bool {
        debug_assert!(self.unframed().is_some_and(|most| bytes <= most), "{bytes} bytes of {:?}", self.state);
        self.payload_bytes += bytes;
        if let State::Remaining(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.state = State::Done;
            }
        }
        self.is_done()
    }

    /// The trailers of a complete body that travel on, as [`super::trailer`] writes them; once.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Payload bytes handed out so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
}

impl BodyError {
    /// The status that answers a request refused for this reason, while it can still be answered.
    pub const fn status(self) -> u16 {
        match self {
            BodyError::TooLarge { .. } => 413,
            _ => 400,
        }
    }

    /// The reason as the access log and the metrics spell it.
    pub const fn reason(self) -> &'static str {
        match self {
            BodyError::BadChunkSize => "bad_chunk_size",
            BodyError::BadChunkExtension => "bad_chunk_extension",
            BodyError::ChunkExtensionTooLong { .. } => "chunk_extension_too_long",
            BodyError::MissingChunkEnd => "missing_chunk_end",
            BodyError::BareLf => "bare_lf",
            BodyError::BareCr => "bare_cr",
            BodyError::BadTrailer => "bad_trailer",
            BodyError::TrailersTooLarge => "trailers_too_large",
            BodyError::TooLarge { .. } => "body_too_large",
            BodyError::Truncated => "body_truncated",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::BadChunkSize => f.write_str("malformed chunk size"),
            BodyError::BadChunkExtension => f.write_str("malformed chunk extension"),
            BodyError::ChunkExtensionTooLong { limit_bytes } => {
                write!(f, "chunk extensions longer than {limit_bytes} bytes")
            }
            BodyError::MissingChunkEnd => f.write_str("chunk longer than its size"),
            BodyError::BareLf => f.write_str("line ends without CR"),
            BodyError::BareCr => f.write_str("CR inside a line"),
            BodyError::BadTrailer => f.write_str("malformed trailer field"),
            BodyError::TrailersTooLarge => f.write_str("trailers too large"),
            BodyError::TooLarge { limit_bytes } => write!(f, "body longer than {limit_bytes} bytes"),
            BodyError::Truncated => f.write_str("connection ended within the body"),
        }
    }
}

impl std::error::Error for BodyError {}
