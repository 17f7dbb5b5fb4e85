//! The rules of a connection: when it persists, when it becomes a tunnel, when it may be used again.
//!
//! Pure decisions over what is known when a message ends. The caller does what they say; nothing here touches a socket.

use super::connection::protocols;
use crate::http::{BodyLength, Request, Response, Version};

/// What is known about a downstream connection when a response is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Persistence {
    /// `RequestHead::keep_alive`.
    pub client_wants: bool,
    /// The request body is read to its end, or will be drained before the next head is read.
    pub body_settled: bool,
    /// The response says itself where it ends: not `BodyLength::UntilClose`.
    pub response_delimited: bool,
    /// The listener is stopping, or sheds connections.
    pub draining: bool,
    /// Requests served on the connection, this one included.
    pub requests: u32,
    /// As many as the listener allows on one connection.
    pub requests_max: u32,
}

impl Persistence {
    /// Whether the connection is kept after this response.
    pub const fn keeps(self) -> bool {
        self.client_wants
            && self.body_settled
            && self.response_delimited
            && !self.draining
            && self.requests < self.requests_max
    }
}

/// The `Connection` option that tells a client of that version what will happen; None where it is the default.
pub const fn connection_option(client: Version, keeps: bool) -> Option<&'static str> {
    match (client, keeps) {
        (Version::Http10, true) => Some("keep-alive"),
        (Version::Http10, false) | (_, true) => None,
        (_, false) => Some("close"),
    }
}

/// How a response body of that length is framed for a client of that version.
///
/// A body that lasts until the upstream closes becomes chunked, so that its end can be told from a cut. HTTP/1.0 knows
/// no chunks: there the end of the connection ends the body. Later versions need none: there the end of the stream does.
pub const fn downstream_framing(body: BodyLength, client: Version) -> BodyLength {
    match (body, client) {
        (BodyLength::UntilClose | BodyLength::Chunked, Version::Http10 | Version::Http2 | Version::Http3) => {
            BodyLength::UntilClose
        }
        (BodyLength::UntilClose, _) => BodyLength::Chunked,
        (other, _) => other,
    }
}

/// Whether the connection becomes a tunnel now (R19): the upstream switches, says so in `Connection`, and to nothing
/// but protocols that the client offered.
///
/// After an upgrade was asked for and this is false, the upstream connection is not used again (`UpstreamUse`).
pub fn upgrade_accepted(request: Request<'_>, response: Response<'_>) -> bool {
    let (Some(offered), Some(chosen)) = (request.upgrade(), response.head.upgrade) else { return false };
    response.head.status == 101
        && protocols(chosen.of(response.bytes))
            .all(|choice| protocols(offered).any(|offer| offer.eq_ignore_ascii_case(choice)))
}

/// What is known about an upstream connection when its response has ended.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamUse {
    /// `ResponseHead::keep_alive`.
    pub upstream_wants: bool,
    /// The request was written to its last byte. A final response before that leaves the rest of the request owed.
    pub request_sent: bool,
    /// The response was read to its last byte.
    pub response_read: bool,
    /// Bytes were received after the response (R105).
    pub excess_bytes: bool,
    /// The request asked for an upgrade, whatever came of it (R19).
    pub upgrade_asked: bool,
}

impl UpstreamUse {
    /// Whether the connection may carry another request.
    pub const fn is_reusable(self) -> bool {
        self.upstream_wants
            && self.request_sent
            && self.response_read
            && !self.excess_bytes
            && !self.upgrade_asked
    }
}

/// `Expect: 100-continue` of one request (R21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing was expected, or the client has stopped waiting.
    Settled,
    /// The client waits for 100 before it sends the body.
    Waiting,
}

impl Expectation {
    /// `expected` is `RequestHead::expect_continue`.
    pub const fn new(expected: bool) -> Self {
        if expected { Expectation::Waiting } else { Expectation::Settled }
    }

    /// The body is about to be read: true once, when `100 Continue` has to be sent first. `body_arrived` says that
    /// bytes of it are here already, so that the client has not waited.
    pub const fn on_body_wanted(&mut self, body_arrived: bool) -> bool {
        let waits = matches!(self, Expectation::Waiting);
        *self = Expectation::Settled;
        waits && !body_arrived
    }
}

/// What becomes of the rest of a request body when the response was made without it (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestOfBody {
    /// There is none.
    Settled,
    /// Read and thrown away, up to so many payload bytes; then, or when it takes too long, the connection is closed.
    Drain { bytes_max: u64 },
    /// The connection is closed after the response: the rest is too long, or nobody can tell whether it will come.
    Close,
}

/// Decides over the rest of a request body. `remaining` is how long it is; None while nobody knows, as in a chunked body.
pub const fn rest_of_body(
    is_done: bool,
    remaining: Option<u64>,
    expectation: Expectation,
    drain_bytes_max: u32,
) -> RestOfBody {
    let bytes_max = drain_bytes_max as u64;
    match (expectation, remaining) {
        _ if is_done => RestOfBody::Settled,
        // Having got a final response instead of 100, the client may send the body or the next request (RFC 9110
        // §10.1.1). Guessing is how bodies become requests.
        (Expectation::Waiting, _) => RestOfBody::Close,
        (_, Some(bytes)) if bytes <= bytes_max => RestOfBody::Drain { bytes_max },
        // The response has to say now whether the connection is kept. Were it promised, and the rest turned out too
        // long, the client's next request would be lost without a word.
        _ => RestOfBody::Close,
    }
}
