//! Which endpoints fail far more often than the others of their upstream.
//!
//! A row of failures finds what is broken; this finds what is merely bad: an endpoint that answers every third request
//! with 503 never fails five times in a row. Evaluated off the data path, once per interval, from what the cells counted.
//!
//! The rates of all endpoints with enough requests have a mean and a standard deviation. An outlier is below the mean by
//! more than [`SuccessRateRules::deviation`] standard deviations *and* by more than [`DIFFERENCE_MIN`]: where all do well,
//! a deviation is a matter of single requests. When half of the endpoints fail, none is an outlier: the fault is elsewhere.

use std::time::Duration;

/// When an endpoint counts as an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRateRules {
    /// Length of an interval. Default 10 s.
    pub every: Duration,
    /// Attempts in an interval that a rate needs. Default 100.
    pub requests_min: u64,
    /// Endpoints with a rate that a comparison needs. Default 5.
    pub endpoints_min: usize,
    /// Standard deviations below the mean. Default 1.9.
    pub deviation: f64,
}

impl Default for SuccessRateRules {
    fn default() -> Self {
        SuccessRateRules {
            every: Duration::from_secs(10),
            requests_min: 100,
            endpoints_min: 5,
            deviation: 1.9,
        }
    }
}

/// An outlier is worse than the mean by more than this share of all requests.
pub const DIFFERENCE_MIN: f64 = 0.05;

/// What one endpoint did in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Attempts that ended.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
}

impl Interval {
    /// Share of the attempts that succeeded, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn success_rate(self) -> f64 {
        1.0 - self.failed.min(self.ended) as f64 / self.ended.max(1) as f64
    }
}

/// The outliers of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Outliers {
    /// Mean of the rates that were compared.
    pub mean: f64,
    /// Places of the endpoints to eject, the worst first.
    pub places: Vec<usize>,
}

/// Compares the intervals of all endpoints of an upstream that take part, by their places.
pub fn outliers(rules: &SuccessRateRules, intervals: &[(usize, Interval)]) -> Option<Outliers> {
    let mut rates: Vec<(f64, usize)> = intervals
        .iter()
        .filter(|(_, interval)| interval.ended >= rules.requests_min.max(1))
        .map(|(place, interval)| (interval.success_rate(), *place))
        .collect();
    if rates.len() < rules.endpoints_min.max(2) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of endpoints")]
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(rate, _)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(rate, _)| (rate - mean).powi(2)).sum::<f64>() / count;
    let bound = mean - (rules.deviation * variance.sqrt()).max(DIFFERENCE_MIN);
    rates.retain(|(rate, _)| *rate < bound);
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(Outliers { mean, places: rates.into_iter().map(|(_, place)| place).collect() })
}
