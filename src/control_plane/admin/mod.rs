//! The admin API: what monitoring and people ask a running node. JSON out, RFC 9457 problem documents on errors.
//!
//! It never listens where downstream traffic arrives, and it is bounded like everything else: requests, connections and
//! their time. What reads waits for nothing, so a request costs microseconds of this thread; what changes something is an
//! order to the deployer, and is answered when it is in force.
//!
//! ```text
//!   server.rs   listeners, connections, their limits       guard.rs    who may ask at all
//!   ready.rs    /ready /live                               problem.rs  how errors look
//!   status.rs   /v1/status                                 upstreams.rs, admission.rs  /v1/upstreams
//!   overload.rs how hard pressed the node is, in /v1/status
//!   endpoint.rs state and weight of an endpoint            peer.rs       who asks
//!   drain.rs    /v1/drain
//!   requests.rs /v1/requests: what was decided lately
//!   traffic.rs  /v1/traffic: counts and latencies to take differences of
//!   config.rs   /v1/config, /v1/reload, /v1/history …                   explain.rs   /v1/explain
//! ```

mod admission;
mod config;
mod drain;
mod endpoint;
mod explain;
mod flows;
mod guard;
mod overload;
mod peer;
mod problem;
mod ready;
mod requests;
pub(crate) mod server;
mod status;
#[cfg(test)]
mod tests;
mod traffic;
#[cfg(debug_assertions)]
mod trip;
mod upstreams;

pub(crate) use ready::reasons;

use crate::deploy::Door;
use crate::node::Node;
use crate::telemetry::metrics;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::{HeaderMap, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use std::sync::Arc;

/// All of the API. `reach` says how widely it can be reached, which decides how strict the guard is.
pub(crate) fn router(asked: Asked, reach: guard::Reach) -> Router {
    Router::new()
        .route("/ready", get(ready::ready))
        .route("/live", get(ready::live))
        .route("/metrics", get(scrape))
        .route("/v1/status", get(status::status))
        .route("/v1/upstreams", get(upstreams::upstreams))
        .route("/v1/traffic", get(traffic::traffic))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}", get(requests::one))
        .route("/v1/config", get(config::show))
        .route("/v1/history", get(config::history))
        .merge(changes(reach))
        .fallback(problem::no_such_resource)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(reach, guard::admit))
        .with_state(asked)
}

/// What does not only read.
fn changes(reach: guard::Reach) -> Router<Asked> {
    let router = Router::new();
    #[cfg(debug_assertions)]
    let router = router.route("/v1/workers/{worker}/trip", post(trip::trip));
    router
        .route("/v1/upstreams/{upstream}/endpoints/{address}", post(endpoint::set))
        .route("/v1/reload", post(config::reload))
        .route("/v1/drain", post(drain::drain))
        .route("/v1/confirm", post(config::confirm))
        .route("/v1/rollback", post(config::rollback))
        .route("/v1/explain", post(explain::ask).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)))
        .route("/v1/config", put(config::replace).layer(DefaultBodyLimit::max(CONFIG_BYTES_MAX)))
        .route_layer(middleware::from_fn_with_state(reach, guard::admit_change))
}

/// What the handlers read, and the door to what they change.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) node: Arc<Node>,
    pub(crate) door: Door,
}

impl FromRef<Asked> for Arc<Node> {
    fn from_ref(asked: &Asked) -> Self {
        Arc::clone(&asked.node)
    }
}

/// Of a request; most of what is sent here is a few words.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Of a request that is asked about.
const REQUEST_BYTES_MAX: usize = 128 << 10;
/// Of a configuration; as for a file.
const CONFIG_BYTES_MAX: usize = 4 << 20;

/// Metrics in the OpenMetrics format when the client asks for it, else in the Prometheus text format 0.0.4.
async fn scrape(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = metrics::Format::negotiate(accepted);
    let body = metrics::collect(&node, format);
    ([(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")], body)
        .into_response()
}
