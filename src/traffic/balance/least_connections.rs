//! Fewest attempts in flight per weight.
//!
//! Ties are broken by chance in proportion to the weights, so that idle endpoints get their share and workers do not all
//! run to the same one.
//!
//! Exact up to [`EXACT_MAX`] members, over all workers: every cell is read, which costs a few nanoseconds each. In larger
//! tiers the least of [`SAMPLE`] random draws is taken. It is not among the emptiest share `q` (by weight) once in
//! `1 / (1 - q)^48` choices: for the emptiest eighth once in 600, for the emptiest twentieth once in 12. A structure that
//! knows the very least of ten thousand would be written by every worker at both ends of every attempt.

use super::random::Weighted;
use super::screen::{DISTRUST, Screen};
use super::tier::Member;
use base::rng::Rng;
use std::cmp::Ordering;

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
        return least_trusted(0..members.len(), weight_of, members, screen, random);
    }
    let sample: [usize; SAMPLE] = std::array::from_fn(|_| draws.draw(random));
    // Heavy members are drawn more often; that is all their weight is to count among equals.
    let found = least_trusted(sample.into_iter(), |_| 1, members, screen, random);
    if found.is_some() || screen.is_stopped() {
        return found;
    }
    least_trusted(0..members.len(), weight_of, members, screen, random)
}

/// The least load of those that are trusted. A member that fails at once would always have the least of all.
fn least_trusted(
    places: impl Iterator<Item = usize> + Clone,
    share: impl Fn(Load) -> u64 + Copy,
    members: &[Member],
    screen: &mut Screen<'_>,
    random: &mut Rng,
) -> Option<usize> {
    let mut passed_over = false;
    let once = DISTRUST * members.len();
    let trusts = |at: usize, screen: &Screen<'_>, random: &mut Rng| {
        let trusts = !screen.is_distrusted(at) || random.index(once) == 0;
        passed_over |= !trusts;
        trusts
    };
    let found = least(places.clone(), share, members, trusts, screen, random);
    if found.is_none() && passed_over {
        return least(places, share, members, |_, _, _| true, screen, random);
    }
    found
}

/// One pass: the least load so far, and of the members that have it the one that chance keeps. Each of them is kept with
/// the probability of its share in all that were met, so that in the end all had their share of the chance.
fn least(
    places: impl Iterator<Item = usize>,
    share: impl Fn(Load) -> u64,
    members: &[Member],
    mut trusts: impl FnMut(usize, &Screen<'_>, &mut Rng) -> bool,
    screen: &mut Screen<'_>,
    random: &mut Rng,
) -> Option<usize> {
    let mut best: Option<(Load, usize)> = None;
    let mut tied = 0;
    for at in places {
        let load = Load::of(at, members, screen);
        let order = best.map_or(Ordering::Less, |(best, _)| load.compare(best));
        if order == Ordering::Greater || !screen.is_eligible(at) || !trusts(at, screen, random) {
            continue;
        }
        let share = share(load);
        tied = if order == Ordering::Less { share } else { tied + share };
        if order == Ordering::Less || random.below(tied) < share {
            best = Some((load, at));
        }
    }
    best.map(|(_, at)| at)
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
    fn compare(self, other: Load) -> Ordering {
        if self.weight == other.weight {
            return self.in_flight.cmp(&other.in_flight);
        }
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        product(self.in_flight, other.weight).cmp(&product(other.in_flight, self.weight))
    }
}
