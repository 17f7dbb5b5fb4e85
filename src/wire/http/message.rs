//! Heads of requests and responses, and the views that pair them with their bytes.

use super::{Field, Known, Method, Span, Version};

/// How long the body of a message is, decided from its head alone (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    #[default]
    None,
    /// Exactly so many bytes, never zero.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends; responses only.
    UntilClose,
}

/// The four forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    #[default]
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// The head of a request. Spans point into the bytes that it was parsed from, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub form: TargetForm,
    /// The target as received.
    pub target: Span,
    /// Host and optional port from the target or the `Host` field: the one value that routing, forwarding and logs use.
    /// Empty only for HTTP/1.0 without `Host`.
    pub authority: Span,
    /// `authority` without port and without a trailing dot.
    pub host: Span,
    /// The port that `authority` names.
    pub port: Option<u16>,
    /// The canonical path lives in `canonical` rather than in the received bytes when this is set.
    pub path_rewritten: bool,
    /// The canonical path: dot segments resolved, unreserved characters decoded, `%XX` in upper case.
    pub path: Span,
    /// Query without the `?`; `None` when the target has no `?`.
    pub query: Option<Span>,
    pub fields: Vec<Field>,
    pub body: BodyLength,
    /// The client wants the connection to persist (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` was sent by HTTP/1.1, with a body to wait for.
    pub expect_continue: bool,
    /// Value of `Upgrade`, when `Connection` names it as well. Never of HTTP/1.0, and never with `h2c` in it.
    pub upgrade: Option<Span>,
    /// Bytes of the canonical path when it differs from what was received; reused from request to request.
    pub canonical: Vec<u8>,
    /// Length of the head in bytes, with the empty line that ends it.
    pub head_bytes: u32,
}

impl RequestHead {
    /// Forgets the last request and keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut canonical = std::mem::take(&mut self.canonical);
        fields.clear();
        canonical.clear();
        *self = RequestHead { fields, canonical, ..RequestHead::default() };
    }
}

/// A request head together with its bytes: what is passed around.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub head: &'a RequestHead,
    pub bytes: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn new(head: &'a RequestHead, bytes: &'a [u8]) -> Self {
        Request { head, bytes }
    }

    /// The method's spelling.
    pub fn method(self) -> &'a [u8] {
        self.head.method.spelled(self.bytes)
    }

    pub fn authority(self) -> &'a [u8] {
        self.head.authority.of(self.bytes)
    }

    pub fn host(self) -> &'a [u8] {
        self.head.host.of(self.bytes)
    }

    pub fn target(self) -> &'a [u8] {
        self.head.target.of(self.bytes)
    }

    /// The canonical path.
    pub fn path(self) -> &'a [u8] {
        if self.head.path_rewritten {
            self.head.path.of(&self.head.canonical)
        } else {
            self.head.path.of(self.bytes)
        }
    }

    pub fn query(self) -> Option<&'a [u8]> {
        self.head.query.map(|span| span.of(self.bytes))
    }

    /// The protocol that the client wants to switch to.
    pub fn upgrade(self) -> Option<&'a [u8]> {
        self.head.upgrade.map(|span| span.of(self.bytes))
    }

    /// Value of the first field of that name.
    pub fn known(self, name: Known) -> Option<&'a [u8]> {
        self.head.fields.iter().find(|field| field.known == name).map(|field| field.value.of(self.bytes))
    }

    /// Values of all fields called `name`, ignoring case, in order.
    pub fn values(self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.head
            .fields
            .iter()
            .filter(move |field| field.name.of(self.bytes).eq_ignore_ascii_case(name))
            .map(move |field| field.value.of(self.bytes))
    }
}

/// The head of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: Span,
    pub fields: Vec<Field>,
    pub body: BodyLength,
    /// What `Content-Length` says, also where no body follows: HEAD and 304 announce a body that is not sent.
    pub content_length: Option<u64>,
    /// The upstream will keep the connection open after this response.
    pub keep_alive: bool,
    /// Seconds for which the upstream keeps the connection while it is idle, if it says so in `Keep-Alive`.
    pub idle_timeout: Option<u32>,
    /// Value of `Upgrade`, when `Connection` names it as well.
    pub upgrade: Option<Span>,
    /// Length of the head in bytes, with the empty line that ends it.
    pub head_bytes: u32,
}

impl ResponseHead {
    /// Forgets the last response and keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }
}

/// A response head together with its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub head: &'a ResponseHead,
    pub bytes: &'a [u8],
}

impl<'a> Response<'a> {
    pub fn new(head: &'a ResponseHead, bytes: &'a [u8]) -> Self {
        Response { head, bytes }
    }

    pub fn reason(self) -> &'a [u8] {
        self.head.reason.of(self.bytes)
    }

    /// Value of the first field of that name.
    pub fn known(self, name: Known) -> Option<&'a [u8]> {
        self.head.fields.iter().find(|field| field.known == name).map(|field| field.value.of(self.bytes))
    }
}
