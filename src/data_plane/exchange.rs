//! One request and its response: what is known of it from the first byte to the log line.
//!
//! Exchanges are kept and reused with their buffers, so that a request on a warm worker allocates nothing for them.

use crate::grpc::Call;
use crate::relay::Trailers;
use crate::worker::Generation;
use base::Instant;
use base::ids::{EndpointId, RouteId, UpstreamId};
use base::limits::HttpLimits;
use runtime::Buf;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use traffic::filter::{Caller, Outgoing, ResponseEdits, Walk};
use traffic::limit::Tally;
use traffic::recent::{Tried, TriedEnd};
use traffic::source::ForwardedFacts;
use traffic::sticky::Session;
use traffic::{Cause, Phases};
use wire::grpc_web::Decoder;
use wire::h1::BodyReader;
use wire::http::{BodyLength, Coding, Request, RequestHead, Response, ResponseHead};

/// State of one exchange.
pub(crate) struct Exchange {
    /// The configuration that this exchange uses to its end.
    pub(crate) generation: Rc<Generation>,
    pub(crate) id: (u64, u64),
    pub(crate) head: RequestHead,
    pub(crate) head_bytes: HeadBytes,
    pub(crate) response: ResponseHead,
    pub(crate) response_bytes: HeadBytes,
    pub(crate) walk: Walk,
    /// Who calls, as far as the route asks.
    pub(crate) caller: Caller,
    /// What limits have charged it; what it holds is given back with the exchange.
    pub(crate) tally: Tally,
    pub(crate) outgoing: Outgoing,
    pub(crate) response_edits: ResponseEdits,
    pub(crate) phases: Phases,
    pub(crate) peer: IpAddr,
    pub(crate) facts: ForwardedFacts,
    pub(crate) route: Option<RouteId>,
    pub(crate) upstream: Option<UpstreamId>,
    pub(crate) endpoint: Option<EndpointId>,
    /// What the request says about its session with the upstream.
    pub(crate) session: Session,
    /// Endpoints that an attempt of this exchange has failed on.
    pub(crate) failed: Vec<EndpointId>,
    /// Attempts that did not become the response, for whoever asks why.
    pub(crate) tried: Vec<Tried>,
    /// Attempts that were started.
    pub(crate) attempts: u8,
    /// Status of the final response; 0 until it was sent.
    pub(crate) status: u16,
    /// Why we answered ourselves or did not complete; `None` when the upstream's response was relayed to its end.
    pub(crate) cause: Option<Cause>,
    pub(crate) upload: Upload,
    /// Payload bytes of the response body.
    pub(crate) bytes_out: u64,
    /// What compression did to the response body.
    pub(crate) coded: Coded,
    /// A byte of the response has been written to the client.
    pub(crate) response_started: bool,
    /// What the retry rules must know of the current attempt.
    pub(crate) attempt: AttemptFacts,
    /// When the whole exchange must be over.
    pub(crate) deadline: Instant,
    /// There is no request: the connection is passed through.
    pub(crate) is_flow: bool,
    /// A client that ends its side counts as gone.
    pub(crate) abort_on_close: bool,
    /// What is known of it as a call of gRPC.
    pub(crate) call: Call,
    /// What the cache of the route has to do with it. Boxed, because most routes have none.
    pub(crate) stored: Option<Box<crate::stored::State>>,
    /// Seconds for `Retry-After` of our own answer; 0 leaves it out.
    pub(crate) retry_after: u32,
}

/// A response body that was compressed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coded {
    /// `None`: it was not, and the rest means nothing.
    pub(crate) coding: Option<Coding>,
    /// Payload bytes before.
    pub(crate) bytes: u64,
}

/// The bytes that a head's spans point into; a response's are followed by what arrived of its body.
#[derive(Default)]
pub(crate) enum HeadBytes {
    #[default]
    None,
    /// The buffer that the head was received in.
    Received(Buf),
    /// The head was cut out, because something follows it or because it arrived in pieces.
    Copied(Vec<u8>),
}

impl HeadBytes {
    /// Both parts of the bytes around `at`, clamped to what is there.
    pub(crate) fn split_at_mut(&mut self, at: usize) -> (&mut [u8], &mut [u8]) {
        let bytes: &mut [u8] = match self {
            HeadBytes::None => &mut [],
            HeadBytes::Received(buf) => buf,
            HeadBytes::Copied(bytes) => bytes,
        };
        let at = at.min(bytes.len());
        bytes.split_at_mut(at)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            HeadBytes::None => &[],
            HeadBytes::Received(buf) => buf,
            HeadBytes::Copied(bytes) => bytes,
        }
    }
}

/// Facts of one attempt that decide whether another may follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptFacts {
    /// The connection had carried no request before.
    pub(crate) fresh: bool,
    /// The kernel took at least one byte of the request.
    pub(crate) sent: bool,
    /// At least one byte of a response arrived.
    pub(crate) answered: bool,
    /// The endpoint had ended its side before any byte of the request reached it.
    pub(crate) unseen: bool,
}

impl AttemptFacts {
    /// Nothing has happened: not even a connection was obtained.
    pub(crate) const NEW: AttemptFacts =
        AttemptFacts { fresh: true, sent: false, answered: false, unseen: false };
}

/// The request body on its way to the upstream.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Decodes the body as the client framed it; lives as long as the exchange, over all attempts.
    pub(crate) reader: BodyReader,
    /// The body is behind us: there was none, or it has been read from the client to its end.
    pub(crate) done: bool,
    /// All of it has been handed to the connection of the current attempt, or there is none. Only then can that
    /// connection carry another request: until then the endpoint would take the next one for the body.
    pub(crate) queued: bool,
    /// `100 Continue` has been sent, or the client did not ask for it.
    pub(crate) continued: bool,
    /// Payload bytes so far.
    pub(crate) bytes: u64,
    /// Takes the base64 of a body that is translated off.
    pub(crate) text: Option<Decoder>,
    /// What follows the body; known when it is behind us.
    pub(crate) trailers: Trailers,
    pub(crate) replay: Replay,
}

impl Upload {
    /// Ready for the body that `head` announces. `spare` is memory for the payload to keep.
    pub(crate) fn new(head: &RequestHead, limits: &HttpLimits, spare: Vec<u8>) -> Upload {
        Upload {
            reader: BodyReader::new(head.body, limits).after_head(head.head_bytes, head.fields.len()),
            done: head.body == BodyLength::None,
            queued: head.body == BodyLength::None,
            continued: !head.expect_continue,
            bytes: 0,
            text: None,
            trailers: Trailers::NONE,
            replay: Replay { payload: spare, lost: false },
        }
    }
}

/// The part of a request body that another attempt would have to send again.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) payload: Vec<u8>,
    /// The body has outgrown the bound or is not worth keeping: it cannot be sent again once a byte of it has been read.
    pub(crate) lost: bool,
}

/// Memory for payload that a spare exchange keeps.
const REPLAY_SPARE_MAX: usize = 4 << 10;

impl Replay {
    /// Forgets the payload; its memory is kept if it is small.
    fn clear(&mut self) {
        self.payload.clear();
        self.payload.shrink_to(REPLAY_SPARE_MAX);
    }

    /// Remembers `payload`, unless that would exceed `max` bytes in all.
    pub(crate) fn keep(&mut self, payload: &[u8], max: usize) {
        if self.lost || payload.is_empty() {
            return;
        }
        if self.payload.len() + payload.len() > max {
            self.lost = true;
            self.payload = Vec::new();
        } else {
            self.payload.extend_from_slice(payload);
        }
    }
}

impl Exchange {
    pub(crate) fn new(generation: Rc<Generation>, now: Instant) -> Exchange {
        Exchange {
            generation,
            id: (0, 0),
            head: RequestHead::default(),
            head_bytes: HeadBytes::None,
            response: ResponseHead::default(),
            response_bytes: HeadBytes::None,
            walk: Walk::default(),
            caller: Caller::default(),
            tally: Tally::default(),
            outgoing: Outgoing::default(),
            response_edits: ResponseEdits::default(),
            phases: Phases::new(now),
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            facts: believe_nothing(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            route: None,
            upstream: None,
            endpoint: None,
            session: Session::None,
            failed: Vec::new(),
            tried: Vec::new(),
            attempts: 0,
            status: 0,
            cause: None,
            upload: Upload::new(&RequestHead::default(), &HttpLimits::DEFAULT, Vec::new()),
            bytes_out: 0,
            coded: Coded::default(),
            response_started: false,
            attempt: AttemptFacts::NEW,
            deadline: Instant::NEVER,
            is_flow: false,
            abort_on_close: false,
            call: Call::default(),
            stored: None,
            retry_after: 0,
        }
    }

    /// Makes it ready for a request whose first byte arrived at `now`.
    pub(crate) fn begin(&mut self, generation: Rc<Generation>, id: (u64, u64), peer: IpAddr, now: Instant) {
        self.generation = generation;
        self.id = id;
        self.peer = peer;
        self.facts = believe_nothing(peer);
        self.phases = Phases::new(now);
        self.walk = Walk::default();
        self.caller.clear();
        self.route = None;
        self.upstream = None;
        self.endpoint = None;
        self.session = Session::None;
        self.attempts = 0;
        self.status = 0;
        self.cause = None;
        self.bytes_out = 0;
        self.coded.coding = None;
        self.response_started = false;
        self.attempt = AttemptFacts::NEW;
        self.deadline = Instant::NEVER;
        self.is_flow = false;
        self.abort_on_close = false;
        self.call = Call::default();
        self.retry_after = 0;
    }

    /// Makes it ready for a connection without a request, which asks an upstream for a place like any exchange.
    pub(crate) fn begin_flow(
        &mut self,
        generation: Rc<Generation>,
        id: (u64, u64),
        peer: IpAddr,
        now: Instant,
    ) {
        self.begin(generation, id, peer, now);
        self.is_flow = true;
    }

    /// Gives up what must not outlive the exchange: received buffers, large allocations, and its generation for the one
    /// in force.
    pub(crate) fn release(&mut self, in_force: Rc<Generation>) {
        self.generation = in_force;
        self.head.clear();
        self.response.clear();
        self.head_bytes = HeadBytes::None;
        self.response_bytes = HeadBytes::None;
        self.outgoing.clear();
        self.caller.clear();
        self.tally.clear();
        self.response_edits.clear();
        self.stored = None;
        self.failed.clear();
        self.tried.clear();
        self.upload.replay.clear();
        self.upload.trailers = Trailers::NONE;
    }

    /// Remembers how the attempt under way has ended.
    pub(crate) fn remember_attempt(&mut self, end: TriedEnd) {
        if let Some(endpoint) = self.endpoint {
            self.tried.push(Tried::last(endpoint, end, &self.phases));
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request::new(&self.head, self.head_bytes.as_slice())
    }

    pub(crate) fn response(&self) -> Response<'_> {
        Response::new(&self.response, self.response_bytes.as_slice())
    }
}

/// What is known of the client before its request has been read.
fn believe_nothing(peer: IpAddr) -> ForwardedFacts {
    ForwardedFacts { client: peer, trusted: false, refused: false, proto: None }
}
