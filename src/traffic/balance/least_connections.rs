//! Fewest attempts in flight per weight.
//!
//! Ties are broken by chance in proportion to the weights, so that idle endpoints get their share and workers do not all
//! run to the same one.
//!
//! Exact up to [`EXACT_MAX`] members: every cell is read, which costs a few nanoseconds each. In larger tiers the least
//! of [`SAMPLE`] random draws is taken, which with that many is all but certainly among the emptiest eighth.

use super::random::Weighted;
use super::screen::Screen;
use super::tier::Member;
use base::rng::Rng;

/// Largest tier of which every member is compared.
pub(super) const EXACT_MAX: usize = 512;
/// Members that are compared in a larger one.
const SAMPLE: usize = 48;

/// The member with the least load that `screen` accepts; `draws` draws members by weight.
pub(super) fn pick(
    members: &[Member],
    draws: &Weighted,
    screen: &mut Screen<'_>,
    random: &mut Rng,
) -> Option<usize> {
    let weight_of = |load: Load| load.weight;
    if members.len() <= EXACT_MAX {
        return least(0..members.len(), weight_of, members, screen, random);
    }
    let sample: [usize; SAMPLE] = std::array::from_fn(|_| draws.draw(random));
    // Heavy members are drawn more often; that is all their weight is to count among equals.
    let found = least(sample.into_iter(), |_| 1, members, screen, random);
    if found.is_some() || screen.is_stopped() {
        return found;
    }
    least(0..members.len(), weight_of, members, screen, random)
}

/// Two passes: which load is the least, and which of the members with that load the chance hits.
fn least(
    places: impl Iterator<Item = usize> + Clone,
    share: impl Fn(Load) -> u64,
    members: &[Member],
    screen: &mut Screen<'_>,
    random: &mut Rng,
) -> Option<usize> {
    let mut best: Option<Load> = None;
    let mut first = None;
    let mut tied = 0;
    for at in places.clone() {
        let load = Load::of(at, members, screen);
        if best.is_some_and(|best| best.is_less_than(load)) || !screen.is_eligible(at) {
            continue;
        }
        if best.is_none_or(|best| load.is_less_than(best)) {
            (best, first, tied) = (Some(load), Some(at), 0);
        }
        tied += share(load);
    }
    let best = best?;
    let mut point = random.below(tied);
    for at in places {
        // Other workers change the loads meanwhile; what does not add up any more falls to the first one.
        let load = Load::of(at, members, screen);
        if load.is_less_than(best) || best.is_less_than(load) || !screen.is_eligible(at) {
            continue;
        }
        match point.checked_sub(share(load)) {
            None => return Some(at),
            Some(rest) => point = rest,
        }
    }
    first
}

/// Attempts in flight per weight, as a fraction.
#[derive(Clone, Copy)]
struct Load {
    in_flight: u64,
    weight: u64,
}

impl Load {
    fn of(at: usize, members: &[Member], screen: &Screen<'_>) -> Load {
        let cell = screen.cell(at);
        let weight = u64::from(members[at].weight) * u64::from(cell.ramp_permille(screen.now));
        Load { in_flight: cell.in_flight().into(), weight }
    }

    /// In-flight counts fit into 32 bits, weights into 32 and a factor of 1000: the product fits into 75.
    fn is_less_than(self, other: Load) -> bool {
        if self.weight == other.weight {
            return self.in_flight < other.in_flight;
        }
        u128::from(self.in_flight) * u128::from(other.weight)
            < u128::from(other.in_flight) * u128::from(self.weight)
    }
}
