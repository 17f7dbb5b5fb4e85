//! Which endpoint takes an attempt, and what the attempt says about it.

use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::serve::Fault;
use base::Instant;
use std::time::Duration;
use traffic::Cause;
use traffic::balance::{NoEndpoint, Pick};
use traffic::health::Outcome;
use traffic::snapshot::{Endpoint, Upstream};

/// Waits until the first endpoint of the upstream has been checked, at most [`HOLD_MAX`].
///
/// Looks again every few milliseconds: nobody has to know who waits.
#[cold]
pub(crate) async fn first_check(conn: &Client, x: &Exchange, upstream: &Upstream) -> Result<(), Fault> {
    let rt = &conn.worker.rt;
    conn.worker.stats.held.add(1);
    let until = (rt.now() + HOLD_MAX).min(x.deadline);
    let mut watch = ClientWatch::of(x);
    while rt.now() < until && is_unchecked(conn, x, upstream) {
        conn.upstream_timer.set((rt.now() + HOLD_STEP).min(until));
        let step = conn.upstream_timer.wait();
        conn.while_present(&mut watch, step).await.ok_or(Cause::ClientGone)?;
    }
    if rt.now() >= x.deadline { Err(Cause::TotalTimeout.into()) } else { Ok(()) }
}

/// Whether no endpoint has been checked at all.
pub(crate) fn is_unchecked(conn: &Client, x: &Exchange, upstream: &Upstream) -> bool {
    matches!(endpoint(conn, x, upstream, true), Err(NoEndpoint::Unchecked))
}

/// An endpoint that this exchange has not asked yet, without waiting for one.
pub(crate) fn another<'a>(conn: &Client, x: &Exchange, upstream: &'a Upstream) -> Option<&'a Endpoint> {
    endpoint(conn, x, upstream, false).ok().filter(|endpoint| !x.failed.contains(&endpoint.id))
}

/// Chooses an endpoint. `may_wait`: while none has been checked at all, that is said instead.
pub(crate) fn endpoint<'a>(
    conn: &Client,
    x: &Exchange,
    upstream: &'a Upstream,
    may_wait: bool,
) -> Result<&'a Endpoint, NoEndpoint> {
    let worker = &*conn.worker;
    let random = &mut *worker.rng.borrow_mut();
    let key = upstream.hash_key(x.request(), x.facts.client).unwrap_or_else(|| random.next_u64());
    let pick = Pick { key, now: worker.rt.now(), random, avoid: &x.failed, session: x.session.endpoint() };
    let choice = if may_wait { upstream.pick(pick) } else { upstream.pick_unchecked(pick) }?;
    let stats = upstream.stats.shard(worker.id);
    stats.count_choice(&choice);
    if upstream.sticky.is_some() && x.attempts == 0 {
        stats.count_session(x.session, &choice);
    }
    Ok(upstream.endpoint(choice.endpoint))
}

/// Notes what an attempt that began at `began` showed, unless this worker stood still meanwhile: then it is we who were
/// late, and nobody knows what the endpoint did (R144). False then.
pub(crate) fn judge(
    conn: &Client,
    upstream: &Upstream,
    endpoint: &Endpoint,
    began: Instant,
    outcome: Outcome,
) -> bool {
    let (worker, now) = (&*conn.worker, conn.worker.rt.now());
    let is_telling = began >= worker.stalled.get();
    if is_telling {
        endpoint.cell.observe(now, now.since(began), outcome, &upstream.ejection);
    }
    is_telling
}

/// Notes that an attempt that began at `began` was given up because another endpoint had answered.
pub(crate) fn outpaced(conn: &Client, endpoint: &Endpoint, began: Instant) {
    let (worker, now) = (&*conn.worker, conn.worker.rt.now());
    if began >= worker.stalled.get() {
        endpoint.cell.outpaced(now, now.since(began));
    }
}

/// Longest wait for the first check of an upstream; then its endpoints are used unchecked.
const HOLD_MAX: Duration = Duration::from_secs(1);
const HOLD_STEP: Duration = Duration::from_millis(10);
