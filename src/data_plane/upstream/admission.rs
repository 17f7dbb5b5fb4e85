//! Letting a request in to its upstream: at once, after a wait, or not at all. The rules are in `traffic::admission`.
//!
//! A request that is let in has a [`Load`]: one attempt in flight on one endpoint, and the upstream's permit for it. It
//! waits at most once more, in [`slot`], when it needs a new connection and idle ones on other workers must be closed
//! for that.

use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::serve::Fault;
use crate::upstream::choose;
use crate::upstream::link::Slot;
use crate::upstream::presence::Presence;
use crate::upstream::queue::What;
use base::Instant;
use runtime::Timer;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use traffic::admission::{Admission, Joined, Pass, State};
use traffic::balance::NoEndpoint;
use traffic::health::Outcome;
use traffic::snapshot::{Endpoint, Upstream};
use traffic::{Cause, Phase};

/// An attempt in flight. Dropped, the next request is let in.
pub(crate) struct Load<'a> {
    conn: &'a Client,
    upstream: &'a Upstream,
    pub(crate) endpoint: &'a Endpoint,
    began: Instant,
    passes: Passes,
    has_served: bool,
    /// A [`Presence`] has taken its place.
    is_kept: bool,
}

/// What the breakers want to see again.
#[derive(Clone, Copy, Default)]
struct Passes {
    upstream: Option<Pass>,
    endpoint: Option<Pass>,
}

impl<'a> Load<'a> {
    /// For an attempt that the cell counts already.
    fn new(conn: &'a Client, upstream: &'a Upstream, endpoint: &'a Endpoint, passes: Passes) -> Load<'a> {
        Load {
            conn,
            upstream,
            endpoint,
            began: conn.worker.rt.now(),
            passes,
            has_served: false,
            is_kept: false,
        }
    }

    /// Tells everybody who judges the endpoint how the attempt went.
    pub(crate) fn observe(&mut self, outcome: Outcome) {
        let is_telling = choose::judge(self.conn, self.upstream, self.endpoint, self.began, outcome);
        if let Some(admission) = &self.upstream.admission
            && is_telling
        {
            self.measure(admission, outcome);
        }
    }

    /// No connection came about, for `cause`: the endpoint's fault, unless it is that of our limits, of the client, or of
    /// what this machine lacks.
    pub(crate) fn blame(&mut self, cause: Cause) {
        let is_ours = matches!(
            cause,
            Cause::ClientGone
                | Cause::QueueFull
                | Cause::QueueTimeout
                | Cause::QueueDeadline
                | Cause::PortsExhausted
                | Cause::SourceUnavailable
                | Cause::UpstreamResources
        );
        if !is_ours {
            self.observe(Outcome::ConnectFailed);
        }
    }

    /// The endpoint has accepted a connection that will carry bytes of which nobody knows: the place is kept without the
    /// generation that it was given in.
    pub(crate) fn keep(mut self) -> Presence {
        let worker = &self.conn.worker;
        let now = worker.rt.now();
        // To the breakers it is a success that there is a connection. Whether the endpoint is alive behind it, they will
        // not see.
        show(self.upstream, self.endpoint, std::mem::take(&mut self.passes), Some(false), now);
        self.is_kept = true;
        Presence::new(worker, self.upstream, self.endpoint, self.began)
    }

    fn measure(&mut self, admission: &Admission, outcome: Outcome) {
        let now = self.conn.worker.rt.now();
        let failed = outcome != Outcome::Success;
        self.has_served |= !failed;
        show(self.upstream, self.endpoint, std::mem::take(&mut self.passes), Some(failed), now);
        let gate = &admission.gate;
        if let Some(rules) = &admission.adaptive
            && !failed
            && gate.adaptive.observe(rules, now.since(self.began), gate.in_flight(), now)
        {
            pass_on(self.conn, admission);
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        self.endpoint.cell.end();
        if let Some(admission) = &self.upstream.admission {
            let now = self.conn.worker.rt.now();
            show(self.upstream, self.endpoint, self.passes, None, now);
            if self.has_served {
                admission.gate.served(now.since(self.began));
            }
            leave(self.conn, admission);
        }
    }
}

/// Shows the breakers what came of the attempt.
fn show(upstream: &Upstream, endpoint: &Endpoint, passes: Passes, failed: Option<bool>, now: Instant) {
    if let Some(admission) = &upstream.admission
        && let Some((rules, pass)) = admission.breaker.as_ref().zip(passes.upstream)
    {
        admission.gate.breaker.observe(rules, pass, failed, now);
    }
    if let Some(valve) = &endpoint.valve
        && let Some((rules, pass)) = valve.breaker.as_ref().zip(passes.endpoint)
    {
        valve.state.breaker.observe(rules, pass, failed, now);
    }
}

/// Gives a permit back.
fn leave(conn: &Client, admission: &Admission) {
    admission.gate.leave();
    pass_on(conn, admission);
}

/// Calls whoever waits next, if anybody does.
fn pass_on(conn: &Client, admission: &Admission) {
    if admission.gate.line.is_waited_for() {
        conn.worker.queues.of(&admission.gate).pass_on();
    }
}

/// What came of trying to be let in.
enum Tried<'a> {
    In(Load<'a>),
    /// There is no room now, and somebody will give some back.
    Full,
    /// Nothing is known of the endpoints yet.
    Unchecked,
    /// Waiting would not help.
    Refused(Cause),
}

/// The endpoint for an attempt that may begin now; `None` when it has to [`wait`].
pub(crate) fn at_once<'a>(
    conn: &'a Client,
    x: &mut Exchange,
    upstream: &'a Upstream,
) -> Option<Result<Load<'a>, Fault>> {
    try_at_once(conn, x, upstream, true)
}

/// `may_wait` as for `choose::endpoint`.
fn try_at_once<'a>(
    conn: &'a Client,
    x: &mut Exchange,
    upstream: &'a Upstream,
    may_wait: bool,
) -> Option<Result<Load<'a>, Fault>> {
    let tried = match &upstream.admission {
        None => match choose::endpoint(conn, x, upstream, may_wait) {
            Ok(endpoint) => {
                endpoint.cell.begin();
                Tried::In(Load::new(conn, upstream, endpoint, Passes::default()))
            }
            Err(none) => without_endpoint(none, upstream, conn.worker.rt.now()),
        },
        // Nobody overtakes those who wait already.
        Some(admission) if admission.gate.line.waiting() > 0 => Tried::Full,
        Some(admission) => enter(conn, x, upstream, admission, may_wait),
    };
    match tried {
        Tried::In(load) => Some(Ok(load)),
        Tried::Full | Tried::Unchecked => None,
        Tried::Refused(cause) => {
            x.retry_after = retry_after(cause, upstream, conn.worker.rt.now());
            Some(Err(cause.into()))
        }
    }
}

/// A second attempt of this exchange on `endpoint`, side by side with the first one; never waits and never overtakes.
pub(crate) fn beside<'a>(
    conn: &'a Client,
    upstream: &'a Upstream,
    endpoint: &'a Endpoint,
) -> Option<Load<'a>> {
    match &upstream.admission {
        None => {
            endpoint.cell.begin();
            Some(Load::new(conn, upstream, endpoint, Passes::default()))
        }
        Some(admission) if admission.gate.line.waiting() > 0 => None,
        Some(admission) if !admission.gate.enter(admission.in_flight_max()) => None,
        Some(admission) => take(conn, upstream, admission, endpoint),
    }
}

/// How often the last place of an endpoint may be lost to another worker before the request has to wait.
const LOST_MAX: usize = 4;

/// Takes a permit and a place on an endpoint, or neither.
fn enter<'a>(
    conn: &'a Client,
    x: &Exchange,
    upstream: &'a Upstream,
    admission: &'a Admission,
    may_wait: bool,
) -> Tried<'a> {
    let gate = &admission.gate;
    let now = conn.worker.rt.now();
    let max = admission.in_flight_max();
    for _ in 0..LOST_MAX {
        if admission.breaker.as_ref().is_some_and(|rules| !gate.breaker.may_admit(rules, now)) {
            return Tried::Refused(Cause::CircuitOpen);
        }
        // Looking comes before taking: a permit that is taken in vain could be missed by another request just then.
        if gate.in_flight() >= max {
            return Tried::Full;
        }
        let endpoint = match choose::endpoint(conn, x, upstream, may_wait) {
            Ok(endpoint) => endpoint,
            Err(none) => return without_endpoint(none, upstream, now),
        };
        if !gate.enter(max) {
            return Tried::Full;
        }
        if let Some(load) = take(conn, upstream, admission, endpoint) {
            return Tried::In(load);
        }
    }
    Tried::Full
}

/// Takes a place on the endpoint for a request that has a permit; the permit is given back when another worker was quicker.
fn take<'a>(
    conn: &'a Client,
    upstream: &'a Upstream,
    admission: &'a Admission,
    endpoint: &'a Endpoint,
) -> Option<Load<'a>> {
    let endpoint_max = endpoint.valve.as_ref().map_or(u32::MAX, |valve| valve.in_flight_max());
    if endpoint.cell.try_begin(endpoint_max) {
        if let Some(passes) = passes(admission, endpoint, conn.worker.rt.now()) {
            return Some(Load::new(conn, upstream, endpoint, passes));
        }
        endpoint.cell.end();
    }
    // Whoever missed the permit that we had for nothing is called.
    leave(conn, admission);
    None
}

/// Asks the breakers that there are; `None` when one of them lets nothing in any more.
fn passes(admission: &Admission, endpoint: &Endpoint, now: Instant) -> Option<Passes> {
    let mut passes = Passes::default();
    if let Some(rules) = &admission.breaker {
        passes.upstream = Some(admission.gate.breaker.admit(rules, now)?);
    }
    if let Some(valve) = &endpoint.valve
        && let Some(rules) = &valve.breaker
    {
        // Never both: a configuration has breakers of one scope.
        passes.endpoint = Some(valve.state.breaker.admit(rules, now)?);
    }
    Some(passes)
}

/// Why the balancer has found nothing.
fn without_endpoint<'a>(none: NoEndpoint, upstream: &Upstream, now: Instant) -> Tried<'a> {
    let is_open = |endpoint: &Endpoint| endpoint.valve.as_ref().is_some_and(|valve| valve.is_open(now));
    match none {
        NoEndpoint::Full => Tried::Full,
        NoEndpoint::Unchecked => Tried::Unchecked,
        NoEndpoint::Absent if upstream.endpoints.iter().any(is_open) => Tried::Refused(Cause::CircuitOpen),
        NoEndpoint::Absent if upstream.unresolved => Tried::Refused(Cause::NameUnresolved),
        NoEndpoint::Absent => Tried::Refused(Cause::NoEndpoint),
        NoEndpoint::Unhealthy => Tried::Refused(Cause::NoHealthyEndpoint),
    }
}

/// Waits until something is known of the endpoints, and in the upstream's queue until the request is let in.
pub(crate) async fn wait<'a>(
    conn: &'a Client,
    x: &mut Exchange,
    upstream: &'a Upstream,
) -> Result<Load<'a>, Fault> {
    if choose::is_unchecked(conn, x, upstream) {
        choose::first_check(conn, x, upstream).await?;
        if let Some(load) = try_at_once(conn, x, upstream, false) {
            return load;
        }
    }
    let admission = upstream.admission.as_ref().ok_or(Cause::Internal)?;
    let waited = wait_in_line(conn, x, upstream, admission).await;
    x.phases.mark(Phase::Queue, conn.worker.rt.now());
    if let Err(Fault(cause)) = &waited {
        x.retry_after = retry_after(*cause, upstream, conn.worker.rt.now());
    }
    waited
}

/// Seconds after which it makes sense to ask again; 0 says nothing.
fn retry_after(cause: Cause, upstream: &Upstream, now: Instant) -> u32 {
    match cause {
        Cause::QueueFull | Cause::QueueTimeout | Cause::QueueDeadline | Cause::ConcurrencyLimit => 1,
        Cause::CircuitOpen => {
            let of_upstream = upstream.admission.iter().map(|admission| &admission.gate.breaker);
            let of_endpoints = upstream.endpoints.iter().filter_map(|endpoint| endpoint.valve.as_ref());
            let breakers = of_upstream.chain(of_endpoints.map(|valve| &valve.state.breaker));
            let waits = breakers.filter_map(|breaker| match breaker.state(now) {
                State::Open { until } => Some(until.since(now)),
                State::Closed | State::HalfOpen => None,
            });
            let seconds = waits.min().map_or(1, |wait| wait.as_secs() + 1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

async fn wait_in_line<'a>(
    conn: &'a Client,
    x: &Exchange,
    upstream: &'a Upstream,
    admission: &'a Admission,
) -> Result<Load<'a>, Fault> {
    let rt = &conn.worker.rt;
    let gate = &admission.gate;
    if !gate.can_meet(x.deadline, rt.now()) {
        return Err(too_late(x, rt.now()).into());
    }
    let queue = conn.worker.queues.of(gate);
    let joined = queue.join(What::Permit, admission.queue_max, admission.patience());
    let full = if admission.queue_max == 0 && admission.is_adapted() {
        Cause::ConcurrencyLimit
    } else {
        Cause::QueueFull
    };
    let (seat, joined) = joined.ok_or(full)?;
    let timeout = rt.now() + admission.queue_timeout;
    let latest = if x.deadline == Instant::NEVER { x.deadline } else { x.deadline - gate.service_time() };
    conn.upstream_timer.set(timeout.min(latest));
    let mut watch = ClientWatch::of(x);
    let mut may_try = joined == Joined::Alone;
    let tried = poll_fn(|cx| {
        if seat.is_called(cx) || std::mem::take(&mut may_try) {
            if !gate.can_meet(x.deadline, rt.now()) {
                return Poll::Ready(Tried::Refused(too_late(x, rt.now())));
            }
            match enter(conn, x, upstream, admission, false) {
                Tried::Full | Tried::Unchecked => {}
                tried => return Poll::Ready(tried),
            }
        }
        if conn.poll_gone(&mut watch, cx).is_ready() {
            return Poll::Ready(Tried::Refused(Cause::ClientGone));
        }
        conn.upstream_timer.poll_expired(cx).map(|()| {
            let cause = if rt.now() >= timeout { Cause::QueueTimeout } else { too_late(x, rt.now()) };
            Tried::Refused(cause)
        })
    });
    match tried.await {
        Tried::In(load) => {
            seat.let_in();
            Ok(load)
        }
        Tried::Refused(cause) => Err(cause.into()),
        Tried::Full | Tried::Unchecked => Err(Cause::Internal.into()),
    }
}

/// Why a request that cannot be served before its deadline ends.
fn too_late(x: &Exchange, now: Instant) -> Cause {
    if now >= x.deadline { Cause::TotalTimeout } else { Cause::QueueDeadline }
}

/// A place for a new connection to `endpoint`; `None` where connections are not limited.
///
/// A request in flight has a connection of its own, so that places can be short only because of idle connections: those
/// of this worker make room at once, those of others are asked to.
pub(crate) async fn slot(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    timer: &Timer,
) -> Result<Option<Slot>, Cause> {
    let Some(admission) = &upstream.admission else { return Ok(None) };
    if admission.gate.slots.waiting() == 0
        && let Some(slot) = take_slot(conn, admission, endpoint)
    {
        return Ok(Some(slot));
    }
    Box::pin(wait_for_slot(conn, x, admission, endpoint, timer)).await.map(Some)
}

/// Takes a place, if need be from an idle connection of this worker.
fn take_slot(conn: &Client, admission: &Admission, endpoint: &Endpoint) -> Option<Slot> {
    let gate = &admission.gate;
    // From now on other workers can ask this one for its idle connections.
    let _queue = conn.worker.queues.of(gate);
    loop {
        if let Some(slot) = Slot::take(gate, admission.connections_max, endpoint.valve.as_ref()) {
            return Some(slot);
        }
        let of_endpoint = endpoint.valve.as_ref().is_some_and(|valve| valve.is_connected_fully());
        if !conn.worker.pool.evict(gate, of_endpoint.then_some(&endpoint.cell)) {
            return None;
        }
    }
}

async fn wait_for_slot(
    conn: &Client,
    x: &Exchange,
    admission: &Admission,
    endpoint: &Endpoint,
    timer: &Timer,
) -> Result<Slot, Cause> {
    let rt = &conn.worker.rt;
    let gate = &admission.gate;
    let queue = conn.worker.queues.of(gate);
    // As many as were let in, which is bounded already.
    let joined = queue.join(What::Connection, u32::MAX, admission.patience());
    let (seat, _) = joined.ok_or(Cause::QueueFull)?;
    gate.slots.call_all();
    timer.set((rt.now() + admission.queue_timeout).min(x.deadline));
    let mut watch = ClientWatch::of(x);
    let mut may_try = true;
    let taken = poll_fn(|cx| {
        if (seat.is_called(cx) || std::mem::take(&mut may_try))
            && let Some(slot) = take_slot(conn, admission, endpoint)
        {
            return Poll::Ready(Ok(slot));
        }
        if conn.poll_gone(&mut watch, cx).is_ready() {
            return Poll::Ready(Err(Cause::ClientGone));
        }
        timer
            .poll_expired(cx)
            .map(|()| Err(if rt.now() >= x.deadline { Cause::QueueDeadline } else { Cause::QueueTimeout }))
    });
    let slot = taken.await?;
    seat.let_in();
    Ok(slot)
}

/// Closes up to `count` idle connections of this worker that count against `gate`, the longest idle ones first, and one of
/// each endpoint that has as many as it may have.
pub(crate) fn make_room(
    pool: &crate::upstream::pool::Pool,
    gate: &Arc<traffic::admission::Gate>,
    count: u32,
) {
    pool.evict_of_full_endpoints(gate);
    for _ in 0..count {
        if !pool.evict(gate, None) {
            return;
        }
    }
}
