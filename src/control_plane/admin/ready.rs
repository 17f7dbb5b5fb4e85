//! `/ready`: should traffic be sent here? `/live`: does the process still turn?

use super::problem::Problem;
use crate::node::Node;
use crate::process::Draining;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Ready {
    ready: bool,
    generation: u64,
}

pub(super) async fn ready(State(node): State<Arc<Node>>) -> Response {
    let reasons = reasons(&node);
    if reasons.is_empty() {
        let body = Json(Ready { ready: true, generation: node.snapshot().generation });
        return ([(header::CACHE_CONTROL, "no-store")], body).into_response();
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this node should not get traffic")
        .because(reasons)
        .into_response()
}

/// Why traffic should not be sent here; empty when it should.
pub(crate) fn reasons(node: &Node) -> Vec<String> {
    let mut reasons = Vec::new();
    match node.draining() {
        Draining::No => {}
        Draining::Announced { .. } => {
            reasons
                .push("draining: the node is about to stop, and accepts connections until then".to_owned());
        }
        Draining::Begun => reasons.push("draining: the node is about to stop".to_owned()),
    }
    reasons.extend(crate::overload::reason(node));
    let unchecked = node.first_round.unfinished();
    if unchecked > 0 {
        reasons.push(format!("endpoints that wait for their first health check: {unchecked}"));
    }
    for (upstream, name) in node.names.awaited(node.now()) {
        reasons.push(format!("upstream \"{upstream}\" waits for the first answer about {name}"));
    }
    for name in node.issuers.awaited() {
        reasons.push(format!("jwt \"{name}\" waits for the first keys of its issuer"));
    }
    reasons
}

#[derive(Serialize)]
pub(super) struct Live {
    live: bool,
}

pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}
