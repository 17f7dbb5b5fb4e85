//! Base64 in both alphabets (RFC 4648 §4 and §5), canonical only: what decodes is the one encoding of its bytes.
//!
//! Two texts for the same bytes would be two names for one token: caches and block lists could be passed by.

/// Which alphabet, and whether it is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`, padded with `=`: the credentials of Basic.
    Standard,
    /// `-` and `_`, never padded: the parts of a token.
    Url,
}

impl Alphabet {
    const fn symbols(self) -> &'static [u8; 64] {
        match self {
            Alphabet::Standard => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Alphabet::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }

    fn value(self, symbol: u8) -> Option<u32> {
        let (plus, slash) = match self {
            Alphabet::Standard => (b'+', b'/'),
            Alphabet::Url => (b'-', b'_'),
        };
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            _ if symbol == plus => 62,
            _ if symbol == slash => 63,
            _ => return None,
        };
        Some(value.into())
    }
}

/// The bytes of `text`; `None` unless it is their canonical encoding.
pub fn decode(alphabet: Alphabet, text: &[u8]) -> Option<Vec<u8>> {
    let text = match alphabet {
        Alphabet::Url => text,
        Alphabet::Standard if text.is_empty() => text,
        Alphabet::Standard if !text.len().is_multiple_of(4) => return None,
        Alphabet::Standard => {
            let padding = text.iter().rev().take(2).take_while(|&&symbol| symbol == b'=').count();
            &text[..text.len() - padding]
        }
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for &symbol in group {
            bits = bits << 6 | alphabet.value(symbol)?;
        }
        // A group of `n` symbols carries `n - 1` bytes; the bits left over must be zero.
        let (count, spare) = match group.len() {
            4 => (3, 0),
            3 => (2, 2),
            2 => (1, 4),
            _ => return None,
        };
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let whole = (bits >> spare).to_be_bytes();
        bytes.extend_from_slice(&whole[4 - count..]);
    }
    Some(bytes)
}

/// The encoding of `bytes`.
pub fn encode(alphabet: Alphabet, bytes: &[u8]) -> String {
    let symbols = alphabet.symbols();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..=group.len() {
            text.push(char::from(symbols[(bits >> (18 - 6 * place) & 63) as usize]));
        }
        if alphabet == Alphabet::Standard {
            (group.len()..3).for_each(|_| text.push('='));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648_read_and_write() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(Alphabet::Standard, plain.as_bytes()), text);
            assert_eq!(decode(Alphabet::Standard, text.as_bytes()).as_deref(), Some(plain.as_bytes()));
            let bare = text.trim_end_matches('=');
            assert_eq!(encode(Alphabet::Url, plain.as_bytes()), bare);
            assert_eq!(decode(Alphabet::Url, bare.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn other_spellings_of_the_same_bytes_are_refused() {
        for text in ["Zh", "Zm9", "Z", "Zg==", "Zg=", "Zm 9v", "Zm9v\n", "Zm9+", "Zm9/", "Zm9v="] {
            assert_eq!(decode(Alphabet::Url, text.as_bytes()), None, "{text:?}");
        }
        for text in ["Zg", "Zg=", "Zh==", "Zg===", "=", "====", "Z===", "Zm9-", "Zg==Zg==", "Zm8=\n"] {
            assert_eq!(decode(Alphabet::Standard, text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::base64::tests::cases())]

        #[test]
        fn what_is_encoded_decodes_and_nothing_else_decodes_to_it(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for alphabet in [Alphabet::Standard, Alphabet::Url] {
                let text = encode(alphabet, &bytes);
                prop_assert_eq!(decode(alphabet, text.as_bytes()), Some(bytes.clone()));
                if let Some(read) = decode(alphabet, &noise) {
                    prop_assert_eq!(encode(alphabet, &read).into_bytes(), noise.clone());
                }
            }
        }
    }

    pub(crate) fn cases() -> proptest::test_runner::Config {
        proptest::test_runner::Config { cases: 256, failure_persistence: None, ..Default::default() }
    }
}
