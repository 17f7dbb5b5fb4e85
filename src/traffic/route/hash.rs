//! The hash of the route tables' maps: fast and not secret.
//!
//! Keys are host names and paths of the configuration. Clients choose only what is looked up, and no input makes a look-up
//! visit more than the entries that the configuration put into one place.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from bytes.
pub(super) type ByteMap<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<ByteHasher>>;

/// Eight bytes at a time: xor, multiply, fold the upper half of the product onto the lower.
#[derive(Debug, Default)]
pub(super) struct ByteHasher(u64);

impl ByteHasher {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        #[expect(clippy::cast_possible_truncation, reason = "folds the halves")]
        let folded = (product >> 64) as u64 ^ product as u64;
        self.0 = folded;
    }
}

impl Hasher for ByteHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    fn write_usize(&mut self, length: usize) {
        // The length of the slice: tells keys apart that differ only in zeros at their ends.
        self.word(length as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn similar_keys_have_different_hashes_in_both_ends_of_the_word() {
        let build = BuildHasherDefault::<ByteHasher>::default();
        let keys: HashSet<Vec<u8>> = (0..20_000)
            .map(|n| format!("host-{n}.example.com").into_bytes())
            .chain((0..64).map(|n| vec![0; n]))
            .collect();
        let hashes: HashSet<u64> = keys.iter().map(|key| build.hash_one(key.as_slice())).collect();
        assert_eq!(hashes.len(), keys.len());
        // The map takes its place from the lower bits and seven more from the upper end.
        let uppers: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        let lowers: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff).collect();
        assert_eq!(uppers.len(), 128);
        assert!(lowers.len() > 11_000, "{} of 16384 places", lowers.len());
    }
}
