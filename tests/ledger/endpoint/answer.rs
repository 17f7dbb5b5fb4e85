//! The answer to an attempt, and everything that can go wrong with one.

use std::time::Duration;

use super::Shared;
use super::serve::{After, Attempt};
use crate::plan::{self, Answer, Fault, Framing, GARBAGE, Purpose, Side};
use crate::talk::{Sent, Talk, linger};

/// A response as bytes.
struct Response {
    bytes: Vec<u8>,
    head_bytes: usize,
}

/// Gives the planned answer.
pub(super) fn give(shared: &Shared, talk: &mut Talk, attempt: &Attempt, planned: &Answer) -> After {
    let response = whole(shared, attempt, planned);
    let Response { bytes, head_bytes } = &response;
    let body_bytes = bytes.len() - head_bytes;
    let in_head = |permille: u32| head_bytes * permille as usize / 1000;
    let in_body = |permille: u32| head_bytes + body_bytes * permille as usize / 1000;
    let end = |reset| if reset { After::Reset } else { After::Close };
    match planned.fault {
        Fault::EndsInHead { permille, reset } => cut(talk, bytes, in_head(permille), end(reset)),
        Fault::EndsInBody { permille, reset } => cut(talk, bytes, in_body(permille), end(reset)),
        Fault::StallsBeforeHead => stall(talk, bytes, 0),
        Fault::StallsInHead { permille } => stall(talk, bytes, in_head(permille)),
        Fault::StallsInBody { permille } => stall(talk, bytes, in_body(permille)),
        Fault::Garbage { kind } => stall(talk, GARBAGE[kind], GARBAGE[kind].len()),
        Fault::HugeHead => {
            let filler = "x".repeat(1000);
            let fields: String = (0..40).map(|n| format!("X-Filler-{n}: {filler}\r\n")).collect();
            let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
            stall(talk, head.as_bytes(), head.len())
        }
        Fault::Excess { whole_response } => {
            let more = stray(attempt);
            let more = if whole_response { more.as_bytes() } else { &more.as_bytes()[..7] };
            // In one piece, or it would be another fault; see `Answer::settle`.
            let _ = talk.send(&[bytes, more].concat());
            talk.forget();
            After::Close
        }
        Fault::Late => {
            let _ = talk.send(bytes);
            linger(Duration::from_millis(2));
            if !talk.has_arrived() {
                shared.witness.count("late bytes sent");
                let _ = talk.send(stray(attempt).as_bytes());
                return After::Close;
            }
            After::Keep
        }
        Fault::Informational { count } => {
            let statuses = ["100 Continue", "102 Processing", "103 Early Hints"];
            let heads = (0..count as usize).map(|n| format!("HTTP/1.1 {}\r\n\r\n", statuses[n % 3]));
            let _ = talk.send(heads.collect::<String>().as_bytes());
            finish(talk, bytes, planned.closes)
        }
        Fault::Trickles { pieces } => {
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                if talk.send(piece) != Sent::All {
                    return After::Close;
                }
                linger(Duration::from_millis(2));
            }
            finish(talk, b"", planned.closes)
        }
        Fault::None | Fault::Early { .. } | Fault::EndsInRequest { .. } => {
            finish(talk, bytes, planned.closes)
        }
    }
}

/// Sends the (rest of the) response and ends the connection if it said so.
fn finish(talk: &mut Talk, bytes: &[u8], closes: bool) -> After {
    let sent = talk.send(bytes);
    if sent == Sent::All && !closes {
        return After::Keep;
    }
    // Unread bytes would turn the end into a reset, which can destroy the response.
    talk.finish_sending();
    talk.forget();
    After::Close
}

fn cut(talk: &mut Talk, bytes: &[u8], at: usize, after: After) -> After {
    let _ = talk.send(&bytes[..at]);
    after
}

/// Says no more until the peer gives up.
fn stall(talk: &mut Talk, bytes: &[u8], at: usize) -> After {
    let _ = talk.send(&bytes[..at]);
    talk.forget();
    After::Close
}

/// A response that belongs to nobody.
fn stray(attempt: &Attempt) -> String {
    let place = attempt.place;
    format!(
        "HTTP/1.1 408 Request Timeout\r\nX-Ledger-Id: stray\r\nX-Ledger-At: {} {} {}\r\nContent-Length: 0\r\n\r\n",
        place.endpoint, place.connection, place.request
    )
}

/// The planned response without its fault.
fn whole(shared: &Shared, attempt: &Attempt, planned: &Answer) -> Response {
    let place = attempt.place;
    let mut head = format!(
        "HTTP/1.1 {} Planned\r\nX-Ledger-Id: {:08x}\r\nX-Ledger-At: {} {} {}\r\nX-Ledger-Nth: {}\r\n",
        planned.status, attempt.request.id, place.endpoint, place.connection, place.request, attempt.nth
    );
    let body = plan::body(attempt.request.id, Side::Response, planned.body_bytes);
    match planned.framing {
        Framing::Length => head += &format!("Content-Length: {}\r\n", body.len()),
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Framing::None | Framing::UntilClose => {}
    }
    if planned.closes {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    let head_bytes = bytes.len();
    if attempt.request.method != "HEAD" {
        match planned.framing {
            Framing::Chunked => {
                let number = u64::from(attempt.request.id);
                let mut dice = shared.ways.plan.dice(Purpose::Pieces, number);
                append_chunks(&mut bytes, &body, || 1 + dice.index(40_000));
            }
            _ => bytes.extend(&body),
        }
    }
    Response { bytes, head_bytes }
}

/// Appends `body` in chunks of the given sizes.
pub(crate) fn append_chunks(out: &mut Vec<u8>, body: &[u8], mut size: impl FnMut() -> usize) {
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size().min(rest.len()));
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
        rest = after;
    }
    out.extend(b"0\r\n\r\n");
}
