//! Weighted chance.

use super::screen::Screen;
use base::rng::Rng;

/// Draws before all members are looked at.
const DRAWS: usize = 8;

#[derive(Debug)]
pub(super) struct Weighted {
    /// Sums of the weights up to and including each member.
    sums: Vec<u64>,
}

impl Weighted {
    pub(super) fn build(weights: &[u32]) -> Self {
        let sums = weights.iter().scan(0, |sum, &weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Weighted { sums: sums.collect() }
    }

    /// A random member that `screen` accepts, if a few draws hit one.
    pub(super) fn pick(&self, screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
        let total = *self.sums.last()?;
        for _ in 0..DRAWS {
            let point = random.below(total);
            let at = self.sums.partition_point(|&sum| sum <= point);
            if screen.accepts(at) {
                return Some(at);
            }
            if screen.is_stopped() {
                return None;
            }
        }
        None
    }
}
