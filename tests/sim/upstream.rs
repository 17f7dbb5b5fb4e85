//! Upstreams: one that behaves, and one that does what servers do on bad days.

use crate::client::write_in_pieces;
use crate::peer::{Asked, End, Incoming, body_of, chunked, hash};
use crate::world::{World, endpoint};
use base::limits::HttpLimits;
use runtime::{Stream, race};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use wire::h1::BodyReader;

/// How an upstream treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers everything after thinking for at most this time.
    Honest { think_max: Duration },
    /// The same, with small answers that leave in one piece: they arrive whole or not at all.
    Terse { think_max: Duration },
    /// Every other answer is a [`Trick`].
    Hostile,
    /// Its answers are long, and one in three ends, stalls or goes on where it must not.
    Bulky,
}

/// What can go wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    ResetWithin,
    EndWithin,
    EndBefore,
    ResetBefore,
    Excess,
    Hints,
    EndlessHints,
    EarlyAnswer,
    TooLate,
    IdleChatter,
    UnaskedBody,
    CloseAfter,
    Garbage,
    TwoFramings,
    StallWithin,
    ShutBeforeReading,
    Unavailable,
}

const TRICKS: [Trick; 17] = [
    Trick::ResetWithin,
    Trick::EndWithin,
    Trick::EndBefore,
    Trick::ResetBefore,
    Trick::Excess,
    Trick::Hints,
    Trick::EndlessHints,
    Trick::EarlyAnswer,
    Trick::TooLate,
    Trick::IdleChatter,
    Trick::UnaskedBody,
    Trick::CloseAfter,
    Trick::Garbage,
    Trick::TwoFramings,
    Trick::StallWithin,
    Trick::ShutBeforeReading,
    Trick::Unavailable,
];

/// What happens to long answers.
const BULKY_TRICKS: [Trick; 5] =
    [Trick::ResetWithin, Trick::EndWithin, Trick::Excess, Trick::StallWithin, Trick::CloseAfter];

/// An answer to nothing, which must never reach anybody; it is named after the request before it.
fn poison(asked: &Asked) -> Vec<u8> {
    let name = poison_name(asked);
    format!("HTTP/1.1 200 OK\r\nX-Id: {name}\r\nContent-Length: 6\r\n\r\npoison").into_bytes()
}

fn poison_name(asked: &Asked) -> String {
    format!("poison-{}", asked.id)
}

/// Starts a server.
pub(crate) fn start(world: &Rc<World>, addr: SocketAddr, manner: Manner) {
    let listener = world.rt.listen(world.net.bind(addr).expect("a free address")).expect("listening");
    let world = Rc::clone(world);
    let rt = world.rt.clone();
    rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let inner = Rc::clone(&world);
            world.rt.spawn(async move { serve(&inner, stream, manner).await });
        }
    });
}

/// Starts the servers of [`THREE_ENDPOINTS`](crate::world::THREE_ENDPOINTS).
pub(crate) fn start_three(world: &Rc<World>, manner: Manner) {
    for last in 1..=3 {
        start(world, endpoint(last), manner);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(world: &World, stream: Stream, manner: Manner) {
    if manner == Manner::Hostile && world.random(20) == 0 {
        return stream.reset();
    }
    let mut incoming = Incoming::new(&stream);
    let mut reset = false;
    loop {
        let asked = match incoming.request().await {
            Ok(asked) => asked,
            Err(End::Malformed) => {
                let bytes = String::from_utf8_lossy(&incoming.bytes).into_owned();
                world.ledger.broken(format!("an upstream got what is not a request: {bytes:?}"));
                break;
            }
            Err(_) => break,
        };
        world.ledger.seen(&asked.id, &asked.method);
        if asked.path != format!("/r/{}", asked.id) {
            world.ledger.broken(format!("request {} has the path {}", asked.id, asked.path));
        }
        let tricks: &[Trick] = match manner {
            Manner::Hostile if world.random(2) == 0 => &TRICKS,
            Manner::Bulky if world.random(3) == 0 => &BULKY_TRICKS,
            _ => &[],
        };
        let after = if !tricks.is_empty() {
            let trick = tricks[world.random_size(tricks.len())];
            world.ledger.count(format!("{trick:?}"));
            play(world, &stream, &mut incoming, &asked, trick, manner).await
        } else {
            honest(world, &stream, &mut incoming, &asked, manner).await
        };
        match after {
            After::Keep => continue,
            After::Close => {}
            After::Poisoned => poisoned(world, &mut incoming, &poison_name(&asked)).await,
            After::Reset => reset = true,
        }
        break;
    }
    if reset {
        stream.reset();
    }
}

/// What becomes of a connection behind an answer.
pub(crate) enum After {
    Keep,
    Close,
    Reset,
    /// Bytes were sent that nobody has asked for: the connection must not be used again.
    Poisoned,
}

/// Waits for a request on a connection that carries an answer too many.
///
/// One that was sent before the answer had arrived gets the wrong response, and nobody can help it. Once the answer has
/// been there for longer than the world may delay its discovery, the connection must not be used.
async fn poisoned(world: &World, incoming: &mut Incoming<'_>, name: &str) {
    let timer = world.rt.timer();
    let end = world.rt.now() + Duration::from_secs(60);
    let mut found_until = None;
    while world.rt.now() < end {
        timer.set(world.rt.now() + Duration::from_millis(1));
        match race(incoming.request(), &timer).await {
            None => {}
            Some(Err(_)) => {
                // A request may have been cut off together with the connection.
                if found_until.is_none_or(|until| world.rt.now() <= until) {
                    world.ledger.excuse(name);
                }
                return;
            }
            Some(Ok(asked)) => {
                world.ledger.seen(&asked.id, &asked.method);
                if found_until.is_some_and(|until| world.rt.now() > until) {
                    world.ledger.broken(format!("R106: {} was sent on a poisoned connection", asked.id));
                }
                return world.ledger.excuse(&asked.id);
            }
        }
        if found_until.is_none() && incoming.stream.acked_bytes() == incoming.stream.sent_bytes() {
            found_until = Some(world.rt.now() + world.discovery_max());
        }
    }
}

/// Reads the body; its hash if it was complete.
async fn take_body(world: &World, incoming: &mut Incoming<'_>, asked: &Asked) -> Option<u64> {
    let mut body = Vec::new();
    let end = incoming.body(BodyReader::new(asked.body, &HttpLimits::DEFAULT), &mut body).await;
    match end {
        End::Complete => {
            world.ledger.request_complete(&asked.id, asked.body_hash, &body);
            Some(hash(&body))
        }
        End::Malformed => {
            world.ledger.broken(format!("request {} has a malformed body", asked.id));
            None
        }
        End::Eof | End::Reset => None,
    }
}

/// Reads the body, thinks, answers.
pub(crate) async fn honest(
    world: &World,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
    asked: &Asked,
    manner: Manner,
) -> After {
    let Some(seen) = take_body(world, incoming, asked).await else { return After::Close };
    let think_max = match manner {
        Manner::Honest { think_max } | Manner::Terse { think_max } => think_max,
        Manner::Hostile | Manner::Bulky => Duration::from_millis(20),
    };
    let nanos = u64::try_from(think_max.as_nanos()).unwrap_or(u64::MAX);
    if nanos > 0 {
        world.pause(Duration::from_nanos(world.random(nanos))).await;
    }
    if matches!(manner, Manner::Terse { .. }) {
        let answer = Answer::of(world, asked, Some(seen), 200, world.random_size(1000), true);
        stream.write(|out| out.extend_from_slice(&answer.bytes));
        return after(&answer, stream.flushed(0).await.is_ok());
    }
    let answer = match manner {
        Manner::Bulky => {
            let framed = world.random(4) != 0;
            Answer::of(world, asked, Some(seen), 200, bulk(world), framed)
        }
        _ => Answer::any(world, asked, Some(seen)),
    };
    after(&answer, write_in_pieces(world, stream, &answer.bytes).await)
}

/// Whoever cannot send the rest must not end in good order: that would be the end of a body without a length.
fn after(answer: &Answer, is_sent: bool) -> After {
    match (is_sent, answer.keeps) {
        (false, _) => After::Reset,
        (true, false) => After::Close,
        (true, true) => After::Keep,
    }
}

/// A complete response.
struct Answer {
    bytes: Vec<u8>,
    /// The connection lasts; otherwise its end is the end of the body.
    keeps: bool,
}

impl Answer {
    fn any(world: &World, asked: &Asked, seen: Option<u64>) -> Answer {
        let big = world.random(8) == 0;
        let len = world.random_size(if big { 40_000 } else { 3000 });
        let status = match world.random(12) {
            0 => 204,
            1 => 304,
            2 => 404,
            _ => 200,
        };
        Answer::of(world, asked, seen, status, len, world.random(8) != 0)
    }

    fn of(world: &World, asked: &Asked, seen: Option<u64>, status: u16, len: usize, framed: bool) -> Answer {
        let bodiless = matches!(status, 204 | 304);
        let body = if bodiless { Vec::new() } else { body_of(&asked.id, len) };
        let mut head = format!("HTTP/1.1 {status} Fine\r\nX-Id: {}\r\nX-Len: {}\r\n", asked.id, body.len());
        head.push_str(&format!("X-Hash: {}\r\n", hash(&body)));
        if let Some(seen) = seen {
            head.push_str(&format!("X-Asked-Hash: {seen}\r\n"));
        }
        let mut keeps = asked.keep_alive;
        let mut payload = body.clone();
        if bodiless {
        } else if !framed {
            keeps = false;
            head.push_str("Connection: close\r\n");
        } else if world.random(2) == 0 {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        } else {
            head.push_str("Transfer-Encoding: chunked\r\n");
            payload = chunked(&body, &mut world.rng.borrow_mut());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if asked.method != "HEAD" {
            bytes.extend_from_slice(&payload);
        }
        Answer { bytes, keeps }
    }
}

/// The length of a long body; one in ten is not long after all.
fn bulk(world: &World) -> usize {
    if world.random(10) == 0 { world.random_size(70_000) } else { 70_000 + world.random_size(250_000) }
}

async fn play(
    world: &World,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
    asked: &Asked,
    trick: Trick,
    manner: Manner,
) -> After {
    match trick {
        Trick::EndBefore => return After::Close,
        Trick::ResetBefore => return After::Reset,
        Trick::EarlyAnswer => return early(world, stream, incoming, asked).await,
        Trick::ShutBeforeReading => {
            stream.shutdown_write();
            let _ = take_body(world, incoming, asked).await;
            return After::Close;
        }
        _ => {}
    }
    let Some(seen) = take_body(world, incoming, asked).await else { return After::Close };
    let status = if trick == Trick::Unavailable { 503 } else { 200 };
    let len = if manner == Manner::Bulky { bulk(world) } else { world.random_size(5000) };
    let mut answer = Answer::of(world, asked, Some(seen), status, len, true);
    let mut after = if answer.keeps { After::Keep } else { After::Close };
    match trick {
        Trick::ResetWithin | Trick::EndWithin => {
            answer.bytes.truncate(world.random_size(answer.bytes.len()));
            after = if trick == Trick::EndWithin { After::Close } else { After::Reset };
        }
        Trick::Excess => {
            answer.bytes.extend_from_slice(&poison(asked));
            after = After::Poisoned;
        }
        Trick::Hints => {
            let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            answer.bytes.splice(0..0, hints.iter().copied());
        }
        Trick::EndlessHints => answer.bytes = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(40),
        Trick::TooLate => world.pause(Duration::from_millis(29_900 + world.random(200))).await,
        Trick::UnaskedBody => {
            let head = format!("HTTP/1.1 204 Fine\r\nX-Id: {}\r\nX-Hash: {}\r\n\r\n", asked.id, hash(b""));
            answer.bytes = [head.as_bytes(), &poison(asked)].concat();
        }
        Trick::Garbage => answer.bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec(),
        Trick::TwoFramings => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            answer.bytes = head.to_vec();
        }
        Trick::StallWithin => {
            let at = world.random_size(answer.bytes.len());
            let rest = answer.bytes.split_off(at);
            if !write_in_pieces(world, stream, &answer.bytes).await {
                return After::Close;
            }
            world.pause(Duration::from_secs(20 + world.random(50))).await;
            answer.bytes = rest;
        }
        _ => {}
    }
    if !write_in_pieces(world, stream, &answer.bytes).await {
        return After::Close;
    }
    match trick {
        Trick::IdleChatter => {
            world.pause(Duration::from_micros(world.random(3000))).await;
            write_in_pieces(world, stream, &poison(asked)).await;
            After::Poisoned
        }
        Trick::UnaskedBody => After::Poisoned,
        Trick::CloseAfter => {
            world.pause(Duration::from_micros(world.random(3000))).await;
            After::Close
        }
        _ => after,
    }
}

/// Answers before the body was read, and reads it or not.
async fn early(world: &World, stream: &Stream, incoming: &mut Incoming<'_>, asked: &Asked) -> After {
    if world.random(2) == 0 {
        world.pause(Duration::from_micros(world.random(20_000))).await;
    }
    let answer = Answer::of(world, asked, None, 413, world.random_size(2000), true);
    if !write_in_pieces(world, stream, &answer.bytes).await {
        return After::Close;
    }
    match world.random(3) {
        0 => After::Close,
        1 => After::Reset,
        _ => match take_body(world, incoming, asked).await {
            Some(_) if answer.keeps => After::Keep,
            _ => After::Close,
        },
    }
}

/// Starts a server that reads everything and answers nothing.
pub(crate) fn start_silent(world: &Rc<World>, addr: SocketAddr) {
    let listener = world.rt.listen(world.net.bind(addr).expect("a free address")).expect("listening");
    let rt = world.rt.clone();
    world.rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            rt.spawn(async move { while stream.recv().await.is_ok_and(|buf| !buf.is_empty()) {} });
        }
    });
}
