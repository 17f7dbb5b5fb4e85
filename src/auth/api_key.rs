//! API keys, known by their hashes only.
//!
//! A key of ours is `gw_ENVIRONMENT_RANDOM_CHECKSUM`: 192 random bits in hexadecimal, and a CRC-32 that tells a mistyped
//! key from an unknown one and lets scanners find keys that leaked. Keys of other makes are accepted too. The table is
//! searched by hash, so that how long it takes says nothing about the keys in it.

use crate::identity::Identity;
use crate::jwk::sha256;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longer ones are refused before they are hashed.
const KEY_BYTES_MAX: usize = 512;
const PREFIX: &str = "gw_";
const RANDOM_BYTES: usize = 24;

/// What is stored of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Reads `sha256:` or `hmac-sha256:` and 64 hexadecimal digits; also whether a pepper belongs to it.
    pub fn parse(text: &str) -> Option<(KeyHash, bool)> {
        let (kind, digits) = text.split_once(':')?;
        let peppered = match kind {
            "sha256" => false,
            "hmac-sha256" => true,
            _ => return None,
        };
        let digits = digits.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some((KeyHash(hash), peppered))
    }

    /// As [`KeyHash::parse`] reads it.
    pub fn to_text(self, peppered: bool) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{digits}", if peppered { "hmac-sha256" } else { "sha256" })
    }
}

/// The beginning only.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// A secret beside the file of keys: without it, hashes cannot even be compared with guesses.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper")
    }
}

impl Pepper {
    pub fn new(secret: &[u8]) -> Pepper {
        Pepper(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of `key`, with the pepper if there is one.
    pub fn hash(pepper: Option<&Pepper>, key: &[u8]) -> KeyHash {
        match pepper {
            None => KeyHash(sha256(key)),
            Some(Pepper(pepper)) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(hmac::sign(pepper, key).as_ref());
                KeyHash(hash)
            }
        }
    }
}

/// One stored key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: Box<str>,
    pub hash: KeyHash,
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// Seconds since 1970 from which on it is refused; `None` is never.
    pub not_after_s: Option<u64>,
    pub disabled: bool,
    /// The minute of its last use, in seconds since 1970; 0 is never. Shared by all generations.
    pub used_s: Arc<AtomicU64>,
}

impl ApiKey {
    /// Notes a use, by the minute: a busy key is written once a minute, not once a request.
    fn note_use(&self, now_s: u64) {
        let minute = now_s / 60 * 60;
        if self.used_s.load(Ordering::Relaxed) < minute {
            self.used_s.store(minute, Ordering::Relaxed);
        }
    }
}

/// Why a key is refused: for logs, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Empty, too long, or one of ours whose checksum is wrong.
    Malformed,
    Unknown,
    Expired,
    Disabled,
}

impl KeyError {
    pub const fn name(self) -> &'static str {
        match self {
            KeyError::Malformed => "malformed",
            KeyError::Unknown => "unknown",
            KeyError::Expired => "expired",
            KeyError::Disabled => "disabled",
        }
    }
}

/// All keys of one policy.
#[derive(Debug, Default)]
pub struct ApiKeys {
    pepper: Option<Pepper>,
    by_hash: HashMap<KeyHash, ApiKey>,
}

impl ApiKeys {
    /// A table of `keys`; of two with the same hash the first counts.
    pub fn new(pepper: Option<Pepper>, keys: impl IntoIterator<Item = ApiKey>) -> ApiKeys {
        let mut by_hash = HashMap::new();
        for key in keys {
            by_hash.entry(key.hash).or_insert(key);
        }
        ApiKeys { pepper, by_hash }
    }

    /// The stored key that `key` is, if it may be used at `now_s`.
    pub fn verify(&self, key: &[u8], now_s: u64) -> Result<&ApiKey, KeyError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || is_mistyped(key) {
            return Err(KeyError::Malformed);
        }
        let found = self.by_hash.get(&Pepper::hash(self.pepper.as_ref(), key)).ok_or(KeyError::Unknown)?;
        if found.disabled {
            return Err(KeyError::Disabled);
        }
        if found.not_after_s.is_some_and(|not_after| now_s >= not_after) {
            return Err(KeyError::Expired);
        }
        found.note_use(now_s);
        Ok(found)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.by_hash.values()
    }
}

/// A key that was just made: the only time that its text exists.
pub struct NewKey {
    pub key: String,
    pub hash: KeyHash,
}

/// Makes a key. `None` without random numbers.
pub fn generate_key(environment: &str, pepper: Option<&Pepper>) -> Option<NewKey> {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!("{PREFIX}{environment}_{digits}");
    let key = format!("{body}_{:08x}", crc32(body.as_bytes()));
    let hash = Pepper::hash(pepper, key.as_bytes());
    Some(NewKey { key, hash })
}

/// What may be shown of a key, so that its owner knows it again: the last four characters.
pub fn key_hint(key: &str) -> &str {
    let at = key.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    &key[at..]
}

/// Whether it is a key of ours whose checksum is wrong.
fn is_mistyped(key: &[u8]) -> bool {
    let Some(rest) = key.strip_prefix(PREFIX.as_bytes()) else { return false };
    // `ENVIRONMENT_RANDOM_CHECKSUM`; anything else that begins like this is of another make.
    let Some(at) = rest.iter().rposition(|byte| *byte == b'_') else { return false };
    let (body, checksum) = (&key[..PREFIX.len() + at], &rest[at + 1..]);
    let is_ours = checksum.len() == 8 && body.len() > PREFIX.len() + 2 * RANDOM_BYTES;
    is_ours && format!("{:08x}", crc32(body)).as_bytes() != checksum
}

/// CRC-32 as in Ethernet and zip (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Scheme;

    fn stored(id: &str, hash: KeyHash) -> ApiKey {
        ApiKey {
            id: id.into(),
            hash,
            identity: Arc::new(Identity::new(Scheme::Keys, "partners".into(), id.into(), None)),
            not_after_s: None,
            disabled: false,
            used_s: Arc::default(),
        }
    }

    #[test]
    fn a1_keys_are_found_by_their_hash_and_carry_a_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let new = generate_key("live", None).unwrap();
        assert!(new.key.starts_with("gw_live_") && new.key.len() == 8 + 48 + 1 + 8, "{}", new.key);
        let keys =
            ApiKeys::new(None, [stored("one", new.hash), stored("own", Pepper::hash(None, b"letmein"))]);
        assert_eq!(keys.verify(new.key.as_bytes(), 125).map(|key| &*key.id), Ok("one"));
        assert_eq!(
            keys.verify(new.key.as_bytes(), 125).map(|key| key.used_s.load(Ordering::Relaxed)),
            Ok(120)
        );
        assert_eq!(keys.verify(b"letmein", 1).map(|key| &*key.id), Ok("own"));
        // Any single changed character is noticed without looking into the table.
        for at in 3..new.key.len() {
            let mut wrong = new.key.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            assert!(keys.verify(&wrong, 1).is_err(), "{at}");
        }
        let mut wrong = new.key.clone().into_bytes();
        wrong[20] ^= 1;
        assert_eq!(keys.verify(&wrong, 1).err(), Some(KeyError::Malformed));
        assert_eq!(keys.verify(b"other", 1).err(), Some(KeyError::Unknown));
        assert_eq!(keys.verify(b"", 1).err(), Some(KeyError::Malformed));
        assert_eq!(keys.verify(&[b'x'; 513], 1).err(), Some(KeyError::Malformed));
    }

    #[test]
    fn a2_expired_and_disabled_keys_are_refused() {
        let hash = Pepper::hash(None, b"k");
        let expiring = ApiKeys::new(None, [ApiKey { not_after_s: Some(100), ..stored("x", hash) }]);
        assert!(expiring.verify(b"k", 99).is_ok());
        assert_eq!(expiring.verify(b"k", 100).err(), Some(KeyError::Expired));
        let disabled = ApiKeys::new(None, [ApiKey { disabled: true, ..stored("x", hash) }]);
        assert_eq!(disabled.verify(b"k", 1).err(), Some(KeyError::Disabled));
    }

    #[test]
    fn a_pepper_changes_every_hash_and_texts_read_back() {
        let pepper = Pepper::new(b"a secret beside the file");
        let new = generate_key("test", Some(&pepper)).unwrap();
        assert_ne!(new.hash, Pepper::hash(None, new.key.as_bytes()));
        let keys = ApiKeys::new(Some(pepper), [stored("one", new.hash)]);
        assert!(keys.verify(new.key.as_bytes(), 1).is_ok());
        for peppered in [true, false] {
            assert_eq!(KeyHash::parse(&new.hash.to_text(peppered)), Some((new.hash, peppered)));
        }
        for text in
            ["", "sha256", "sha256:", "md5:00", &format!("sha256:{}", "g".repeat(64)), &"0".repeat(64)]
        {
            assert_eq!(KeyHash::parse(text), None, "{text}");
        }
        assert!(!format!("{:?}", new.hash).contains(&new.hash.to_text(false)[7..20]));
        assert_eq!((key_hint("abcdef"), key_hint("ab"), key_hint("abcdé")), ("cdef", "ab", "bcdé"));
    }
}
