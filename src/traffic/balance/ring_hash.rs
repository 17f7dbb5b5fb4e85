//! Consistent hashing on a ring, like ketama: every endpoint owns the arcs before its points, and a key belongs to the
//! first point behind it. The points come from the endpoint's address alone, so neither the order of the configuration
//! nor a restart moves a key, and a change of endpoints moves only the keys that it must.

use super::key::{mix, stable_hash};
use super::screen::Screen;

/// Points of a member of average importance: shares are within about 6 % of the ideal.
const POINTS: u64 = 256;
/// Members of up to this weight get [`POINTS`] per unit of weight; heavier rings are scaled down by a power of two, so
/// that a small change of the heaviest weight does not move everything.
const WEIGHT_UNSCALED_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Ring {
    /// Place on the ring and member, sorted.
    points: Vec<(u32, u32)>,
}

impl Ring {
    pub(super) fn build(texts: &[&str], weights: &[u32]) -> Self {
        let divisor = common_divisor(weights);
        let heaviest = weights.iter().map(|&weight| weight / divisor).max().unwrap_or(1);
        let halvings = (0..32).find(|&n| heaviest >> n <= WEIGHT_UNSCALED_MAX).unwrap_or(31);
        let mut points = Vec::new();
        for (member, (text, &weight)) in (0u32..).zip(texts.iter().zip(weights)) {
            let seed = stable_hash(text.as_bytes());
            let count = ((POINTS * u64::from(weight / divisor)) >> halvings).max(1);
            for point in 0..count {
                let place = mix(seed.wrapping_add(point.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 32;
                points.push((u32::try_from(place).unwrap_or(u32::MAX), member));
            }
        }
        // Points on the same place are ordered by address, not by the order of the configuration.
        points.sort_unstable_by_key(|&(place, member)| (place, texts[member as usize]));
        Ring { points }
    }

    /// The owner of `key`, or the next member along the ring that `screen` accepts.
    pub(super) fn pick(&self, key: u64, screen: &mut Screen<'_>) -> Option<usize> {
        let place = mix(key) >> 32;
        let first = self.points.partition_point(|&(point, _)| u64::from(point) < place);
        let (before, from) = self.points.split_at(first);
        let mut last = None;
        for &(_, member) in from.iter().chain(before) {
            if last != Some(member) && screen.is_eligible(member as usize) {
                return Some(member as usize);
            }
            if screen.is_stopped() {
                return None;
            }
            last = Some(member);
        }
        None
    }
}

/// Equal weights are all 1.
fn common_divisor(weights: &[u32]) -> u32 {
    let mut divisor = 0;
    for &weight in weights {
        let (mut a, mut b) = (divisor, weight);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
    }
    divisor.max(1)
}
