//! The better of two random members: latency average times attempts in flight, per weight.
//!
//! Two choices avoid the herd that runs to the single best endpoint, and the product sees both an endpoint that is slow
//! and one that is about to be.

use super::screen::{DISTRUST, Screen};
use super::tier::Member;
use base::rng::Rng;

/// Draws for the two members; if they do not hit one that can be taken, all are looked at.
const DRAWS: usize = 8;
/// What an endpoint without any measurement counts as while its first attempts are under way.
const UNKNOWN_MICROS: u64 = 1_000_000;

/// The better one of two members that `screen` accepts, if a few draws hit any.
pub(super) fn pick(members: &[Member], screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
    let mut first = None;
    for _ in 0..DRAWS {
        let at = random.index(members.len());
        if first == Some(at) {
            if members.len() == 1 {
                break;
            }
            continue;
        }
        if screen.is_eligible(at) {
            let Some(other) = first else {
                first = Some(at);
                continue;
            };
            let better = match (screen.is_distrusted(at), screen.is_distrusted(other)) {
                (false, false) | (true, true) => is_better(at, other, members, screen),
                (distrusted, _) => distrusted == (random.index(DISTRUST) == 0),
            };
            return Some(if better { at } else { other });
        }
        if screen.is_stopped() {
            return None;
        }
    }
    first
}

fn is_better(a: usize, b: usize, members: &[Member], screen: &Screen<'_>) -> bool {
    let (cost_a, weight_a) = cost(a, members, screen);
    let (cost_b, weight_b) = cost(b, members, screen);
    u128::from(cost_a) * u128::from(weight_b) < u128::from(cost_b) * u128::from(weight_a)
}

/// Cost and weight of a member. One that has never answered is tried at once, but with one attempt at a time until it
/// does.
fn cost(at: usize, members: &[Member], screen: &Screen<'_>) -> (u64, u64) {
    let cell = screen.cell(at);
    let pending = u64::from(cell.in_flight());
    let cost = match cell.latency_micros(screen.now) {
        0 => pending * UNKNOWN_MICROS,
        known => u64::from(known) * (pending + 1),
    };
    (cost, u64::from(members[at].weight) * u64::from(cell.ramp_permille(screen.now)))
}
