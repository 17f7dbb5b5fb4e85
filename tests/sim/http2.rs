//! HTTP/2 on the virtual clock: timeouts to the millisecond, and streams that come, are taken back and are cut off in
//! every order.

use crate::peer::Incoming;
use crate::world::{World, client_host, each_seed, endpoint, faulty, simulate, smooth};
use base::Rng;
use runtime::Stream;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use wire::h2::PREFACE;
use wire::http::BodyLength;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const CLEARTEXT: &str = r#"
listener "web" { bind "10.0.0.1:8080"; http2 "cleartext"; }
upstream "app" { endpoint "10.0.1.1:80"; }
site "*" {
    route "/" upstream="app"
    route exact="/fixed" { respond 200 body="hello"; }
}
"#;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A request head as literals of less than 127 bytes.
fn head(method: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The client's side of a connection.
struct Peer<'a> {
    stream: &'a Stream,
    bytes: Vec<u8>,
}

impl<'a> Peer<'a> {
    /// Sends what begins a connection.
    fn begin(stream: &'a Stream) -> Peer<'a> {
        let peer = Peer { stream, bytes: Vec::new() };
        peer.send(PREFACE);
        peer.send(&frame(SETTINGS, 0, 0, &[]));
        peer
    }

    fn send(&self, bytes: &[u8]) {
        self.stream.write(|out| out.extend_from_slice(bytes));
    }

    fn ask(&self, stream: u32, method: &str, path: &str, flags: u8) {
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, &head(method, path)));
    }

    /// The next frame; None at the end of the connection. SETTINGS and PING are acknowledged.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.bytes.len() >= 9 {
                let length = u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]]) as usize;
                if self.bytes.len() >= 9 + length {
                    let whole: Vec<u8> = self.bytes.drain(..9 + length).collect();
                    let stream = u32::from_be_bytes([whole[5], whole[6], whole[7], whole[8]]);
                    let taken =
                        Frame { kind: whole[3], flags: whole[4], stream, payload: whole[9..].to_vec() };
                    if matches!(taken.kind, SETTINGS | PING) && taken.flags & 1 == 0 {
                        let echo = if taken.kind == PING { &taken.payload[..] } else { &[] };
                        self.send(&frame(taken.kind, 1, 0, echo));
                    }
                    return Some(taken);
                }
            }
            match self.stream.recv().await {
                Ok(buf) if !buf.is_empty() => self.bytes.extend_from_slice(&buf),
                _ => return None,
            }
        }
    }

    /// The next frame of a kind.
    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let taken = self.next().await?;
            if taken.kind == kind {
                return Some(taken);
            }
        }
    }
}

/// How long something took, which must be between the two.
fn took(world: &World, what: &str, since: base::Instant, (least, most): (u64, u64)) {
    let spent = world.rt.now().since(since);
    if spent < Duration::from_millis(least) || spent > Duration::from_millis(most) {
        world.ledger.broken(format!("{what} took {spent:?}, not {least} to {most} ms"));
    }
}

/// An upstream that answers with as many bytes as the path says, or with the number of bytes that it was sent.
fn obedient(world: &Rc<World>) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let world = Rc::clone(world);
    world.rt.clone().spawn(async move {
        while let Ok(stream) = listener.accept().await {
            world.rt.spawn(async move {
                let mut incoming = Incoming::new(&stream);
                while let Ok(asked) = incoming.request().await {
                    let mut body = Vec::new();
                    if asked.body != BodyLength::None {
                        let reader =
                            wire::h1::BodyReader::new(asked.body, &base::limits::HttpLimits::DEFAULT);
                        incoming.body(reader, &mut body).await;
                    }
                    let answer = match asked.path.strip_prefix("/bytes/").and_then(|len| len.parse().ok()) {
                        Some(len) => content(&asked.path, len),
                        None => body.len().to_string().into_bytes(),
                    };
                    stream.write(|out| {
                        out.extend_from_slice(
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).as_bytes(),
                        );
                        out.extend_from_slice(&answer);
                    });
                    if stream.flushed(0).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// What an answer for this path holds.
fn content(path: &str, len: usize) -> Vec<u8> {
    path.bytes().cycle().take(len).collect()
}

#[test]
fn an_idle_connection_says_goodbye_after_300_to_338_seconds() {
    for seed in 0..10 {
        simulate(smooth(seed), CLEARTEXT, |world| async move {
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let mut peer = Peer::begin(&stream);
            peer.ask(1, "GET", "/fixed", END_STREAM);
            if peer.next_of(DATA).await.is_none_or(|data| data.payload != b"hello") {
                world.ledger.broken("a fixed response".into());
            }
            let since = world.rt.now();
            if peer.next_of(GOAWAY).await.is_none_or(|goaway| goaway.payload[4..8] != [0; 4]) {
                world.ledger.broken("GOAWAY without an error".into());
            }
            took(&world, "idleness", since, (299_999, 337_502));
        });
    }
}

#[test]
fn a_connection_without_a_request_ends_after_ten_seconds() {
    simulate(smooth(1), CLEARTEXT, |world| async move {
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let since = world.rt.now();
        let mut peer = Peer::begin(&stream);
        if peer.next_of(GOAWAY).await.is_none() {
            world.ledger.broken("GOAWAY".into());
        }
        took(&world, "silence", since, (10_000, 10_003));
    });
}

#[test]
fn r89_a_head_in_pieces_must_be_complete_after_ten_seconds_whatever_else_goes_on() {
    simulate(smooth(2), CLEARTEXT, |world| async move {
        obedient(&world);
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut peer = Peer::begin(&stream);
        peer.ask(1, "GET", "/bytes/10", END_STREAM);
        if peer.next_of(DATA).await.is_none() {
            world.ledger.broken("an answer".into());
        }
        let since = world.rt.now();
        peer.send(&frame(HEADERS, END_STREAM, 3, &head("GET", "/bytes/1")));
        for _ in 0..5 {
            world.pause(Duration::from_secs(1)).await;
            peer.send(&frame(CONTINUATION, 0, 3, &[0, 1, b'x', 1, b'y']));
        }
        if peer.next_of(GOAWAY).await.is_none() {
            world.ledger.broken("GOAWAY".into());
        }
        took(&world, "a head that does not end", since, (10_000, 10_004));
    });
}

#[test]
fn r32_a_window_that_drips_resets_its_stream_and_no_other() {
    simulate(smooth(3), CLEARTEXT, |world| async move {
        obedient(&world);
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut peer = Peer::begin(&stream);
        peer.send(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 20).to_be_bytes()));
        let since = world.rt.now();
        peer.ask(1, "GET", "/bytes/200000", END_STREAM);
        // One byte a second is not nothing, and yet too little.
        for _ in 0..60 {
            world.pause(Duration::from_secs(1)).await;
            peer.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        }
        peer.ask(3, "GET", "/bytes/100", END_STREAM);
        let (mut reset_at, mut other) = (None, false);
        while !other {
            let Some(taken) = peer.next().await else { break };
            match taken.kind {
                RST_STREAM if taken.stream == 1 => reset_at = Some(world.rt.now()),
                DATA if taken.stream == 3 => other = taken.payload == content("/bytes/100", 100),
                _ => {}
            }
        }
        if reset_at.is_none() || !other {
            world.ledger.broken(format!("reset {reset_at:?}, the other stream {other}"));
        }
        took(&world, "both", since, (60_000, 61_000));
        if world.stats.cause(traffic::Cause::ClientSlow) != 1 {
            world.ledger.broken("the cause is client_slow".into());
        }
    });
}

#[test]
fn r90_a_body_below_1_kib_per_second_is_408_on_its_stream() {
    simulate(smooth(4), CLEARTEXT, |world| async move {
        obedient(&world);
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut peer = Peer::begin(&stream);
        let since = world.rt.now();
        peer.ask(1, "POST", "/count", 0);
        for _ in 0..9 {
            world.pause(Duration::from_secs(1)).await;
            peer.send(&frame(DATA, 0, 1, &[b'x'; 900]));
        }
        let answered = peer.next_of(HEADERS).await.is_some();
        took(&world, "a slow body", since, (10_000, 10_005));
        peer.ask(3, "GET", "/bytes/7", END_STREAM);
        let mut other = false;
        while !other {
            let Some(taken) = peer.next_of(DATA).await else { break };
            other = taken.stream == 3;
        }
        if !answered || !other || world.stats.cause(traffic::Cause::BodyTimeout) != 1 {
            world.ledger.broken(format!("answered {answered}, the other stream {other}"));
        }
    });
}

/// What a client expects of one stream.
struct Expected {
    body: Vec<u8>,
    got: Vec<u8>,
    is_over: bool,
}

/// Some requests on one connection, some of them taken back; whatever is complete must be right.
async fn wander(world: Rc<World>, number: usize, seed: u64) {
    let mut rng = Rng::new(seed ^ 0x2f2f ^ number as u64);
    let Ok(stream) = world.dial(client_host(number)).await else { return };
    let mut peer = Peer::begin(&stream);
    let mut expected: BTreeMap<u32, Expected> = BTreeMap::new();
    for turn in 0..1 + rng.index(12) {
        let id = u32::try_from(turn).expect("few") * 2 + 1;
        let is_upload = rng.one_in(3);
        let body = if is_upload {
            let len = rng.index(4000);
            peer.ask(id, "POST", "/count", 0);
            let bytes = vec![b'x'; len];
            for piece in bytes.chunks(1 + rng.index(1500)) {
                peer.send(&frame(DATA, 0, id, piece));
            }
            peer.send(&frame(DATA, END_STREAM, id, &[]));
            len.to_string().into_bytes()
        } else {
            let len = rng.index(2) * rng.index(100_000) + rng.index(2000);
            let path = format!("/bytes/{len}");
            peer.ask(id, "GET", &path, END_STREAM);
            content(&path, len)
        };
        expected.insert(id, Expected { body, got: Vec::new(), is_over: false });
        if rng.one_in(4) {
            if rng.one_in(2) {
                world.pause(Duration::from_micros(rng.below(3000))).await;
            }
            peer.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
            expected.remove(&id);
        }
        if rng.one_in(40) {
            // Leaves in the middle of everything.
            return;
        }
    }
    while expected.values().any(|stream| !stream.is_over) {
        let Some(taken) = peer.next().await else { return };
        let length = u32::try_from(taken.payload.len()).expect("a frame");
        if taken.kind == DATA && length > 0 {
            peer.send(&frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()));
            peer.send(&frame(WINDOW_UPDATE, 0, taken.stream, &length.to_be_bytes()));
        }
        let Some(stream) = expected.get_mut(&taken.stream) else { continue };
        match taken.kind {
            DATA => stream.got.extend_from_slice(&taken.payload),
            RST_STREAM => stream.is_over = true,
            HEADERS => {}
            _ => continue,
        }
        if matches!(taken.kind, DATA | HEADERS) && taken.flags & END_STREAM != 0 {
            stream.is_over = true;
            let is_ours = stream.got.starts_with(b"{\"type\":\"urn:ringway:cause:");
            if stream.got != stream.body && !is_ours {
                world.ledger.broken(format!(
                    "stream {} ended with {} bytes instead of {}",
                    taken.stream,
                    stream.got.len(),
                    stream.body.len()
                ));
            }
        }
    }
}

#[test]
fn streams_in_every_order_are_whole_or_cut_and_leave_nothing_behind() {
    each_seed(|seed| {
        simulate(faulty(seed), CLEARTEXT, move |world| async move {
            obedient(&world);
            world.settle().await;
            let running = Rc::new(std::cell::Cell::new(3));
            for number in 1..=3 {
                let (world, running) = (Rc::clone(&world), Rc::clone(&running));
                world.rt.clone().spawn(async move {
                    wander(world, number, seed).await;
                    running.set(running.get() - 1);
                });
            }
            while running.get() > 0 {
                world.pause(Duration::from_millis(50)).await;
            }
        });
    });
}
