//! Response heads: the strict reading on the upstream side.

use base::limits::HttpLimits;
use memchr::memchr;

use super::bytes::span;
use super::fields::{self, Facts, Side};
use super::line::StatusLine;
use super::scan::{HeadScan, StartLine, Step};
use super::{HeadError, Progress, connection};
use crate::http::{BodyLength, Method, ResponseHead, Version};

/// Reads the response heads of one request: any number of informational ones, then the final one.
#[derive(Clone, Debug)]
pub struct ResponseReader {
    scan: HeadScan,
    line: Option<(StatusLine, usize)>,
    request_is_head: bool,
}

impl ResponseReader {
    /// `request_method` is that of the request being answered: a response to HEAD has no body.
    pub fn new(limits: &HttpLimits, request_method: Method) -> Self {
        ResponseReader {
            scan: HeadScan::new(limits, StartLine::Status),
            line: None,
            request_is_head: request_method == Method::Head,
        }
    }

    /// Prepares for the response to the next request on the connection.
    pub fn reset(&mut self, request_method: Method) {
        self.request_is_head = request_method == Method::Head;
        self.restart();
    }

    /// Reads on. `bytes` is everything received of this head so far, with the same start on each call.
    ///
    /// `Complete(n)`: the head took the first n bytes, `head` is filled, and the next call starts a new head. `head`
    /// means nothing after any other result.
    pub fn read(&mut self, bytes: &[u8], head: &mut ResponseHead) -> Result<Progress, HeadError> {
        if self.scan.is_fresh()
            && let Some(result) = self.read_at_once(bytes, head)
        {
            return result;
        }
        loop {
            match self.scan.step(bytes)? {
                Step::More => return Ok(Progress::Partial),
                Step::StartLine(end) => self.line = Some((StatusLine::parse(&bytes[..end])?, end + 2)),
                Step::End { head_bytes, fields } => {
                    let (line, start) = self.line.ok_or(HeadError::BadStatusLine)?;
                    head.clear();
                    let facts = fields::read_fields(
                        bytes,
                        start,
                        head_bytes,
                        fields,
                        Side::Response,
                        &mut head.fields,
                    )?;
                    fill(line, &facts, self.request_is_head, &bytes[..head_bytes], head)?;
                    self.restart();
                    return Ok(Progress::Complete(head_bytes));
                }
            }
        }
    }

    /// The short way for a head that is complete and ordinary; see `RequestReader::read_at_once`.
    fn read_at_once(&self, bytes: &[u8], head: &mut ResponseHead) -> Option<Result<Progress, HeadError>> {
        let lf = memchr(b'\n', bytes)?;
        let line = StatusLine::parse(bytes[..lf].strip_suffix(b"\r")?).ok()?;
        head.clear();
        let admits = |head_bytes, fields| self.scan.surely_admits(head_bytes, fields);
        let (used, facts) = fields::read_usual(bytes, lf + 1, Side::Response, &mut head.fields, admits)?;
        let filled = facts.and_then(|facts| fill(line, &facts, self.request_is_head, &bytes[..used], head));
        Some(filled.map(|()| Progress::Complete(used)))
    }

    fn restart(&mut self) {
        self.scan.reset();
        self.line = None;
    }
}

/// Sets everything but the fields.
fn fill(
    line: StatusLine,
    facts: &Facts,
    request_is_head: bool,
    bytes: &[u8],
    head: &mut ResponseHead,
) -> Result<(), HeadError> {
    head.version = line.version;
    head.status = line.status;
    head.reason = line.reason;
    head.head_bytes = span(0, bytes.len()).len;
    set_body(bytes, request_is_head, head, facts)?;
    head.keep_alive = head.body != BodyLength::UntilClose
        && !is_contradictory(head, facts)
        && connection::wants_to_persist(head.version, facts);
    head.upgrade = connection::upgrade_of(bytes, head.version, facts);
    head.idle_timeout = connection::idle_timeout(bytes, facts);
    Ok(())
}

/// RFC 9112 §6.3. The framing fields are judged even where they do not count: an upstream that contradicts itself is
/// not to be trusted with the next response (R107, R109).
fn set_body(
    bytes: &[u8],
    request_is_head: bool,
    head: &mut ResponseHead,
    facts: &Facts,
) -> Result<(), HeadError> {
    let has_te = facts.transfer_encoding.is_present();
    if has_te && facts.content_length.is_present() {
        return Err(HeadError::ClAndTe);
    }
    if head.status < 200 && (has_te || facts.content_length.is_present()) {
        return Err(HeadError::FramingIn1xx);
    }
    if has_te && head.version == Version::Http10 {
        return Err(HeadError::TeOnHttp10);
    }
    if has_te {
        fields::check_transfer_encoding(bytes, facts.transfer_encoding)?;
    }
    head.content_length = fields::content_length(bytes, facts.content_length)?;
    head.body = if request_is_head || head.status < 200 || matches!(head.status, 204 | 304) {
        BodyLength::None
    } else if has_te {
        BodyLength::Chunked
    } else {
        match head.content_length {
            None => BodyLength::UntilClose,
            Some(0) => BodyLength::None,
            Some(length) => BodyLength::Length(length),
        }
    };
    Ok(())
}

/// A 204 that announces a body may well send it.
fn is_contradictory(head: &ResponseHead, facts: &Facts) -> bool {
    head.status == 204 && (facts.transfer_encoding.is_present() || head.content_length.unwrap_or(0) > 0)
}
