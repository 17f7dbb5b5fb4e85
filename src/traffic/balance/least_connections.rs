//! Fewest attempts in flight per weight.
//!
//! Exact up to [`EXACT_MAX`] members: every cell is read, which costs a few nanoseconds each. In larger tiers the least
//! of [`SAMPLE`] random members is taken, which with that many is all but certainly among the emptiest eighth.

use super::screen::Screen;
use super::tier::Member;
use base::rng::Rng;

/// Largest tier of which every member is compared.
pub(super) const EXACT_MAX: usize = 512;
/// Members that are compared in a larger one.
const SAMPLE: usize = 48;

/// The member with the least load that `screen` accepts; ties are broken by chance, weighted like the members, so that
/// idle endpoints get their share and workers do not all run to the same one.
pub(super) fn pick(members: &[Member], screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
    if members.len() > EXACT_MAX {
        let mut best = Best::default();
        for _ in 0..SAMPLE {
            best.consider(random.index(members.len()), members, screen, random);
        }
        if best.found.is_some() || screen.is_stopped() {
            return best.found;
        }
    }
    let mut best = Best::default();
    for at in 0..members.len() {
        best.consider(at, members, screen, random);
    }
    best.found
}

#[derive(Default)]
struct Best {
    found: Option<usize>,
    /// Load as a fraction.
    load: u64,
    weight: u64,
    /// Weight of all members with that load.
    tied: u64,
}

impl Best {
    fn consider(&mut self, at: usize, members: &[Member], screen: &mut Screen<'_>, random: &mut Rng) {
        let cell = screen.cell(at);
        let weight = u64::from(members[at].weight) * u64::from(cell.ramp_permille(screen.now));
        let load = u64::from(cell.in_flight());
        let (mine, best) =
            (u128::from(load) * u128::from(self.weight), u128::from(self.load) * u128::from(weight));
        if self.found.is_some() && mine > best || !screen.is_eligible(at) {
            return;
        }
        if self.found.is_none() || mine < best {
            *self = Best { found: Some(at), load, weight, tied: weight };
            return;
        }
        self.tied += weight;
        if random.below(self.tied) < weight {
            *self = Best { found: Some(at), load, weight, tied: self.tied };
        }
    }
}
