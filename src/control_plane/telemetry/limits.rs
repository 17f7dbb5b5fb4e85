//! Metrics of limits. Labels are names of limits, never keys (R5).

use super::exposition::{Exposition, Kind};
use base::Instant;
use std::time::{SystemTime, UNIX_EPOCH};
use traffic::limit::Moment;
use traffic::snapshot::Snapshot;

pub(super) fn collect(out: &mut Exposition, snapshot: &Snapshot, now: Instant) {
    if snapshot.limiters.is_empty() {
        return;
    }
    let help = "Requests by limit and by what came of it; returned are those of the admitted that another limit refused.";
    let mut family = out.family("ringway_limit_requests", Kind::Counter, help);
    for limiter in &snapshot.limiters {
        let stats = &limiter.stats;
        for (outcome, count) in [
            ("admitted", &stats.admitted),
            ("returned", &stats.returned),
            ("refused", &stats.refused),
            ("shadowed", &stats.shadowed),
            ("without_key", &stats.without_key),
            ("uncounted", &stats.uncounted),
        ] {
            family.whole(&[("limit", &limiter.name), ("outcome", outcome)], count.get());
        }
    }
    let help = "Keys that were forgotten before their quota was back, because there was no room.";
    let mut family = out.family("ringway_limit_forgotten_keys", Kind::Counter, help);
    for limiter in &snapshot.limiters {
        family.whole(&[("limit", &limiter.name)], limiter.stats.forgotten.get());
    }
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let help = "Keys that have taken something which is not back yet.";
    let mut family = out.family("ringway_limit_keys", Kind::Gauge, help);
    for limiter in &snapshot.limiters {
        let keys = limiter.table.keys(&limiter.measure, Moment { now, unix_s });
        family.whole(&[("limit", &limiter.name)], keys);
    }
}
