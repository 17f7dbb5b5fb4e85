//! Metrics of caches: what was asked for, what came of it, and what is kept.

use super::exposition::{Exposition, Kind};
use cache::{Counts, Store};
use std::sync::atomic::{AtomicU64, Ordering};
use traffic::snapshot::Snapshot;

/// A value of the label `result`, and what counts it.
type Outcome = (&'static str, fn(&Counts) -> &AtomicU64);

/// Answers by how they came about, in `ringway_cache_requests`.
const RESULTS: [Outcome; 6] = [
    ("hit", |counts| &counts.hits),
    ("stale", |counts| &counts.stale),
    ("revalidated", |counts| &counts.revalidated),
    ("miss", |counts| &counts.misses),
    ("collapsed", |counts| &counts.collapsed),
    ("bypass", |counts| &counts.bypassed),
];

/// A family of one value per cache.
type Family = (&'static str, &'static str, Kind, fn(&Store) -> u64);

const FAMILIES: [Family; 6] = [
    ("ringway_cache_stored", "Responses that were kept.", Kind::Counter, |store| read(&store.counts.stored)),
    ("ringway_cache_refused", "Responses that may not be kept.", Kind::Counter, |store| {
        read(&store.counts.refused)
    }),
    ("ringway_cache_evicted", "Keys that had to go because others came.", Kind::Counter, |store| {
        read(&store.counts.evicted)
    }),
    ("ringway_cache_removed", "Keys that were outdated by a request or purged.", Kind::Counter, |store| {
        read(&store.counts.removed)
    }),
    ("ringway_cache_keys", "Keys that something is kept under.", Kind::Gauge, |store| store.kept().0),
    ("ringway_cache_bytes", "Memory of what is kept.", Kind::Gauge, |store| store.kept().1),
];

pub(super) fn collect(out: &mut Exposition, snapshot: &Snapshot) {
    if snapshot.caches.is_empty() {
        return;
    }
    let help = "Requests to routes with a cache, by where their answer came from.";
    let mut family = out.family("ringway_cache_requests", Kind::Counter, help);
    for store in &snapshot.caches {
        for (result, count) in RESULTS {
            family.whole(&[("cache", &store.name), ("result", result)], read(count(&store.counts)));
        }
    }
    for (name, help, kind, value) in FAMILIES {
        let mut family = out.family(name, kind, help);
        for store in &snapshot.caches {
            family.whole(&[("cache", &store.name)], value(store));
        }
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
