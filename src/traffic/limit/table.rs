//! Keys and their states, in a table of fixed size that all workers change without locks.
//!
//! A cell holds the whole shuffled key beside its state, so no key is taken for another one. Eight cells are a group; a
//! key stands in one cell of its group. A cell whose key has all of its quota back is free: it says what an absent key
//! says. When all eight are in use, the key that has consumed least is forgotten, but never one that is exhausted; when
//! all of them are, a new key is let in uncounted and that is counted. So a flood of keys costs the flood its precision,
//! not the memory, and does not free anybody who has been stopped.
//!
//! Two workers may enter the same new key into two cells at once. Whoever entered one looks at the group again, and of
//! two cells the first one takes over what the other one has.

use super::meter::{Level, Measure, Moment, Refusal};
use super::wide::{Wide, Word};
use std::fmt;

/// Cells in which one key may stand: 128 bytes, two lines of the cache that are fetched together.
const WAYS: usize = 8;

/// Bounds of the number of keys that a table is made for.
pub const KEYS_MIN: u32 = 1024;
pub const KEYS_MAX: u32 = 1 << 24;

/// The table.
pub struct Table {
    cells: Box<[Wide]>,
    group_bits: u32,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("cells", &self.cells.len()).finish_non_exhaustive()
    }
}

/// What came of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// The key has it.
    Yes(Level),
    /// There is not enough left.
    No(Refusal),
    /// There is no room for the key, and nobody in its group may be forgotten.
    Uncounted(Level),
}

/// A charge, and whether it took the place of a key that had consumed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) charged: Charged,
    pub(super) forgot: bool,
}

impl Table {
    /// A table in which `keys` keys have room; twice as many cells, so that few groups are full then.
    pub fn new(keys: u32) -> Table {
        let groups = (keys.clamp(KEYS_MIN, KEYS_MAX) as usize * 2 / WAYS).next_power_of_two();
        Table::with_groups(groups.trailing_zeros())
    }

    pub(super) fn with_groups(group_bits: u32) -> Table {
        Table { cells: (0..WAYS << group_bits).map(|_| Wide::default()).collect(), group_bits }
    }

    /// Bytes that it takes, whatever is in it.
    pub fn bytes(&self) -> u64 {
        (self.cells.len() * size_of::<Wide>()) as u64
    }

    /// Whether it is of the size that `keys` asks for.
    pub fn is_for(&self, keys: u32) -> bool {
        let groups = (keys.clamp(KEYS_MIN, KEYS_MAX) as usize * 2 / WAYS).next_power_of_two();
        self.cells.len() == groups * WAYS
    }

    /// Keys that have consumed something; walks the whole table, for status pages.
    pub fn keys(&self, measure: &Measure, at: Moment) -> u64 {
        let words = self.cells.iter().map(Wide::load);
        words.filter(|word| word.key != 0 && measure.consumed(word.state, at) > 0).count() as u64
    }

    fn group(&self, key: u64) -> &[Wide] {
        let group = if self.group_bits == 0 { 0 } else { key >> (64 - self.group_bits) };
        let first = usize::try_from(group).unwrap_or(0) * WAYS;
        &self.cells[first..first + WAYS]
    }

    /// What a charge would say now; changes nothing.
    pub(super) fn look(&self, key: u64, measure: &Measure, cost: u32, at: Moment) -> Result<Level, Refusal> {
        let state = self.group(key).iter().map(Wide::load).find(|word| word.key == key);
        measure.charge(state.map_or(0, |word| word.state), cost, at).map(|(_, level)| level)
    }

    /// Charges `key` (never 0), if that much is left. Whoever fails to exchange a cell has seen another worker succeed.
    pub(super) fn charge(&self, key: u64, measure: &Measure, cost: u32, at: Moment) -> Outcome {
        let group = self.group(key);
        let done = |charged| Outcome { charged, forgot: false };
        loop {
            let seen: [Word; WAYS] = std::array::from_fn(|way| group[way].load());
            if let Some(way) = seen.iter().position(|word| word.key == key) {
                match measure.charge(seen[way].state, cost, at) {
                    Err(refusal) => return done(Charged::No(refusal)),
                    Ok((state, level)) if group[way].replace(seen[way], Word { key, state }) => {
                        return done(Charged::Yes(level));
                    }
                    Ok(_) => continue,
                }
            }
            let (state, level) = match measure.charge(0, cost, at) {
                Ok(charged) => charged,
                Err(refusal) => return done(Charged::No(refusal)),
            };
            let consumed = |word: &Word| if word.key == 0 { 0 } else { measure.consumed(word.state, at) };
            let may_go = |word: &Word| consumed(word) == 0 || measure.may_forget(word.state, cost, at);
            let candidates = (0..WAYS).filter(|&way| may_go(&seen[way]));
            let Some(way) = candidates.min_by_key(|&way| consumed(&seen[way])) else {
                return done(Charged::Uncounted(level));
            };
            if group[way].replace(seen[way], Word { key, state }) {
                unite(group, key, measure, at);
                return Outcome { charged: Charged::Yes(level), forgot: consumed(&seen[way]) > 0 };
            }
        }
    }

    /// Gives back what [`Table::charge`] took. A key that has been forgotten meanwhile is left alone.
    pub(super) fn refund(&self, key: u64, measure: &Measure, cost: u32, at: Moment) {
        let group = self.group(key);
        let mut misses = 0;
        while misses < REFUND_MISSES_MAX {
            let found = group.iter().map(|cell| (cell, cell.load())).find(|(_, word)| word.key == key);
            let Some((cell, word)) = found else {
                // What is counted at once is never forgotten: another worker is uniting two cells just now.
                if !matches!(measure, Measure::Concurrent(_)) {
                    return;
                }
                misses += 1;
                pause();
                continue;
            };
            let state = measure.refund(word.state, cost, at);
            if cell.replace(word, Word { key, state }) {
                return;
            }
        }
    }
}

/// Looks for a key that must be there; far more than another worker needs for two exchanges.
const REFUND_MISSES_MAX: u32 = 100_000;

#[cfg(not(loom))]
fn pause() {
    std::hint::spin_loop();
}

#[cfg(loom)]
fn pause() {
    loom::thread::yield_now();
}

/// Leaves one cell of the key, with all that was in both.
fn unite(group: &[Wide], key: u64, measure: &Measure, at: Moment) {
    loop {
        let mut own = group.iter().filter(|cell| cell.load().key == key);
        let (Some(first), Some(second)) = (own.next(), own.next()) else { return };
        let taken = second.load();
        if taken.key != key || !second.replace(taken, Word::EMPTY) {
            continue;
        }
        loop {
            let word = first.load();
            let state = if word.key == key { measure.add(word.state, taken.state, at) } else { taken.state };
            // The first cell has been forgotten or united itself meanwhile: what was taken goes where there is room.
            let is_own = word.key == key || measure.consumed(word.state, at) == 0;
            if !is_own || first.replace(word, Word { key, state }) {
                break;
            }
        }
    }
}
