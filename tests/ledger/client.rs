//! A client: takes the next request of the plan, makes it, reads the answer strictly and writes down what came of it.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::book::{Book, Outcome, Place, Witness};
use crate::endpoint::append_chunks;
use crate::harness::message::{self, Head};
use crate::plan::{Framing, Manner, Plan, Purpose, Request, Side, body};
use crate::talk::{Flaw, Sent, Talk};

/// Longest wait for the next byte of an answer; far longer than everything that Ringway itself waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of the closed loop, which makes the next request when the last one has come to its end.
pub(crate) struct Client<'a> {
    pub(crate) plan: Plan,
    pub(crate) web: SocketAddr,
    pub(crate) book: &'a Book,
    /// Longest wait for the next byte of an answer.
    patience: Duration,
    /// Whether it goes away when its patience ends; otherwise that is a mistake of Ringway.
    gives_up: bool,
    /// A connection that can carry another request, and what it has carried last.
    connection: Option<(Talk, u32)>,
}

/// How a request ended: its outcome, and the connection if it can carry another request.
type Ended = (Outcome, Option<Talk>);

impl<'a> Client<'a> {
    pub(crate) fn new(plan: Plan, web: SocketAddr, book: &'a Book) -> Client<'a> {
        Client { plan, web, book, patience: PATIENCE, gives_up: false, connection: None }
    }

    /// A client that goes away when nothing comes for so long.
    pub(crate) fn impatient(self, patience: Duration) -> Client<'a> {
        Client { patience, gives_up: true, ..self }
    }

    /// Makes requests until `next` has reached `total`.
    pub(crate) fn run(&mut self, next: &AtomicU32, total: u32) {
        loop {
            let id = next.fetch_add(1, Ordering::Relaxed);
            if id >= total {
                return;
            }
            self.make(id);
        }
    }

    /// Makes one request.
    pub(crate) fn make(&mut self, id: u32) -> Outcome {
        let request = self.plan.request(id);
        let (talk, last) = match self.connection.take() {
            Some((talk, last)) => (talk, Some(last)),
            None => (self.connect(), None),
        };
        let (mut outcome, talk) = self.exchange(&request, talk);
        if let Outcome::Nothing { after, .. } = &mut outcome {
            *after = last;
        }
        if self.gives_up && matches!(outcome, Outcome::Nothing { flaw: Flaw::Silent, .. }) {
            outcome = Outcome::Left { sent_all: true };
        }
        self.book.settle(id, outcome.clone());
        self.connection = talk.map(|talk| (talk, id));
        outcome
    }

    fn connect(&self) -> Talk {
        let stream = TcpStream::connect_timeout(&self.web, PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to Ringway: {error}"));
        Talk::new(stream, PATIENCE)
    }

    fn exchange(&self, request: &Request, mut talk: Talk) -> Ended {
        talk.patience = self.patience;
        if let Manner::LeavesReading { bytes, .. } = request.manner {
            talk.enough = talk.received() + bytes;
        }
        let (head, body) = self.written(request);
        if let Manner::LeavesSending { permille, reset } = request.manner {
            let whole = [head, body].concat();
            let part = whole.len() * permille as usize / 1000;
            let _ = talk.send_unless_answered(&whole[..part]);
            talk.end(reset);
            return (Outcome::Left { sent_all: part == whole.len() }, None);
        }
        let mut sent = talk.send_unless_answered(&head);
        if request.expects_continue && sent == Sent::All {
            match talk.head() {
                Ok(head) if status_of(&head) == Some(100) => {}
                // A final answer instead: the body stays here, and with it the connection ends.
                other => return (self.judge(request, &mut talk, other).0, None),
            }
        }
        if sent == Sent::All {
            sent = talk.send_unless_answered(&body);
        }
        if request.manner == Manner::HalfClose {
            talk.finish_sending();
        }
        let first = talk.head();
        let (outcome, lasts) = self.judge(request, &mut talk, first);
        if let (Manner::LeavesReading { reset, .. }, Outcome::Left { .. }) = (request.manner, &outcome) {
            talk.end(reset);
            return (outcome, None);
        }
        let again = lasts && sent == Sent::All && request.manner == Manner::Keep;
        if again && talk.has_pending() {
            self.book.wrong(format!("{:08x}: bytes behind the response", request.id));
        }
        (outcome, again.then_some(talk))
    }

    /// The request as bytes: head and body.
    fn written(&self, request: &Request) -> (Vec<u8>, Vec<u8>) {
        let version = if request.manner == Manner::Http10 { "1.0" } else { "1.1" };
        let id = request.id;
        let mut head = format!(
            "{} {} HTTP/{version}\r\nHost: ledger.example\r\nX-Ledger-Id: {id:08x}\r\n",
            request.method,
            request.path()
        );
        if request.has_key {
            head += &format!("Idempotency-Key: {id:08x}\r\n");
        }
        if request.manner == Manner::OneShot {
            head += "Connection: close\r\n";
        }
        if request.expects_continue {
            head += "Expect: 100-continue\r\n";
        }
        let mut bytes = request.body();
        match request.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n", bytes.len()),
            Framing::Chunked => {
                head += "Transfer-Encoding: chunked\r\n";
                let mut dice = self.plan.dice(Purpose::Pieces, u64::from(id) | 1 << 40);
                let mut chunks = Vec::with_capacity(bytes.len() + 100);
                append_chunks(&mut chunks, &bytes, || 1 + dice.index(30_000));
                bytes = chunks;
            }
            Framing::None | Framing::UntilClose => {}
        }
        head += "\r\n";
        (head.into_bytes(), bytes)
    }

    /// Reads the rest of the answer that begins with `first`; also whether the connection lasts.
    fn judge(&self, request: &Request, talk: &mut Talk, first: Result<Head, Flaw>) -> (Outcome, bool) {
        let mut first = first;
        while let Some(status) = first.as_ref().ok().and_then(status_of).filter(|status| *status < 200) {
            if !matches!(status, 100 | 103) || request.manner == Manner::Http10 {
                self.wrong(request, format!("informational {status} was passed on"));
            }
            first = talk.head();
        }
        let head = match first {
            Ok(head) => head,
            Err(Flaw::Enough) => return (Outcome::Left { sent_all: true }, false),
            Err(Flaw::Malformed(why)) => {
                self.wrong(request, format!("the answer is not HTTP: {why}"));
                return (Outcome::Nothing { flaw: Flaw::Malformed(why), after: None }, false);
            }
            Err(flaw) if talk.has_pending() => return (Outcome::Cut { status: 0, flaw }, false),
            Err(flaw) => return (Outcome::Nothing { flaw, after: None }, false),
        };
        let Some(status) = status_of(&head) else {
            self.wrong(request, format!("status line {:?}", head.start));
            return (Outcome::Nothing { flaw: Flaw::Malformed(head.start), after: None }, false);
        };
        let mut bytes = Vec::new();
        match read_body(request, talk, status, &head, &mut bytes) {
            Ok(()) => {}
            Err(Flaw::Enough) => return (Outcome::Left { sent_all: true }, false),
            Err(flaw) => {
                if let Flaw::Malformed(why) = &flaw {
                    self.wrong(request, format!("the body of the answer is not HTTP: {why}"));
                }
                return (Outcome::Cut { status, flaw }, false);
            }
        }
        let lasts = !head.lists("connection", "close") && request.manner != Manner::Http10;
        (self.whole_answer(request, status, &head, &bytes), lasts)
    }

    /// Judges an answer that is complete by its framing.
    fn whole_answer(&self, request: &Request, status: u16, head: &Head, bytes: &[u8]) -> Outcome {
        let Some(named) = field(head, "x-ledger-id") else {
            return self.problem(request, status, head, bytes);
        };
        let place = place_of(head);
        if named == "stray" {
            return Outcome::Strayed { by: place };
        }
        if named != format!("{:08x}", request.id) {
            self.wrong(request, format!("got the response to {named}, given at {place:?}"));
        }
        let nth = field(head, "x-ledger-nth").and_then(|nth| nth.parse().ok()).unwrap_or(u32::MAX);
        let planned = self.plan.answer(request, nth);
        if status != planned.status {
            self.wrong(request, format!("got {status}, {place:?} sent {}", planned.status));
        }
        let own = body(request.id, Side::Response, planned.body_bytes);
        let expected: &[u8] = if request.method == "HEAD" { &[] } else { &own };
        if bytes != expected {
            self.wrong(
                request,
                format!(
                    "the response looks complete with {} bytes and is not the {} that {place:?} sent",
                    bytes.len(),
                    expected.len()
                ),
            );
        }
        Outcome::Answered { status, by: place, nth, body_bytes: bytes.len() }
    }

    /// An answer that no endpoint gave has to be a problem document with a cause.
    fn problem(&self, request: &Request, status: u16, head: &Head, bytes: &[u8]) -> Outcome {
        let proxy_status = field(head, "proxy-status").unwrap_or_default();
        let named = proxy_status.split("details=\"").nth(1).and_then(|rest| rest.split('"').next());
        if request.method == "HEAD" {
            return Outcome::Refused { status, cause: named.unwrap_or_default().to_string() };
        }
        let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let cause = document["code"].as_str().unwrap_or_default().to_string();
        let is_json = field(head, "content-type") == Some("application/problem+json");
        if !is_json || cause.is_empty() || document["status"] != status {
            self.wrong(request, format!("{status} without a problem document: {head:?}"));
        }
        Outcome::Refused { status, cause }
    }

    fn wrong(&self, request: &Request, what: String) {
        self.book.wrong(format!("{:08x}: {what}", request.id));
    }
}

fn read_body(
    request: &Request,
    talk: &mut Talk,
    status: u16,
    head: &Head,
    bytes: &mut Vec<u8>,
) -> Result<(), Flaw> {
    let length = message::content_length(head).map_err(Flaw::Malformed)?;
    let chunked = message::is_chunked(head).map_err(Flaw::Malformed)?;
    if request.method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(());
    }
    match (chunked, length) {
        (true, _) => talk.chunked(usize::MAX, bytes),
        (false, Some(length)) => talk.exactly(length, bytes),
        (false, None) => talk.until_close(bytes),
    }
}

fn status_of(head: &Head) -> Option<u16> {
    let rest = head.start.strip_prefix("HTTP/1.1 ")?;
    let digits = rest.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

fn field<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    match head.all(name).as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

fn place_of(head: &Head) -> Place {
    let numbers = field(head, "x-ledger-at").unwrap_or_default();
    let mut numbers = numbers.split(' ').map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    let mut next = || numbers.next().unwrap_or(u32::MAX);
    Place { endpoint: next() as usize, connection: next(), request: next() }
}
