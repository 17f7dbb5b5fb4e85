//! The chunked transfer coding (RFC 9112 §7.1), decoded in place and without buffering.
//!
//! Every byte is consumed as it comes, so that an incomplete line needs no storage and no second look (R8b).
//! Extensions are checked and dropped: we always frame anew. Trailers are checked and kept, as far as they travel on.
//!
//! ```text
//!            ┌──────────────────────────────────────────────────┐
//!            ▼                                                  │
//!  Size ──▶ [Extension] ──▶ SizeLf ──size>0──▶ Data ──▶ DataCr ──▶ DataLf
//!                              └─────size=0──▶ TrailerStart ──▶ [Trailer] ──▶ FinalLf ──▶ Done
//! ```

use base::limits::HttpLimits;

use super::body::{BodyError, BodyPart};
use super::bytes::{hex, is_token_byte, is_value_byte};
use super::trailer;

#[derive(Clone, Debug)]
pub(super) struct ChunkReader {
    state: State,
    /// Size of the chunk being read; counts down while its data comes.
    size: u64,
    /// Digits of the size seen so far.
    digits: u8,
    /// Bytes of extensions that this chunk, and the whole body, may still have.
    extension_left: u32,
    extensions_left: u32,
    extension_bytes_max: u32,
    extensions_bytes_max: u32,
    /// What trailers may still use of the bounds that they share with the head.
    trailer_bytes_left: u32,
    trailer_fields_left: u16,
    /// The trailers that travel on, as [`trailer`] writes them, and behind them the field that is being read.
    trailers: Vec<u8>,
    /// Where that field begins.
    trailer_start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// After `;`: a name must follow.
    ExtensionStart,
    ExtensionName,
    /// After `=`: a token or a quoted string must follow.
    ExtensionValueStart,
    ExtensionValue,
    ExtensionQuoted,
    /// After `\` in a quoted string.
    ExtensionEscape,
    ExtensionQuoteEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    FinalLf,
    Done,
}

impl ChunkReader {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        ChunkReader {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_left: limits.chunk_extension_bytes_max,
            extensions_left: limits.chunk_extensions_bytes_max,
            extension_bytes_max: limits.chunk_extension_bytes_max,
            extensions_bytes_max: limits.chunk_extensions_bytes_max,
            trailer_bytes_left: limits.header_bytes_max,
            trailer_fields_left: limits.header_fields_max,
            trailers: Vec::new(),
            trailer_start: 0,
        }
    }

    pub(super) fn charge_head(&mut self, head_bytes: u32, fields: usize) {
        self.trailer_bytes_left = self.trailer_bytes_left.saturating_sub(head_bytes);
        let fields = u16::try_from(fields).unwrap_or(u16::MAX);
        self.trailer_fields_left = self.trailer_fields_left.saturating_sub(fields);
    }

    /// The trailers of a complete body.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// The rest of the current chunk.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Data | State::SizeLf if self.size > 0 => Some(self.size),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Decodes the front of `input`; `payload_left` is what the body may still have.
    pub(super) fn read(&mut self, input: &mut [u8], payload_left: u64) -> Result<BodyPart, BodyError> {
        let mut at = 0;
        let mut payload = 0..0;
        while at < input.len() && self.state != State::Done {
            if self.state != State::Data {
                self.on_byte(input[at], payload_left - payload.len() as u64)?;
                at += 1;
                continue;
            }
            let taken = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
            if payload.is_empty() {
                payload = at..at + taken;
            } else {
                input.copy_within(at..at + taken, payload.end);
                payload.end += taken;
            }
            at += taken;
            self.size -= taken as u64;
            if self.size == 0 {
                self.state = State::DataCr;
            }
        }
        Ok(BodyPart { consumed: at, payload, done: self.state == State::Done })
    }

    fn on_byte(&mut self, byte: u8, payload_left: u64) -> Result<(), BodyError> {
        self.state = match self.state {
            State::Size => self.on_size_byte(byte, payload_left)?,
            State::SizeLf => self.on_size_lf(byte)?,
            State::DataCr => match byte {
                b'\r' => State::DataLf,
                b'\n' => return Err(BodyError::BareLf),
                _ => return Err(BodyError::MissingChunkEnd),
            },
            State::DataLf => {
                expect_lf(byte)?;
                State::Size
            }
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::FinalLf => self.on_trailer_byte(byte)?,
            State::Data | State::Done => self.state,
            _ => self.on_extension_byte(byte)?,
        };
        Ok(())
    }

    fn on_size_byte(&mut self, byte: u8, payload_left: u64) -> Result<State, BodyError> {
        if let Some(digit) = hex(byte) {
            // Sixteen digits fill a u64 exactly, so the shift cannot lose one.
            if self.digits == SIZE_DIGITS_MAX {
                return Err(BodyError::BadChunkSize);
            }
            self.digits += 1;
            self.size = self.size << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        if byte == b'\n' {
            return Err(BodyError::BareLf);
        }
        if self.digits == 0 || self.size > i64::MAX.unsigned_abs() {
            return Err(BodyError::BadChunkSize);
        }
        if self.size > payload_left {
            return Err(BodyError::TooLarge { limit_bytes: payload_left });
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' => {
                self.charge_extension()?;
                Ok(State::ExtensionStart)
            }
            _ => Err(BodyError::BadChunkSize),
        }
    }

    fn on_size_lf(&mut self, byte: u8) -> Result<State, BodyError> {
        expect_lf(byte)?;
        self.digits = 0;
        self.extension_left = self.extension_bytes_max;
        Ok(if self.size == 0 { State::TrailerStart } else { State::Data })
    }

    fn charge_extension(&mut self) -> Result<(), BodyError> {
        if self.extension_left == 0 {
            return Err(BodyError::ChunkExtensionTooLong { limit_bytes: self.extension_bytes_max });
        }
        if self.extensions_left == 0 {
            return Err(BodyError::ChunkExtensionTooLong { limit_bytes: self.extensions_bytes_max });
        }
        self.extension_left -= 1;
        self.extensions_left -= 1;
        Ok(())
    }

    /// `;name[=value]`, repeated. The white space that RFC 9112 §7.1.1 calls bad is refused.
    fn on_extension_byte(&mut self, byte: u8) -> Result<State, BodyError> {
        let quoted = matches!(self.state, State::ExtensionQuoted | State::ExtensionEscape);
        match byte {
            b'\n' => return Err(BodyError::BareLf),
            b'\r' if quoted || matches!(self.state, State::ExtensionStart | State::ExtensionValueStart) => {
                return Err(BodyError::BadChunkExtension);
            }
            b'\r' => return Ok(State::SizeLf),
            _ => self.charge_extension()?,
        }
        Ok(match (self.state, byte) {
            (State::ExtensionStart | State::ExtensionName, byte) if is_token_byte(byte) => {
                State::ExtensionName
            }
            (State::ExtensionName, b'=') => State::ExtensionValueStart,
            (State::ExtensionValueStart, b'"') => State::ExtensionQuoted,
            (State::ExtensionValueStart | State::ExtensionValue, byte) if is_token_byte(byte) => {
                State::ExtensionValue
            }
            (State::ExtensionName | State::ExtensionValue | State::ExtensionQuoteEnd, b';') => {
                State::ExtensionStart
            }
            (State::ExtensionQuoted, b'"') => State::ExtensionQuoteEnd,
            (State::ExtensionQuoted, b'\\') => State::ExtensionEscape,
            (State::ExtensionQuoted | State::ExtensionEscape, byte) if is_value_byte(byte) => {
                State::ExtensionQuoted
            }
            _ => return Err(BodyError::BadChunkExtension),
        })
    }

    fn on_trailer_byte(&mut self, byte: u8) -> Result<State, BodyError> {
        if self.trailer_bytes_left == 0 {
            return Err(BodyError::TrailersTooLarge);
        }
        self.trailer_bytes_left -= 1;
        match (self.state, byte) {
            (State::TrailerLf, byte) => {
                expect_lf(byte)?;
                self.end_trailer();
                Ok(State::TrailerStart)
            }
            (State::FinalLf, byte) => expect_lf(byte).map(|()| State::Done),
            (_, b'\n') => Err(BodyError::BareLf),
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::TrailerStart, byte) if is_token_byte(byte) => {
                if self.trailer_fields_left == 0 {
                    return Err(BodyError::TrailersTooLarge);
                }
                self.trailer_fields_left -= 1;
                self.trailer_start = self.trailers.len();
                self.trailers.push(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerName, byte) if byte == b':' || is_token_byte(byte) => {
                self.trailers.push(byte);
                Ok(if byte == b':' { State::TrailerValue } else { State::TrailerName })
            }
            (State::TrailerValue, byte) if is_value_byte(byte) => {
                self.trailers.push(byte);
                Ok(State::TrailerValue)
            }
            _ => Err(BodyError::BadTrailer),
        }
    }

    /// Writes the field that has been read as it travels on, or takes it away.
    fn end_trailer(&mut self) {
        let raw = self.trailers.split_off(self.trailer_start);
        for (name, value) in trailer::fields(&raw) {
            trailer::append(&mut self.trailers, name, value);
        }
    }
}

fn expect_lf(byte: u8) -> Result<(), BodyError> {
    if byte == b'\n' { Ok(()) } else { Err(BodyError::BareCr) }
}

/// Digits of a chunk size, leading zeros included.
const SIZE_DIGITS_MAX: u8 = 16;
