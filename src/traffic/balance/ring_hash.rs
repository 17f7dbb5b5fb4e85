//! Consistent hashing on a ring, like ketama: every endpoint has points on it, and a key belongs to the next point. The
//! points come from the endpoint's address alone, so neither the order of the configuration nor a restart moves a key,
//! and a change of endpoints moves only the keys that it must.
//!
//! A key is put on the ring in [`PROBES`] places, and the place that is closest to its next point counts. Long arcs then
//! catch hardly more keys than short ones: with 128 points per endpoint the shares deviate by 3 % (one standard deviation)
//! where a single place needs 1024 points for that, eight times the memory.

use super::key::{mix, stable_hash};
use super::screen::Screen;

/// Points per unit of weight.
const POINTS: u64 = 128;
/// Places that a key is looked up at.
const PROBES: u64 = 8;
/// Rings of heavier members, or of more points in all (32 MiB), are scaled down by a power of two. A step of it moves
/// about half of the keys, but it is all that other members' weights can do to one's points: they are not shortened by
/// a common divisor, which any small change of one weight would change.
const WEIGHT_UNSCALED_MAX: u32 = 16;
const POINTS_MAX: u64 = 1 << 22;

#[derive(Debug)]
pub(super) struct Ring {
    /// Place on the ring and member, sorted.
    points: Vec<(u32, u32)>,
    /// The first point at or behind each of the equally long sections of the ring, about four points each: a look-up
    /// touches one or two cache lines instead of a dozen.
    sections: Vec<u32>,
    /// What a place is shifted by to give its section.
    section_bits: u32,
}

impl Ring {
    pub(super) fn build(texts: &[&str], weights: &[u32]) -> Self {
        let heaviest = weights.iter().copied().max().unwrap_or(1);
        let total: u64 = weights.iter().map(|&weight| POINTS * u64::from(weight)).sum();
        let fits = |n: u32| heaviest >> n <= WEIGHT_UNSCALED_MAX && total >> n <= POINTS_MAX;
        let halvings = (0..32).find(|&n| fits(n)).unwrap_or(31);
        let mut points = Vec::new();
        for (member, (text, &weight)) in (0u32..).zip(texts.iter().zip(weights)) {
            let seed = stable_hash(text.as_bytes());
            let count = ((POINTS * u64::from(weight)) >> halvings).max(1);
            for point in 0..count {
                points.push((place_of(seed, point), member));
            }
        }
        // Points on the same place are ordered by address, not by the order of the configuration.
        points.sort_unstable_by_key(|&(place, member)| (place, texts[member as usize]));
        let sections = (points.len() / 4).next_power_of_two();
        let section_bits = 32 - sections.trailing_zeros();
        let start =
            |section: u64| points.partition_point(|&(place, _)| u64::from(place) < section << section_bits);
        let sections =
            (0..sections as u64).map(|section| u32::try_from(start(section)).unwrap_or(u32::MAX)).collect();
        Ring { points, sections, section_bits }
    }

    /// The owner of `key`, or the next member along the ring that `screen` accepts.
    pub(super) fn pick(&self, key: u64, screen: &mut Screen<'_>) -> Option<usize> {
        let (before, from) = self.points.split_at(self.nearest(key));
        let mut last = None;
        for &(_, member) in from.iter().chain(before) {
            if last != Some(member) && screen.takes(member as usize) {
                return Some(member as usize);
            }
            if screen.is_stopped() || screen.is_detoured() {
                return None;
            }
            last = Some(member);
        }
        None
    }

    /// The point that the closest of the key's probes finds.
    fn nearest(&self, key: u64) -> usize {
        let mut nearest = (u32::MAX, 0);
        for probe in 0..PROBES {
            let place = place_of(key, probe);
            let at = self.next_point(place);
            let distance = self.points.get(at).map_or(u32::MAX, |&(point, _)| point.wrapping_sub(place));
            nearest = nearest.min((distance, at));
        }
        nearest.1
    }

    /// The first point at or behind `place`; behind the last one the ring goes on with the first.
    fn next_point(&self, place: u32) -> usize {
        let section = usize::try_from(u64::from(place) >> self.section_bits).unwrap_or(0);
        let start = self.sections.get(section).map_or(0, |&at| at as usize);
        let behind = self.points[start..].iter().position(|&(point, _)| point >= place);
        behind.map_or(0, |steps| start + steps)
    }
}

/// Where number `n` of `seed` lies on the ring.
fn place_of(seed: u64, n: u64) -> u32 {
    let place = mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 32;
    u32::try_from(place).unwrap_or(u32::MAX)
}
