//! Upgraded connections: bytes both ways, each direction with its own end.

use crate::peer::{Incoming, body_of};
use crate::world::{ONE_ENDPOINT, World, client_host, each_seed, endpoint, faulty, simulate};
use runtime::Stream;
use std::rc::Rc;

const UPGRADE: &[u8] =
    b"GET /r/t HTTP/1.1\r\nHost: a\r\nX-Id: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching\r\nX-Id: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Sends one thing and receives another at the same time, each to its end.
async fn talk(world: &World, stream: &Stream, first: Vec<u8>, send: &[u8], expected: &[u8], who: &str) {
    let sending = async {
        crate::client::write_in_pieces(world, stream, send).await;
        stream.shutdown_write();
    };
    let receiving = async {
        let mut got = first;
        while let Ok(buf) = stream.recv().await {
            if buf.is_empty() {
                break;
            }
            got.extend_from_slice(&buf);
        }
        if got != expected {
            world.ledger.broken(format!("{who} got {} of {} bytes", got.len(), expected.len()));
        }
    };
    crate::world::both(sending, receiving).await;
}

#[test]
fn a_tunnel_carries_every_byte_both_ways_and_each_end_on_its_own() {
    each_seed(|seed| {
        simulate(faulty(seed), ONE_ENDPOINT, |world| async move {
            let up = Rc::new(body_of("up", world.random_size(60_000)));
            let down = Rc::new(body_of("down", world.random_size(60_000)));
            let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
            let (server, up2, down2) = (Rc::clone(&world), Rc::clone(&up), Rc::clone(&down));
            world.rt.spawn(async move {
                while let Ok(stream) = listener.accept().await {
                    let (world, up, down) = (Rc::clone(&server), Rc::clone(&up2), Rc::clone(&down2));
                    server.rt.spawn(async move {
                        let mut incoming = Incoming::new(&stream);
                        match incoming.request().await {
                            Ok(asked) if asked.upgrade => {}
                            _ => return world.ledger.broken("an upgrade was expected".into()),
                        }
                        let first = std::mem::take(&mut incoming.bytes);
                        // The first bytes of the new protocol may come with the head.
                        let bytes = [SWITCHING, &down[..]].concat();
                        talk(&world, &stream, first, &bytes, &up, "the upstream").await;
                    });
                }
            });
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            crate::client::write_in_pieces(&world, &stream, UPGRADE).await;
            let mut incoming = Incoming::new(&stream);
            match incoming.reply("GET").await {
                Ok(reply) if reply.status == 101 => {}
                other => return world.ledger.broken(format!("101 was expected, not {other:?}")),
            }
            let first = std::mem::take(&mut incoming.bytes);
            talk(&world, &stream, first, &up, &down, "the client").await;
        });
    });
}
