//! Whether the first bytes of a client are those of HTTP, where several protocols share a port.
//!
//! A guess, made for routing: what is guessed wrong goes to a server that refuses it. TLS is told apart by its first byte
//! (`client_hello`).

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A request line of HTTP/1, or the preface of HTTP/2.
    Http,
    /// Neither.
    Other,
    /// It may still become the beginning of a request.
    Undecided,
}

/// Longer methods are not known to any registry (RFC 9110 §16.1).
const METHOD_BYTES_MAX: usize = 17;

/// Looks at all that a client has sent so far. A method in capital letters, a space, and the first byte of a target:
/// protocols of plain words (SMTP, Redis, memcached) differ by then.
pub fn of(bytes: &[u8]) -> Opening {
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let length = bytes.iter().position(|byte| !is_method(byte)).unwrap_or(bytes.len());
    match (length, bytes.get(length), bytes.get(length + 1)) {
        (0, None, _) => Opening::Undecided,
        (1..=METHOD_BYTES_MAX, None, _) => Opening::Undecided,
        (3..=METHOD_BYTES_MAX, Some(b' '), None) => Opening::Undecided,
        (3..=METHOD_BYTES_MAX, Some(b' '), Some(b'/' | b'*')) => Opening::Http,
        // An absolute target.
        (3..=METHOD_BYTES_MAX, Some(b' '), Some(_)) => {
            let target = &bytes[length + 1..];
            let scheme = b"http";
            let common = target.len().min(scheme.len());
            match target[..common].eq_ignore_ascii_case(&scheme[..common]) {
                true if common == scheme.len() => Opening::Http,
                true => Opening::Undecided,
                false => Opening::Other,
            }
        }
        _ => Opening::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_other_protocols_by_their_first_bytes() {
        let cases: [(&[u8], Opening); 18] = [
            (b"GET / HTTP/1.1\r\n", Opening::Http),
            (b"OPTIONS * HTTP/1.1\r\n", Opening::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Opening::Http),
            (b"GET http://a/ HTTP/1.1\r\n", Opening::Http),
            (b"UPDATEREDIRECTREF /", Opening::Http),
            (b"", Opening::Undecided),
            (b"GE", Opening::Undecided),
            (b"GET ", Opening::Undecided),
            (b"GET ht", Opening::Undecided),
            (b"\x16\x03", Opening::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Opening::Other),
            (b"*1\r\n$4\r\nPING\r\n", Opening::Other),
            (b"PING\r\n", Opening::Other),
            (b"EHLO mail.example\r\n", Opening::Other),
            (b"get key\r\n", Opening::Other),
            (b"SSH-2.0-OpenSSH\r\n", Opening::Other),
            (b"AB /", Opening::Other),
            (b"AVERYLONGMETHODTHATNOBODYHAS", Opening::Other),
        ];
        for (bytes, opening) in cases {
            assert_eq!(of(bytes), opening, "{}", bytes.escape_ascii());
            // No verdict is ever taken back.
            for end in 0..bytes.len() {
                assert!(
                    [opening, Opening::Undecided].contains(&of(&bytes[..end])),
                    "{}",
                    bytes[..end].escape_ascii()
                );
            }
        }
    }
}
