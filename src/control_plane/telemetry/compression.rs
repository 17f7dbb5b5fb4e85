//! Metrics of compression: what it saves, and why it is not done.

use super::exposition::{Exposition, Kind};
use crate::node::Node;
use traffic::compression::{Kept, OfCoding};
use traffic::snapshot::Snapshot;
use wire::http::Coding;

/// A family of one value per coding, as name, help and value.
type Family = (&'static str, &'static str, fn(&OfCoding) -> u64);

const FAMILIES: [Family; 3] = [
    ("ringway_compressed_responses", "Responses that were compressed.", |of| of.responses.get()),
    ("ringway_compress_received_bytes", "Payload that was compressed.", |of| of.bytes_in.get()),
    ("ringway_compress_sent_bytes", "What it became.", |of| of.bytes_out.get()),
];

pub(super) fn collect(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    if snapshot.routes.iter().all(|route| route.compression.is_none()) {
        return;
    }
    let shards = || node.stats.iter().map(|worker| &worker.compression);
    for (name, help, value) in FAMILIES {
        let mut family = out.family(name, Kind::Counter, help);
        for coding in Coding::ALL {
            let sum = shards().map(|shard| value(shard.of(coding))).sum();
            family.whole(&[("coding", coding.as_str())], sum);
        }
    }
    let help = "Responses of routes that compress which went as they were, by reason.";
    let mut family = out.family("ringway_compress_kept", Kind::Counter, help);
    for why in Kept::ALL {
        family.whole(&[("reason", why.name())], shards().map(|shard| shard.kept(why)).sum());
    }
    out.family("ringway_compressors_bytes", Kind::Gauge, "Memory that compressors under way may take.")
        .whole(&[], shards().map(|shard| shard.lent_bytes.get()).sum());
}
