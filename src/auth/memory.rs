//! What one worker remembers of credentials that it has checked.
//!
//! A set-associative table of fixed size: an entry can only be in one of four places, and a new one takes that of the
//! one that ends first. Names of entries are MACs under a key of this worker, so that nobody can aim at a place, and a
//! dump of the table tells no credential.

use crate::identity::Identity;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::sync::Arc;

/// Entries of a worker; about 96 bytes each, and what they point to.
const ENTRIES_MAX: usize = 4096;
const WAYS: usize = 4;

/// The name of a credential in a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// See the module.
#[derive(Default)]
pub struct Memory {
    /// Both are made when they are first needed: most workers never see a credential.
    key: Option<hmac::Key>,
    entries: Vec<Option<Entry>>,
}

struct Entry {
    name: Fingerprint,
    /// Seconds since 1970.
    until_s: u64,
    verdict: Result<Arc<Identity>, &'static str>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.entries.iter().flatten().count();
        f.debug_struct("Memory").field("entries", &used).finish_non_exhaustive()
    }
}

impl Memory {
    /// The name of `credential` under the policy with these numbers: its own, and that of its keys. `None` without random numbers: then nothing is
    /// remembered.
    pub fn name(&mut self, policy: [u64; 2], credential: &[u8]) -> Option<Fingerprint> {
        if self.key.is_none() {
            let mut random = [0; 32];
            SystemRandom::new().fill(&mut random).ok()?;
            self.key = Some(hmac::Key::new(hmac::HMAC_SHA256, &random));
        }
        let mut mac = hmac::Context::with_key(self.key.as_ref()?);
        policy.iter().for_each(|number| mac.update(&number.to_le_bytes()));
        mac.update(credential);
        let mut name = [0; 32];
        name.copy_from_slice(mac.sign().as_ref());
        Some(Fingerprint(name))
    }

    /// What is remembered of a credential and still holds at `now_s`.
    pub fn recall(&self, name: &Fingerprint, now_s: u64) -> Option<&Result<Arc<Identity>, &'static str>> {
        if self.entries.is_empty() {
            return None;
        }
        let entries = self.entries[places(name)].iter().flatten();
        let found = entries.into_iter().find(|entry| entry.name == *name)?;
        (now_s < found.until_s).then_some(&found.verdict)
    }

    /// Remembers a verdict until then.
    pub fn remember(
        &mut self,
        name: Fingerprint,
        until_s: u64,
        verdict: Result<Arc<Identity>, &'static str>,
    ) {
        if self.entries.is_empty() {
            self.entries.resize_with(ENTRIES_MAX, || None);
        }
        let set = &mut self.entries[places(&name)];
        // What was refused goes before what was accepted: a stranger must not push out those who may call.
        let worth =
            |entry: &Option<Entry>| entry.as_ref().map(|entry| (entry.verdict.is_ok(), entry.until_s));
        let own = set.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.name == name));
        let place = own.or_else(|| (0..WAYS).min_by_key(|&place| worth(&set[place])));
        if let Some(place) = place {
            set[place] = Some(Entry { name, until_s, verdict });
        }
    }
}

fn places(name: &Fingerprint) -> std::ops::Range<usize> {
    let number = usize::from(name.0[0]) | usize::from(name.0[1]) << 8;
    let set = number % (ENTRIES_MAX / WAYS) * WAYS;
    set..set + WAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_recalled_until_they_end() {
        let mut memory = Memory::default();
        let name = memory.name([1, 0], b"token").unwrap();
        assert_eq!(memory.recall(&name, 5).map(Result::is_ok), None);
        memory.remember(name, 10, Err("expired"));
        assert_eq!(memory.recall(&name, 9).map(|verdict| verdict.as_ref().err()), Some(Some(&"expired")));
        assert!(memory.recall(&name, 10).is_none());
        assert_ne!(memory.name([2, 0], b"token").unwrap(), name, "another policy is another question");
        assert_ne!(Memory::default().name([1, 0], b"token").unwrap(), name, "another worker has another key");
    }

    #[test]
    fn the_table_does_not_grow_and_the_last_one_is_always_in_it() {
        let mut memory = Memory::default();
        for number in 0..20_000_u64 {
            let name = memory.name([1, 0], &number.to_le_bytes()).unwrap();
            memory.remember(name, 1000 + number % 7, Err("signature"));
            assert!(memory.recall(&name, 1).is_some());
        }
        assert_eq!(memory.entries.len(), ENTRIES_MAX);
    }
}
