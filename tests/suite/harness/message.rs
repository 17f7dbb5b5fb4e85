//! A second, independent reading of HTTP/1.1: small, strict, and shared with nothing that it tests.
//!
//! The scripted upstream reads what Ringway forwards with it, the client what Ringway answers. Anything that
//! is not exactly RFC 9112 is an error, also where a real peer would be lenient.

use std::fmt;

/// Name and value of fields in order.
pub(crate) type Fields = Vec<(String, String)>;

/// Start line and fields of a message, as sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Request line or status line without its CRLF.
    pub(crate) start: String,
    /// Name and value in order; case of the name as sent, optional white space removed.
    pub(crate) fields: Fields,
}

impl Head {
    /// Value of the only field of that name; None when absent, a panic when repeated.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is repeated: {self:?}");
        all.first().copied()
    }

    /// Values of all fields of that name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// True if a list-valued field contains `member`, without regard to case.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).iter().flat_map(|v| v.split(',')).any(|m| m.trim().eq_ignore_ascii_case(member))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        self.fields.iter().try_for_each(|(name, value)| writeln!(f, "  {name}: {value}"))
    }
}

/// A chunked body that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Chunk extensions that were met; a proxy has to drop them.
    pub(crate) extensions: usize,
}

/// Takes a head off the front of `bytes`; None until it is complete.
pub(crate) fn take_head(bytes: &mut Vec<u8>) -> Result<Option<Head>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head: Vec<u8> = bytes.drain(..end + 4).collect();
    let mut lines = split_lines(&head[..end + 2])?;
    if lines.is_empty() || lines[0].is_empty() {
        return Err("empty start line".into());
    }
    let start = lines.remove(0);
    Ok(Some(Head { start, fields: fields(&lines)? }))
}

/// Takes a chunked body with its trailers off the front of `bytes`; None until it is complete.
pub(crate) fn take_chunked(bytes: &mut Vec<u8>) -> Result<Option<Chunked>, String> {
    let mut body = Vec::new();
    let mut extensions = 0;
    let mut at = 0;
    loop {
        let Some(line_end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = text(&bytes[at..at + line_end])?;
        let (digits, extension) = line.split_at(line.find(';').unwrap_or(line.len()));
        extensions += usize::from(!extension.is_empty());
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("bad chunk size {line:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("bad chunk size {line:?}"))?;
        at += line_end + 2;
        if size == 0 {
            break;
        }
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        body.extend_from_slice(&bytes[at..at + size]);
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err(format!("chunk of {size} is not followed by CRLF"));
        }
        at += size + 2;
    }
    let end = if bytes[at..].starts_with(b"\r\n") {
        at
    } else {
        match find(&bytes[at..], b"\r\n\r\n") {
            Some(end) => at + end + 2,
            None => return Ok(None),
        }
    };
    let trailers = fields(&split_lines(&bytes[at..end])?)?;
    bytes.drain(..end + 2);
    Ok(Some(Chunked { body, trailers, extensions }))
}

/// `Content-Length` of a head, strictly; None when there is none.
pub(crate) fn content_length(head: &Head) -> Result<Option<usize>, String> {
    let all = head.all("content-length");
    match all.as_slice() {
        [] => Ok(None),
        [one] if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => {
            one.parse().map(Some).map_err(|_| format!("length out of range: {one}"))
        }
        _ => Err(format!("bad content-length {all:?}")),
    }
}

/// True if the body is chunked; an error for any other transfer coding or beside a length.
pub(crate) fn is_chunked(head: &Head) -> Result<bool, String> {
    let all = head.all("transfer-encoding");
    match all.as_slice() {
        [] => Ok(false),
        [one] if one.eq_ignore_ascii_case("chunked") && head.all("content-length").is_empty() => Ok(true),
        _ => Err(format!("bad framing {all:?} {:?}", head.all("content-length"))),
    }
}

fn fields(lines: &[String]) -> Result<Fields, String> {
    lines
        .iter()
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon: {line:?}"))?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("bad field name: {line:?}"));
            }
            if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
                return Err(format!("control byte in value: {line:?}"));
            }
            Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
        })
        .collect()
}

/// Lines that each end in CRLF; a CR or LF anywhere else is an error.
fn split_lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    let whole = text(bytes)?;
    let mut lines: Vec<String> = whole.split("\r\n").map(str::to_string).collect();
    if lines.pop().is_some_and(|last| !last.is_empty()) || lines.iter().any(|l| l.contains(['\r', '\n'])) {
        return Err(format!("bad line ends: {whole:?}"));
    }
    Ok(lines)
}

/// One character per byte, so that obs-text survives.
fn text(bytes: &[u8]) -> Result<String, String> {
    if bytes.contains(&0) {
        return Err("NUL in a head".into());
    }
    Ok(bytes.iter().map(|b| char::from(*b)).collect())
}

/// Position of `needle` in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
