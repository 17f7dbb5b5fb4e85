//! Consistent hashing by Maglev's table: every member fills places of the table in an order of its own, taking turns, so
//! that shares are equal to within one place. A change of members moves a few more keys than a ring would.

use super::key::{mix, stable_hash};
use super::screen::Screen;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Places of the table for up to `PLACES_PER_MEMBER` of them per member; both are primes.
const PLACES_SMALL: usize = 65_537;
const PLACES_LARGE: usize = 1_048_573;
/// Shares differ by at most one place: 1 % of a share with that many.
const PLACES_PER_MEMBER: usize = 100;
/// Other places that are tried for a key whose member cannot be taken, before the rest of the table.
const DETOURS: u64 = 32;

#[derive(Debug)]
pub(super) struct Maglev {
    /// Member by place.
    places: Vec<u32>,
}

impl Maglev {
    pub(super) fn build(texts: &[&str], weights: &[u32]) -> Self {
        let size = if texts.len() * PLACES_PER_MEMBER <= PLACES_SMALL { PLACES_SMALL } else { PLACES_LARGE };
        // By address, so that the order of the configuration does not matter.
        let mut members: Vec<usize> = (0..texts.len()).collect();
        members.sort_unstable_by_key(|&member| texts[member]);
        Maglev { places: fill(&members, texts, weights, size as u64) }
    }

    /// The owner of `key`; if `screen` does not accept it, the owner of the key's next place.
    pub(super) fn pick(&self, key: u64, screen: &mut Screen<'_>) -> Option<usize> {
        let size = self.places.len() as u64;
        let mut place = 0;
        for detour in 0..DETOURS {
            place = usize::try_from(mix(key.wrapping_add(detour.wrapping_mul(0x9e37_79b9_7f4a_7c15))) % size)
                .ok()?;
            let member = self.places[place] as usize;
            if screen.takes(member) {
                return Some(member);
            }
            if screen.is_stopped() || screen.is_detoured() {
                return None;
            }
        }
        let (before, from) = self.places.split_at(place);
        let mut rest = from.iter().chain(before).map(|&member| member as usize);
        rest.find(|&member| screen.is_detoured() || screen.takes(member)).filter(|_| !screen.is_detoured())
    }
}

/// Fills the table: members take turns, each the next free place of its own permutation. A member's turns are as far apart
/// in time as it is light, so that the work depends on the size of the table alone.
fn fill(members: &[usize], texts: &[&str], weights: &[u32], size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut places = vec![FREE; usize::try_from(size).unwrap_or(0)];
    let mut orders: Vec<Permutation> = members.iter().map(|&at| Permutation::of(texts[at], size)).collect();
    let wait = |turn: usize| (1u64 << 40) / u64::from(weights[members[turn]]);
    let mut turns: BinaryHeap<_> = (0..members.len()).map(|turn| Reverse((wait(turn), turn))).collect();
    for _ in 0..places.len() {
        let Some(Reverse((time, turn))) = turns.pop() else { break };
        turns.push(Reverse((time + wait(turn), turn)));
        // The permutation visits every place, and one is free.
        let place = std::iter::repeat_with(|| orders[turn].next()).find(|&place| places[place] == FREE);
        places[place.unwrap_or(0)] = u32::try_from(members[turn]).unwrap_or(FREE);
    }
    places
}

/// The order in which a member wants the places: steps of a fixed width around a table of prime size.
struct Permutation {
    place: u64,
    step: u64,
    size: u64,
}

impl Permutation {
    fn of(text: &str, size: u64) -> Permutation {
        let hash = stable_hash(text.as_bytes());
        Permutation { place: hash % size, step: mix(hash ^ 0x5bd1_e995) % (size - 1) + 1, size }
    }

    fn next(&mut self) -> usize {
        let place = self.place;
        self.place = (place + self.step) % self.size;
        usize::try_from(place).unwrap_or(0)
    }
}
