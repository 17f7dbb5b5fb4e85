//! Clients: requests of every shape, written in pieces, pipelined or not, and what becomes of them.

use crate::peer::{End, Incoming, Reply, body_of, chunked, hash};
use crate::world::World;
use runtime::{Either, Stream, race, select2};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) http10: bool,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) expects: bool,
    pub(crate) closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length,
    Chunked,
}

/// What a client insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Every request is answered by the upstream, whole.
    Everything,
    /// What is answered is right.
    Truth,
}

/// No request may take longer than all timeouts of the product together.
const PATIENCE: Duration = Duration::from_secs(400);

impl Ask {
    pub(crate) fn get(id: &str) -> Ask {
        Ask {
            id: id.to_owned(),
            method: "GET",
            http10: false,
            framing: Framing::None,
            body: Vec::new(),
            expects: false,
            closes: false,
        }
    }

    pub(crate) fn post(id: &str, len: usize) -> Ask {
        Ask { method: "POST", framing: Framing::Length, body: body_of(id, len), ..Ask::get(id) }
    }

    /// Any request that is allowed.
    pub(crate) fn any(world: &World, id: &str) -> Ask {
        let mut ask = Ask::get(id);
        ask.http10 = world.random(8) == 0;
        ask.closes = world.random(12) == 0;
        match world.random(10) {
            0..=3 => {}
            4 => ask.method = "HEAD",
            5 => ask.method = "DELETE",
            6 => ask.method = "PUT",
            _ => ask.method = "POST",
        }
        if matches!(ask.method, "PUT" | "POST") {
            let big = world.random(8) == 0;
            let len = world.random_size(if big { 40_000 } else { 3000 });
            ask.body = body_of(id, len);
            let chunks = !ask.http10 && world.random(2) == 0;
            ask.framing = if chunks { Framing::Chunked } else { Framing::Length };
            ask.expects = !ask.http10 && len > 0 && world.random(8) == 0;
        }
        ask
    }

    /// The head and the body as they go over the wire.
    pub(crate) fn bytes(&self, world: &World) -> (Vec<u8>, Vec<u8>) {
        let version = if self.http10 { "1.0" } else { "1.1" };
        let mut head = format!(
            "{} /r/{} HTTP/{version}\r\nHost: sim.example\r\nX-Id: {}\r\nX-Hash: {}\r\n",
            self.method,
            self.id,
            self.id,
            hash(&self.body)
        );
        let body = match self.framing {
            Framing::None => Vec::new(),
            Framing::Length => {
                head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
                self.body.clone()
            }
            Framing::Chunked => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                chunked(&self.body, &mut world.rng.borrow_mut())
            }
        };
        if self.expects {
            head.push_str("Expect: 100-continue\r\n");
        }
        match (self.closes, self.http10) {
            (true, false) => head.push_str("Connection: close\r\n"),
            (false, true) => head.push_str("Connection: keep-alive\r\n"),
            _ => {}
        }
        head.push_str("\r\n");
        (head.into_bytes(), body)
    }
}

/// Writes in random pieces; ends early when the connection does.
pub(crate) async fn write_in_pieces(world: &World, stream: &Stream, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = if world.random(2) == 0 { rest.len() } else { 1 + world.random_size(rest.len()) };
        stream.write(|out| out.extend_from_slice(&rest[..len]));
        rest = &rest[len..];
        if stream.flushed(0).await.is_err() {
            return false;
        }
        if !rest.is_empty() && world.random(4) == 0 {
            world.pause(Duration::from_micros(world.random(20_000))).await;
        }
    }
    true
}

/// Asks everything, on as many connections as that takes.
pub(crate) async fn session(world: &World, host: IpAddr, asks: &[Ask], demand: Demand) {
    let mut rest = asks;
    while !rest.is_empty() {
        let done = connection(world, host, rest, demand).await;
        rest = &rest[done.max(1).min(rest.len())..];
    }
}

/// Uses one connection as long as it lasts; returns how many requests were settled on it.
async fn connection(world: &World, host: IpAddr, asks: &[Ask], demand: Demand) -> usize {
    let stream = match world.dial(host).await {
        Ok(stream) => stream,
        Err(error) => {
            world.ledger.broken(format!("a client cannot connect: {error}"));
            return asks.len();
        }
    };
    let mut incoming = Incoming::new(&stream);
    let mut settled = 0;
    while settled < asks.len() {
        let depth = if world.random(2) == 0 { 1 } else { 1 + world.random_size(4) };
        let batch = &asks[settled..(settled + depth).min(asks.len())];
        // Who asks for the end of the connection sends nothing behind that.
        let last = batch.iter().position(|ask| ask.closes).map_or(batch.len(), |at| at + 1);
        let batch = &batch[..last];
        let (count, keeps) = exchange(world, &stream, &mut incoming, batch, demand).await;
        settled += count;
        if !keeps {
            return settled;
        }
        if world.random(3) == 0 {
            world.pause(Duration::from_micros(world.random(3_000_000))).await;
        }
    }
    stream.shutdown_write();
    settled
}

/// One batch of pipelined requests.
async fn exchange(
    world: &World,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
    batch: &[Ask],
    demand: Demand,
) -> (usize, bool) {
    let mut writing = pin!(async {
        for ask in batch {
            let (head, body) = ask.bytes(world);
            if !write_in_pieces(world, stream, &head).await {
                return;
            }
            if ask.expects {
                world.pause(Duration::from_millis(world.random(5))).await;
            }
            if !write_in_pieces(world, stream, &body).await {
                return;
            }
        }
    });
    let mut reading = pin!(replies(world, incoming, batch, demand));
    let timer = world.rt.timer();
    timer.set(world.rt.now() + PATIENCE);
    let both = async {
        match select2(reading.as_mut(), writing.as_mut()).await {
            Either::Right(()) => reading.await,
            Either::Left((count, true)) => {
                writing.await;
                (count, true)
            }
            Either::Left(ended) => ended,
        }
    };
    race(both, &timer).await.unwrap_or_else(|| {
        world.ledger.broken(format!("{}: no end in sight after {PATIENCE:?}", batch[0].id));
        (batch.len(), false)
    })
}

async fn replies(world: &World, incoming: &mut Incoming<'_>, batch: &[Ask], demand: Demand) -> (usize, bool) {
    let mut count = 0;
    for ask in batch {
        let reply = incoming.reply(ask.method).await;
        let last = count + 1 == batch.len();
        if !answered(world, incoming, ask, &reply, demand) {
            // Answers may have been lost with the connection: what was sent must not be asked again.
            return (batch.len(), false);
        }
        count += 1;
        let Ok(reply) = reply else { return (count, false) };
        if reply.end != End::Complete {
            // The reset that ended the connection may have destroyed an answer that was whole, and what was pipelined
            // behind it may have been done.
            return (batch.len(), false);
        }
        if !reply.keep_alive {
            // What was pipelined behind it is not answered, the client was told so, and may ask again.
            return (count, false);
        }
        if last && !incoming.bytes.is_empty() {
            world.ledger.broken(format!("I1: {} bytes behind the last response", incoming.bytes.len()));
        }
    }
    (count, true)
}

/// Judges a reply or its absence; false when the connection is of no further use.
fn answered(
    world: &World,
    incoming: &Incoming<'_>,
    ask: &Ask,
    reply: &Result<Reply, End>,
    demand: Demand,
) -> bool {
    match reply {
        Ok(reply) => {
            let whole = world.ledger.judge(ask, reply);
            if demand == Demand::Everything && !whole {
                world.ledger.broken(format!(
                    "{} {}: {} ({:?}, {:?})",
                    ask.method, ask.id, reply.status, reply.end, reply.proxy_status
                ));
            }
            true
        }
        Err(end) => {
            let leftover = incoming.bytes.len();
            if *end == End::Malformed || (*end == End::Eof && leftover > 0) {
                world.ledger.broken(format!("{} {}: {end:?} after {leftover} bytes", ask.method, ask.id));
            }
            if demand == Demand::Everything {
                world.ledger.broken(format!("{} {}: no answer ({end:?})", ask.method, ask.id));
            }
            world.ledger.count("unanswered");
            false
        }
    }
}
