//! The cache of a route on the way of a request: looking up, waiting for another request's fetch, validating, keeping what
//! passes, outdating what a request changes. The rules are those of the crate `cache`; answers are written by `answer`.

mod answer;
mod filling;

pub(crate) use answer::{Answer, How, deliver};

use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::serve::{self, Fault, Next};
use cache::{Asking, FieldRef, Found, Key, Leader, Object, Store, Turn, Usable, Waited};
use filling::Filling;
use runtime::race;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use traffic::Cause;
use traffic::snapshot::{Route, Split};
use wire::h1::encode;
use wire::http::{BodyLength, Known, Method, Request};

/// How long a request waits for another one's fetch before it asks the upstream itself (R83).
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Fetches that one request waits for.
const WAITS_MAX: u32 = 3;
/// How long requests for what was found not to be shared go on alone.
const PASS: Duration = Duration::from_secs(2);

/// Fields that are in no key, that we do not write ourselves, and that some applications let change their answer (X2, R80).
/// They do not travel where one client's answer may become another's.
const UNKEYED: [&[u8]; 18] = [
    b"X-Original-URL",
    b"X-Original-URI",
    b"X-Original-Host",
    b"X-Rewrite-URL",
    b"X-HTTP-Method",
    b"X-HTTP-Method-Override",
    b"X-Method-Override",
    b"X-Host",
    b"X-Forwarded-Server",
    b"X-Forwarded-Scheme",
    b"X-Forwarded-Protocol",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Path",
    b"X-Forwarded-SSL",
    b"X-Forwarded-Uri",
    b"X-URL-Scheme",
    b"Front-End-Https",
    b"X-Backend-Host",
];

/// Conditions and parts: they are about the client's copy, and what is fetched is for all.
const OF_CLIENT: [&[u8]; 3] = [b"If-None-Match", b"If-Modified-Since", b"If-Range"];

/// What the cache has to do with one exchange.
pub(crate) struct State {
    store: Arc<Store>,
    key: Key,
    /// Why the upstream is asked, for `Cache-Status` (RFC 9211 §2.2).
    why: &'static str,
    identified: bool,
    collapsed: bool,
    /// A successful answer outdates what is kept.
    outdates: bool,
    /// Kept, but not to be used without asking.
    stale: Option<Arc<Object>>,
    /// The conditions of the request that is sent are those of `stale`.
    validates: bool,
    leader: Option<Leader>,
    filling: Option<Filling>,
    /// When the upstream was asked, in nanoseconds.
    asked_ns: u64,
}

impl State {
    fn new(store: &Arc<Store>, key: Key, why: &'static str) -> State {
        State {
            store: Arc::clone(store),
            key,
            why,
            identified: false,
            collapsed: false,
            outdates: false,
            stale: None,
            validates: false,
            leader: None,
            filling: None,
            asked_ns: 0,
        }
    }

    /// Whether what passes is being kept.
    pub(crate) fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// Keeps a piece of the body.
    pub(crate) fn take(&mut self, payload: &[u8]) {
        if let Some(filling) = &mut self.filling
            && !filling.take(payload)
        {
            // Too large: those who wait shall not wait for its end.
            self.filling = None;
            self.leader = None;
        }
    }

    /// Says what the cache did (RFC 9211).
    pub(crate) fn write_status(&self, out: &mut Vec<u8>, status: u16) {
        out.extend_from_slice(b"Cache-Status: ringway; fwd=");
        out.extend_from_slice(self.why.as_bytes());
        out.extend_from_slice(b"; fwd-status=");
        encode::decimal(out, status.into());
        if self.is_filling() {
            out.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The fields of a request as the rules want them.
fn fields<'x>(request: Request<'x>) -> Vec<FieldRef<'x>> {
    let pair = |field: &wire::http::Field| (field.name.of(request.bytes), field.value.of(request.bytes));
    request.head.fields.iter().map(pair).collect()
}

/// The key of the request.
fn key(conn: &Client, x: &Exchange) -> Key {
    let request = x.request();
    Key::new(conn.is_secure(x), request.authority(), request.path(), x.outgoing.query(request.query()))
}

/// What endpoints learn of a request beside what is in its key, and the route that it takes.
fn scope(conn: &Client, x: &Exchange, route: &Route) -> Vec<u8> {
    let mut scope = route.name.as_bytes().to_vec();
    scope.push(0);
    scope.extend_from_slice(&conn.local_port.to_le_bytes());
    if x.facts.trusted {
        for said in [Known::XForwardedHost, Known::XForwardedPort, Known::XForwardedProto] {
            scope.push(0);
            scope.extend_from_slice(x.request().known(said).unwrap_or_default());
        }
    }
    scope
}

/// Answers from the store, or forwards and keeps what comes back.
pub(crate) async fn serve(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    split: &Split,
    store: &Arc<Store>,
) -> Result<Next, Fault> {
    let key = key(conn, x);
    let is_lookup = matches!(x.head.method, Method::Get | Method::Head)
        && x.head.body == BodyLength::None
        && x.head.upgrade.is_none();
    if !is_lookup {
        let mut state = State::new(store, key, "method");
        state.outdates =
            !matches!(x.head.method, Method::Get | Method::Head | Method::Options | Method::Trace);
        count(&store.counts.bypassed);
        x.stored = Some(Box::new(state));
        return serve::forward(conn, x, route, split).await;
    }
    let mut state = State::new(store, key, "uri-miss");
    let has_certificate = conn.security.as_ref().is_some_and(|security| !security.client_fields.is_empty());
    state.identified =
        x.caller.is_known() || has_certificate || x.request().known(Known::Authorization).is_some();
    match look_up(conn, x, route, &mut state).await? {
        Some(answer) => {
            count(match answer.how {
                _ if state.collapsed => &store.counts.collapsed,
                How::Stale => &store.counts.stale,
                _ => &store.counts.hits,
            });
            return deliver(conn, x, route, answer).await;
        }
        None => count(&store.counts.misses),
    }
    prepare(conn, x, &mut state);
    x.stored = Some(Box::new(state));
    match serve::forward(conn, x, route, split).await {
        Err(fault) if !x.response_started && fault.0 != Cause::ClientGone => {
            let now = conn.worker.rt.now().as_nanos();
            let stale = x.stored.take().and_then(|state| stale_for_error(&state, now));
            match stale {
                Some(object) => {
                    count(&store.counts.stale);
                    deliver(conn, x, route, Answer { object, how: How::Stale }).await
                }
                None => Err(fault),
            }
        }
        other => other,
    }
}

/// What is kept and may be used because the upstream fails.
fn stale_for_error(state: &State, now_ns: u64) -> Option<Arc<Object>> {
    let object = state.stale.as_ref()?;
    match object.freshness.usable(now_ns) {
        Usable::Stale { by } => object.freshness.if_error(by).then(|| Arc::clone(object)),
        // It was passed over only because the client asked for something newer.
        Usable::Fresh { .. } => None,
    }
}

/// The answer from the store, if there is one; else whose turn it is to ask the upstream is in `state`.
async fn look_up(
    conn: &Client,
    x: &Exchange,
    route: &Route,
    state: &mut State,
) -> Result<Option<Answer>, Fault> {
    let rt = &conn.worker.rt;
    let scope = scope(conn, x, route);
    let request = fields(x.request());
    let asking = Asking::of(&request);
    let has = |name: &[u8]| x.request().values(name).next().is_some();
    // What asks about the state of the resource is for the origin to answer (RFC 9111 §4.3.2).
    if asking.no_store || has(b"If-Match") || has(b"If-Unmodified-Since") {
        state.why = "request";
        return if asking.only_if_cached { Err(Cause::NotCached.into()) } else { Ok(None) };
    }
    for waits in 0.. {
        let now = rt.now().as_nanos();
        state.stale = None;
        match state.store.find(&state.key, &scope, &request) {
            Found::Object(object) if asking.accepts(&object.freshness, now) => {
                let is_fresh = matches!(object.freshness.usable(now), Usable::Fresh { .. });
                return Ok(Some(Answer { object, how: if is_fresh { How::Hit } else { How::Stale } }));
            }
            Found::Object(object) => {
                let is_fresh = matches!(object.freshness.usable(now), Usable::Fresh { .. });
                state.why = if is_fresh { "request" } else { "stale" };
                state.stale = Some(object);
            }
            Found::OtherVariant => state.why = "vary-miss",
            Found::Nothing => state.why = "uri-miss",
        }
        if asking.only_if_cached {
            return Err(Cause::NotCached.into());
        }
        if x.head.method != Method::Get || (has(b"Range") && state.stale.is_none()) || waits >= WAITS_MAX {
            return Ok(None);
        }
        let waiting = match state.store.begin(&state.key, &scope, now) {
            Turn::Alone => return Ok(None),
            Turn::Lead(leader) => {
                state.leader = Some(leader);
                return Ok(None);
            }
            Turn::Wait(waiting) => waiting,
        };
        if let Some(object) = &state.stale
            && let Usable::Stale { by } = object.freshness.usable(now)
            && !asking.no_cache
            && asking.max_age.is_none()
            && object.freshness.while_revalidating(by)
        {
            return Ok(Some(Answer { object: Arc::clone(object), how: How::Stale }));
        }
        conn.upstream_timer.set((rt.now() + WAIT_MAX).min(x.deadline));
        let wait = pin!(race(waiting, &conn.upstream_timer));
        match conn.while_present(&mut ClientWatch::of(x), wait).await.ok_or(Cause::ClientGone)? {
            Some(Waited::Stored) => state.collapsed = true,
            Some(Waited::Abandoned) => {}
            Some(Waited::Refused) | None => return Ok(None),
        }
    }
    Ok(None)
}

/// Makes of the client's request the one that fetches for all.
fn prepare(conn: &Client, x: &mut Exchange, state: &mut State) {
    state.asked_ns = conn.worker.rt.now().as_nanos();
    let edits = &mut x.outgoing.edits;
    for name in UNKEYED {
        edits.remove(name);
    }
    if state.leader.is_none() {
        state.stale = state.stale.take().filter(|_| x.head.method == Method::Get);
        return;
    }
    for name in OF_CLIENT {
        edits.remove(name);
    }
    edits.remove(b"Range");
    if let Some(stale) = &state.stale {
        if let Some(tag) = &stale.etag {
            edits.set(b"If-None-Match", tag);
        }
        if let Some(changed) = &stale.last_modified {
            edits.set(b"If-Modified-Since", changed);
        }
        state.validates = stale.etag.is_some() || stale.last_modified.is_some();
    }
}

/// The head of the upstream's response is there. What is kept may be the better answer; what is new may be kept.
pub(crate) fn on_response(conn: &Client, x: &mut Exchange) -> Option<Answer> {
    let mut state = x.stored.take()?;
    let status = x.response.status;
    if state.outdates {
        if (200..400).contains(&status) {
            outdate(x, &state);
        }
        x.stored = Some(state);
        return None;
    }
    let rt = &conn.worker.rt;
    let (now, now_s) = (rt.now().as_nanos(), rt.wall_nanos() / 1_000_000_000);
    let delay_s = now.saturating_sub(state.asked_ns) / 1_000_000_000;
    let answer = if status == 304 && state.validates {
        state.stale.take().map(|stale| {
            let fresh = stale.freshened(&kept_fields(x), now_s, now, delay_s);
            if let Some(leader) = state.leader.take() {
                leader.stored(fresh.clone());
            }
            count(&state.store.counts.revalidated);
            Answer { object: Arc::new(fresh), how: How::Validated }
        })
    } else if matches!(status, 500 | 502..=504) {
        stale_for_error(&state, now).map(|object| {
            count(&state.store.counts.stale);
            Answer { object, how: How::Stale }
        })
    } else {
        None
    };
    if answer.is_none() && state.leader.is_some() {
        let request = fields(x.request());
        let response = kept_fields(x);
        let told = filling::refusal(x, &request, &response, (&state.store, state.identified), now_s);
        match told {
            Ok(()) => {
                state.filling = Filling::begin(conn, x, &state.store, &response, (now_s, now, delay_s));
            }
            Err(_) => count(&state.store.counts.refused),
        }
        if state.filling.is_none()
            && let Some(leader) = state.leader.take()
        {
            leader.refused(now + u64::try_from(PASS.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    // Not for an answer from the store: it says itself where it comes from, and nothing is left to be kept.
    if answer.is_none() {
        x.stored = Some(state);
    }
    answer
}

/// The response has been received to its end: it is kept.
pub(crate) fn complete(x: &mut Exchange) {
    let Some(state) = &mut x.stored else { return };
    if let (Some(filling), Some(leader)) = (state.filling.take(), state.leader.take()) {
        let request: Vec<FieldRef<'_>> = {
            let request = Request::new(&x.head, x.head_bytes.as_slice());
            fields(request)
        };
        if let Some(object) = filling.finish(&request, leader.scope()) {
            leader.stored(object);
        }
    }
}

/// Forgets what the request has changed (RFC 9111 §4.4).
fn outdate(x: &Exchange, state: &State) {
    state.store.remove(&state.key);
    for (name, value) in kept_fields(x) {
        let names_other =
            [&b"Location"[..], b"Content-Location"].iter().any(|other| name.eq_ignore_ascii_case(other));
        if names_other && let Some(key) = state.key.same_origin(value) {
            state.store.remove(&key);
        }
    }
}

/// The fields of the response that do not end at this hop.
fn kept_fields(x: &Exchange) -> Vec<FieldRef<'_>> {
    let response = x.response();
    let kept = |field: &&wire::http::Field| !field.flags.hop_by_hop && !field.flags.look_alike;
    let pair = |field: &wire::http::Field| (field.name.of(response.bytes), field.value.of(response.bytes));
    response.head.fields.iter().filter(kept).map(pair).collect()
}
