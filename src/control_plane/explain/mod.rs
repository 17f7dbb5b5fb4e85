//! What would become of a request, and why: the evaluator of the data path, asked instead of served.
//!
//! The bytes of the request are written and parsed by the reader that clients meet, the route is found by the table that
//! workers use ([`RouteTable::find_and_tell`](traffic::route::RouteTable::find_and_tell) is `find` with a listener), its
//! chain runs, its balancer chooses. So an explanation cannot drift away from what happens. Nothing is sent.
//!
//! ```text
//!   question.rs  what is asked            answer.rs  what is told
//!   here         head, client, route      forward.rs upstream, endpoints, the choice
//! ```

mod answer;
mod forward;
mod question;

pub use answer::Explanation;
pub use question::{Question, Unclear};

use answer::{Considered, Edits, Entry, OfRoute, Outcome, ToEndpoint};
use base::Instant;
use base::ids::RouteId;
use config::Config;
use config::model;
use std::time::SystemTime;
use traffic::compression::Kept;
use traffic::filter::{self, Caller, Outgoing, ResponseEdits, Verdict, Visit, Walk};
use traffic::limit::Tally;
use traffic::route::Missed;
use traffic::snapshot::{Action, Listener, Route, Snapshot};
use traffic::{Cause, source};
use wire::h1::{Progress, RequestReader};
use wire::http::{BodyLength, Request, RequestHead};

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub config: &'a Config,
    /// Compiled from `config`.
    pub snapshot: &'a Snapshot,
    /// Where each listener really listens; empty when nobody runs.
    pub listening: &'a [(String, base::addr::Addr)],
    /// By the clock of the cells.
    pub now: Instant,
    /// Whether the state of the endpoints is that of a running node.
    pub live: bool,
}

/// Explains what becomes of the request in `question`; the error says what is not clear about it.
pub fn explain(subject: Subject<'_>, question: &Question) -> Result<Explanation, Unclear> {
    let listener = question.listener(subject)?;
    let mut told = Explanation::new(subject, entry(subject, listener));
    let mut bytes = question.bytes();
    let mut head = RequestHead::default();
    let mut reader = RequestReader::new(&listener.http).with_underscores(listener.unsafe_underscore_fields);
    match reader.read(&bytes, &mut head) {
        Ok(Progress::Complete(length)) => bytes.truncate(length),
        Ok(Progress::Partial) => return Err(Unclear::NotWhole),
        Err(error) => return Ok(told.refused(Cause::of_head(error))),
    }
    let request = Request::new(&head, &bytes);
    let facts = source::client_address(question.from, request, &listener.trusted_proxies);
    told.client = facts.client.to_string();
    told.client_from_forwarded = facts.client != source::canonical(question.from);
    let Some(route) = route(subject, listener, request, facts.client, &mut told) else {
        return Ok(told.refused(Cause::NoRoute));
    };
    told.route = Some(of_route(subject, route));
    if matches!(head.body, BodyLength::Length(bytes) if bytes > route.body_bytes_max) {
        return Ok(told.refused(Cause::BodyTooLarge));
    }
    let (mut outgoing, mut response) = (Outgoing::default(), ResponseEdits::default());
    let (mut caller, mut tally) = (Caller::default(), Tally::looking());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut visit = Visit {
        request,
        client: facts.client,
        is_secure: question.scheme == "https",
        certificate: None,
        unix_s: since_1970.as_secs(),
        now: subject.now,
        outgoing: &mut outgoing,
        response: &mut response,
        caller: &mut caller,
        route: route.id,
        tally: &mut tally,
        memory: &mut auth::Memory::default(),
    };
    let verdict = Walk::default().advance(&route.chain, &mut visit);
    told.notes.extend(of_caller(&caller));
    told.notes.extend(of_limits(&tally));
    match verdict {
        Verdict::Continue => {}
        Verdict::Respond(cause) => return Ok(told.refused(cause)),
        Verdict::Ruled(_) => return Ok(told.refused(Cause::AuthRefused)),
        Verdict::Suspend(_) => {
            told.notes.push("a filter asks somebody else before it decides; nobody is asked here".to_owned())
        }
    }
    match &route.action {
        Action::Forward(split) => {
            told.notes.extend(of_compression(route, request));
            told.to_endpoint = Some(to_endpoint(request, &outgoing));
            let client = facts.client;
            Ok(forward::explain(subject, (route, split), (request, client), question, told))
        }
        Action::Respond(response) => Ok(told
            .with_response(route, response.status)
            .ends(Outcome::own(Cause::FixedResponse, response.status))),
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            redirect.to.render(request, question.scheme, &mut location);
            told.location = Some(text(&location));
            Ok(told
                .with_response(route, redirect.status)
                .ends(Outcome::own(Cause::Redirect, redirect.status)))
        }
    }
}

/// Who the request is taken to come from, or why its credential is not good; never the credential.
fn of_caller(caller: &Caller) -> Option<String> {
    if let Some(refused) = caller.refused() {
        return Some(format!("{} refuses the credential: {}", refused.by, refused.why));
    }
    let identity = caller.primary()?;
    Some(format!("the caller is \"{}\", by {}:{}", identity.name(), identity.scheme, identity.policy))
}

/// Where the request stands with each limit that it was held against; nothing was charged.
fn of_limits(tally: &Tally) -> Vec<String> {
    let passed = tally.charges().iter().map(|charge| {
        let (limiter, left) = (&charge.limiter, charge.level.left);
        format!(
            "limit \"{}\" would admit it, and {left} of {} would be left",
            limiter.name,
            limiter.measure.quota()
        )
    });
    let exceeded = tally.exceeded().map(|limiter| {
        let mode = if limiter.enforces { "" } else { ", but is not enforced" };
        format!("limit \"{}\" has nothing left for it{mode}", limiter.name)
    });
    passed.chain(exceeded).collect()
}

/// Whether a response of the route's content types would be compressed for this client.
fn of_compression(route: &Route, request: Request<'_>) -> Option<String> {
    let why = match route.compression.as_deref()?.expected(request) {
        Ok(coding) => {
            return Some(format!(
                "a response is compressed with {}, unless its content type, length, Content-Encoding or no-transform forbid it",
                coding.as_str()
            ));
        }
        Err(Kept::NoTransform) => "the request says no-transform",
        Err(Kept::Version) => "the client speaks HTTP/1.0",
        Err(_) => "the request accepts none of the route's codings, or likes none more than identity",
    };
    Some(format!("no response is compressed: {why}"))
}

fn entry(subject: Subject<'_>, listener: &Listener) -> Entry {
    let of_it = subject.listening.iter().filter(|(name, _)| **name == *listener.name);
    let mut addresses: Vec<String> = of_it.map(|(_, addr)| addr.to_string()).collect();
    if addresses.is_empty() {
        addresses = listener.binds.iter().map(ToString::to_string).collect();
    }
    Entry { name: listener.name.to_string(), origin: listener.origin.to_string(), addresses }
}

/// The route of the request; every route that was asked on the way is told, with what kept it from being the one.
fn route<'s>(
    subject: Subject<'s>,
    listener: &Listener,
    request: Request<'_>,
    client: std::net::IpAddr,
    told: &mut Explanation,
) -> Option<&'s Route> {
    let mut asked: Vec<(RouteId, Option<Missed>)> = Vec::new();
    let found = listener.table.find_and_tell(request, client, |route, missed| asked.push((route, missed)));
    told.considered = asked
        .into_iter()
        .map(|(id, missed)| {
            let route = subject.snapshot.route(id);
            let written = written(subject.config, route).map(|(_, route)| route);
            let missed = missed.map(|missed| reason(missed, written));
            Considered { route: route.name.to_string(), origin: route.origin.to_string(), missed }
        })
        .collect();
    found.map(|id| subject.snapshot.route(id))
}

/// The route as it is written, with its site.
fn written<'c>(config: &'c Config, route: &Route) -> Option<(&'c model::Site, &'c model::Route)> {
    let all = config.sites.iter().flat_map(|site| site.routes.iter().map(move |route| (site, route)));
    let at = |origin: &model::Origin| (origin.line, origin.column);
    let here = (route.origin.line, route.origin.column);
    let mut same =
        all.filter(|(_, written)| at(&written.origin) == here && *written.origin.file == *route.origin.file);
    same.next()
}

/// What a request lacks for a route, in the words of the configuration.
fn reason(missed: Missed, written: Option<&model::Route>) -> String {
    let place = match missed {
        Missed::Method => {
            let methods = written.map(|route| route.methods.join(" ")).unwrap_or_default();
            return format!("the method is none of {methods}");
        }
        Missed::Predicate { place } => place,
    };
    // In the order in which they are compiled.
    let Some(predicates) = written.map(|route| &route.predicates) else {
        return format!("predicate {}", place + 1);
    };
    let pairs = |kind: &str, pairs: &[model::NameMatch]| -> Vec<String> {
        let value = |pair: &model::NameMatch| match &pair.value {
            Some(value) => format!("{kind} {} is not {value:?}", pair.name),
            None => format!("there is no {kind} {}", pair.name),
        };
        pairs.iter().map(value).collect()
    };
    let mut all = pairs("header", &predicates.headers);
    all.extend(pairs("query parameter", &predicates.query));
    all.extend(pairs("cookie", &predicates.cookies));
    all.get(place).cloned().unwrap_or_else(|| {
        let ranges: Vec<String> = predicates.source.iter().map(ToString::to_string).collect();
        format!("the client is not in {}", ranges.join(" "))
    })
}

fn of_route(subject: Subject<'_>, route: &Route) -> OfRoute {
    let written = written(subject.config, route);
    OfRoute {
        name: route.name.to_string(),
        origin: route.origin.to_string(),
        settings: written
            .map(|(site, route)| subject.config.effective_of_route(site, route))
            .unwrap_or_default(),
    }
}

/// What the endpoint gets that the client has not sent in this way.
fn to_endpoint(request: Request<'_>, outgoing: &Outgoing) -> ToEndpoint {
    let names = request.head.fields.iter().map(|field| field.name.of(request.bytes));
    let removed = names.filter(|name| !outgoing.edits.keeps(name)).map(text).collect();
    let path = outgoing.path().unwrap_or_else(|| request.path());
    let mut target = text(path);
    if let Some(query) = outgoing.query(request.query()) {
        target.push('?');
        target.push_str(&text(query));
    }
    ToEndpoint {
        target,
        host: text(outgoing.host().unwrap_or_else(|| request.host())),
        rewritten: outgoing.path().is_some() || outgoing.host().is_some(),
        fields: Edits { set: pairs(&outgoing.edits), removed },
    }
}

impl Explanation {
    /// With what the route's filters do to a response of this status.
    fn with_response(mut self, route: &Route, status: u16) -> Explanation {
        let mut edits = ResponseEdits::default();
        filter::on_response(&route.chain, status, &mut edits);
        let removed = edits.dropped().map(text).collect();
        self.response = Edits { set: pairs(&edits), removed };
        self
    }
}

fn pairs(edits: &filter::FieldEdits) -> Vec<(String, String)> {
    edits.additions().map(|(name, value)| (text(name), text(value))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
