//! Messages as the other side of a connection sees them: the reading half of clients and upstreams.

use base::limits::HttpLimits;
use runtime::Stream;
use wire::h1::{BodyReader, Progress, RequestReader, ResponseReader};
use wire::http::{BodyLength, Field, Method, Request, RequestHead, ResponseHead, Version};

/// Reads messages from one stream, one after the other.
pub(crate) struct Incoming<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) bytes: Vec<u8>,
}

/// How a message, or the wait for one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its own framing, or by a clean end where that is the framing.
    Complete,
    /// The connection ended cleanly too early.
    Eof,
    /// The connection was reset.
    Reset,
    /// It is not HTTP.
    Malformed,
}

pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) body_hash: Option<u64>,
    pub(crate) body: BodyLength,
    pub(crate) upgrade: bool,
    pub(crate) keep_alive: bool,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) id: Option<String>,
    pub(crate) hash: Option<u64>,
    pub(crate) len: Option<u64>,
    /// The hash of the request body as the upstream saw it.
    pub(crate) asked_hash: Option<u64>,
    pub(crate) proxy_status: Option<String>,
    pub(crate) framing: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) informational: Vec<u16>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(stream: &'a Stream) -> Self {
        Incoming { stream, bytes: Vec::new() }
    }

    /// Receives more; None at the end.
    pub(crate) async fn more(&mut self) -> Result<(), End> {
        match self.stream.recv().await {
            Ok(buf) if buf.is_empty() => Err(End::Eof),
            Ok(buf) => {
                self.bytes.extend_from_slice(&buf);
                Ok(())
            }
            Err(_) => Err(End::Reset),
        }
    }

    /// The next request head. `Err(Eof)` with no bytes left over is an ordinary end.
    pub(crate) async fn request(&mut self) -> Result<Asked, End> {
        let mut reader = RequestReader::new(&HttpLimits::DEFAULT);
        let mut head = RequestHead::default();
        let length = loop {
            match reader.read(&self.bytes, &mut head).map_err(|_| End::Malformed)? {
                Progress::Complete(length) => break length,
                Progress::Partial => self.more().await?,
            }
        };
        let request = Request::new(&head, &self.bytes[..length]);
        let asked = Asked {
            method: text(request.method()),
            path: text(request.path()),
            id: field(&head.fields, request.bytes, "X-Id").unwrap_or_default(),
            body_hash: number(field(&head.fields, request.bytes, "X-Hash")),
            body: head.body,
            upgrade: head.upgrade.is_some(),
            keep_alive: head.keep_alive,
        };
        self.bytes.drain(..length);
        Ok(asked)
    }

    /// The next final response with its body; None when the connection ended before a byte of it.
    pub(crate) async fn reply(&mut self, method: &str) -> Result<Reply, End> {
        let method = if method == "HEAD" { Method::Head } else { Method::Get };
        let mut reader = ResponseReader::new(&HttpLimits::DEFAULT, method);
        let mut head = ResponseHead::default();
        let mut informational = Vec::new();
        let length = loop {
            match reader.read(&self.bytes, &mut head).map_err(|_| End::Malformed)? {
                Progress::Complete(length) if head.status >= 200 || head.status == 101 => break length,
                Progress::Complete(length) => {
                    informational.push(head.status);
                    self.bytes.drain(..length);
                    reader.reset(method);
                }
                Progress::Partial => self.more().await?,
            }
        };
        let of = |name| field(&head.fields, &self.bytes[..length], name);
        let mut reply = Reply {
            status: head.status,
            id: of("X-Id"),
            hash: number(of("X-Hash")),
            len: number(of("X-Len")),
            asked_hash: number(of("X-Asked-Hash")),
            proxy_status: of("Proxy-Status"),
            framing: head.body,
            keep_alive: head.keep_alive && head.version >= Version::Http11
                || of("Connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")),
            informational,
            body: Vec::new(),
            end: End::Complete,
        };
        self.bytes.drain(..length);
        let reader = BodyReader::for_response(head.body, &HttpLimits::DEFAULT);
        reply.end = self.body(reader, &mut reply.body).await;
        Ok(reply)
    }

    /// Reads a body to its end.
    pub(crate) async fn body(&mut self, mut reader: BodyReader, body: &mut Vec<u8>) -> End {
        loop {
            if reader.is_done() {
                return End::Complete;
            }
            if !self.bytes.is_empty() {
                let Ok(part) = reader.read(&mut self.bytes) else { return End::Malformed };
                body.extend_from_slice(&self.bytes[part.payload.clone()]);
                self.bytes.drain(..part.consumed);
                if part.done {
                    return End::Complete;
                }
            }
            match self.more().await {
                Ok(()) => {}
                Err(End::Eof) if reader.on_eof().is_ok() => return End::Complete,
                Err(end) => return end,
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn field(fields: &[Field], bytes: &[u8], name: &str) -> Option<String> {
    let named = |field: &&Field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes());
    fields.iter().find(named).map(|field| text(field.value.of(bytes)))
}

fn number(value: Option<String>) -> Option<u64> {
    value.and_then(|value| value.parse().ok())
}

/// FNV-1a: short, and good enough to tell bodies apart.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// A body that belongs to this name only.
pub(crate) fn body_of(name: &str, len: usize) -> Vec<u8> {
    let mut rng = base::Rng::new(hash(name.as_bytes()));
    let mut body = Vec::with_capacity(len + 8);
    while body.len() < len {
        body.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    body.truncate(len);
    body
}

/// Puts a body into chunks of random sizes.
pub(crate) fn chunked(body: &[u8], rng: &mut base::Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let len = (1 + rng.index(rest.len().min(5000))).min(rest.len());
        out.extend_from_slice(format!("{len:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..len]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[len..];
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
