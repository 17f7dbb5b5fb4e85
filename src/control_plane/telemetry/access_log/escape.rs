//! Bytes that clients chose, written so that a log line stays one line and a string stays a string.

use super::cursor::Cursor;

/// Appends `bytes` as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn json(bytes: &[u8], out: &mut Cursor) {
    if out.slice_if(bytes, special, &PLAIN) {
        return;
    }
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = rest.iter().position(|byte| !PLAIN[usize::from(*byte)] && byte.is_ascii()) {
            out.slice(&rest[..at]);
            match rest[at] {
                b'"' => out.literal(b"\\\""),
                b'\\' => out.literal(b"\\\\"),
                b'\n' => out.literal(b"\\n"),
                b'\r' => out.literal(b"\\r"),
                b'\t' => out.literal(b"\\t"),
                byte => out.literal(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]),
            }
            rest = &rest[at + 1..];
        }
        out.slice(rest);
        if !chunk.invalid().is_empty() {
            out.slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends `bytes` as the inside of a quoted field of the combined format: `"`, `\` and everything outside printable
/// ASCII become `\xHH`, as nginx writes them.
pub(super) fn combined(bytes: &[u8], out: &mut Cursor) {
    if out.slice_if(bytes, special, &PLAIN) {
        return;
    }
    for &byte in bytes {
        if PLAIN[usize::from(byte)] {
            out.byte(byte);
        } else {
            out.literal(&[b'\\', b'x', HEX_UPPER[usize::from(byte >> 4)], HEX_UPPER[usize::from(byte & 15)]]);
        }
    }
}

/// Not zero if any byte of `word` is not plain: from 0x7f on, below 0x20, `"` or `\`. Nearly all text is plain, so it
/// is looked at eight bytes at a time while it is copied.
#[inline]
fn special(word: u64) -> u64 {
    // A byte is below n if subtracting n borrows: exact in the lowest byte where it happens, which is enough.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    (below(word, 0x20)
        | below(word ^ (ONES * 0x22), 1)
        | below(word ^ (ONES * 0x5c), 1)
        | word
        | word.wrapping_add(ONES))
        & HIGH
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

const HEX: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Printable ASCII without `"` and `\`: what stands for itself in both formats.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use super::*;

    fn as_json(bytes: &[u8]) -> String {
        let mut out = Cursor::default();
        json(bytes, &mut out);
        String::from_utf8(out.as_slice().to_vec()).unwrap()
    }

    #[test]
    fn json_reads_back_as_what_was_written() {
        let every: Vec<u8> = (0..=127).collect();
        for text in [
            "",
            "plain",
            "\"\\/\n\r\t\u{0}\u{1f}\u{7f}",
            "grüße 日本 \u{1f980}",
            std::str::from_utf8(&every).unwrap(),
        ] {
            let quoted = format!("\"{}\"", as_json(text.as_bytes()));
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
            assert!(!quoted.contains('\n'));
        }
    }

    #[test]
    fn every_byte_is_recognised_at_every_place() {
        let mut out = Cursor::default();
        for length in [1, 7, 8, 9, 16, 23] {
            for place in 0..length {
                for byte in 0..=255u8 {
                    for around in [b'a', b' ', b'~'] {
                        let mut bytes = vec![around; length];
                        bytes[place] = byte;
                        out.clear();
                        let stays = out.slice_if(&bytes, special, &PLAIN);
                        assert_eq!(stays, PLAIN[usize::from(byte)], "{byte:#x} at {place} of {length}");
                        assert_eq!(out.as_slice(), if stays { &bytes[..] } else { &[] });
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_become_replacement_characters() {
        for bytes in [&b"a\xffb"[..], b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x92", b"\xc0\xaf\"", b"\x80\n\x80"]
        {
            let quoted = format!("\"{}\"", as_json(bytes));
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), String::from_utf8_lossy(bytes));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_make_a_string_that_reads_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let quoted = format!("\"{}\"", as_json(&bytes));
            let read: String = serde_json::from_str(&quoted).unwrap();
            assert_eq!(read, String::from_utf8_lossy(&bytes));
            let mut out = Cursor::default();
            combined(&bytes, &mut out);
            assert!(out.as_slice().iter().all(|byte| matches!(byte, 0x20..=0x7e) && *byte != b'"'));
        }
    }

    #[test]
    fn a_quoted_field_cannot_be_left() {
        let mut out = Cursor::default();
        combined(b"a\" 200\\\n\x80b", &mut out);
        assert_eq!(out.as_slice(), br"a\x22 200\x5C\x0A\x80b");
    }
}
