//! Request targets: their form, and the one canonical path that routing, policy, logs and forwarding use.
//!
//! The path is touched only where it must be: in the usual case the canonical path *is* the received bytes.

use memchr::memchr;

use super::HeadError;
use super::bytes::{hex, is_unreserved};

/// A target cut into its parts; offsets count from the start of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Origin { query_at: Option<usize> },
    Absolute { authority: (usize, usize), default_port: u16, query_at: Option<usize> },
    Asterisk,
}

impl Target {
    /// Tells the form of a target whose bytes are known to be allowed ones.
    pub(super) fn parse(target: &[u8]) -> Result<Target, HeadError> {
        match target {
            [b'/', ..] => Ok(Target::Origin { query_at: memchr(b'?', target) }),
            b"*" => Ok(Target::Asterisk),
            _ => Target::parse_absolute(target),
        }
    }

    fn parse_absolute(target: &[u8]) -> Result<Target, HeadError> {
        let (start, default_port) = if has_prefix(target, b"http://") {
            (7, 80)
        } else if has_prefix(target, b"https://") {
            (8, 443)
        } else {
            return Err(HeadError::BadUri);
        };
        let rest = &target[start..];
        let end = start + rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let query_at = memchr(b'?', &target[end..]).map(|at| end + at);
        Ok(Target::Absolute { authority: (start, end), default_port, query_at })
    }
}

fn has_prefix(target: &[u8], prefix: &[u8]) -> bool {
    target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Every `%` of a query is followed by two hexadecimal digits that do not make a NUL.
pub(super) fn check_query(query: &[u8]) -> Result<(), HeadError> {
    let mut rest = query;
    while let Some(at) = memchr(b'%', rest) {
        if escape(&rest[at..])? == 0 {
            return Err(HeadError::BadUri);
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// Writes the canonical form of `path`, which starts with `/`, into `out` if it differs; says whether it does.
///
/// Dot segments are resolved, unreserved characters decoded, other escapes spelled in upper case. Empty segments are
/// kept. An escaped slash, backslash or NUL, `..;` and a path above the root are refused, because the application
/// behind may read them as another path than the one that was checked.
pub(super) fn canonical_path(path: &[u8], out: &mut Vec<u8>) -> Result<bool, HeadError> {
    out.clear();
    if is_canonical(path) {
        return Ok(false);
    }
    let mut rest = path;
    while let [b'/', after @ ..] = rest {
        let end = memchr(b'/', after).unwrap_or(after.len());
        push_segment(&after[..end], end == after.len(), out)?;
        rest = &after[end..];
    }
    Ok(out != path)
}

/// No escape, and no segment that starts with a dot: nothing to do.
fn is_canonical(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if byte == b'%' || (byte == b'.' && before == b'/') {
            return false;
        }
        before = byte;
    }
    true
}

fn push_segment(segment: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), HeadError> {
    out.push(b'/');
    let start = out.len();
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        match escape(&segment[at..])? {
            0 | b'/' | b'\\' => return Err(HeadError::BadUri),
            byte if is_unreserved(byte) => out.push(byte),
            _ => {
                out.extend([b'%', segment[at + 1].to_ascii_uppercase(), segment[at + 2].to_ascii_uppercase()])
            }
        }
        at += 3;
    }
    let (name, parameter) = split_parameter(&out[start..]);
    match name {
        b"." => out.truncate(start - 1),
        // Some servers resolve `..;x` as `..` and some do not.
        b".." if parameter => return Err(HeadError::BadUri),
        b".." => {
            out.truncate(start - 1);
            let parent = out.iter().rposition(|&byte| byte == b'/').ok_or(HeadError::BadUri)?;
            out.truncate(parent);
        }
        _ => return Ok(()),
    }
    if is_last {
        out.push(b'/');
    }
    Ok(())
}

/// The segment before its first `;`, escaped or not, and whether there was one.
fn split_parameter(segment: &[u8]) -> (&[u8], bool) {
    for (at, &byte) in segment.iter().enumerate() {
        if byte == b';' || (byte == b'%' && segment[at..].starts_with(b"%3B")) {
            return (&segment[..at], true);
        }
    }
    (segment, false)
}

/// The byte that the escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Result<u8, HeadError> {
    let [b'%', high, low, ..] = bytes else { return Err(HeadError::BadUri) };
    match (hex(*high), hex(*low)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(HeadError::BadUri),
    }
}
