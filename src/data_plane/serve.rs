//! The life of one HTTP request on one worker.
//!
//!   decode → route → filter → balance → lease → relay → finish
//!
//! Each step below is one call. Whatever the exit, `finish::exchange` runs exactly once.

use crate::ask;
use crate::downstream::{Client, ClientWatch};
use crate::exchange::{AttemptFacts, Exchange};
use crate::finish;
use crate::grpc;
use crate::hedge;
use crate::overload;
use crate::relay;
use crate::respond;
use crate::session;
use crate::stored;
use crate::upstream::admission::{self, Load};
use crate::upstream::{self, lease::Lease};
use base::Instant;
use std::rc::Rc;
use std::time::Duration;
use traffic::filter::{Verdict, Visit};
use traffic::health::Outcome;
use traffic::recent::TriedEnd;
use traffic::retry::{self, Attempt, Decision, Failure};
use traffic::snapshot::{Action, Endpoint, Route, Split, Upstream};
use traffic::{Cause, Phase, source};
use wire::http::{BodyLength, Known, Request};

/// What becomes of the client's connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It can carry another request.
    Keep,
    /// The client asked for the end, and everything that it sent has been read: it can be closed at once.
    Close(Cause),
    /// The client may still be sending: close after reading that.
    Linger(Cause),
    /// The response is incomplete, and a reset is the only way to say so.
    Abort(Cause),
}

/// The exchange cannot go on. Whether the client gets an answer depends on whether one has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) Cause);

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Fault(cause)
    }
}

/// Serves the request whose head is in `x`.
pub(crate) async fn serve(conn: &Client, x: &mut Exchange) -> Next {
    let next = match run(conn, x).await {
        Ok(next) => next,
        Err(Fault(cause)) if x.response_started || cause == Cause::ClientGone => {
            let cause = x.call.cause(cause);
            x.cause = Some(cause);
            Next::Abort(cause)
        }
        Err(Fault(cause)) => Box::pin(respond::refuse(conn, x, x.call.cause(cause))).await,
    };
    finish::exchange(conn, x);
    next
}

async fn run(conn: &Client, x: &mut Exchange) -> Result<Next, Fault> {
    let generation = Rc::clone(&x.generation); // this exchange keeps its generation to the end
    let listener = conn.listener(&generation);

    x.facts = source::client_address(conn.peer_ip(), x.request(), &listener.trusted_proxies);
    count_disbelief(conn, x);
    if conn.is_misdirected(x.request().host()) {
        return Err(Cause::Misdirected.into());
    }
    let route = listener.table.find(x.request(), x.facts.client).ok_or(Cause::NoRoute)?;
    let route = generation.route(route);
    x.route = Some(route.id);
    x.phases.mark(Phase::Route, conn.worker.rt.now());
    if let BodyLength::Length(bytes) = x.head.body
        && bytes > route.body_bytes_max
    {
        if let Some(cors) = route.chain.cors() {
            cors.permit(Request::new(&x.head, x.head_bytes.as_slice()), &mut x.response_edits);
        }
        return Err(Cause::BodyTooLarge.into());
    }
    x.abort_on_close = route.abort_on_close.unwrap_or(listener.abort_on_close);
    if let Some(total) = route.timeouts.total {
        x.deadline = conn.worker.rt.now() + total;
    }
    grpc::begin(x, route, conn.worker.rt.now());

    if route.chain.hooks().request_head {
        loop {
            match filter(conn, x, route) {
                Verdict::Continue => break,
                Verdict::Respond(Cause::Preflight) => {
                    return Box::pin(respond::preflight(conn, x, route)).await;
                }
                Verdict::Respond(cause) => {
                    x.retry_after = x.tally.retry_after_s();
                    return Err(cause.into());
                }
                Verdict::Ruled(ruling) => return Box::pin(respond::ruled(conn, x, route, &ruling)).await,
                // Boxed: few requests ask, and all of them would carry its state.
                Verdict::Suspend(question) => Box::pin(ask::perform(conn, x, question)).await?,
            }
        }
    }
    x.phases.mark(Phase::Filter, conn.worker.rt.now());

    match &route.action {
        Action::Forward(split) => match &route.cache {
            None => forward(conn, x, route, split).await,
            // Boxed: routes without a cache shall not carry its state.
            Some(store) => Box::pin(stored::serve(conn, x, route, split, store)).await,
        },
        Action::Respond(response) => Box::pin(respond::fixed(conn, x, route, response)).await,
        Action::Redirect(redirect) => Box::pin(respond::redirect(conn, x, route, redirect)).await,
    }
}

/// Lets the request pass the filters of its route, as far as they get before they have to ask.
fn filter(conn: &Client, x: &mut Exchange, route: &Route) -> Verdict {
    let mut visit = Visit {
        request: Request::new(&x.head, x.head_bytes.as_slice()),
        client: x.facts.client,
        is_secure: conn.is_secure(x),
        certificate: conn.security.as_ref().and_then(|security| security.client.as_ref()),
        unix_s: conn.worker.rt.wall_nanos() / 1_000_000_000,
        now: conn.worker.rt.now(),
        outgoing: &mut x.outgoing,
        response: &mut x.response_edits,
        caller: &mut x.caller,
        route: route.id,
        tally: &mut x.tally,
        memory: &mut conn.worker.memory.borrow_mut(),
    };
    x.walk.advance(&route.chain, &mut visit)
}

/// Counts what the request says and nobody believes.
fn count_disbelief(conn: &Client, x: &Exchange) {
    let look_alikes = x.head.fields.iter().filter(|field| field.flags.look_alike).count();
    conn.worker.stats.fields_dropped.add(look_alikes as u64);
    conn.worker.stats.forwarded_refused.add(u64::from(x.facts.refused));
}

/// How an attempt ended.
enum Attempted {
    /// A response was relayed.
    Done(Next),
    /// Nothing of it has reached the client, and the rules allow another one after `pause`.
    Again { pause: Duration },
}

/// Tries endpoints until one answers or the retry rules say that no other may be asked.
pub(crate) async fn forward(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    split: &Split,
) -> Result<Next, Fault> {
    let worker = &*conn.worker;
    overload::admit(worker)?;
    let generation = Rc::clone(&x.generation);
    let upstream = generation.upstream(split.pick(worker.random()));
    x.upstream = Some(upstream.id);
    upstream.budget.deposit();
    x.session = session::read(conn, x, upstream);
    let mut fresh_only = false;
    loop {
        let load = match admission::at_once(conn, x, upstream) {
            Some(load) => load?,
            None => Box::pin(admission::wait(conn, x, upstream)).await?,
        };
        x.endpoint = Some(load.endpoint.id);
        x.attempts += 1;
        // Only the first attempt may take a pooled connection. A retry counts when it begins: the client may leave before.
        worker.stats.retries.add(u64::from(fresh_only));
        x.attempt = AttemptFacts::NEW;
        let asked = match &route.hedge {
            // Not for a session: another endpoint does not know it, and might answer all the quicker. Boxed, because
            // its state is several times that of one attempt, and most routes have no hedge.
            Some(hedge)
                if x.attempts == 1
                    && hedge.apply_to(&x.head)
                    && x.session.endpoint() != Some(load.endpoint.id) =>
            {
                Box::pin(hedge::ask(conn, x, route, upstream, load, hedge)).await
            }
            _ => attempt(conn, x, route, upstream, load, fresh_only).await,
        };
        let attempted = match asked {
            Ok(asked) => conclude(conn, x, route, upstream, asked).await,
            Err(fault) => Err(fault),
        };
        let attempted = match attempted {
            Ok(attempted) => attempted,
            Err(fault) => match after_fault(conn, x, route, upstream, fault) {
                Decision::Retry { pause } => Attempted::Again { pause },
                Decision::GiveUp => return Err(fault),
            },
        };
        let pause = match attempted {
            Attempted::Done(next) => return Ok(next),
            Attempted::Again { pause } => pause,
        };
        let now = worker.rt.now();
        let only_unseen = x.attempt.unseen && !is_repeatable(x, route);
        worker.stats.races_unseen.add(u64::from(only_unseen));
        x.phases.retry(now);
        x.failed.extend(x.endpoint);
        // Where one pooled connection was dead, the others may be.
        fresh_only = true;
        if !pause.is_zero() {
            conn.upstream_timer.set((now + pause).min(x.deadline));
            let pause = conn.upstream_timer.wait();
            conn.while_present(&mut ClientWatch::of(x), pause).await.ok_or(Cause::ClientGone)?;
            x.phases.retry(worker.rt.now());
        }
    }
}

/// What follows an attempt that has failed.
fn after_fault(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    fault: Fault,
) -> Decision {
    x.remember_attempt(TriedEnd::Failed(fault.0));
    decide(conn, x, route, upstream, fault.0.into())
}

fn decide(conn: &Client, x: &Exchange, route: &Route, upstream: &Upstream, failure: Failure) -> Decision {
    let now = conn.worker.rt.now();
    if !overload::may_repeat(&conn.worker, x.attempt.fresh) {
        return Decision::GiveUp;
    }
    let attempt = Attempt {
        method: x.head.method,
        idempotency_key: has_idempotency_key(x),
        fresh_connection: x.attempt.fresh,
        request_bytes_sent: x.attempt.sent,
        response_started_downstream: x.response_started,
        response_bytes_received: x.attempt.answered,
        request_unseen: x.attempt.unseen,
        // What has not been read of it is still with the client.
        body_replayable: x.upload.bytes == 0 || !x.upload.replay.lost,
        attempts_made: x.attempts,
        failure,
        deadline_left: (x.deadline != Instant::NEVER).then(|| x.deadline.since(now)),
        random: conn.worker.random(),
    };
    retry::decide(&route.retry, &attempt, &upstream.budget, now)
}

/// A response whose head is in the exchange, and the connection that its body will come on.
pub(crate) struct Asked<'a> {
    /// Before the load: the connection is closed before the next request is let in.
    pub(crate) lease: Lease,
    pub(crate) load: Load<'a>,
}

/// One attempt on one endpoint up to the response head: lease a connection, send the request, wait.
async fn attempt<'a>(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    mut load: Load<'a>,
    fresh_only: bool,
) -> Result<Asked<'a>, Fault> {
    let worker = &*conn.worker;
    let (endpoint, timer) = (load.endpoint, &conn.upstream_timer);
    let deadline = attempt_deadline(conn, x, route);
    let leased = upstream::lease::obtain(conn, x, upstream, endpoint, timer, deadline, fresh_only).await;
    x.phases.mark(Phase::Connect, worker.rt.now());
    let lease = match leased {
        Ok(lease) => lease,
        Err(cause) => {
            load.blame(cause);
            return Err(cause.into());
        }
    };
    #[cfg(debug_assertions)]
    worker.stats.stumble();
    x.attempt.fresh = lease.is_fresh();
    let answered = exchange_heads(conn, x, route, upstream, endpoint, &lease, deadline).await;
    x.phases.mark(Phase::Wait, worker.rt.now());
    if let Some(outcome) = outcome(&answered, x.response.status, x.attempt) {
        load.observe(outcome);
    }
    match answered {
        Ok(()) => Ok(Asked { lease, load }),
        Err(fault) => {
            if x.attempt.unseen {
                lease.abandon(conn);
            }
            Err(fault)
        }
    }
}

/// What the endpoint is to be praised or blamed for, if anything.
pub(crate) fn outcome(answered: &Result<(), Fault>, status: u16, facts: AttemptFacts) -> Option<Outcome> {
    match answered {
        Ok(()) if matches!(status, 502..=504) => Some(Outcome::GatewayError),
        Ok(()) => Some(Outcome::Success),
        // A pooled connection that the endpoint had closed meanwhile is no failure of the endpoint.
        Err(Fault(cause)) => (cause.side() == traffic::Side::Upstream
            && (facts.fresh || facts.answered || *cause == Cause::UpstreamTimeout))
            .then_some(Outcome::GatewayError),
    }
}

/// Relays the response, unless its status is one that the route repeats.
async fn conclude(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    asked: Asked<'_>,
) -> Result<Attempted, Fault> {
    if route.retry.on.statuses.contains(&x.response.status)
        && let Decision::Retry { pause } =
            decide(conn, x, route, upstream, Failure::Status(x.response.status))
    {
        x.remember_attempt(TriedEnd::Answered(x.response.status));
        return Ok(Attempted::Again { pause });
    }
    let Asked { lease, load } = asked;
    if x.stored.is_some()
        && let Some(answer) = stored::on_response(conn, x)
    {
        relay::give_back_unread(conn, x, upstream, lease);
        drop(load);
        return Ok(Attempted::Done(Box::pin(stored::deliver(conn, x, route, answer)).await?));
    }
    Ok(Attempted::Done(relay::response(conn, x, upstream, load, lease).await?))
}

/// Sends the request and reads the head of the final response.
async fn exchange_heads(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    endpoint: &Endpoint,
    lease: &Lease,
    deadline: Instant,
) -> Result<(), Fault> {
    upstream::h1::write_request_head(conn, x, endpoint, lease);
    // A request that must not be sent twice can only be repeated after a pooled connection has failed it.
    // Over HTTP/2 also after the endpoint has refused it.
    x.upload.replay.lost |= lease.is_fresh() && !lease.is_shared() && !is_repeatable(x, route);
    // Not `upload.done`: what an earlier attempt has read of a body must be sent again.
    x.upload.queued = x.head.body == BodyLength::None;
    if x.upload.queued {
        x.phases.mark(Phase::Send, conn.worker.rt.now());
        upstream::h1::read_final_head(conn, x, route, upstream, lease, deadline).await
    } else {
        // Requests with a body are rarer and take longer: their larger state is allocated only for them.
        Box::pin(upstream::h1::send_body_and_read_head(conn, x, route, upstream, lease, deadline)).await
    }
}

/// When an attempt that begins now must have its response head.
pub(crate) fn attempt_deadline(conn: &Client, x: &Exchange, route: &Route) -> Instant {
    let per_try = route.timeouts.per_try.map_or(Instant::NEVER, |limit| conn.worker.rt.now() + limit);
    x.deadline.min(per_try)
}

/// Whether the request may be sent again after an endpoint may have read it.
fn is_repeatable(x: &Exchange, route: &Route) -> bool {
    retry::is_repeatable(&route.retry, x.head.method, has_idempotency_key(x))
}

fn has_idempotency_key(x: &Exchange) -> bool {
    x.request().known(Known::IdempotencyKey).is_some()
}
