//! Two attempts side by side: when the first endpoint is slow to answer, a second one is asked, and the first complete
//! response head wins.
//!
//! ```text
//!   first leg ──────┬──(after)──┬─────────────▶ head: wins
//!                   │           └─ second leg ─▶ head: wins
//!                   └─ fails before: an ordinary failure, and the retry rules decide
//! ```
//!
//! Each leg has its own connection, response head and timer until it has won. The other leg is dropped then, which closes
//! its connection: the only way to take a request back in HTTP/1.1. A leg that fails, or answers with a status that the
//! route repeats, leaves the field to the other one. The second leg costs one of the upstream's retries, so that hedging
//! cannot multiply an overload, and it counts as an attempt.

use crate::downstream::{Client, ClientWatch};
use crate::exchange::{AttemptFacts, Exchange, HeadBytes};
use crate::overload;
use crate::serve::{self, Asked, Fault};
use crate::upstream::admission::{self, Load};
use crate::upstream::choose;
use crate::upstream::h1::{self, Answer, Patience};
use crate::upstream::lease::{self, Lease};
use base::Instant;
use runtime::Timer;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use traffic::hedge::HedgeRules;
use traffic::recent::{Tried, TriedEnd};
use traffic::snapshot::{Endpoint, Route, Upstream};
use traffic::{Cause, Phase};
use wire::http::ResponseHead;

/// What both legs are about.
#[derive(Clone, Copy)]
struct Question<'x> {
    conn: &'x Client,
    x: &'x Exchange,
    route: &'x Route,
    upstream: &'x Upstream,
}

/// A leg that has ended.
struct Leg<'a> {
    endpoint: &'a Endpoint,
    /// The connection that the response comes on, or why there is none. It is closed before the next request is let in.
    lease: Result<Lease, Fault>,
    load: Load<'a>,
    began: Instant,
    connected: Instant,
    facts: AttemptFacts,
    head: ResponseHead,
    bytes: HeadBytes,
}

/// How the legs ended.
struct Finish<'a> {
    /// The winner, or the last one to fail.
    last: Leg<'a>,
    /// The one that ended before it without winning.
    earlier: Option<Leg<'a>>,
    /// The second endpoint and when it was asked.
    second: Option<(&'a Endpoint, Instant)>,
}

#[expect(clippy::large_enum_variant, reason = "it lives from one poll to the next line")]
enum Event<'a> {
    Ended(Leg<'a>),
    /// The first endpoint has had its time.
    Slow,
    ClientGone,
}

/// Asks `first`, and another endpoint when that has not answered after a while. The response head of the winner is then
/// in `x`; when both have failed, the failure of the last one counts.
pub(crate) async fn ask<'a>(
    conn: &'a Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &'a Upstream,
    load: Load<'a>,
    rules: &HedgeRules,
) -> Result<Asked<'a>, Fault> {
    let first = load.endpoint;
    let began = conn.worker.rt.now();
    let slow = conn.worker.rt.timer();
    let learned = &route.stats.hedge_delay;
    if let Some(delay) = rules.delay(learned) {
        slow.set(began + delay);
    }
    let memory = std::mem::take(&mut x.response);
    x.failed.push(first.id); // for the choice of the second endpoint
    let finish = run(Question { conn, x, route, upstream }, (conn, upstream), load, &slow, memory).await;
    x.failed.pop();
    let finish = finish?;
    if finish.earlier.is_none() && finish.last.lease.is_ok() {
        // The first endpoint has answered now, or is slower than this.
        rules.learn(learned, conn.worker.rt.now().since(began));
    }
    if let Some((second, since)) = finish.second {
        x.attempts += 1;
        if finish.earlier.is_none() {
            // Whoever was overtaken is at least so slow.
            let is_first = finish.last.endpoint.id == first.id;
            let (slower, since) = if is_first { (second, since) } else { (first, began) };
            choose::outpaced(conn, slower, since);
            let wait = conn.worker.rt.now().since(since);
            let (endpoint, connect) = (slower.id, Duration::ZERO);
            x.tried.push(Tried { endpoint, end: TriedEnd::Overtaken, connect, wait });
        }
    }
    settle(conn, x, first, finish)
}

/// Runs the legs until one has won or none is left.
async fn run<'a>(
    question: Question<'_>,
    whom: (&'a Client, &'a Upstream),
    first: Load<'a>,
    slow: &Timer,
    memory: ResponseHead,
) -> Result<Finish<'a>, Fault> {
    let Question { conn, route, .. } = question;
    let second_timer = conn.worker.rt.timer();
    let mut first_leg = pin!(Some(leg(question, first, &conn.upstream_timer, memory)));
    let mut second_leg = pin!(None);
    let (mut second, mut earlier) = (None, None);
    let mut watch = ClientWatch::of(question.x);
    loop {
        let event = poll_fn(|cx| {
            for leg in [&mut first_leg, &mut second_leg] {
                if let Some(running) = leg.as_mut().as_pin_mut()
                    && let Poll::Ready(ended) = running.poll(cx)
                {
                    leg.set(None);
                    return Poll::Ready(Event::Ended(ended));
                }
            }
            if conn.poll_gone(&mut watch, cx).is_ready() {
                return Poll::Ready(Event::ClientGone);
            }
            slow.poll_expired(cx).map(|()| Event::Slow)
        })
        .await;
        match event {
            Event::ClientGone => return Err(Cause::ClientGone.into()),
            Event::Slow => {
                slow.clear();
                if let Some(load) = second_load(question, whom) {
                    conn.worker.stats.hedges.add(1);
                    second = Some((load.endpoint, conn.worker.rt.now()));
                    second_leg.set(Some(leg(question, load, &second_timer, ResponseHead::default())));
                }
            }
            Event::Ended(last) => {
                let has_won = last.lease.is_ok() && !route.retry.on.statuses.contains(&last.head.status);
                if has_won || (first_leg.is_none() && second_leg.is_none()) {
                    return Ok(Finish { last, earlier, second });
                }
                earlier = Some(last);
            }
        }
    }
}

/// An attempt for the second leg, if there is another endpoint and neither pressure nor the budget nor limits forbid it.
fn second_load<'a>(
    Question { x, .. }: Question<'_>,
    (conn, upstream): (&'a Client, &'a Upstream),
) -> Option<Load<'a>> {
    let endpoint = choose::another(conn, x, upstream)?;
    if !overload::may_repeat(&conn.worker, true) {
        return None;
    }
    let may_ask = upstream.budget.try_withdraw(conn.worker.rt.now());
    if may_ask { admission::beside(conn, upstream, endpoint) } else { None }
}

/// One attempt on one endpoint up to the response head.
async fn leg<'a>(question: Question<'_>, load: Load<'a>, timer: &Timer, head: ResponseHead) -> Leg<'a> {
    let Question { conn, x, route, upstream } = question;
    let rt = &conn.worker.rt;
    let endpoint = load.endpoint;
    let began = rt.now();
    let deadline = serve::attempt_deadline(conn, x, route);
    let leased = lease::obtain(conn, x, upstream, endpoint, timer, deadline, false).await;
    let connected = rt.now();
    let mut leg = Leg {
        endpoint,
        load,
        began,
        connected,
        facts: AttemptFacts::NEW,
        head,
        bytes: HeadBytes::None,
        lease: leased.map_err(Fault::from),
    };
    let lease = match &leg.lease {
        Ok(lease) => lease,
        Err(Fault(cause)) => {
            leg.load.blame(*cause);
            return leg;
        }
    };
    leg.facts.fresh = lease.is_fresh();
    h1::write_request_head(conn, x, endpoint, lease);
    let patience = Patience {
        timer,
        attempt: deadline.min(connected + h1::response_head_timeout(route, upstream)),
        exchange: x.deadline,
        watch: None,
    };
    let answer = Answer { facts: &mut leg.facts, head: &mut leg.head, bytes: &mut leg.bytes };
    let answered = h1::read_hedged_head(conn, x, upstream, lease, patience, answer).await;
    if let Some(outcome) = serve::outcome(&answered, leg.head.status, leg.facts) {
        leg.load.observe(outcome);
    }
    if let Err(fault) = answered
        && let Ok(lease) = std::mem::replace(&mut leg.lease, Err(fault))
        && leg.facts.unseen
    {
        lease.abandon(conn);
    }
    leg
}

/// Takes the answer that counts into `x`, or the facts of the failure.
fn settle<'a>(
    conn: &Client,
    x: &mut Exchange,
    first: &Endpoint,
    finish: Finish<'a>,
) -> Result<Asked<'a>, Fault> {
    let Finish { last, earlier, .. } = finish;
    let (leg, other) = match earlier {
        // Both answered, or the last one failed and the earlier one did not: its status is better than none.
        Some(earlier) if last.lease.is_err() && earlier.lease.is_ok() => (earlier, Some(last)),
        earlier => (last, earlier),
    };
    x.endpoint = Some(leg.endpoint.id);
    x.attempt = leg.facts;
    if leg.endpoint.id != first.id {
        // The time for which the first endpoint was alone has come to nothing.
        x.phases.retry(leg.began);
    }
    x.phases.mark(Phase::Connect, leg.connected);
    x.phases.mark(Phase::Send, leg.connected);
    x.phases.mark(Phase::Wait, conn.worker.rt.now());
    (x.response, x.response_bytes) = (leg.head, leg.bytes);
    if let Some(Leg { endpoint, lease: Err(Fault(cause)), began, connected, .. }) = other {
        let wait = conn.worker.rt.now().since(connected);
        let (endpoint, end) = (endpoint.id, TriedEnd::Failed(cause));
        x.tried.push(Tried { endpoint, end, connect: connected.since(began), wait });
        x.failed.push(endpoint);
    }
    let lease = leg.lease?;
    conn.worker.stats.hedges_won.add(u64::from(leg.endpoint.id != first.id));
    Ok(Asked { lease, load: leg.load })
}
