//! Which responses are compressed, with what, and what their heads say then.
//!
//! Decided from both heads, before anything of the body is read. A representation that comes out of a cache takes the same
//! way as one of an endpoint.

mod stats;

pub use stats::{CompressionStats, OfCoding};

use crate::filter::ResponseEdits;
use wire::http::{BodyLength, Coding, Field, Method, Request, Response, Version, preferred};

/// What a route says about it.
#[derive(Clone, Debug)]
pub struct Compression {
    /// The preferred one first; never empty.
    pub codings: Vec<Coding>,
    pub types: Vec<TypePattern>,
    /// Shorter bodies stay as they are, where their length is known beforehand.
    pub bytes_min: u64,
    pub effort: Effort,
}

/// How much CPU the bytes are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    Fast,
    #[default]
    Balanced,
    Small,
}

/// Content types, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// `text/html`
    Exact(Box<str>),
    /// What begins so: `text/`.
    Begins(Box<str>),
    /// What ends so: `+json`.
    Ends(Box<str>),
}

impl TypePattern {
    /// From `text/html`, `text/*` or `*+json`.
    pub fn of(text: &str) -> TypePattern {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(end), _) => TypePattern::Ends(end.into()),
            (_, Some(begin)) => TypePattern::Begins(begin.into()),
            _ => TypePattern::Exact(text.into()),
        }
    }

    fn matches(&self, essence: &[u8]) -> bool {
        let at = |part: Option<&[u8]>, text: &str| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(text.as_bytes()))
        };
        match self {
            TypePattern::Exact(text) => at(Some(essence), text),
            TypePattern::Begins(text) => at(essence.get(..text.len()), text),
            TypePattern::Ends(text) => {
                at(essence.len().checked_sub(text.len()).and_then(|start| essence.get(start..)), text)
            }
        }
    }
}

const GRPC: &[u8] = b"application/grpc";

/// Why a response of a route that compresses stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kept {
    /// Its status has no body, or one that is part of another (206).
    Status,
    /// It has a coding already.
    Encoded,
    /// `Cache-Control: no-transform`, of the response or of the request.
    NoTransform,
    /// None of the route's content types.
    Type,
    /// It is too short.
    Size,
    /// The client does not want any of the route's codings.
    Client,
    /// HTTP/1.0: the length could not be told, and an end not from a cut.
    Version,
    /// The worker is hard pressed.
    Pressure,
    /// The compressors that are under way take as much memory as they may.
    Memory,
}

impl Kept {
    pub const ALL: [Kept; 9] = [
        Kept::Status,
        Kept::Encoded,
        Kept::NoTransform,
        Kept::Type,
        Kept::Size,
        Kept::Client,
        Kept::Version,
        Kept::Pressure,
        Kept::Memory,
    ];

    /// As in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Kept::Status => "status",
            Kept::Encoded => "encoded",
            Kept::NoTransform => "no_transform",
            Kept::Type => "type",
            Kept::Size => "size",
            Kept::Client => "client",
            Kept::Version => "version",
            Kept::Pressure => "pressure",
            Kept::Memory => "memory",
        }
    }
}

impl Compression {
    /// The coding for a response, as far as both heads say.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(&self, request: Request<'_>, response: Response<'_>) -> Result<Coding, Kept> {
        self.admits(request, response)?;
        self.wanted(request)
    }

    /// Whether the response would be compressed for a client that takes anything.
    fn admits(&self, request: Request<'_>, response: Response<'_>) -> Result<(), Kept> {
        let head = response.head;
        let answers_head = request.head.method == Method::Head;
        if matches!(head.status, 0..=199 | 204 | 205 | 206 | 304) || request.head.method == Method::Connect {
            return Err(Kept::Status);
        }
        let bytes = response.bytes;
        let is_encoded = fields(&head.fields, bytes, b"content-encoding")
            .any(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity"));
        if is_encoded {
            return Err(Kept::Encoded);
        }
        let forbids =
            |value: &[u8]| members(value).any(|member| member.eq_ignore_ascii_case(b"no-transform"));
        if fields(&head.fields, bytes, b"cache-control").any(forbids)
            || request.values(b"cache-control").any(forbids)
        {
            return Err(Kept::NoTransform);
        }
        let Some(content_type) = fields(&head.fields, bytes, b"content-type").next() else {
            return Err(Kept::Type);
        };
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        // Messages of gRPC have a coding of their own, each for itself.
        let is_grpc = essence.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        if is_grpc || !self.types.iter().any(|pattern| pattern.matches(essence)) {
            return Err(Kept::Type);
        }
        let length = match head.body {
            BodyLength::Length(bytes) => Some(bytes),
            BodyLength::None if answers_head => head.content_length,
            BodyLength::None => Some(0),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        match length {
            Some(bytes) if bytes < self.bytes_min.max(1) => Err(Kept::Size),
            _ => Ok(()),
        }
    }

    fn wanted(&self, request: Request<'_>) -> Result<Coding, Kept> {
        if request.head.version == Version::Http10 {
            return Err(Kept::Version);
        }
        preferred(request.values(b"accept-encoding"), &self.codings).ok_or(Kept::Client)
    }

    /// Whether answers to this request may depend on what it says in `Accept-Encoding`: with it, `explain` tells what
    /// becomes of responses of the route's types.
    pub fn expected(&self, request: Request<'_>) -> Result<Coding, Kept> {
        if request
            .values(b"cache-control")
            .any(|value| members(value).any(|member| member.eq_ignore_ascii_case(b"no-transform")))
        {
            return Err(Kept::NoTransform);
        }
        self.wanted(request)
    }
}

/// Changes the head of a response for what has been `chosen`.
pub fn edit(
    chosen: Result<Coding, Kept>,
    request: Request<'_>,
    response: Response<'_>,
    edits: &mut ResponseEdits,
) {
    match chosen {
        Ok(coding) => {
            vary(response, edits);
            edits.add(b"Content-Encoding", coding.as_str().as_bytes());
            // Ranges and digests are those of other bytes (RFC 9110 §14.3, RFC 9530 §2 and §3, RFC 3230).
            for name in [
                &b"Content-Encoding"[..],
                b"Accept-Ranges",
                b"Content-MD5",
                b"Digest",
                b"Content-Digest",
                b"Repr-Digest",
            ] {
                edits.drop_received(name);
            }
            weaken(response, edits);
        }
        // It would have been another one for a client with other wishes.
        Err(Kept::Client | Kept::Version | Kept::Pressure | Kept::Memory) => vary(response, edits),
        Err(Kept::Status) if response.head.status == 304 => {
            vary(response, edits);
            // What the client has is the weak one that it asks about; a strong one would name something else (RFC 9111
            // §4.3.4).
            if asks_about_weak(request, response) {
                weaken(response, edits);
            }
        }
        Err(_) => {}
    }
}

/// Says that it depends on `Accept-Encoding`, unless that is said already.
fn vary(response: Response<'_>, edits: &mut ResponseEdits) {
    let mut said = fields(&response.head.fields, response.bytes, b"vary").flat_map(members);
    if edits.keeps(b"vary") && said.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    {
        return;
    }
    edits.add(b"Vary", b"Accept-Encoding");
}

/// Equal bodies in different codings are not equal bytes (RFC 9110 §8.8.1).
fn weaken(response: Response<'_>, edits: &mut ResponseEdits) {
    let Some(tag) = strong_tag(response).filter(|_| edits.keeps(b"etag")) else { return };
    let mut weak = b"W/".to_vec();
    weak.extend_from_slice(tag);
    edits.drop_received(b"ETag");
    edits.add(b"ETag", &weak);
}

fn strong_tag<'r>(response: Response<'r>) -> Option<&'r [u8]> {
    let tag = fields(&response.head.fields, response.bytes, b"etag").next()?;
    tag.starts_with(b"\"").then_some(tag)
}

fn asks_about_weak(request: Request<'_>, response: Response<'_>) -> bool {
    let Some(tag) = strong_tag(response) else { return false };
    // A tag may hold a comma, so the members are not cut apart.
    request.values(b"if-none-match").any(|value| {
        value.windows(tag.len() + 2).any(|part| part.strip_prefix(b"W/").is_some_and(|own| own == tag))
    })
}

fn fields<'r>(fields: &'r [Field], bytes: &'r [u8], name: &'static [u8]) -> impl Iterator<Item = &'r [u8]> {
    let own = fields.iter().filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name));
    own.map(move |field| field.value.of(bytes))
}

fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether pieces of the body are worth something as soon as they arrive.
pub fn is_stream_of_events(response: Response<'_>) -> bool {
    fields(&response.head.fields, response.bytes, b"content-type").any(|value| {
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        [&b"text/event-stream"[..], b"application/x-ndjson", b"application/json-seq"]
            .iter()
            .any(|streamed| essence.eq_ignore_ascii_case(streamed))
    })
}

#[cfg(test)]
mod tests;
