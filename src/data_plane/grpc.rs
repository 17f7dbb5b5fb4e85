//! gRPC calls: their deadlines, and our errors in the words of gRPC.

use crate::exchange::Exchange;
use base::Instant;
use std::time::Duration;
use traffic::Cause;
use traffic::grpc::{self, Encoding, Status};
use traffic::snapshot::{DownstreamTimeouts, Route};
use wire::grpc_web::{self, Decoder};
use wire::h1::{encode, trailer};
use wire::http::{BodyLength, Known, Method, Request, Response, Version};

/// What is known of the call that an exchange is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    /// `None`: it is no call.
    pub(crate) encoding: Option<Encoding>,
    /// The caller has said how long it waits.
    has_timeout: bool,
    /// The deadline of the exchange is the caller's, not the route's.
    deadline_is_its_own: bool,
    /// It is no call, but its response is one of server-sent events.
    pub(crate) has_events: bool,
    /// It is a call of a browser, and made one of gRPC on the way to its endpoint.
    is_translated: bool,
    /// The answer that is under way has to be made what the browser reads.
    dressed: Option<Encoding>,
    /// How it ended, as far as anybody has said.
    pub(crate) status: Option<Status>,
}

/// Longest wait of a caller that counts; more is none at all.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How the messages of the request in `x` are framed; `None` when it is no call.
///
/// gRPC itself needs HTTP/2: over HTTP/1.1 nobody would look for a status in trailers.
fn encoding(x: &Exchange) -> Option<Encoding> {
    if x.head.method != Method::Post {
        return None;
    }
    let encoding = Encoding::of(x.request().known(Known::ContentType)?)?;
    (encoding != Encoding::Grpc || x.head.version >= Version::Http2).then_some(encoding)
}

/// Notes that the request in `x` is a call, and until when its caller waits: the smaller of that and of what the route
/// allows counts. A malformed `grpc-timeout` is left to the endpoint.
pub(crate) fn begin(x: &mut Exchange, route: &Route, now: Instant) {
    x.call.encoding = encoding(x);
    let Some(encoding) = x.call.encoding else { return };
    x.call.is_translated = route.grpc_web && encoding != Encoding::Grpc;
    if x.call.is_translated && encoding == Encoding::WebText {
        x.upload.text = Some(Decoder::default());
    }
    let limit = x.request().values(TIMEOUT).next().and_then(grpc::timeout);
    if let Some(limit) = limit.filter(|limit| *limit < TIMEOUT_MAX) {
        x.call.has_timeout = true;
        if now + limit < x.deadline {
            x.deadline = now + limit;
            x.call.deadline_is_its_own = true;
        }
    }
}

const TIMEOUT: &[u8] = b"grpc-timeout";

impl Call {
    /// Whether the field `name` of the client does not travel on, or is written anew by [`Call::write_fields`].
    pub(crate) fn replaces(self, name: &[u8]) -> bool {
        (self.has_timeout && name.eq_ignore_ascii_case(TIMEOUT))
            || (self.is_translated && FOR_BROWSERS.iter().any(|known| name.eq_ignore_ascii_case(known)))
    }

    /// Tells the endpoint what is left of the caller's patience, or of ours if that is less, and of a translated call what
    /// it is now.
    pub(crate) fn write_fields(
        self,
        out: &mut Vec<u8>,
        request: Request<'_>,
        deadline: Instant,
        now: Instant,
    ) {
        if self.is_translated {
            encode::field(out, b"Content-Type", &content_type(Encoding::Grpc, request));
        }
        if self.has_timeout {
            let mut value = Vec::with_capacity(9);
            grpc::write_timeout(&mut value, deadline.since(now));
            encode::field(out, TIMEOUT, &value);
        }
    }

    /// Whether the endpoint is asked for trailers, whatever the client takes.
    pub(crate) fn asks_for_trailers(self) -> bool {
        self.is_translated
    }

    /// How a request body that came in `framing` is framed for the endpoint: nobody knows how long it will be without its
    /// base64.
    pub(crate) fn upload_framing(self, framing: BodyLength) -> BodyLength {
        match framing {
            BodyLength::Length(_) if self.is_translated && self.encoding == Some(Encoding::WebText) => {
                BodyLength::Chunked
            }
            other => other,
        }
    }

    /// How the answer that is under way has to be written, if not as it comes.
    pub(crate) fn dressed(self) -> Option<Encoding> {
        self.dressed
    }

    /// Messages come when there is something to say, maybe not for long.
    pub(crate) fn is_stream(self) -> bool {
        self.encoding.is_some() || self.has_events
    }

    /// How long either side may be silent where others may be for `idle`: as long as a tunnel where messages come when there
    /// is something to say.
    pub(crate) fn silence(self, timeouts: &DownstreamTimeouts, idle: Duration) -> Duration {
        if self.is_stream() { idle.max(timeouts.tunnel_idle) } else { idle }
    }

    /// What `cause` is for the caller.
    pub(crate) fn cause(self, cause: Cause) -> Cause {
        match cause {
            Cause::TotalTimeout if self.deadline_is_its_own => Cause::CallDeadline,
            other => other,
        }
    }
}

/// Fields that only a translator has to know.
const FOR_BROWSERS: [&[u8]; 3] = [b"content-type", b"x-grpc-web", b"accept"];

/// How an error of ours is to be written, if as a status of gRPC. Also of requests that no route was found for.
pub(crate) fn answers(x: &Exchange) -> Option<Encoding> {
    x.call.encoding.or_else(|| encoding(x))
}

/// The content type of an answer to the request in `x`: the one that it came with.
pub(crate) fn content_type(encoding: Encoding, request: Request<'_>) -> Vec<u8> {
    let asked = request.known(Known::ContentType).unwrap_or_default();
    let (_, message) = grpc::split(asked);
    let message = if message.starts_with(b"+") { message } else { b"" };
    let end = message.iter().position(|byte| matches!(byte, b';' | b' ')).unwrap_or(message.len());
    [encoding.name().as_bytes(), &message[..end]].concat()
}

/// Writes the fields that say that a call has failed for `cause`: the whole answer is one head ("Trailers-Only").
pub(crate) fn write_status(out: &mut Vec<u8>, cause: Cause, pushback: Option<Duration>) {
    encode::field(out, b"grpc-status", Status::of(cause).place().to_string().as_bytes());
    // Titles are printable ASCII without `%`, so that nothing of them has to be encoded.
    let message = format!("{} ({})", cause.title().trim_end_matches('.'), cause.name());
    encode::field(out, b"grpc-message", message.as_bytes());
    if let Some(pause) = pushback {
        encode::field(out, b"grpc-retry-pushback-ms", pause.as_millis().to_string().as_bytes());
    }
}

/// Looks at the head of the response: a call that failed before its first message says so there, and an answer in messages
/// may have to be translated.
pub(crate) fn note_head(x: &mut Exchange) {
    if x.call.encoding.is_none() {
        return;
    }
    let response = x.response();
    let mut fields = response.head.fields.iter();
    let status = fields.find(|field| field.name.of(response.bytes).eq_ignore_ascii_case(STATUS));
    let status = status.map(|field| Status::parse(field.value.of(response.bytes)));
    let is_grpc =
        response.known(Known::ContentType).and_then(Encoding::of).is_some_and(|of| of == Encoding::Grpc);
    x.call.status = status;
    x.call.dressed = x.call.encoding.filter(|_| x.call.is_translated && is_grpc);
}

/// Notes how the call ended from the trailers of its answer.
pub(crate) fn note_trailers(x: &mut Exchange, trailers: &[u8]) {
    if x.call.encoding.is_some()
        && let Some((_, value)) =
            trailer::fields(trailers).find(|(name, _)| name.eq_ignore_ascii_case(STATUS))
    {
        x.call.status = Some(Status::parse(value));
    }
}

const STATUS: &[u8] = b"grpc-status";

/// A part of an answer as a browser reads it: `payload`, and the trailers if these are there, which end it.
pub(crate) fn dress(encoding: Encoding, payload: &[u8], trailers: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    if !trailers.is_empty() {
        grpc_web::trailers(&mut message, trailers);
    }
    if encoding != Encoding::WebText {
        return [payload, &message].concat();
    }
    let mut text = Vec::new();
    grpc_web::encode(&mut text, payload);
    grpc_web::encode(&mut text, &message);
    text
}

/// Writes the content type of an answer that is dressed so, instead of the endpoint's.
pub(crate) fn write_dressed_type(out: &mut Vec<u8>, encoding: Encoding, response: Response<'_>) {
    let said = response.known(Known::ContentType).unwrap_or_default();
    let (_, message) = grpc::split(said);
    encode::field(out, b"Content-Type", &[encoding.name().as_bytes(), message].concat());
}
