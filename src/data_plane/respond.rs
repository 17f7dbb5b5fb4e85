//! Responses that we make ourselves: errors as problem documents (RFC 9457), fixed responses and redirects.

use crate::downstream::Client;
use crate::exchange::Exchange;
use crate::grpc;
use crate::relay;
use crate::serve::{Fault, Next};
use crate::upstream::forward::{PSEUDONYM, write_request_id};
use auth::Ruling;
use base::Instant;
use std::fmt::Write as _;
use std::time::Duration;
use traffic::grpc::Status;
use traffic::limit::quoted;
use traffic::snapshot::{FieldLine, FixedResponse, Redirect, Route};
use traffic::{Cause, filter};
use wire::h1::encode;
use wire::h1::machine;
use wire::http::{BodyLength, Known, Method, Version};

/// Writes what tells the client whether the connection lasts.
pub(crate) fn write_connection_fields(out: &mut Vec<u8>, client: Version, keeps: bool) {
    if let Some(option) = machine::connection_option(client, keeps) {
        encode::field(out, b"Connection", option.as_bytes());
    } else if !keeps {
        // An HTTP/1.0 client expects the end; one behind a newer intermediary is told anyway.
        encode::field(out, b"Connection", b"close");
    }
}

/// Answers with the problem document of `cause`, or closes without a word where that is what the cause asks for.
pub(crate) async fn refuse(conn: &Client, x: &mut Exchange, cause: Cause) -> Next {
    x.cause = Some(cause);
    let status = cause.status();
    if status == 0 || status == 499 {
        return Next::Abort(cause);
    }
    // The answer that says so must not itself be cut off by the deadline that it reports; the client's pace bounds it.
    x.deadline = Instant::NEVER;
    let decoding_failed = cause.stage() == traffic::Stage::Decode || breaks_body(cause);
    if !decoding_failed {
        relay::settle_request_body(conn, x).await;
    }
    let keeps = !decoding_failed && relay::keeps(conn, x, true);
    let call = grpc::answers(x);
    let (content_type, body) = match call {
        Some(encoding) => (grpc::content_type(encoding, x.request()), String::new()),
        None => {
            let (content_type, body) = problem(x, cause);
            (content_type.as_bytes().to_vec(), body)
        }
    };
    let status = if call.is_some() { 200 } else { status };
    // Clients that come back together would bring the overload back.
    let pause = if cause == Cause::Overloaded { 1 + conn.worker.random() % 5 } else { x.retry_after };
    let payload = if x.head.method == Method::Head { b"" } else { body.as_bytes() };
    conn.stream.start(BodyLength::Length(body.len() as u64), payload, true, |out| {
        encode::status_line(out, status, b"");
        write_common(out, conn);
        encode::field(out, b"Content-Type", &content_type);
        if call.is_some() {
            grpc::write_status(out, cause, (pause > 0).then(|| Duration::from_secs(pause.into())));
        }
        if !cause.proxy_status().is_empty() {
            out.extend_from_slice(b"Proxy-Status: ");
            out.extend_from_slice(PSEUDONYM.as_bytes());
            encode_proxy_error(out, cause);
        }
        // Pages of other origins may read errors too (V1).
        for (name, value) in x.response_edits.additions() {
            encode::field(out, name, value);
        }
        for challenge in challenges(conn, x, cause) {
            encode::field(out, b"WWW-Authenticate", challenge.as_bytes());
        }
        if status == 405 {
            // The methods that a gateway can carry; which of them a resource allows is the upstream's to say.
            encode::field(out, b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        }
        if pause > 0 {
            encode::field(out, b"Retry-After", pause.to_string().as_bytes());
        }
        encode::content_length(out, body.len() as u64);
        write_connection_fields(out, x.head.version, keeps);
        encode::end(out);
    });
    x.status = status;
    x.call.status = call.map(|_| Status::of(cause));
    x.response_started = true;
    x.bytes_out = payload.len() as u64;
    if decoding_failed {
        // Where the next request would begin is unknown.
        x.upload.done = false;
    }
    settle(relay::finish_downstream(conn, x, keeps).await, x)
}

/// What tells the client how to say who it is, on every 401 and wherever the scheme has something to say.
fn challenges(conn: &Client, x: &Exchange, cause: Cause) -> Vec<String> {
    let asks = matches!(
        cause,
        Cause::CredentialsMissing
            | Cause::CredentialsInvalid
            | Cause::CredentialsAmbiguous
            | Cause::InsufficientScope
    );
    let chain = x.route.filter(|_| asks).map(|route| &x.generation.route(route).chain);
    let authentication = chain.and_then(|chain| chain.authentication().map(|filter| (chain, filter)));
    authentication.map_or_else(Vec::new, |(chain, filter)| {
        filter.challenges(cause, &x.caller, &chain.scopes(), conn.is_secure(x))
    })
}

/// The rest of the body cannot be told from the next request, or will not come.
fn breaks_body(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::BadBase64 | Cause::BadChunk | Cause::BadTrailer | Cause::BodyTooLarge | Cause::BodyTimeout
    )
}

fn settle(finished: Result<Next, Fault>, x: &mut Exchange) -> Next {
    finished.unwrap_or_else(|Fault(cause)| {
        x.cause = Some(cause);
        Next::Abort(cause)
    })
}

fn write_common(out: &mut Vec<u8>, conn: &Client) {
    let now = conn.worker.rt.wall_nanos();
    conn.worker.date.with(now, |date| encode::field(out, b"Date", date.as_bytes()));
}

/// `; error=…` with the name of the cause as its details.
fn encode_proxy_error(out: &mut Vec<u8>, cause: Cause) {
    out.extend_from_slice(b"; error=");
    out.extend_from_slice(cause.proxy_status().as_bytes());
    out.extend_from_slice(b"; details=\"");
    out.extend_from_slice(cause.name().as_bytes());
    out.extend_from_slice(b"\"\r\n");
}

/// Content type and body of an error: JSON, or plain text for a client that asks for text and not for JSON.
fn problem(x: &Exchange, cause: Cause) -> (&'static str, String) {
    let mut id = Vec::with_capacity(32);
    write_request_id(&mut id, x.id);
    let id = String::from_utf8_lossy(&id);
    let (title, status, name) = (cause.title().trim_end_matches('.'), cause.status(), cause.name());
    let mut body = String::with_capacity(192);
    if prefers_text(x) {
        let _ = writeln!(body, "{status} {title}\ncause: {name}\nrequest: {id}");
        return ("text/plain; charset=utf-8", body);
    }
    // The type that clients of limits know, with the policies that were violated.
    let (kind, violated) = match cause {
        Cause::RateLimited | Cause::ConcurrencyLimited => (QUOTA_EXCEEDED.to_owned(), violated(x)),
        _ => (format!("urn:ringway:cause:{name}"), String::new()),
    };
    let _ = writeln!(
        body,
        "{{\"type\":\"{kind}\",\"title\":\"{title}\",\"status\":{status},\"code\":\"{name}\",\
         \"instance\":\"urn:ringway:request:{id}\"{violated}}}"
    );
    ("application/problem+json", body)
}

/// draft-ietf-httpapi-ratelimit-headers-11, problem types.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// The member that names the limits which the request has exceeded.
fn violated(x: &Exchange) -> String {
    let enforced = x.tally.exceeded().filter(|limiter| limiter.enforces);
    let names: Vec<String> = enforced.map(|limiter| quoted(&limiter.name)).collect();
    format!(",\"violated-policies\":[{}]", names.join(","))
}

fn prefers_text(x: &Exchange) -> bool {
    let Some(accept) = x.request().known(Known::Accept) else { return false };
    let names = |what: &[u8]| accept.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what));
    names(b"text/") && !names(b"json")
}

/// Answers with a response that stands in the configuration.
pub(crate) async fn fixed(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    response: &FixedResponse,
) -> Result<Next, Fault> {
    x.cause = Some(Cause::FixedResponse);
    answer(conn, x, route, response.status, &response.fields, &response.body).await
}

/// Tells a browser what pages of another origin may do.
pub(crate) async fn preflight(conn: &Client, x: &mut Exchange, route: &Route) -> Result<Next, Fault> {
    x.cause = Some(Cause::Preflight);
    answer(conn, x, route, Cause::Preflight.status(), &[], b"").await
}

/// Answers with what a service said about the request.
pub(crate) async fn ruled(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    ruling: &Ruling,
) -> Result<Next, Fault> {
    x.cause = Some(Cause::AuthRefused);
    let line = |(name, value): &(Box<str>, Box<[u8]>)| (name.as_bytes().into(), value.clone());
    let fields: Vec<FieldLine> = ruling.fields.iter().map(line).collect();
    answer(conn, x, route, ruling.status, &fields, &ruling.body).await
}

/// Sends the client to where the route points.
pub(crate) async fn redirect(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    redirect: &Redirect,
) -> Result<Next, Fault> {
    x.cause = Some(Cause::Redirect);
    let mut location = Vec::new();
    redirect.to.render(x.request(), conn.scheme(), &mut location);
    let fields = [(Box::from(&b"Location"[..]), location.into_boxed_slice())];
    answer(conn, x, route, redirect.status, &fields, b"").await
}

async fn answer(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    status: u16,
    fields: &[FieldLine],
    body: &[u8],
) -> Result<Next, Fault> {
    relay::settle_request_body(conn, x).await;
    let keeps = relay::keeps(conn, x, true);
    filter::on_response(&route.chain, status, &mut x.response_edits);
    let is_head = x.head.method == Method::Head;
    let length = if body.is_empty() { BodyLength::None } else { BodyLength::Length(body.len() as u64) };
    let payload = if is_head { b"" } else { body };
    conn.stream.start(length, payload, true, |out| {
        let edits = &x.response_edits;
        encode::status_line(out, status, b"");
        write_common(out, conn);
        for (name, value) in fields.iter().filter(|(name, _)| edits.is_empty() || edits.keeps(name)) {
            encode::field(out, name, value);
        }
        for (name, value) in edits.additions() {
            encode::field(out, name, value);
        }
        encode::response_framing(out, status, false, length, None);
        write_connection_fields(out, x.head.version, keeps);
        encode::end(out);
    });
    x.status = status;
    x.response_started = true;
    x.bytes_out = payload.len() as u64;
    relay::finish_downstream(conn, x, keeps).await
}
