//! Bytes of a datagram, as they can be written.

use crate::literal::{Literal, Misread};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Bytes: `"text"`, `"hex:00 ff"` or `"base64:AP8="`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(pub Vec<u8>);

/// The largest datagram that IPv4 carries.
const BYTES_MAX: usize = 65_507;

impl Literal for Payload {
    const EXPECTED: &'static str = "text, \"hex:0aff\" or \"base64:Cv8=\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let bytes = match text.split_once(':') {
            Some(("hex", digits)) => hex(digits)
                .ok_or_else(|| Misread::Because("it is not two hexadecimal digits per byte".into())),
            Some(("base64", digits)) => {
                base64(digits).ok_or_else(|| Misread::Because("it is not base64 with its padding".into()))
            }
            _ => Ok(text.as_bytes().to_vec()),
        }?;
        match bytes.len() {
            0 => Err(Misread::Because("it has no byte".into())),
            1..=BYTES_MAX => Ok(Payload(bytes)),
            more => Err(Misread::Because(format!("{more} bytes are more than a datagram has"))),
        }
    }
}

/// As text where it is text, else in hexadecimal digits.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = std::str::from_utf8(&self.0).ok();
        let plain = plain.filter(|text| !text.starts_with("hex:") && !text.starts_with("base64:"));
        match plain.filter(|text| !text.chars().any(char::is_control)) {
            Some(text) => f.write_str(text),
            None => {
                f.write_str("hex:")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// Spaces between bytes are passed over.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        digits.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    pairs.collect()
}

/// RFC 4648 §4, with padding and nothing else.
fn base64(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let value = |digit: &u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let padding = digits.iter().rev().take(2).take_while(|digit| **digit == b'=').count();
    let values: Vec<u8> = digits[..digits.len() - padding].iter().map(value).collect::<Option<_>>()?;
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for group in values.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, value| bits << 6 | u32::from(*value));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Payload {
    fn schema_name() -> Cow<'static, str> {
        "Payload".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["ping", "hex:0aff", "base64:Cv8="] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_can_be_written_in_three_ways() {
        let cases: [(&str, &[u8]); 9] = [
            ("ping", b"ping"),
            ("a:b", b"a:b"),
            ("hex:00 ff7A", &[0, 255, 0x7a]),
            ("base64:AP96", &[0, 255, 0x7a]),
            ("base64:AP8=", &[0, 255]),
            ("base64:AA==", &[0]),
            ("base64:+/+/", &[0xfb, 0xff, 0xbf]),
            ("hex:6869", b"hi"),
            ("hex:6865783a", b"hex:"),
        ];
        for (text, bytes) in cases {
            let payload = Payload::read(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(payload.0, bytes, "{text}");
            let again = Payload::read(&payload.to_string()).ok();
            assert_eq!(again, Some(payload), "{text}");
        }
        for wrong in [
            "",
            "hex:",
            "hex:0",
            "hex:0g",
            "base64:A",
            "base64:A===",
            "base64:AA=A",
            "base64:A-==",
            "base64:",
        ] {
            assert!(Payload::read(wrong).is_err(), "{wrong}");
        }
    }
}
