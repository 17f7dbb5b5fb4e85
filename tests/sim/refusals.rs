//! Requests that are refused: answered as such, and never forwarded in any part (I5).

use crate::client::write_in_pieces;
use crate::peer::{End, Incoming};
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, World, client_host, each_seed, faulty, simulate};
use std::time::Duration;

/// Heads that must be refused, and the status for it; `{}` is the id.
const REFUSED: [(&str, u16); 14] = [
    (
        "POST /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("POST /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("POST /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("POST /r/{} HTTP/1.0\r\nHost: a\r\nX-Id: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\r\nX-Id: {}\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Id: {}\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\nHost: a\r\nX-Id: {}\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\n folded\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\r\nHost: a\r\nX-Id : {}\r\n\r\n", 400),
    ("GET /r/{} HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\nX-Nul: \0\r\n\r\n", 400),
    ("GET /r/{} HTTP/2.7\r\nHost: a\r\nX-Id: {}\r\n\r\n", 505),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nX-Id: {}\r\n\r\n", 405),
    ("GET /r/{}/%00 HTTP/1.1\r\nHost: a\r\nX-Id: {}\r\n\r\n", 400),
];

async fn refused(world: &World, number: usize) {
    let (text, status) = REFUSED[number % REFUSED.len()];
    let id = format!("bad-{number}");
    let stream = world.dial(client_host(number)).await.expect("connected");
    // What follows in the same breath must not be taken for a request either.
    let smuggled = "GET /r/smuggled HTTP/1.1\r\nHost: a\r\nX-Id: smuggled\r\n\r\n";
    let bytes = text.replace("{}", &id) + smuggled;
    let (_, reply) = crate::world::both(write_in_pieces(world, &stream, bytes.as_bytes()), async {
        let mut incoming = Incoming::new(&stream);
        let reply = incoming.reply("GET").await;
        let behind = incoming.reply("GET").await;
        if let Ok(behind) = behind {
            world.ledger.broken(format!("{id}: a second response ({})", behind.status));
        }
        reply
    })
    .await;
    match reply {
        Ok(reply) if reply.status == status && reply.end == End::Complete && reply.id.is_none() => {}
        other => world.ledger.broken(format!("{id} ({text:?}): {status} was expected, not {other:?}")),
    }
    for id in [id.as_str(), "smuggled"] {
        if world.ledger.was_seen(id) {
            world.ledger.broken(format!("I5: {id} of a refused request was forwarded ({text:?})"));
        }
    }
}

#[test]
fn nothing_of_a_refused_request_reaches_an_upstream() {
    each_seed(|seed| {
        let mut options = faulty(seed);
        options.faults.reset_discards = 0;
        simulate(options, THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::ZERO });
            world.settle().await;
            for number in 0..REFUSED.len() {
                refused(&world, number).await;
            }
        });
    });
}
