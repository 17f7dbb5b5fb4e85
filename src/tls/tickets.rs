//! Keys of session tickets (RFC 8446 §4.6.1): made here, held in memory, never written anywhere.
//!
//! ```text
//!   next ──▶ current ──▶ previous ──▶ erased          one step every twelve hours
//!            encrypts    still decrypts
//! ```
//!
//! All workers and all generations share them, so a client can come back to any of them. Each ticket has a key of its
//! own, derived from the ring's key, a random salt and the rules that the session was agreed under: a ticket that another
//! listener gave, or this one under other rules, cannot be read (R56).

use crate::hello;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a key encrypts, and then how long it still decrypts.
pub const TICKET_KEY_LIFE: Duration = Duration::from_secs(12 * 3600);
/// From one rotation to the next in seconds; clients forget a ticket after that.
const LIFETIME_SECONDS: u32 = 12 * 3600;

/// The ring. Cheap to clone.
#[derive(Clone)]
pub struct TicketKeys(Arc<Ring>);

struct Ring {
    next: Key,
    current: Key,
    previous: Option<Key>,
}

#[derive(Clone)]
struct Key {
    /// Tells which key a ticket needs; says nothing about it.
    name: [u8; NAME_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl TicketKeys {
    /// New keys; `None` when the system has no randomness.
    pub fn new() -> Option<TicketKeys> {
        Some(TicketKeys(Arc::new(Ring { next: Key::new()?, current: Key::new()?, previous: None })))
    }

    /// One step further: the tickets of the previous key are worth nothing any more.
    pub fn rotated(&self) -> Option<TicketKeys> {
        let Ring { next, current, .. } = &*self.0;
        Some(TicketKeys(Arc::new(Ring {
            next: Key::new()?,
            current: next.clone(),
            previous: Some(current.clone()),
        })))
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl Key {
    fn new() -> Option<Key> {
        let mut key = Key { name: [0; NAME_BYTES], secret: [0; SECRET_BYTES] };
        rand::fill(&mut key.name).ok()?;
        rand::fill(&mut key.secret).ok()?;
        Some(key)
    }

    /// The key of the one ticket that has this salt. It is used once, so its nonce may be fixed.
    fn of_ticket(&self, salt: &[u8], rules: &[u8; 32]) -> Option<LessSafeKey> {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let info = [&b"ringway ticket"[..], &rules[..]];
        let mut key = [0; SECRET_BYTES];
        extracted.expand(&info, Aes256).and_then(|okm| okm.fill(&mut key)).ok()?;
        let unbound = UnboundKey::new(&AES_256_GCM, &key).ok();
        erase(&mut key);
        unbound.map(LessSafeKey::new)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        erase(&mut self.secret);
    }
}

/// Overwrites a secret. The compiler must not leave it out because nobody reads it.
fn erase(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

struct Aes256;

impl KeyType for Aes256 {
    fn len(&self) -> usize {
        SECRET_BYTES
    }
}

/// Makes and reads the tickets of one listener.
pub(crate) struct Tickets {
    keys: TicketKeys,
    /// Hash of everything that a resumed session takes over unseen.
    rules: [u8; 32],
}

impl Tickets {
    pub(crate) fn new(keys: TicketKeys, rules: [u8; 32]) -> Tickets {
        Tickets { keys, rules }
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_BYTES>()?;
        let Ring { next, current, previous } = &*self.keys.0;
        let key = [Some(current), previous.as_ref(), Some(next)].into_iter().flatten();
        let key = key.into_iter().find(|key| key.name == *name)?;
        let mut bytes = sealed.to_vec();
        let key = key.of_ticket(salt, &self.rules)?;
        let plain = key.open_in_place(nonce(), Aad::from(name), &mut bytes).ok()?.len();
        bytes.truncate(plain);
        Some(bytes)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = &self.keys.0.current;
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).ok()?;
        let mut sealed = plain.to_vec();
        let of_ticket = key.of_ticket(&salt, &self.rules)?;
        of_ticket.seal_in_place_append_tag(nonce(), Aad::from(&key.name), &mut sealed).ok()?;
        Some([&key.name[..], &salt[..], &sealed[..]].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        hello::note(|heard| heard.offered_session = true);
        self.open(ticket)
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

const NAME_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &TicketKeys, rules: u8) -> Tickets {
        Tickets::new(keys.clone(), [rules; 32])
    }

    #[test]
    fn r59_a_ticket_lasts_over_one_rotation_and_not_over_two() {
        let keys = TicketKeys::new().unwrap();
        let ticket = tickets(&keys, 1).encrypt(b"session").unwrap();
        let once = keys.rotated().unwrap();
        let twice = once.rotated().unwrap();
        assert_eq!(tickets(&keys, 1).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&once, 1).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&twice, 1).decrypt(&ticket), None);
        let newer = tickets(&once, 1).encrypt(b"x").unwrap();
        assert!(tickets(&keys, 1).decrypt(&newer).is_some(), "who has not rotated yet knows the next key");
    }

    #[test]
    fn r56_a_ticket_is_worth_nothing_under_other_rules_or_when_changed() {
        let keys = TicketKeys::new().unwrap();
        let ticket = tickets(&keys, 1).encrypt(b"session").unwrap();
        assert_eq!(tickets(&keys, 2).decrypt(&ticket), None);
        assert_eq!(tickets(&TicketKeys::new().unwrap(), 1).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets(&keys, 1).decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets(&keys, 1).decrypt(&ticket[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn two_tickets_of_one_session_have_nothing_in_common() {
        let tickets = tickets(&TicketKeys::new().unwrap(), 1);
        let (one, other) = (tickets.encrypt(&[0; 64]).unwrap(), tickets.encrypt(&[0; 64]).unwrap());
        assert_eq!(one[..NAME_BYTES], other[..NAME_BYTES]);
        assert!(one[NAME_BYTES..].chunks(8).zip(other[NAME_BYTES..].chunks(8)).all(|(a, b)| a != b));
    }
}
