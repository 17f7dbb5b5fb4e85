//! Answers from the store: the whole, a part of it, or that the client has it already.

use crate::downstream::Client;
use crate::exchange::Exchange;
use crate::pace::Pace;
use crate::relay;
use crate::respond::write_connection_fields;
use crate::serve::{Fault, Next};
use cache::{FieldRef, Matches, Object, Range, Usable};
use runtime::Buf;
use std::sync::Arc;
use traffic::snapshot::Route;
use traffic::{Cause, filter};
use wire::h1::encode;
use wire::http::{BodyLength, Method};

/// A body up to this size leaves together with its head.
const WITH_HEAD_MAX: u64 = 16 << 10;

/// How a kept response came to be the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Hit,
    /// Its origin has said that it is still good.
    Validated,
    Stale,
}

/// A kept response that is the answer.
pub(crate) struct Answer {
    pub(crate) object: Arc<Object>,
    pub(crate) how: How,
}

/// What is sent of it.
struct Part {
    status: u16,
    /// Of the body.
    from: u64,
    to: u64,
}

/// Writes a kept response as the answer.
pub(crate) async fn deliver(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    answer: Answer,
) -> Result<Next, Fault> {
    let Answer { object, how } = answer;
    x.cause = Some(if how == How::Stale { Cause::CacheStale } else { Cause::CacheHit });
    relay::settle_request_body(conn, x).await;
    let keeps = relay::keeps(conn, x, true);
    let part = part(x, &object);
    filter::on_response(&route.chain, part.status, &mut x.response_edits);
    let is_head = x.head.method == Method::Head;
    let length = part.to - part.from;
    let framing = if length == 0 { BodyLength::None } else { BodyLength::Length(length) };
    let sends = if is_head { 0 } else { length };
    let first =
        if sends <= WITH_HEAD_MAX { gather(&object, part.from, part.from + sends) } else { Vec::new() };
    let done = first.len() as u64 == sends;
    let framing_now = if is_head { BodyLength::None } else { framing };
    conn.stream.start(framing_now, &first, done, |out| {
        write_head(out, conn, x, &object, (&part, how));
        if part.status == 416 {
            encode::content_length(out, 0);
        } else if part.status != 304 {
            encode::response_framing(out, part.status, is_head, framing_now, Some(length));
        }
        write_connection_fields(out, x.head.version, keeps);
        encode::end(out);
    });
    x.status = part.status;
    x.response_started = true;
    x.bytes_out = first.len() as u64;
    if !done {
        send_rest(conn, x, &object, &part).await?;
    }
    relay::finish_downstream(conn, x, keeps).await
}

/// What the request's conditions and its `Range` leave of it.
fn part(x: &Exchange, object: &Object) -> Part {
    let request = super::fields(x.request());
    let nothing = |status| Part { status, from: 0, to: 0 };
    if object.status == 200 && Matches::not_modified(&request, object) {
        return nothing(304);
    }
    let whole = Part { status: object.status, from: 0, to: object.length };
    if x.head.method != Method::Get || object.status != 200 || !Matches::range_holds(&request, object) {
        return whole;
    }
    match cache::select(x.request().values(b"Range").next(), object.length) {
        Range::Whole => whole,
        Range::Part { from, to } => Part { status: 206, from, to },
        Range::Unsatisfiable => nothing(416),
    }
}

fn write_head(out: &mut Vec<u8>, conn: &Client, x: &Exchange, object: &Object, (part, how): (&Part, How)) {
    let edits = &x.response_edits;
    let now = conn.worker.rt.now().as_nanos();
    encode::status_line(out, part.status, b"");
    let is_plain = edits.is_empty() && part.status == object.status;
    if is_plain {
        out.extend_from_slice(object.head.as_bytes());
    } else {
        let kept = |&(name, _): &FieldRef<'_>| edits.keeps(name) && belongs(part.status, name);
        for (name, value) in object.head.fields().filter(kept) {
            encode::field(out, name, value);
        }
    }
    match part.status {
        206 => {
            let range = format!("bytes {}-{}/{}", part.from, part.to - 1, object.length);
            encode::field(out, b"Content-Range", range.as_bytes());
        }
        416 => encode::field(out, b"Content-Range", format!("bytes */{}", object.length).as_bytes()),
        _ => {}
    }
    out.extend_from_slice(b"Age: ");
    encode::decimal(out, object.freshness.age(now));
    out.extend_from_slice(b"\r\nCache-Status: ringway; ");
    out.extend_from_slice(match how {
        How::Hit | How::Stale => b"hit; ttl=",
        How::Validated => b"fwd=stale; fwd-status=304; stored; ttl=",
    });
    match object.freshness.usable(now) {
        Usable::Fresh { left } => encode::decimal(out, left),
        Usable::Stale { by } => {
            out.push(b'-');
            encode::decimal(out, by);
        }
    }
    out.extend_from_slice(b"\r\n");
    for (name, value) in edits.additions() {
        encode::field(out, name, value);
    }
}

/// Whether a field of the whole belongs to a response of that status, too (RFC 9110 §15.4.5, §15.5.17).
fn belongs(status: u16, name: &[u8]) -> bool {
    let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
    let describes = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    match status {
        304 => !describes || is(b"Content-Location"),
        416 => !describes && !is(b"ETag") && !is(b"Last-Modified"),
        _ => true,
    }
}

/// Bytes `from..to` of the body.
fn gather(object: &Object, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::try_from(to - from).unwrap_or_default());
    pieces(object, from, to).for_each(|piece| bytes.extend_from_slice(piece));
    bytes
}

/// Bytes `from..to` of the body, piece by piece.
fn pieces(object: &Object, from: u64, to: u64) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    object.body.iter().filter_map(move |segment| {
        let start = at;
        at += segment.len() as u64;
        let within = |place: u64| usize::try_from(place.clamp(start, at) - start).unwrap_or_default();
        let (first, last) = (within(from), within(to));
        (first < last).then(|| &segment[first..last])
    })
}

/// The body, a piece at a time, as fast as the client takes it.
async fn send_rest(conn: &Client, x: &mut Exchange, object: &Object, part: &Part) -> Result<(), Fault> {
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    let length = part.to - part.from;
    for piece in pieces(object, part.from, part.to) {
        relay::flush_downstream(conn, &mut pace, x.deadline).await?;
        x.bytes_out += piece.len() as u64;
        conn.stream.emit(
            Buf::copied(piece),
            0..piece.len(),
            BodyLength::Length(length),
            x.bytes_out == length,
        );
    }
    Ok(())
}
