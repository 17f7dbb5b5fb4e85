//! Metrics of how endpoints were chosen, and of how callers were judged.

use super::exposition::{Exposition, Kind};
use traffic::snapshot::Snapshot;
use traffic::upstream_stats::{OfShard, SessionCounts};

pub(super) fn balance(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Where each endpoint stands; always 1.";
    let mut family = out.family("ringway_endpoint_info", Kind::Gauge, help);
    for upstream in &snapshot.upstreams {
        for endpoint in &upstream.endpoints {
            let labels = [
                ("upstream", &*upstream.name),
                ("endpoint", &*endpoint.text),
                ("tier", &endpoint.tier.to_string()),
                ("zone", endpoint.zone.as_deref().unwrap_or_default()),
            ];
            family.whole(&labels, 1);
        }
    }
    let help = "Endpoints passed over because they had their share of the load (`bounded-load`).";
    let mut family = out.family("ringway_balance_passed_over", Kind::Counter, help);
    for upstream in snapshot.upstreams.iter().filter(|upstream| upstream.balancer.is_bounded()) {
        family.whole(&[("upstream", &upstream.name)], upstream.stats.sum(|shard| &shard.passed_over));
    }
    let help = "Choices outside the zone of this node although the tier has endpoints in it.";
    let mut family = out.family("ringway_balance_other_zone", Kind::Counter, help);
    for upstream in snapshot.upstreams.iter().filter(|upstream| upstream.balancer.has_zones()) {
        family.whole(&[("upstream", &upstream.name)], upstream.stats.sum(|shard| &shard.other_zone));
    }
    let families: [(&str, &str, OfShard); 2] = [
        (
            "ringway_upstream_ports_exhausted",
            "Connections that were not made because no local port was free.",
            |shard| &shard.ports_exhausted,
        ),
        (
            "ringway_upstream_source_unavailable",
            "Connections that could not come from the `source` of the upstream.",
            |shard| &shard.source_unavailable,
        ),
    ];
    for (name, help, counter) in families {
        let mut family = out.family(name, Kind::Counter, help);
        for upstream in &snapshot.upstreams {
            family.whole(&[("upstream", &upstream.name)], upstream.stats.sum(counter));
        }
    }
    let help = "Requests to upstreams with `sticky`, by what they said about their session.";
    let mut family = out.family("ringway_sticky_requests", Kind::Counter, help);
    for upstream in snapshot.upstreams.iter().filter(|upstream| upstream.sticky.is_some()) {
        for (session, counter) in SessionCounts::BY_NAME {
            family.whole(&[("upstream", &upstream.name), ("session", session)], upstream.stats.sum(counter));
        }
    }
}

/// How policies for callers decided. Never who called: that would be a series per caller.
pub(super) fn access(out: &mut Exposition, snapshot: &Snapshot) {
    let access = &snapshot.access;
    let jwt = access.jwt.iter().map(|policy| ("jwt", &policy.name, &policy.tally));
    let keys = access.keys.iter().map(|policy| ("keys", &policy.name, &policy.tally));
    let basic = access.basic.iter().map(|policy| ("basic", &policy.name, &policy.tally));
    let forward = access.forward.iter().map(|policy| ("forward-auth", &policy.name, &policy.tally));
    let introspect = access.introspection.iter();
    let introspect = introspect.map(|policy| ("introspect", &policy.tokens.name, &policy.tokens.tally));
    let mtls = access.mtls.iter().map(|policy| ("mtls", &policy.name, &policy.tally));
    let help = "Credentials by policy: accepted, refused, and how many of both a worker remembered.";
    let mut family = out.family("ringway_credentials", Kind::Counter, help);
    for (scheme, policy, tally) in jwt.chain(mtls).chain(keys).chain(basic).chain(forward).chain(introspect) {
        for (outcome, count) in tally.read() {
            family.whole(&[("scheme", scheme), ("policy", policy), ("outcome", outcome)], count);
        }
    }
}
