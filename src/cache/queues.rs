//! Who goes when there is no room: S3-FIFO (Yang et al., SOSP 2023). What is new waits in a short queue and leaves it soon
//! unless it is asked for; what is asked for lives in a long one; whose key left the short queue lately goes straight there.

use std::collections::{HashSet, VecDeque};

/// Part of the keys that the short queue may hold, in percent.
const SMALL_PERCENT: u64 = 10;
/// Uses that are remembered.
pub(crate) const USES_MAX: u8 = 3;

/// A slot of the table and which of its tenants is meant.
pub(crate) type Place = (u32, u32);

/// What the queues ask of whom they queue.
pub(crate) trait Tenants {
    /// Uses since the last look, and hash; `None` when the place has another tenant by now.
    fn look(&self, place: Place) -> Option<(u8, u64)>;
    fn set_uses(&mut self, place: Place, uses: u8);
}

/// Both queues and the memory of who left.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    small: VecDeque<Place>,
    main: VecDeque<Place>,
    ghosts: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Queues {
    pub(crate) fn enter(&mut self, place: Place, hash: u64) {
        if self.known.contains(&hash) { self.main.push_back(place) } else { self.small.push_back(place) }
    }

    /// Whom to put out next; `None` when nobody is left.
    pub(crate) fn victim(&mut self, tenants: &mut impl Tenants) -> Option<Place> {
        loop {
            let all = (self.small.len() + self.main.len()) as u64;
            let from_small = self.main.is_empty() || self.small.len() as u64 * 100 > all * SMALL_PERCENT;
            let place = if from_small { self.small.pop_front() } else { self.main.pop_front() };
            let place = place.or_else(|| self.main.pop_front())?;
            let Some((uses, hash)) = tenants.look(place) else { continue };
            if from_small {
                if uses == 0 {
                    self.remember(hash);
                    return Some(place);
                }
                tenants.set_uses(place, 0);
                self.main.push_back(place);
            } else if uses == 0 {
                return Some(place);
            } else {
                tenants.set_uses(place, uses - 1);
                self.main.push_back(place);
            }
        }
    }

    fn remember(&mut self, hash: u64) {
        if self.known.insert(hash) {
            self.ghosts.push_back(hash);
        }
        // As many as there are tenants, as the paper has it, and never without end.
        while self.ghosts.len() > self.main.len().max(64) {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Forgets places whose tenants have gone, once they are more than those who are there.
    pub(crate) fn tidy(&mut self, tenants: &impl Tenants, live: usize) {
        if self.small.len() + self.main.len() > 2 * live + 64 {
            self.small.retain(|&place| tenants.look(place).is_some());
            self.main.retain(|&place| tenants.look(place).is_some());
        }
    }
}
