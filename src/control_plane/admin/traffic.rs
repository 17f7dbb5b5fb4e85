//! `GET /v1/traffic`: counts and latencies since the start, for whoever takes differences (`ringway top`).

use crate::node::Node;
use axum::Json;
use axum::extract::State;
use base::stat::Totals;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use traffic::{Cause, Phase};

/// Upper bound in microseconds and how many durations lie in the bucket; empty buckets are left out.
type Buckets = Vec<(u64, u64)>;

#[derive(Serialize)]
pub(super) struct Traffic {
    /// Whole exchanges of all routes.
    total: Buckets,
    phases: BTreeMap<&'static str, Buckets>,
    routes: Vec<Route>,
    /// Exchanges by cause, as far as there were any that failed.
    causes: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Route {
    name: String,
    requests: u64,
    /// With a status from 500 on, or without an answer.
    failed: u64,
    bytes_in: u64,
    bytes_out: u64,
    total: Buckets,
}

pub(super) async fn traffic(State(node): State<Arc<Node>>) -> Json<Traffic> {
    let snapshot = node.snapshot();
    let (mut total, mut phases) = (Totals::default(), vec![Totals::default(); Phase::ALL.len()]);
    let mut routes = Vec::with_capacity(snapshot.routes.len());
    for route in &snapshot.routes {
        let mut of_route = Totals::default();
        let (mut requests, mut failed, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
        for shard in route.stats.shards() {
            shard.total.merge_into(&mut of_route);
            shard.total.merge_into(&mut total);
            for (phase, totals) in Phase::ALL.into_iter().zip(&mut phases) {
                shard.phase(phase).merge_into(totals);
            }
            requests += (0..=5).map(|class| shard.requests(class)).sum::<u64>();
            failed += shard.requests(0) + shard.requests(5);
            bytes_in += shard.bytes_in.get();
            bytes_out += shard.bytes_out.get();
        }
        let total = of_route.filled().collect();
        routes.push(Route { name: route.name.to_string(), requests, failed, bytes_in, bytes_out, total });
    }
    let causes = Cause::ALL
        .iter()
        .filter(|cause| cause.is_failure())
        .map(|&cause| (cause.name(), node.stats.iter().map(|worker| worker.cause(cause)).sum::<u64>()));
    Json(Traffic {
        total: total.filled().collect(),
        phases: Phase::ALL
            .iter()
            .zip(&phases)
            .map(|(phase, totals)| (phase.name(), totals.filled().collect()))
            .collect(),
        routes,
        causes: causes.filter(|(_, count)| *count > 0).collect(),
    })
}
