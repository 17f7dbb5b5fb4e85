//! Consistent hashing by Maglev's table: every member fills places of the table in an order of its own, taking turns, so
//! that shares are equal to within one place. A change of members moves a few more keys than a ring would.

use super::key::{mix, stable_hash};
use super::screen::Screen;

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
            if screen.is_eligible(member) {
                return Some(member);
            }
            if screen.is_stopped() {
                return None;
            }
        }
        let (before, from) = self.places.split_at(place);
        from.iter().chain(before).map(|&member| member as usize).find(|&member| screen.is_eligible(member))
    }
}

/// Fills the table: in every round each member in turn takes the next free place of its own permutation, lighter members
/// only in some of the rounds.
fn fill(members: &[usize], texts: &[&str], weights: &[u32], size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let heaviest = weights.iter().copied().max().unwrap_or(1);
    let mut places = vec![FREE; usize::try_from(size).unwrap_or(0)];
    let mut left = if members.is_empty() { 0 } else { places.len() };
    let mut orders: Vec<Permutation> = members.iter().map(|&at| Permutation::of(texts[at], size)).collect();
    // Share of a turn that each member has saved up; a turn costs as much as the heaviest member gains in a round.
    let mut credit = vec![0u32; members.len()];
    while left > 0 {
        for (turn, &member) in members.iter().enumerate() {
            credit[turn] += weights[member];
            if left == 0 || credit[turn] < heaviest {
                continue;
            }
            credit[turn] -= heaviest;
            let place = std::iter::repeat_with(|| orders[turn].next()).find(|&place| places[place] == FREE);
            // The permutation visits every place, and one is free.
            places[place.unwrap_or(0)] = u32::try_from(member).unwrap_or(FREE);
            left -= 1;
        }
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
