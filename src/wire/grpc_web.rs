//! gRPC for browsers: its trailers are the last message of the body, and in the text form all of it is base64.
//!
//! Source: "gRPC Web" of the gRPC project (PROTOCOL-WEB.md).

/// First byte of the message that holds trailers, as other messages have 0, or 1 when they are compressed.
const TRAILERS: u8 = 0x80;

/// Appends the trailers of `text`, a line `name: value` for each field, as the last message of a body.
pub fn trailers(out: &mut Vec<u8>, text: &[u8]) {
    // Trailers have the bounds of a head, far below 4 GiB.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.push(TRAILERS);
    out.extend_from_slice(&length.to_be_bytes());
    let mut in_name = true;
    for &byte in text {
        in_name &= byte != b':';
        out.push(if in_name { byte.to_ascii_lowercase() } else { byte });
        in_name |= byte == b'\n';
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64 with padding: a segment that can be read without what follows.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let digit = |bits: u32, shift: u32| ALPHABET[(bits >> shift & 63) as usize];
    let (triples, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in triples {
        let bits = u32::from_be_bytes([0, a, b, c]);
        out.extend_from_slice(&[digit(bits, 18), digit(bits, 12), digit(bits, 6), digit(bits, 0)]);
    }
    match *rest {
        [a] => {
            let bits = u32::from_be_bytes([0, a, 0, 0]);
            out.extend_from_slice(&[digit(bits, 18), digit(bits, 12), b'=', b'=']);
        }
        [a, b] => {
            let bits = u32::from_be_bytes([0, a, b, 0]);
            out.extend_from_slice(&[digit(bits, 18), digit(bits, 12), digit(bits, 6), b'=']);
        }
        _ => {}
    }
}

/// Reads base64 that comes in pieces of any size; each of its segments may end with padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    /// Digits of the group that has begun, and padding behind them.
    bits: u32,
    digits: u8,
    padding: u8,
}

/// What was to be base64 is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

impl Decoder {
    /// Appends what `text` stands for.
    ///
    /// # Errors
    /// A byte that is no digit, padding in a wrong place, or bits that nobody wants behind the last byte.
    pub fn read(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        out.reserve(text.len() / 4 * 3 + 3);
        for &byte in text {
            if byte == b'=' {
                self.padding += 1;
                if self.digits < 2 || self.digits + self.padding > 4 {
                    return Err(NotBase64);
                }
            } else if self.padding > 0 {
                return Err(NotBase64);
            } else {
                self.bits = self.bits << 6 | u32::from(value(byte).ok_or(NotBase64)?);
                self.digits += 1;
            }
            if self.digits + self.padding == 4 {
                self.group(out)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let bits = self.bits << (6 * u32::from(self.padding));
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (kept, rest) = bytes.split_at(3 - usize::from(self.padding));
        if rest.iter().any(|&byte| byte != 0) {
            return Err(NotBase64);
        }
        out.extend_from_slice(kept);
        *self = Decoder::default();
        Ok(())
    }

    /// Whether the text can end here.
    pub fn is_complete(self) -> bool {
        self == Decoder::default()
    }
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &[u8], size: usize) -> Option<Vec<u8>> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        text.chunks(size.max(1)).try_for_each(|piece| decoder.read(piece, &mut out)).ok()?;
        decoder.is_complete().then_some(out)
    }

    #[test]
    fn the_examples_of_rfc_4648_hold_in_both_directions() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes(), 1).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn segments_may_follow_each_other_and_nothing_else() {
        assert_eq!(decode(b"Zg==Zm8=Zm9v", 5).as_deref(), Some(&b"ffofoo"[..]));
        for bad in ["Z", "Zg", "Zg=", "=", "Z===", "Zg=v", "Zm9v=", "Zm9-", "Zm 9", "Zh==", "Zm9=", "Zg==="] {
            assert_eq!(decode(bad.as_bytes(), 3), None, "{bad}");
        }
    }

    #[test]
    fn trailers_are_a_message_of_lines_with_small_names() {
        let mut out = Vec::new();
        trailers(&mut out, b"Grpc-Status: 0\r\nX-A: B:C\r\n");
        assert_eq!(out, b"\x80\x00\x00\x00\x1agrpc-status: 0\r\nx-a: B:C\r\n");
        out.clear();
        trailers(&mut out, b"");
        assert_eq!(out, [0x80, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn what_is_encoded_in_segments_reads_back_in_any_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            size in 1usize..9,
        ) {
            let mut text = Vec::new();
            parts.iter().for_each(|part| encode(&mut text, part));
            prop_assert_eq!(decode(&text, size), Some(parts.concat()));
        }

        #[test]
        fn any_text_reads_the_same_whole_and_in_pieces(
            text in prop::collection::vec(prop_oneof![Just(b'='), Just(b'A'), Just(b'/'), any::<u8>()], 0..40),
            size in 1usize..9,
        ) {
            prop_assert_eq!(decode(&text, size), decode(&text, text.len()));
        }
    }
}
