//! Finds the end of a head, once over each byte however the bytes arrive.
//!
//! Enforces what can be known before the head is complete: line ends, lengths and the number of lines. Every check is
//! tied to the byte at which it trips, so that the verdict does not depend on how the input was split.

use base::limits::HttpLimits;
use memchr::memchr;

use super::HeadError;

/// How far the search has come. Positions count from the start of the head.
#[derive(Clone, Debug)]
pub(super) struct HeadScan {
    /// Bytes before this one have no unseen LF.
    scanned: usize,
    line_start: usize,
    /// Complete lines so far, the start line among them.
    lines: usize,
    head_bytes_max: u32,
    line_bytes_max: u32,
    fields_max: u16,
    start_line: StartLine,
}

/// Bound and verdict of the first line.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request { uri_bytes_max: u32 },
    Status,
}

/// What the search came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first line is complete; its content ends here, its CRLF follows.
    StartLine(usize),
    /// The empty line is complete: the head has so many bytes, and so many field lines.
    End { head_bytes: usize, fields: usize },
    /// More bytes are needed.
    More,
}

impl HeadScan {
    pub(super) fn new(limits: &HttpLimits, start_line: StartLine) -> Self {
        HeadScan {
            scanned: 0,
            line_start: 0,
            lines: 0,
            head_bytes_max: limits.header_bytes_max,
            line_bytes_max: limits.header_line_bytes_max,
            fields_max: limits.header_fields_max.min(FIELDS_CEILING),
            start_line,
        }
    }

    pub(super) fn reset(&mut self) {
        self.scanned = 0;
        self.line_start = 0;
        self.lines = 0;
    }

    /// Nothing of the head has been looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// A complete head of so many bytes and fields breaks no bound, whatever its lines are like. False says nothing.
    pub(super) fn surely_admits(&self, head_bytes: usize, fields: usize) -> bool {
        head_bytes <= self.head_bytes_max.min(self.line_bytes_max) as usize
            && fields <= usize::from(self.fields_max)
    }

    /// Goes on to the next event. `bytes` starts where the head starts, on every call.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, HeadError> {
        debug_assert!(bytes.len() >= self.scanned, "the head must keep its start until it is complete");
        loop {
            let unseen = bytes.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unseen) else {
                self.scanned = bytes.len();
                self.check_lengths(bytes.len())?;
                return Ok(Step::More);
            };
            let lf = self.scanned + found;
            self.check_lengths(lf)?;
            if lf == 0 || bytes[lf - 1] != b'\r' {
                return Err(HeadError::BareLf);
            }
            // The CR belongs to this line: the one before it ended with LF.
            let (start, end) = (self.line_start, lf - 1);
            self.scanned = lf + 1;
            self.line_start = lf + 1;
            if start == end {
                return self.on_empty_line();
            }
            self.lines += 1;
            if self.lines == 1 {
                return Ok(Step::StartLine(end));
            }
            if self.lines - 1 > usize::from(self.fields_max) {
                return Err(HeadError::TooManyFields { limit_fields: self.fields_max });
            }
        }
    }

    fn on_empty_line(&self) -> Result<Step, HeadError> {
        // RFC 9112 §2.2 lets a server skip an empty line before the request line. Skipping bytes that another parser
        // may count is how requests drift apart, so we do not.
        if self.lines == 0 {
            return Err(match self.start_line {
                StartLine::Request { .. } => HeadError::BadRequestLine,
                StartLine::Status => HeadError::BadStatusLine,
            });
        }
        Ok(Step::End { head_bytes: self.line_start, fields: self.lines - 1 })
    }

    /// Refuses when the bytes before `upto`, which do not complete the head, already break a bound. Of two broken
    /// bounds the one that broke first is reported.
    fn check_lengths(&self, upto: usize) -> Result<(), HeadError> {
        let (line_limit, line_error) = match self.start_line {
            StartLine::Request { uri_bytes_max } if self.lines == 0 => (
                uri_bytes_max as usize + AROUND_TARGET_BYTES,
                HeadError::UriTooLong { limit_bytes: uri_bytes_max },
            ),
            _ => (self.line_bytes_max as usize, HeadError::LineTooLong { limit_bytes: self.line_bytes_max }),
        };
        // One more than the bound may still turn out to be the CR of a line that just fits.
        let line_trips_at = self.line_start + line_limit + 2;
        let head_trips_at = self.head_bytes_max as usize;
        if upto >= head_trips_at && head_trips_at <= line_trips_at {
            return Err(HeadError::HeadTooLarge { limit_bytes: self.head_bytes_max });
        }
        if upto >= line_trips_at { Err(line_error) } else { Ok(()) }
    }
}

/// Fields that a head can have at most, whatever the limits say: the parser works on a fixed table.
pub(super) const FIELDS_CEILING: u16 = 256;

/// Bytes of a request line beside its target: the longest method, two spaces, the version.
const AROUND_TARGET_BYTES: usize = super::line::METHOD_BYTES_MAX + 1 + 1 + "HTTP/1.1".len();
