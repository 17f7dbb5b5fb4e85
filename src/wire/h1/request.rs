//! Request heads: the strict reading of RFC 9112 §3, §5 and §6 on the downstream side.

use base::limits::HttpLimits;
use memchr::memchr;

use super::bytes::span;
use super::fields::{self, Facts, Side};
use super::host::{Authority, same_place};
use super::line::RequestLine;
use super::scan::{HeadScan, StartLine, Step};
use super::target::{self, Target};
use super::{HeadError, Progress, connection};
use crate::http::{BodyLength, Method, RequestHead, Span, TargetForm, Version};

/// Reads request heads, one after the other, as their bytes arrive.
///
/// Remembers how far it has looked for the end of the head, so that a head that drips in costs no more than one that
/// comes whole. After an error the connection cannot go on; `reset` is for reuse with another connection.
#[derive(Clone, Debug)]
pub struct RequestReader {
    scan: HeadScan,
    line: Option<(RequestLine, usize)>,
    uri_bytes_max: u32,
    side: Side,
}

impl RequestReader {
    /// Takes its bounds from `limits`; more than 256 fields are refused whatever the limits say.
    pub fn new(limits: &HttpLimits) -> Self {
        let start_line = StartLine::Request { uri_bytes_max: limits.uri_bytes_max };
        RequestReader {
            scan: HeadScan::new(limits, start_line),
            line: None,
            uri_bytes_max: limits.uri_bytes_max,
            side: Side::Request { underscores_pass: false },
        }
    }

    /// Lets field names with `_` travel on, for a listener that is told to. Those that imitate a protected name are
    /// refused as ever (R12).
    pub fn with_underscores(mut self, underscores_pass: bool) -> Self {
        self.side = Side::Request { underscores_pass };
        self
    }

    /// Forgets a half-read head.
    pub fn reset(&mut self) {
        self.scan.reset();
        self.line = None;
    }

    /// Reads on. `bytes` is everything received of this head so far, with the same start on each call.
    ///
    /// `Complete(n)`: the head took the first n bytes, `head` is filled, and the next call starts a new head. `head`
    /// means nothing after any other result.
    pub fn read(&mut self, bytes: &[u8], head: &mut RequestHead) -> Result<Progress, HeadError> {
        if self.scan.is_fresh()
            && let Some(result) = self.read_at_once(bytes, head)
        {
            return result;
        }
        loop {
            match self.scan.step(bytes)? {
                Step::More => return Ok(Progress::Partial),
                // At once, so that garbage is refused without waiting for the end of its head.
                Step::StartLine(end) => {
                    self.line = Some((RequestLine::parse(&bytes[..end], self.uri_bytes_max)?, end + 2));
                }
                Step::End { head_bytes, fields } => {
                    let (line, start) = self.line.ok_or(HeadError::BadRequestLine)?;
                    head.clear();
                    let facts =
                        fields::read_fields(bytes, start, head_bytes, fields, self.side, &mut head.fields)?;
                    fill(line, &facts, &bytes[..head_bytes], head)?;
                    self.reset();
                    return Ok(Progress::Complete(head_bytes));
                }
            }
        }
    }

    /// The short way for a head that is complete and ordinary. None sends it the long way, which gives the same answer
    /// and knows the reason of every refusal.
    fn read_at_once(&self, bytes: &[u8], head: &mut RequestHead) -> Option<Result<Progress, HeadError>> {
        let lf = memchr(b'\n', bytes)?;
        let line = RequestLine::parse(bytes[..lf].strip_suffix(b"\r")?, self.uri_bytes_max).ok()?;
        head.clear();
        let admits = |head_bytes, fields| self.scan.surely_admits(head_bytes, fields);
        let (used, facts) = fields::read_usual(bytes, lf + 1, self.side, &mut head.fields, admits)?;
        let filled = facts.and_then(|facts| fill(line, &facts, &bytes[..used], head));
        Some(filled.map(|()| Progress::Complete(used)))
    }
}

/// Sets everything but the fields.
fn fill(line: RequestLine, facts: &Facts, bytes: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    head.method = line.method;
    head.version = line.version;
    head.target = line.target;
    head.head_bytes = span(0, bytes.len()).len;
    head.body = body_length(bytes, head, facts)?;
    set_target(bytes, head, facts)?;
    head.expect_continue = expects_continue(bytes, head, facts)?;
    head.keep_alive = connection::wants_to_persist(head.version, facts);
    head.upgrade = connection::upgrade_of(bytes, head.version, facts);
    Ok(())
}

/// RFC 9112 §6.3, without any of its leniency (R1-R6, R25).
fn body_length(bytes: &[u8], head: &RequestHead, facts: &Facts) -> Result<BodyLength, HeadError> {
    if facts.transfer_encoding.is_present() {
        if facts.content_length.is_present() {
            return Err(HeadError::ClAndTe);
        }
        if head.version == Version::Http10 {
            return Err(HeadError::TeOnHttp10);
        }
        fields::check_transfer_encoding(bytes, facts.transfer_encoding)?;
        return Ok(BodyLength::Chunked);
    }
    match fields::content_length(bytes, facts.content_length)? {
        None | Some(0) => Ok(BodyLength::None),
        Some(_)
            if head.version == Version::Http10
                && matches!(head.method, Method::Get | Method::Head | Method::Delete) =>
        {
            Err(HeadError::BodyOnHttp10)
        }
        Some(length) => Ok(BodyLength::Length(length)),
    }
}

/// Sets the form, the authority and the path: the values that everything behind the parser uses (R13, R14, R17, R68).
fn set_target(bytes: &[u8], head: &mut RequestHead, facts: &Facts) -> Result<(), HeadError> {
    if facts.host.times > 1 {
        return Err(HeadError::DuplicateHost);
    }
    if !facts.host.is_present() && head.version != Version::Http10 {
        return Err(HeadError::MissingHost);
    }
    if facts.host.is_present() {
        set_authority(bytes, head, facts.host.value)?;
    }
    let start = head.target.start as usize;
    let end = start + head.target.len as usize;
    match Target::parse(&bytes[start..end])? {
        Target::Asterisk => {
            if head.method != Method::Options {
                return Err(HeadError::BadUri);
            }
            head.form = TargetForm::Asterisk;
            head.path = head.target;
            Ok(())
        }
        Target::Origin { query_at } => {
            head.form = TargetForm::Origin;
            set_path(bytes, head, start, query_at.map(|at| start + at), end)
        }
        Target::Absolute { authority, default_port, query_at } => {
            head.form = TargetForm::Absolute;
            let named = span(start + authority.0, start + authority.1);
            let host = facts.host.value;
            set_authority(bytes, head, named)?;
            if facts.host.is_present() && !same_place(named.of(bytes), host.of(bytes), default_port) {
                return Err(HeadError::HostMismatch);
            }
            set_path(bytes, head, start + authority.1, query_at.map(|at| start + at), end)
        }
    }
}

fn set_authority(bytes: &[u8], head: &mut RequestHead, value: Span) -> Result<(), HeadError> {
    let authority = Authority::parse(value.of(bytes))?;
    let start = value.start as usize;
    head.authority = value;
    head.host = span(start, start + authority.host_bytes);
    head.port = authority.port;
    Ok(())
}

/// The path stands from `start` to the query, or to the `end` of the target.
fn set_path(
    bytes: &[u8],
    head: &mut RequestHead,
    start: usize,
    query_at: Option<usize>,
    end: usize,
) -> Result<(), HeadError> {
    let path_end = query_at.unwrap_or(end);
    if let Some(at) = query_at {
        target::check_query(&bytes[at + 1..end])?;
        head.query = Some(span(at + 1, end));
    }
    if start == path_end {
        // Only an absolute target has an empty path; it means the root, or the server itself (RFC 9112 §3.2.4).
        let root = if head.method == Method::Options && query_at.is_none() { b'*' } else { b'/' };
        head.canonical.push(root);
        head.path_rewritten = true;
    } else {
        head.path_rewritten = target::canonical_path(&bytes[start..path_end], &mut head.canonical)?;
    }
    head.path = if head.path_rewritten { span(0, head.canonical.len()) } else { span(start, path_end) };
    Ok(())
}

/// Only the exact expectation, once; a request without a body or of HTTP/1.0 has nothing to wait for (R21).
fn expects_continue(bytes: &[u8], head: &RequestHead, facts: &Facts) -> Result<bool, HeadError> {
    if !facts.expect.is_present() {
        return Ok(false);
    }
    if facts.expect.times > 1 || !facts.expect.value.of(bytes).eq_ignore_ascii_case(b"100-continue") {
        return Err(HeadError::BadExpect);
    }
    Ok(head.version != Version::Http10 && head.body != BodyLength::None)
}
