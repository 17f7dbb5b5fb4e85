//! Ends of connections that the product decides on while the client would go on: the last response arrives whole, and
//! what was sent too early destroys nothing (RFC 9112 §9.6). And answers too many, which reach nobody (R105).

use crate::client::Ask;
use crate::peer::{End, Incoming, body_of, hash};
use crate::world::{ONE_ENDPOINT, World, client_host, each_seed, endpoint, faulty, simulate, smooth};
use std::rc::Rc;
use std::time::Duration;

/// An upstream that answers each request at once with this much, and says one thing too many if told to.
fn answers(world: &Rc<World>, len: usize, extra: &'static [u8]) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let world = Rc::clone(world);
    world.rt.clone().spawn(async move {
        while let Ok(stream) = listener.accept().await {
            world.rt.spawn(async move {
                let mut incoming = Incoming::new(&stream);
                while let Ok(asked) = incoming.request().await {
                    let body = body_of(&asked.id, len);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nX-Id: {}\r\nX-Hash: {}\r\nContent-Length: {len}\r\n\r\n",
                        asked.id,
                        hash(&body)
                    );
                    stream.write(|out| {
                        out.extend_from_slice(head.as_bytes());
                        out.extend_from_slice(&body);
                        out.extend_from_slice(extra);
                    });
                    if stream.flushed(0).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn the_last_response_arrives_whole_although_the_client_goes_on_sending() {
    let kdl = ONE_ENDPOINT.replace("8080\"; }", "8080\"; limits { requests-per-connection 3; } }");
    each_seed(|seed| {
        simulate(faulty(seed), &kdl, |world| async move {
            answers(&world, 30_000, b"");
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let asks: Vec<Ask> = (0..12).map(|n| Ask::get(&format!("c-{n}"))).collect();
            let writing = async {
                for ask in &asks {
                    let (head, _) = ask.bytes(&world);
                    if !crate::client::write_in_pieces(&world, &stream, &head).await {
                        return;
                    }
                    world.pause(Duration::from_micros(world.random(8000))).await;
                }
            };
            let reading = async {
                let mut incoming = Incoming::new(&stream);
                for (n, ask) in asks.iter().take(3).enumerate() {
                    match incoming.reply("GET").await {
                        Ok(reply) => {
                            let whole = world.ledger.judge(ask, &reply);
                            if !whole || reply.end != End::Complete || reply.keep_alive != (n < 2) {
                                world.ledger.broken(format!("response {n} is {:?}", reply.end));
                            }
                        }
                        Err(end) => return world.ledger.broken(format!("response {n}: {end:?}")),
                    }
                    // A slow reader: most of the response is still on our side.
                    world.pause(Duration::from_micros(world.random(30_000))).await;
                }
            };
            crate::world::both(writing, reading).await;
        });
    });
}

#[test]
fn a_second_response_that_comes_with_the_first_reaches_nobody() {
    for seed in 0..20 {
        simulate(smooth(seed), ONE_ENDPOINT, |world| async move {
            answers(&world, 500, b"HTTP/1.1 200 OK\r\nX-Id: poison\r\nContent-Length: 0\r\n\r\n");
            world.settle().await;
            let any = |_: &World, id: &str| Ask::get(id);
            crate::exchanges::clients(&world, 4, 20, crate::client::Demand::Everything, any).await;
            if world.stats.upstream_excess.get() != 80 {
                world.ledger.broken(format!("{} were discarded", world.stats.upstream_excess.get()));
            }
        });
    }
}
