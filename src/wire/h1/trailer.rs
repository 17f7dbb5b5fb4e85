//! Trailer fields: which of them travel on, and how they are written.
//!
//! A trailer section is kept as text, `name: value` and CRLF for each field, which is what both versions of HTTP make
//! theirs from. Trailers are never merged into the fields of a head (RFC 9110 §6.5.1), and what only makes sense in a
//! head (framing, routing, who the client is, how the content is to be understood) is dropped.

use super::body::BodyError;
use super::bytes::{is_token, is_value, trim};
use crate::http::Known;

/// Appends `name: value`, unless no trailer may have that name.
pub fn append(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name) && is_value(value), "trailers are parsed");
    if is_forwarded(name) {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(trim(value));
        out.extend_from_slice(b"\r\n");
    }
}

/// The section `text`, of lines as [`append`] writes them, without what does not travel on. Of HTTP/2, whose own limits
/// are about whole heads.
///
/// # Errors
/// When there are more than `fields_max`, or more than `bytes_max` together, or one is malformed.
pub fn screen(text: &[u8], bytes_max: u32, fields_max: u16) -> Result<Vec<u8>, BodyError> {
    if text.len() > bytes_max as usize {
        return Err(BodyError::TrailersTooLarge);
    }
    let mut kept = Vec::with_capacity(text.len());
    for (count, (name, value)) in fields(text).enumerate() {
        if count >= usize::from(fields_max) {
            return Err(BodyError::TrailersTooLarge);
        }
        if !is_token(name) || !is_value(value) {
            return Err(BodyError::BadTrailer);
        }
        append(&mut kept, name, value);
    }
    Ok(kept)
}

/// The fields of a section that this module has written.
pub fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        (&line[..colon], trim(line.get(colon + 1..).unwrap_or_default()))
    })
}

/// Whether a trailer of that name, a token, may travel on. What an application could read as another name, because it
/// folds separators together, is judged as that one (R12).
fn is_forwarded(name: &[u8]) -> bool {
    let mut folded = [0; NAME_BYTES_MAX];
    let Some(folded) = folded.get_mut(..name.len()) else { return !starts_with_folded(name, FORWARDED) };
    for (to, &from) in folded.iter_mut().zip(name) {
        *to = if from.is_ascii_alphanumeric() { from.to_ascii_lowercase() } else { b'-' };
    }
    let known = Known::lookup(folded);
    !known.is_protected()
        && !matches!(known, Known::ContentType | Known::Date | Known::Location)
        && !folded.starts_with(FORWARDED)
        && !NEVER.contains(&&*folded)
}

fn starts_with_folded(name: &[u8], prefix: &[u8]) -> bool {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() >= prefix.len() && name.iter().zip(prefix).all(|(&byte, &wanted)| fold(byte) == wanted)
}

const FORWARDED: &[u8] = b"x-forwarded-";

/// Names without a meaning of their own in `Known` that belong into heads (RFC 9110 §6.5.1): framing and content,
/// controls and conditions, authentication, data that controls a response.
const NEVER: &[&[u8]] = &[
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"warning",
    b"www-authenticate",
];

/// Longer than every name that is dropped, but for the prefix.
const NAME_BYTES_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Result<String, BodyError> {
        screen(text.as_bytes(), 100, 3).map(|kept| String::from_utf8(kept).expect("text"))
    }

    #[test]
    fn r22_only_what_makes_sense_behind_a_body_travels_on() {
        assert_eq!(kept("grpc-status: 0\r\nX-Sum:  a b \r\n"), Ok("grpc-status: 0\r\nX-Sum: a b\r\n".into()));
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Host",
            "AUTHORIZATION",
            "cookie",
            "Set-Cookie",
            "x-forwarded-for",
            "X-Forwarded-Whatever",
            "x_forwarded_for",
            "content_length",
            "TE",
            "Trailer",
            "Connection",
            "Content-Encoding",
            "Content-Type",
            "Client-Cert",
            "If-Match",
        ] {
            assert_eq!(kept(&format!("{name}: 1\r\na: b\r\n")), Ok("a: b\r\n".into()), "{name}");
        }
        let long = format!("X-Forwarded-{}: 1\r\n", "a".repeat(60));
        assert_eq!(kept(&long), Ok(String::new()));
    }

    #[test]
    fn r22_a_section_is_bounded_and_checked() {
        assert_eq!(kept("a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n"), Err(BodyError::TrailersTooLarge));
        assert_eq!(kept(&format!("a: {}\r\n", "x".repeat(100))), Err(BodyError::TrailersTooLarge));
        for wrong in ["a b: 1\r\n", ": 1\r\n", "a: \0\r\n", "a: b\rc: d\r\n"] {
            assert_eq!(kept(wrong), Err(BodyError::BadTrailer), "{wrong:?}");
        }
        assert_eq!(kept(""), Ok(String::new()));
    }

    #[test]
    fn a_section_is_read_back_as_it_was_written() {
        let mut text = Vec::new();
        append(&mut text, b"a", b" 1 ");
        append(&mut text, b"b", b"");
        let fields: Vec<_> = fields(&text).collect();
        assert_eq!(fields, [(&b"a"[..], &b"1"[..]), (b"b", b"")]);
    }
}
