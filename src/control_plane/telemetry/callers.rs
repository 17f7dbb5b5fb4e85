//! Metrics of whom Ringway asks about callers: desks of policies, and issuers whose keys are fetched (G8, K8).

use super::exposition::{Exposition, Kind};
use crate::issuers::IssuerState;
use crate::node::Node;
use std::time::{SystemTime, UNIX_EPOCH};
use traffic::snapshot::Snapshot;

pub(super) fn collect(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let desks = &snapshot.access.desks;
    if !desks.is_empty() {
        let parts = |name: &str| name.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()));
        let help = "Questions that requests waited for, by what came of them.";
        let mut family = out.family("ringway_auth_questions", Kind::Counter, help);
        for desk in desks {
            let Some((scheme, policy)) = parts(&desk.name) else { continue };
            for (outcome, count) in desk.counts.read() {
                family.whole(&[("scheme", &scheme), ("policy", &policy), ("outcome", outcome)], count);
            }
        }
        let help = "Questions that requests wait for now.";
        let mut family = out.family("ringway_auth_waiting", Kind::Gauge, help);
        for desk in desks {
            let Some((scheme, policy)) = parts(&desk.name) else { continue };
            family.whole(&[("scheme", &scheme), ("policy", &policy)], desk.waiting().into());
        }
    }
    issuers(out, node);
}

/// A family of one value per issuer, as name, help and kind.
type Family = (&'static str, &'static str, Kind, fn(&IssuerState) -> u64);

const FAMILIES: [Family; 5] = [
    ("ringway_jwks_keys", "Keys of the set in use.", Kind::Gauge, |state| state.keys as u64),
    ("ringway_jwks_doubtful", "1 while the last attempt to fetch keys has failed.", Kind::Gauge, |state| {
        u64::from(state.failing.is_some())
    }),
    ("ringway_jwks_changes", "Sets that differed from the one before.", Kind::Counter, |state| state.changes),
    ("ringway_jwks_failures", "Attempts to fetch keys that failed.", Kind::Counter, |state| state.failures),
    (
        "ringway_jwks_fetched_timestamp_seconds",
        "When the set in use was fetched or confirmed; 0 if never.",
        Kind::Gauge,
        |state| state.fetched.map_or(0, since_1970),
    ),
];

fn issuers(out: &mut Exposition, node: &Node) {
    let issuers = node.issuers.all();
    if issuers.is_empty() {
        return;
    }
    for (name, help, kind, value) in FAMILIES {
        let mut family = out.family(name, kind, help);
        for (policy, state) in &issuers {
            family.whole(&[("policy", policy)], value(state));
        }
    }
    let help = "Attempts to fetch keys, by what caused them: time, or a token of an unknown key.";
    let mut family = out.family("ringway_jwks_fetches", Kind::Counter, help);
    for (policy, state) in &issuers {
        family.whole(&[("policy", policy), ("cause", "refresh")], state.refreshes);
        family.whole(&[("policy", policy), ("cause", "token")], state.caused);
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
