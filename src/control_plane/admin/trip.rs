//! `POST /v1/workers/{worker}/trip`: the worker's next attempt panics. For tests of what follows from that: this file is
//! no part of release builds.

use super::problem::Problem;
use crate::node::Node;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;

pub(super) async fn trip(
    State(node): State<Arc<Node>>,
    Path(worker): Path<usize>,
) -> Result<Json<()>, Problem> {
    let stats = node.stats.get(worker);
    stats.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such worker"))?.trip();
    Ok(Json(()))
}
