//! Which endpoint takes an attempt, and what the attempt says about it.

use crate::downstream::h1::Connection;
use crate::exchange::Exchange;
use crate::serve::Fault;
use base::Instant;
use std::time::Duration;
use traffic::Cause;
use traffic::balance::{NoEndpoint, Pick};
use traffic::health::Outcome;
use traffic::snapshot::{Endpoint, Upstream};

/// Chooses an endpoint. While no endpoint of the upstream has been checked at all, the first result is waited for, at
/// most [`HOLD_MAX`].
pub(crate) async fn endpoint<'a>(
    conn: &Connection,
    x: &Exchange,
    upstream: &'a Upstream,
) -> Result<&'a Endpoint, Fault> {
    match choose(conn, x, upstream, true) {
        Err(NoEndpoint::Unchecked) => Box::pin(after_first_check(conn, x, upstream)).await,
        chosen => chosen.map_err(|none| refusal(upstream, none)),
    }
}

/// An endpoint that this exchange has not asked yet, without waiting for one.
pub(crate) fn another<'a>(conn: &Connection, x: &Exchange, upstream: &'a Upstream) -> Option<&'a Endpoint> {
    choose(conn, x, upstream, false).ok().filter(|endpoint| !x.failed.contains(&endpoint.id))
}

/// Looks again every few milliseconds: nobody has to know who waits.
#[cold]
async fn after_first_check<'a>(
    conn: &Connection,
    x: &Exchange,
    upstream: &'a Upstream,
) -> Result<&'a Endpoint, Fault> {
    let rt = &conn.worker.rt;
    conn.worker.stats.held.add(1);
    let until = (rt.now() + HOLD_MAX).min(x.deadline);
    loop {
        conn.upstream_timer.set((rt.now() + HOLD_STEP).min(until));
        conn.upstream_timer.wait().await;
        if rt.now() >= x.deadline {
            return Err(Cause::TotalTimeout.into());
        }
        let may_wait = rt.now() < until;
        match choose(conn, x, upstream, may_wait) {
            Err(NoEndpoint::Unchecked) => {}
            chosen => return chosen.map_err(|none| refusal(upstream, none)),
        }
    }
}

fn choose<'a>(
    conn: &Connection,
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

fn refusal(upstream: &Upstream, none: NoEndpoint) -> Fault {
    match none {
        NoEndpoint::Absent if upstream.unresolved => Cause::NameUnresolved.into(),
        NoEndpoint::Absent => Cause::NoEndpoint.into(),
        NoEndpoint::Unhealthy | NoEndpoint::Unchecked => Cause::NoHealthyEndpoint.into(),
    }
}

/// Notes what an attempt that began at `began` showed, unless this worker stood still meanwhile: then it is we who were
/// late, and nobody knows what the endpoint did (R144).
pub(crate) fn judge(
    conn: &Connection,
    upstream: &Upstream,
    endpoint: &Endpoint,
    began: Instant,
    outcome: Outcome,
) {
    let (worker, now) = (&*conn.worker, conn.worker.rt.now());
    if began >= worker.stalled.get() {
        endpoint.cell.observe(now, now.since(began), outcome, &upstream.ejection);
    }
}

/// Notes that an attempt that began at `began` was given up because another endpoint had answered.
pub(crate) fn outpaced(conn: &Connection, endpoint: &Endpoint, began: Instant) {
    let (worker, now) = (&*conn.worker, conn.worker.rt.now());
    if began >= worker.stalled.get() {
        endpoint.cell.outpaced(now, now.since(began));
    }
}

/// Longest wait for the first check of an upstream; then its endpoints are used unchecked.
const HOLD_MAX: Duration = Duration::from_secs(1);
const HOLD_STEP: Duration = Duration::from_millis(10);
