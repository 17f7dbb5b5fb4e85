//! Places by hash: open addressing without tombstones, in an array that never grows by itself.

/// Finds places of another array by the hash of what stands there. At most half of it is in use.
#[derive(Debug)]
pub(super) struct Index {
    /// Hash (upper half) and place + 1 (lower half); 0 is free. A power of two.
    words: Vec<u64>,
}

const FREE: u64 = 0;

impl Index {
    /// Room for `capacity` places, below 2^31.
    pub(super) fn new(capacity: usize) -> Index {
        Index { words: vec![FREE; (capacity.max(1) * 2).next_power_of_two()] }
    }

    /// The place of this hash for which `is_it` says so.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let word = self.words[at];
            if word == FREE {
                return None;
            }
            let place = place_of(word);
            if hash_of(word) == hash && is_it(place) {
                return Some(place);
            }
            at = self.next(at);
        }
    }

    pub(super) fn insert(&mut self, hash: u32, place: u32) {
        let mut at = self.home(hash);
        while self.words[at] != FREE {
            at = self.next(at);
        }
        self.words[at] = u64::from(hash) << 32 | u64::from(place + 1);
    }

    /// Takes the place out, and moves back what had to stand behind it.
    pub(super) fn remove(&mut self, hash: u32, place: u32) {
        let word = u64::from(hash) << 32 | u64::from(place + 1);
        let mut hole = self.home(hash);
        while self.words[hole] != word {
            if self.words[hole] == FREE {
                debug_assert!(false, "it is not there");
                return;
            }
            hole = self.next(hole);
        }
        self.words[hole] = FREE;
        let mut at = self.next(hole);
        while self.words[at] != FREE {
            // It may move only if its home is not behind the hole, seen from where it stands.
            let distance = |from: usize| at.wrapping_sub(from) & (self.words.len() - 1);
            if distance(self.home(hash_of(self.words[at]))) >= distance(hole) {
                self.words[hole] = self.words[at];
                self.words[at] = FREE;
                hole = at;
            }
            at = self.next(at);
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.words.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.words.len() - 1)
    }
}

fn hash_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn place_of(word: u64) -> u32 {
    word as u32 - 1
}
