//! Turns in proportion to the weights, spread as evenly as they can be, exact over all workers together.
//!
//! The order of one full cycle is computed beforehand: each endpoint's turns lie evenly over the cycle, and at each place
//! the endpoint whose turn is due earliest goes first. Workers share a cursor into it. An endpoint that cannot be taken
//! gives its place to the next one, so that the others keep their proportions.

use super::screen::Screen;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest cycle that is written out, in places.
const CYCLE_MAX: u64 = 1 << 16;
/// The golden ratio's fraction in 64 bits: multiples of it fill an interval more evenly than any other number's.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    cursor: Cursor,
}

/// On a cache line of its own: every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

#[derive(Debug)]
enum Order {
    /// Members by place.
    Cycle(Vec<u32>),
    /// For sums of weights beyond [`CYCLE_MAX`]: the sums up to and including each member; turn `n` goes to the member
    /// in whose range the fraction of `n` golden ratios lies. No member is ever more than a few turns off its share.
    Golden(Vec<u64>),
}

impl RoundRobin {
    pub(super) fn build(weights: &[u32]) -> Self {
        let divisor = weights.iter().fold(0, |a, &b| gcd(a, b)).max(1);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
        let order = if total <= CYCLE_MAX {
            Order::Cycle(cycle(weights, divisor))
        } else {
            let sums = weights.iter().scan(0, |sum, &weight| {
                *sum += u64::from(weight);
                Some(*sum)
            });
            Order::Golden(sums.collect())
        };
        RoundRobin { order, cursor: Cursor::default() }
    }

    /// The next member that `screen` accepts.
    pub(super) fn pick(&self, screen: &mut Screen<'_>) -> Option<usize> {
        let tries = match &self.order {
            Order::Cycle(cycle) => cycle.len(),
            // A full round hits every member at least once with this many turns for each.
            Order::Golden(sums) => sums.len() * 4,
        };
        for _ in 0..tries {
            let at = self.turn(self.cursor.0.fetch_add(1, Relaxed));
            if screen.accepts(at) {
                return Some(at);
            }
            if screen.is_stopped() {
                // Nobody had this turn.
                self.cursor.0.fetch_sub(1, Relaxed);
                return None;
            }
        }
        None
    }

    /// The member whose turn number `turn` is.
    fn turn(&self, turn: u64) -> usize {
        match &self.order {
            Order::Cycle(cycle) => {
                usize::try_from(turn % cycle.len() as u64).map_or(0, |at| cycle[at] as usize)
            }
            Order::Golden(sums) => {
                let total = u128::from(*sums.last().unwrap_or(&1));
                let point = (u128::from(turn.wrapping_mul(GOLDEN)) * total) >> 64;
                sums.partition_point(|&sum| u128::from(sum) <= point)
            }
        }
    }
}

/// The order of one cycle: turn `k` of a member of weight `w` is due at `(2k + 1) / 2w` of it.
fn cycle(weights: &[u32], divisor: u32) -> Vec<u32> {
    let mut turns: Vec<(u64, u64, u32)> = Vec::new();
    for (member, &weight) in (0u32..).zip(weights) {
        let weight = u64::from(weight / divisor);
        turns.extend((0..weight).map(|turn| (2 * turn + 1, weight, member)));
    }
    turns.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
    turns.into_iter().map(|(_, _, member)| member).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
