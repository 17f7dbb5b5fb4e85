//! The value of the cookie: tag of the endpoint, time of issue, signature; 32 bytes in 64 hexadecimal digits.
//!
//! ```text
//! tag (12)  first bytes of HMAC-SHA-256(tag key, length of the name | name | address)
//! issued (4)  seconds since 1970, big endian
//! signature (16)  first bytes of HMAC-SHA-256(signing key, tag | issued)
//! ```
//! Both keys are derived from the secret. Only the lower-case form is read, so that a session has one spelling.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::time::Duration;

/// Length of a cookie's value.
pub(super) const TEXT_BYTES: usize = 2 * (TAG_BYTES + ISSUED_BYTES + SIGNATURE_BYTES);
const TAG_BYTES: usize = 12;
const ISSUED_BYTES: usize = 4;
const SIGNATURE_BYTES: usize = 16;

/// Names an endpoint; of ten thousand of them two share a tag once in 10^21 configurations.
pub(super) type Tag = [u8; TAG_BYTES];

/// The secret of the cookies.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Box<[u8]>,
    ends_with_process: bool,
}

impl Key {
    /// What the operator keeps secret; the same on every node and after a restart.
    pub fn kept(secret: &[u8]) -> Key {
        Key { bytes: secret.into(), ends_with_process: false }
    }

    /// Random bytes that nobody keeps: sessions end with the process.
    pub fn of_process(random: [u8; 32]) -> Key {
        Key { bytes: random.into(), ends_with_process: true }
    }

    /// Whether it was made by [`Key::of_process`].
    pub fn ends_with_process(&self) -> bool {
        self.ends_with_process
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) tag: Tag,
    issued: [u8; ISSUED_BYTES],
    signature: [u8; SIGNATURE_BYTES],
}

impl Token {
    /// Reads a value; whether it is signed is another question.
    pub(super) fn parse(text: &[u8]) -> Option<Token> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let mut bytes = [0; TEXT_BYTES / 2];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let (tag, rest) = bytes.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        Some(Token { tag: *tag, issued: *issued, signature: *rest.first_chunk()? })
    }

    /// The value of the cookie.
    pub(super) fn to_text(self) -> [u8; TEXT_BYTES] {
        let mut text = [0; TEXT_BYTES];
        let bytes = self.tag.iter().chain(&self.issued).chain(&self.signature);
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
        }
        text
    }

    /// Since 1970.
    pub(super) fn issued(&self) -> Duration {
        Duration::from_secs(u32::from_be_bytes(self.issued).into())
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

type HmacSha256 = Hmac<Sha256>;

/// The two keys, ready for use: a signature starts with a copy of the state that the key leads to.
pub(super) struct Signer {
    tags: HmacSha256,
    signatures: HmacSha256,
}

impl Signer {
    pub(super) fn new(key: &Key) -> Signer {
        let derived = |purpose: &[u8]| {
            let key = keyed(&key.bytes).chain_update(purpose).finalize().into_bytes();
            keyed(&key)
        };
        Signer { tags: derived(b"ringway sticky tag 1"), signatures: derived(b"ringway sticky signature 1") }
    }

    /// The tag of an endpoint. The length keeps a name that ends like an address from being taken for another.
    pub(super) fn tag(&self, upstream: &str, address: &str) -> Tag {
        let mac = self.tags.clone().chain_update((upstream.len() as u64).to_be_bytes());
        first(&mac.chain_update(upstream).chain_update(address).finalize().into_bytes())
    }

    pub(super) fn sign(&self, tag: Tag, unix: Duration) -> Token {
        let issued = u32::try_from(unix.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
        let signature = first(&self.signature(tag, issued).finalize().into_bytes());
        Token { tag, issued, signature }
    }

    /// Whether we signed it; in constant time.
    pub(super) fn signed(&self, token: &Token) -> bool {
        self.signature(token.tag, token.issued).verify_truncated_left(&token.signature).is_ok()
    }

    fn signature(&self, tag: Tag, issued: [u8; ISSUED_BYTES]) -> HmacSha256 {
        self.signatures.clone().chain_update(tag).chain_update(issued)
    }
}

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a digest of 32 bytes is longer than what is kept of it")
}
