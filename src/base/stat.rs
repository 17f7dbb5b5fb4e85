//! Counters and histograms with one writer and any number of readers.
//!
//! Each worker owns a shard and adds to it without a locked instruction; the control plane reads all shards and adds
//! them up. A reader may be a few events behind; it never sees a torn value.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only its owner changes and only upwards.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Must be called by the owning worker only: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets a value that the owner counts elsewhere (a gauge).
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
}

/// Sub-buckets per power of two: a recorded duration is known to within 1/8.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// Durations are recorded in microseconds up to 2^36 us (19 hours); longer ones count as that.
const OCTAVES: usize = 34;

/// Number of buckets of a [`Histogram`].
pub const BUCKETS: usize = OCTAVES * SUB;

/// A log-linear ("HDR") histogram of durations in microseconds, 2 KiB in size.
#[derive(Debug)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    sum_nanos: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: std::array::from_fn(|_| Counter::default()), sum_nanos: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration. Owner only.
    pub fn record(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos / 1_000)].add(1);
        self.sum_nanos.add(nanos);
    }

    /// Adds what was recorded here to `total`.
    pub fn merge_into(&self, total: &mut Totals) {
        for (sum, shard) in total.counts.iter_mut().zip(&self.counts) {
            *sum += shard.get();
        }
        total.sum_nanos = total.sum_nanos.wrapping_add(self.sum_nanos.get());
    }
}

/// The sum of the shards of one histogram, for reading.
#[derive(Clone, Debug)]
pub struct Totals {
    counts: Box<[u64; BUCKETS]>,
    sum_nanos: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { counts: Box::new([0; BUCKETS]), sum_nanos: 0 }
    }
}

impl Totals {
    /// What was recorded between `earlier` and now, both sums of the same shards.
    pub fn since(&self, earlier: &Totals) -> Totals {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].wrapping_sub(earlier.counts[bucket]));
        Totals { counts: Box::new(counts), sum_nanos: self.sum_nanos.wrapping_sub(earlier.sum_nanos) }
    }

    /// Number of recorded durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all recorded durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// How many recorded durations are at most `micros`, to the precision of the buckets.
    pub fn at_most(&self, micros: u64) -> u64 {
        let last = bucket_of(micros);
        self.counts[..=last].iter().sum()
    }

    /// The buckets that hold something: the upper bound in microseconds, and how many.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (upper_bound(bucket), *count))
    }

    /// The duration below which the share `quantile` (0 to 1) of the recorded ones lie; zero when there are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let count = self.count();
        if count == 0 {
            return Duration::ZERO;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((count as f64 * quantile).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Duration::from_micros(upper_bound(bucket));
            }
        }
        Duration::from_micros(upper_bound(BUCKETS - 1))
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < SUB as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let exponent = 63 - micros.leading_zeros();
    let sub = usize::try_from((micros >> (exponent - SUB_BITS)) & (SUB as u64 - 1)).unwrap_or(0);
    let octave = (exponent - SUB_BITS + 1) as usize;
    (octave * SUB + sub).min(BUCKETS - 1)
}

/// The largest number of microseconds that falls into `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    let (octave, sub) = (bucket / SUB, (bucket % SUB) as u64);
    if octave == 0 {
        return sub;
    }
    let width = 1u64 << (octave - 1);
    (SUB as u64 + sub) * width + width - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_ends_where_the_next_one_begins() {
        for bucket in 0..BUCKETS - 1 {
            let last = upper_bound(bucket);
            assert_eq!(bucket_of(last), bucket, "last value of bucket {bucket}");
            assert_eq!(bucket_of(last + 1), bucket + 1, "first value after bucket {bucket}");
        }
    }

    #[test]
    fn quantiles_are_known_to_an_eighth() {
        let histogram = Histogram::default();
        for micros in 1..=10_000u64 {
            histogram.record(Duration::from_micros(micros));
        }
        let mut totals = Totals::default();
        histogram.merge_into(&mut totals);
        let median = totals.quantile(0.5).as_micros();
        assert!((5_000..5_700).contains(&median), "{median}");
        assert_eq!(totals.count(), 10_000);
        assert_eq!(totals.sum(), Duration::from_micros(50_005_000));

        let before = totals.clone();
        histogram.record(Duration::from_micros(3));
        let mut totals = Totals::default();
        histogram.merge_into(&mut totals);
        let since = totals.since(&before);
        assert_eq!((since.count(), since.quantile(0.99).as_micros(), since.sum().as_micros()), (1, 3, 3));
    }
}
