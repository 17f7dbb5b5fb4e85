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

    /// A random member; 0 when there is none.
    pub(super) fn draw(&self, random: &mut Rng) -> usize {
        let point = random.below(self.sums.last().copied().unwrap_or(0));
        self.sums.partition_point(|&sum| sum <= point)
    }

    /// A random member that `screen` accepts, if a few draws hit one.
    pub(super) fn pick(&self, screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
        for _ in 0..DRAWS {
            let at = self.draw(random);
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
