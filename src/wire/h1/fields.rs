//! The field section of a head: `httparse` splits it, this file judges what it found.
//!
//! `httparse` is more lenient than we are: it takes a bare LF for a line end. So the places of what it found are checked
//! against each other, and what it refuses is looked at again, slowly, to name the reason.

use memchr::memchr;

use super::HeadError;
use super::bytes::{is_plain_name, is_token, is_token_byte, is_value, span, trim};
use super::scan::FIELDS_CEILING;
use crate::http::{Field, FieldFlags, Known, Span};

/// What the fields say about framing and about the connection, before anybody interprets it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) content_length: Seen,
    pub(super) transfer_encoding: Seen,
    pub(super) host: Seen,
    pub(super) expect: Seen,
    pub(super) upgrade: Seen,
    pub(super) keep_alive: Seen,
    connection: Seen,
    pub(super) says_close: bool,
    pub(super) says_keep_alive: bool,
    pub(super) says_upgrade: bool,
}

/// The first value of a field, and how often the field occurs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) value: Span,
    pub(super) times: u16,
}

impl Seen {
    fn note(&mut self, value: Span) {
        if self.times == 0 {
            self.value = value;
        }
        self.times += 1;
    }

    pub(super) const fn is_present(self) -> bool {
        self.times > 0
    }
}

/// Which way the message goes: requests are guarded more closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request {
        /// Unprotected names with `_` are not flagged as look-alikes.
        underscores_pass: bool,
    },
    Response,
}

/// Reads the field section that starts at `start` in one go: what nearly every head comes to.
///
/// None when the section is incomplete, unusual or wrong: `scan` and [`read_fields`] then find out which. Otherwise the
/// length of the head and what its fields say. `admits` tells whether a head of so many bytes and fields is within
/// every bound.
pub(super) fn read_usual(
    bytes: &[u8],
    start: usize,
    side: Side,
    fields: &mut Vec<Field>,
    admits: impl FnOnce(usize, usize) -> bool,
) -> Option<(usize, Result<Facts, HeadError>)> {
    let mut table = [httparse::EMPTY_HEADER; FIELDS_USUAL];
    let Ok(httparse::Status::Complete((used, headers))) =
        httparse::parse_headers(&bytes[start..], &mut table)
    else {
        return None;
    };
    let end = start + used;
    if !admits(end, headers.len()) || !is_strict(bytes, start, end, headers) {
        return None;
    }
    Some((end, judge(bytes, headers, side, fields)))
}

/// Reads the section between `start` and `end`, its empty line included, of which `scan` has found `count` lines.
pub(super) fn read_fields(
    bytes: &[u8],
    start: usize,
    end: usize,
    count: usize,
    side: Side,
    fields: &mut Vec<Field>,
) -> Result<Facts, HeadError> {
    // The tables are prepared anew for each head, so a small head does not pay for a large one.
    if count <= FIELDS_USUAL {
        read_with::<FIELDS_USUAL>(bytes, start, end, side, fields)
    } else if count <= FIELDS_MANY {
        read_with::<FIELDS_MANY>(bytes, start, end, side, fields)
    } else {
        read_with::<{ FIELDS_CEILING as usize }>(bytes, start, end, side, fields)
    }
}

fn read_with<const N: usize>(
    bytes: &[u8],
    start: usize,
    end: usize,
    side: Side,
    fields: &mut Vec<Field>,
) -> Result<Facts, HeadError> {
    let section = &bytes[start..end];
    let mut table = [httparse::EMPTY_HEADER; N];
    match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((used, headers)))
            if used == section.len() && is_strict(bytes, start, end, headers) =>
        {
            judge(bytes, headers, side, fields)
        }
        _ => Err(diagnose(section)),
    }
}

/// Every field begins where the line before it ended with CRLF, and an empty line ends the section: `httparse` takes
/// LF alone as well.
fn is_strict(bytes: &[u8], start: usize, end: usize, headers: &[httparse::Header<'_>]) -> bool {
    let mut at = start;
    for header in headers {
        if span_within(bytes, header.name.as_bytes()).start as usize != at {
            return false;
        }
        // An empty value may be a slice of anything; it ends behind the colon.
        at = if header.value.is_empty() {
            at + header.name.len() + 1
        } else {
            span_within(bytes, header.value).start as usize + header.value.len()
        };
        while let Some(b' ' | b'\t') = bytes.get(at) {
            at += 1;
        }
        if bytes.get(at..at + 2) != Some(b"\r\n") {
            return false;
        }
        at += 2;
    }
    at + 2 == end && bytes.get(at..end) == Some(b"\r\n")
}

/// Turns well-formed headers into fields, and notes what they say.
fn judge(
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    side: Side,
    fields: &mut Vec<Field>,
) -> Result<Facts, HeadError> {
    fields.clear();
    fields.reserve(headers.len());
    let mut facts = Facts::default();
    for header in headers {
        let name = span_within(bytes, header.name.as_bytes());
        let value = if header.value.is_empty() { Span::EMPTY } else { span_within(bytes, header.value) };
        let known = Known::lookup(header.name.as_bytes());
        let mut flags = FieldFlags { hop_by_hop: note(&mut facts, known, value), look_alike: false };
        if let (Known::Other, Side::Request { underscores_pass }) = (known, side) {
            flags.look_alike = is_look_alike(header.name.as_bytes())? && !underscores_pass;
        }
        fields.push(Field { name, value, known, flags });
    }
    if facts.connection.is_present() {
        apply_connection(bytes, side, fields, &mut facts)?;
    }
    Ok(facts)
}

/// Records what the field says; true when the field ends at this hop.
fn note(facts: &mut Facts, known: Known, value: Span) -> bool {
    match known {
        Known::Host => facts.host.note(value),
        Known::ContentLength => facts.content_length.note(value),
        Known::TransferEncoding => {
            facts.transfer_encoding.note(value);
            return true;
        }
        Known::Connection => {
            facts.connection.note(value);
            return true;
        }
        Known::Upgrade => {
            facts.upgrade.note(value);
            return true;
        }
        // We answer 100 ourselves, so the expectation ends here (RFC 9110 §10.1.1).
        Known::Expect => {
            facts.expect.note(value);
            return true;
        }
        Known::KeepAlive => {
            facts.keep_alive.note(value);
            return true;
        }
        // `Trailer` announces what passes only where the framing lets it: whoever writes that says so anew.
        Known::ProxyConnection | Known::Te | Known::Trailer | Known::Http2Settings => {
            return true;
        }
        _ => {}
    }
    false
}

/// Where `part`, a slice of `whole`, stands in it.
fn span_within(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    span(start, start + part.len())
}

/// Whether an application that folds separators together could read `name` as another name (R12). An error when that
/// other name is one that framing or identity depend on.
fn is_look_alike(name: &[u8]) -> Result<bool, HeadError> {
    if is_plain_name(name) {
        return Ok(false);
    }
    let mut folded = [0; Known::BYTES_MAX];
    if let Some(folded) = folded.get_mut(..name.len()) {
        for (to, &from) in folded.iter_mut().zip(name) {
            *to = if from.is_ascii_alphanumeric() { from } else { b'-' };
        }
        if Known::lookup(folded).is_protected() {
            return Err(HeadError::LookAlike);
        }
    }
    Ok(name.contains(&b'_'))
}

/// Reads the options of every `Connection` field and marks the fields that they name (R18).
fn apply_connection(
    bytes: &[u8],
    side: Side,
    fields: &mut [Field],
    facts: &mut Facts,
) -> Result<(), HeadError> {
    let mut options = 0;
    for at in 0..fields.len() {
        if fields[at].known != Known::Connection {
            continue;
        }
        for option in fields[at].value.of(bytes).split(|&byte| byte == b',').map(trim) {
            if option.is_empty() {
                continue;
            }
            options += 1;
            if options > CONNECTION_OPTIONS_MAX || !is_token(option) {
                return Err(HeadError::BadConnectionOption);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                facts.says_keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                facts.says_close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                facts.says_upgrade = true;
            } else {
                mark_named(bytes, side, fields, option)?;
            }
        }
    }
    Ok(())
}

fn mark_named(bytes: &[u8], side: Side, fields: &mut [Field], name: &[u8]) -> Result<(), HeadError> {
    match (Known::lookup(name), side) {
        (Known::ContentLength | Known::TransferEncoding, _)
        | (Known::Host | Known::Authorization | Known::Cookie, Side::Request { .. }) => {
            return Err(HeadError::BadConnectionOption);
        }
        _ => {}
    }
    for field in fields {
        if field.name.of(bytes).eq_ignore_ascii_case(name) {
            field.flags.hop_by_hop = true;
        }
    }
    Ok(())
}

/// Why `httparse` refused the section.
#[cold]
fn diagnose(section: &[u8]) -> HeadError {
    let mut rest = section;
    let mut first = true;
    while let Some(lf) = memchr(b'\n', rest) {
        let line = rest[..lf].strip_suffix(b"\r").unwrap_or(&rest[..lf]);
        rest = &rest[lf + 1..];
        if line.is_empty() {
            break;
        }
        if matches!(line, [b' ' | b'\t', ..]) {
            return if first { HeadError::BadFieldName } else { HeadError::ObsFold };
        }
        first = false;
        if line.contains(&b'\r') {
            return HeadError::BareCr;
        }
        let Some(colon) = memchr(b':', line) else { return HeadError::BadFieldName };
        if !is_token(&line[..colon]) {
            return HeadError::BadFieldName;
        }
        if !is_value(&line[colon + 1..]) {
            return HeadError::BadFieldValue;
        }
    }
    HeadError::BadFieldName
}

/// `Content-Length` of a message, if it has a valid one.
pub(super) fn content_length(bytes: &[u8], seen: Seen) -> Result<Option<u64>, HeadError> {
    if !seen.is_present() {
        return Ok(None);
    }
    if seen.times > 1 {
        return Err(HeadError::DuplicateCl);
    }
    let value = seen.value.of(bytes);
    if has_tab_around(bytes, seen.value) {
        return Err(HeadError::BadCl);
    }
    match parse_length(value) {
        Some(length) => Ok(Some(length)),
        None => Err(name_bad_length(value)),
    }
}

/// `1*DIGIT`, at most 19 of them, below 2^63.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    // Nineteen digits stay below 10^19, which a u64 holds.
    let mut length = 0u64;
    for &digit in value {
        if !digit.is_ascii_digit() {
            return None;
        }
        length = length * 10 + u64::from(digit - b'0');
    }
    (length <= i64::MAX.unsigned_abs()).then_some(length)
}

/// A list of equal numbers is a repeated field that something on the way has joined.
#[cold]
fn name_bad_length(value: &[u8]) -> HeadError {
    let mut parts = value.split(|&byte| byte == b',').map(|part| parse_length(trim(part)));
    let first = parts.next().flatten();
    if first.is_some() && value.contains(&b',') && parts.all(|part| part == first) {
        HeadError::DuplicateCl
    } else {
        HeadError::BadCl
    }
}

/// Accepts exactly one field with exactly one coding, `chunked` (R4).
pub(super) fn check_transfer_encoding(bytes: &[u8], seen: Seen) -> Result<(), HeadError> {
    let value = seen.value.of(bytes);
    if seen.times == 1 && value.eq_ignore_ascii_case(b"chunked") && !has_tab_around(bytes, seen.value) {
        return Ok(());
    }
    Err(name_bad_coding(value, seen.times))
}

#[cold]
fn name_bad_coding(value: &[u8], times: u16) -> HeadError {
    let codings: Vec<&[u8]> = value.split(|&byte| byte == b',').map(trim).take(CODINGS_LOOKED_AT).collect();
    let well_formed = codings.iter().all(|coding| is_token(coding));
    let chunked = codings.iter().filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count();
    let last = codings.last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if times > 1 || !well_formed || chunked > 1 || (chunked == 1 && (!last || codings.len() == 1)) {
        HeadError::BadTe
    } else {
        HeadError::UnknownTe
    }
}

/// A tab beside a framing value is white space to us and part of the value to somebody else.
fn has_tab_around(bytes: &[u8], value: Span) -> bool {
    let (start, end) = (value.start as usize, (value.start + value.len) as usize);
    let before = bytes[..start].iter().rev().take_while(|&&byte| !is_token_byte(byte) && byte != b':');
    let after = bytes[end..].iter().take_while(|&&byte| byte != b'\r');
    before.chain(after).any(|&byte| byte == b'\t')
}

/// Fields that the tables hold: that of browsers and load generators, that of most others.
const FIELDS_USUAL: usize = 24;
const FIELDS_MANY: usize = 64;

/// Options that all `Connection` fields of a head may have together; each costs a pass over the fields.
const CONNECTION_OPTIONS_MAX: usize = 32;

/// Codings that are looked at to name the reason of a refusal that is certain already.
const CODINGS_LOOKED_AT: usize = 16;
