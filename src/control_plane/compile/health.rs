//! What an upstream says about the health of its endpoints.

use super::{Compiler, Problem};
use crate::probes::Tls;
use config::Bound;
use config::model::{Health, Outlier, Switch, Upstream};
use std::time::Duration;
use traffic::balance::Thresholds;
use traffic::health::{EjectionRules, SuccessRateRules};

impl Compiler<'_> {
    /// A TLS check needs authorities, which stand in files: better refused now than failing for ever.
    pub(super) fn check_can_be_performed(&mut self, written: &Upstream) {
        if let Some(Health::Tls(check)) = &written.health
            && let Err(why) = Tls::new(check)
        {
            let what = format!("the check of upstream \"{}\" cannot be performed: {why}", written.name);
            self.problems.push(Problem::new(&written.origin, what));
        }
    }
}

pub(super) fn thresholds(written: &Upstream) -> Thresholds {
    let ejected_permille_max = match written.outlier.mode {
        Switch::On => written.outlier.max_ejected.permille(),
        Switch::Off => 0,
    };
    let panic = written.panic.at();
    Thresholds {
        healthy_permille_min: panic.map_or(0, |share| share.permille()),
        fail_open: panic.is_some(),
        ejected_permille_max,
    }
}

pub(super) fn ejection(written: &Upstream) -> EjectionRules {
    let outlier = &written.outlier;
    let failures_in_a_row = match (outlier.mode, outlier.consecutive_errors.0) {
        (Switch::On, Bound::At(errors)) => errors.into(),
        (Switch::Off, _) | (_, Bound::Off) => 0,
    };
    EjectionRules {
        failures_in_a_row,
        first: outlier.eject_for,
        longest: outlier.eject_longest,
        slow_start: slow_start(written),
    }
}

pub(super) fn success_rate(outlier: &Outlier) -> Option<SuccessRateRules> {
    let rate = &outlier.success_rate;
    let is_on = outlier.mode == Switch::On && rate.mode == Switch::On;
    is_on.then(|| SuccessRateRules {
        every: rate.every,
        requests_min: rate.requests.into(),
        endpoints_min: rate.endpoints.into(),
        deviation: rate.deviation.value(),
    })
}

/// Zero is at once.
pub(super) fn slow_start(written: &Upstream) -> Duration {
    written.slow_start.at().unwrap_or_default()
}
