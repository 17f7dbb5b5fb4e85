//! One connection of an endpoint: requests are read strictly, written down, and answered as planned.

use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::answer;
use crate::book::{Body, Place};
use crate::harness::message::{self, Head};
use crate::plan::{self, Fault, Framing, Request};
use crate::talk::{Flaw, Talk, linger};

/// Longest wait for the rest of a request, and for the peer to end a connection that is to be ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a connection after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Keep,
    Close,
    Reset,
}

/// An attempt whose head has been read.
pub(super) struct Attempt {
    pub(super) request: Request,
    pub(super) place: Place,
    pub(super) nth: u32,
    pub(super) head: Head,
}

pub(super) fn connection(shared: &Shared, stream: TcpStream, number: u32) {
    let ways = &shared.ways;
    let mut talk = Talk::new(stream, PATIENCE);
    if ways.plan.resets_at_once(ways.index, number) {
        shared.witness.count("connection reset when accepted");
        return talk.end(true);
    }
    let mut request = 0;
    while wait_for_request(shared, &mut talk, number, request > 0) {
        let place = Place { endpoint: ways.index, connection: number, request };
        request += 1;
        match exchange(shared, &mut talk, place) {
            After::Keep => {}
            After::Close => return,
            After::Reset => return talk.end(true),
        }
    }
}

/// False when the peer ended, or when it is time for this endpoint to close an idle connection.
fn wait_for_request(shared: &Shared, talk: &mut Talk, number: u32, used: bool) -> bool {
    let ways = &shared.ways;
    let planned = ways.plan.idle_ms(ways.index, number).map(Duration::from_millis);
    let idle = match ways.idle {
        Some((from, more)) => {
            let mut dice = ways.plan.dice(plan::Purpose::Idle, u64::from(number));
            Some(from + more.mul_f64(dice.unit()))
        }
        None => planned.filter(|_| used),
    };
    let deadline = idle.map(|idle| Instant::now() + idle);
    while !talk.has_pending() {
        let step = Duration::from_millis(50);
        let left = deadline.map_or(step, |at| at.saturating_duration_since(Instant::now()));
        talk.patience = left.min(step);
        match talk.more() {
            Ok(()) => {}
            Err(Flaw::Silent) if shared.stopping.load(Ordering::Acquire) => return false,
            Err(Flaw::Silent) if deadline.is_some_and(|at| Instant::now() >= at) => {
                shared.witness.count("idle connection closed");
                return false;
            }
            Err(Flaw::Silent) => {}
            Err(_) => return false,
        }
    }
    talk.patience = PATIENCE;
    true
}

fn exchange(shared: &Shared, talk: &mut Talk, place: Place) -> After {
    let witness = &*shared.witness;
    let head = match talk.head() {
        Ok(head) => head,
        Err(Flaw::Malformed(why)) => {
            witness.wrong(format!("{place:?} got a head that is not HTTP: {why}"));
            return After::Close;
        }
        Err(_) => {
            witness.count("head of a request broke off");
            return After::Close;
        }
    };
    if head.start == "GET /healthz HTTP/1.1" {
        let _ = talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        return After::Keep;
    }
    let Some(request) = asked(shared, &head) else {
        witness.wrong(format!("{place:?} got what nobody has asked: {head:?}"));
        return After::Close;
    };
    let nth = witness.seen(request.id, place);
    let attempt = Attempt { request, place, nth, head };
    let planned = shared.ways.plan.answer(&attempt.request, nth);
    witness.count(planned.fault.name());
    match planned.fault {
        Fault::EndsInRequest { permille, reset } => {
            let most = attempt.request.body_bytes * permille as usize / 1000;
            let _ = read_body(talk, &attempt.head, most, &mut Vec::new());
            return if reset { After::Reset } else { After::Close };
        }
        Fault::Early { .. } => {}
        _ => {
            if !take_body(shared, talk, &attempt) {
                return After::Close;
            }
        }
    }
    if !shared.ways.service.is_zero() {
        shared.slots.hold(|| linger(shared.ways.service));
    }
    let after = answer::give(shared, talk, &attempt, &planned);
    if planned.fault == (Fault::Early { reads_on: true }) && after == After::Keep {
        return if take_body(shared, talk, &attempt) { After::Keep } else { After::Close };
    }
    after
}

/// The planned request that this head belongs to, if it is one, with the fields that it must have.
fn asked(shared: &Shared, head: &Head) -> Option<Request> {
    let mut words = head.start.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let id = plan::id_of(path)?;
    let request = shared.ways.plan.request(id);
    let named = head.all("x-ledger-id") == [format!("{id:08x}")];
    let same = method == request.method && path == request.path() && version == "HTTP/1.1";
    (named && same).then_some(request)
}

/// Reads the body and writes down whether it is the one that was sent.
fn take_body(shared: &Shared, talk: &mut Talk, attempt: &Attempt) -> bool {
    let Attempt { request, nth, head, .. } = attempt;
    let mut body = Vec::new();
    let read = read_body(talk, head, usize::MAX, &mut body);
    if let Err(Flaw::Malformed(why)) = &read {
        let what = format!("{:08x}: {:?} got a body that is not HTTP: {why}", request.id, attempt.place);
        shared.witness.wrong(what);
    }
    if read.is_ok() && body != request.body() {
        shared.witness.wrong(format!(
            "{:08x}: {:?} got a body of {} bytes that looks complete; {} other ones were sent",
            request.id,
            attempt.place,
            body.len(),
            request.body_bytes
        ));
    }
    shared.witness.body(request.id, *nth, if read.is_ok() { Body::Whole } else { Body::Broken });
    read.is_ok()
}

fn read_body(talk: &mut Talk, head: &Head, most: usize, body: &mut Vec<u8>) -> Result<(), Flaw> {
    match framing(head).map_err(Flaw::Malformed)? {
        (Framing::Chunked, _) => talk.chunked(most, body),
        (_, length) => talk.exactly(length.min(most), body),
    }
}

fn framing(head: &Head) -> Result<(Framing, usize), String> {
    let length = message::content_length(head)?;
    Ok(match (message::is_chunked(head)?, length) {
        (true, _) => (Framing::Chunked, 0),
        (false, Some(length)) => (Framing::Length, length),
        (false, None) => (Framing::None, 0),
    })
}
