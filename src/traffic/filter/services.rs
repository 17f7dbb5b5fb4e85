//! The part of authentication that services decide: one about requests (forward authentication), one about tokens
//! (introspection). Both are asked at desks, and what they say is remembered by the worker.

use super::caller::Unjudged;
use super::credentials::Credential;
use super::{Verdict, Visit};
use crate::Cause;
use crate::ask::{Answer, Answered, Ask, Desk, Question, Token};
use crate::snapshot::FieldLine;
use auth::{ForwardPolicy, Identity, IntrospectionPolicy, Recalled};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::http::Request;

/// Who it is or why it is nobody; or what becomes of the request without knowing that.
type Judged = Result<Result<Arc<Identity>, &'static str>, Verdict>;

/// Whether the request has what the service finds its caller by.
pub(super) fn identity_of<'r>(policy: &ForwardPolicy, request: Request<'r>) -> Credential<'r> {
    let has = |name: &[u8]| fields(request, name).next().is_some();
    match policy.identity_fields.is_empty() || policy.identity_fields.iter().any(|name| has(name)) {
        true => Credential::One(b""),
        false => Credential::Absent,
    }
}

fn fields<'r>(request: Request<'r>, name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
    let own = request.head.fields.iter();
    let own = own.filter(move |field| field.name.of(request.bytes).eq_ignore_ascii_case(name));
    own.map(move |field| field.value.of(request.bytes))
}

/// What the service says about the request.
pub(super) fn forward(
    place: usize,
    (policy, desk): (&ForwardPolicy, &Arc<Desk>),
    label: &Arc<str>,
    visit: &mut Visit<'_, '_>,
) -> Judged {
    let told = told(policy, visit);
    let identity = told.iter().skip(if policy.same_for_identity { FORWARDED } else { 0 });
    let mut key = Vec::new();
    for (name, value) in identity {
        // Lengths in between: nothing can move from one field to the next.
        for part in [name, value] {
            key.extend_from_slice(&(part.len() as u64).to_le_bytes());
            key.extend_from_slice(part);
        }
    }
    let name = visit.memory.name([policy.number, 0], &key);
    let recalled = name.and_then(|name| auth::recall(visit.memory, &name, visit.unix_s, policy.stale_s));
    let answered = visit.caller.answered(place).cloned();
    match (recalled, answered) {
        (Some(Recalled::Fresh(known)), _) => {
            policy.tally.recall();
            policy.tally.count(known.is_ok());
            Ok(known)
        }
        (_, Some(Answered::Answer(Answer::Ruled(ruling)))) => {
            policy.tally.count(ruling.is_yes());
            if !ruling.is_yes() {
                let refused = super::Refused { method: place, by: Arc::clone(label), why: "denied" };
                visit.caller.refuse(refused);
                return Err(Verdict::Ruled(ruling));
            }
            let identity = policy.identity(&ruling);
            let lifetime_s = policy.lifetime_s(&ruling);
            if let Some(name) = name.filter(|_| lifetime_s > 0) {
                visit.memory.remember(
                    name,
                    visit.unix_s.saturating_add(lifetime_s),
                    Ok(Arc::clone(&identity)),
                );
            }
            Ok(Ok(identity))
        }
        (None | Some(Recalled::Stale(_)), None) => {
            let question = Question::Forward(told);
            Err(Verdict::Suspend(Ask { desk: Arc::clone(desk), question, place }))
        }
        (Some(Recalled::Stale(identity)), Some(_)) => Ok(Ok(stale(identity, desk, label, visit))),
        (None, Some(answered)) => {
            let why = reason(&answered);
            if !policy.allows_unjudged {
                return Err(give_up(label, why, visit));
            }
            desk.counts.allowed.fetch_add(1, Ordering::Relaxed);
            visit.caller.set_unjudged(Unjudged { by: Arc::clone(label), why, choice: "allowed" });
            // As nobody's: what asks for a caller later on refuses it.
            Err(Verdict::Continue)
        }
    }
}

/// Fields of [`told`] that say what the request is, before those that say who sends it.
const FORWARDED: usize = 5;

/// What the service is told: the request as it will be forwarded, and the fields that it wants to see (R74: nothing that
/// the client says about `X-Forwarded-…` is among them).
fn told(policy: &ForwardPolicy, visit: &Visit<'_, '_>) -> Vec<FieldLine> {
    let request = visit.request;
    let mut uri = request.path().to_vec();
    if let Some(query) = request.query() {
        uri.push(b'?');
        uri.extend_from_slice(query);
    }
    let scheme: &[u8] = if visit.is_secure { b"https" } else { b"http" };
    let of = |name: &str, value: &[u8]| -> FieldLine { (name.as_bytes().into(), value.into()) };
    let mut told = vec![
        of("X-Forwarded-Method", request.method()),
        of("X-Forwarded-Proto", scheme),
        of("X-Forwarded-Host", request.authority()),
        of("X-Forwarded-Uri", &uri),
        of("X-Forwarded-For", visit.client.to_string().as_bytes()),
    ];
    for name in &policy.request_fields {
        told.extend(fields(request, name).map(|value| (name.clone(), value.into())));
    }
    told
}

/// What the service says about a token.
pub(super) fn introspect(
    place: usize,
    (policy, desk): (&IntrospectionPolicy, &Arc<Desk>),
    label: &Arc<str>,
    token: &[u8],
    visit: &mut Visit<'_, '_>,
) -> Judged {
    let plain = |byte: &u8| byte.is_ascii_graphic();
    if token.is_empty() || token.len() > auth::TOKEN_BYTES_MAX || !token.iter().all(plain) {
        return Ok(Err("malformed"));
    }
    let tally = &policy.tokens.tally;
    let name = visit.memory.name([policy.tokens.number, 0], token);
    let recalled = name.and_then(|name| auth::recall(visit.memory, &name, visit.unix_s, policy.stale_s));
    let answered = visit.caller.answered(place).cloned();
    match (recalled, answered) {
        (Some(Recalled::Fresh(known)), _) => {
            tally.recall();
            tally.count(known.is_ok());
            Ok(known)
        }
        (_, Some(Answered::Answer(Answer::Who { verdict, until_s }))) => {
            tally.count(verdict.is_ok());
            if let Some(name) = name.filter(|_| visit.unix_s < until_s) {
                visit.memory.remember(name, until_s, verdict.clone());
            }
            Ok(verdict)
        }
        (None | Some(Recalled::Stale(_)), None) => {
            let question = Question::Introspect(Token(token.into()));
            Err(Verdict::Suspend(Ask { desk: Arc::clone(desk), question, place }))
        }
        (Some(Recalled::Stale(identity)), Some(_)) => Ok(Ok(stale(identity, desk, label, visit))),
        (None, Some(answered)) => Err(give_up(label, reason(&answered), visit)),
    }
}

/// An older verdict counts, because nobody can be asked.
fn stale(identity: Arc<Identity>, desk: &Desk, label: &Arc<str>, visit: &mut Visit<'_, '_>) -> Arc<Identity> {
    desk.counts.stale.fetch_add(1, Ordering::Relaxed);
    visit.caller.set_unjudged(Unjudged { by: Arc::clone(label), why: "unavailable", choice: "stale" });
    identity
}

fn reason(answered: &Answered) -> &'static str {
    match answered {
        Answered::Not(why) => why.name(),
        Answered::Answer(_) => "failed",
    }
}

/// Nobody can judge the credential, and the request ends for that.
pub(super) fn give_up(label: &Arc<str>, why: &'static str, visit: &mut Visit<'_, '_>) -> Verdict {
    visit.caller.look_again();
    visit.caller.set_unjudged(Unjudged { by: Arc::clone(label), why, choice: "denied" });
    Verdict::Respond(Cause::AuthUnavailable)
}
