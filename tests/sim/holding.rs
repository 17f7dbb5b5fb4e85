//! Requests that come before the first health check of an upstream, to the virtual millisecond.

use crate::peer::{End, Incoming};
use crate::world::{World, client_host, endpoint, simulate, smooth};
use runtime::Stream;
use std::rc::Rc;
use std::time::Duration;
use traffic::health::Health;

const MS: Duration = Duration::from_millis(1);

/// No check is ever performed in the simulation: a test says what they would have found.
fn checked(more: &str) -> String {
    format!(
        "listener \"web\" {{ bind \"10.0.0.1:8080\"; }}
         upstream \"app\" {{ endpoint \"10.0.1.1:80\"; endpoint \"10.0.1.2:80\"; health {{ tcp; }}; {more} }}
         site \"*\" {{ route \"/\" upstream=\"app\"; }}"
    )
}

/// Sends a request and expects an answer with `status` after `min` to `max`.
async fn answered(world: &World, stream: &Stream, status: u16, min: Duration, max: Duration) {
    let since = world.rt.now();
    stream.write(|out| out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let _ = stream.flushed(0).await;
    let mut incoming = Incoming::new(stream);
    match incoming.reply("GET").await {
        Ok(reply) if reply.status == status && reply.end == End::Complete => {}
        other => world.ledger.broken(format!("{status} was expected, not {other:?}")),
    }
    let spent = world.rt.now().since(since);
    if spent < min || spent > max {
        world.ledger.broken(format!("answered after {spent:?} instead of {min:?} to {max:?}"));
    }
}

/// An endpoint that answers every request at once; requests are small and come in one piece.
fn serve(world: &Rc<World>, last: u8) {
    let listener = world.rt.listen(world.net.bind(endpoint(last)).expect("free")).expect("listening");
    let rt = world.rt.clone();
    world.rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            rt.spawn(async move {
                while stream.recv().await.is_ok_and(|buf| !buf.is_empty()) {
                    stream
                        .write(|out| out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
                }
            });
        }
    });
}

/// A world with two endpoints that answer at once.
fn hold(more: &str, script: impl AsyncFn(Rc<World>) + 'static) -> Rc<World> {
    simulate(smooth(1), &checked(more), |world| async move {
        for last in 1..=2 {
            serve(&world, last);
        }
        world.settle().await;
        script(world).await;
    })
}

#[test]
fn a_request_waits_for_the_first_result_and_no_longer() {
    let world = hold("", async |world: Rc<World>| {
        let stream = world.dial(client_host(1)).await.expect("connected");
        let later = Rc::clone(&world);
        world.rt.spawn(async move {
            later.pause(300 * MS).await;
            later.cells[1].set_health(Health::Up, later.rt.now(), Duration::ZERO);
        });
        answered(&world, &stream, 200, 295 * MS, 315 * MS).await;
        answered(&world, &stream, 200, Duration::ZERO, 5 * MS).await;
    });
    assert_eq!(world.stats.held.get(), 1);
    assert_eq!((world.cells[0].requests(), world.cells[1].requests()), (0, 2), "not to the unchecked one");
}

#[test]
fn a_request_waits_a_second_at_most() {
    let world = hold("", async |world: Rc<World>| {
        let stream = world.dial(client_host(1)).await.expect("connected");
        answered(&world, &stream, 200, 1000 * MS, 1015 * MS).await;
    });
    assert_eq!(world.cells.iter().map(|cell| cell.requests()).sum::<u64>(), 1);
}

#[test]
fn a_first_result_that_is_bad_ends_the_wait_as_well() {
    hold("", async |world: Rc<World>| {
        let stream = world.dial(client_host(1)).await.expect("connected");
        world.cells[0].set_checked();
        let later = Rc::clone(&world);
        world.rt.spawn(async move {
            later.pause(100 * MS).await;
            later.cells[1].set_checked();
        });
        answered(&world, &stream, 200, 95 * MS, 115 * MS).await;
    });
}

#[test]
fn r119_where_nobody_may_serve_unhealthy_the_answer_is_503() {
    hold("panic \"off\";", async |world: Rc<World>| {
        let stream = world.dial(client_host(1)).await.expect("connected");
        answered(&world, &stream, 503, 1000 * MS, 1015 * MS).await;
        world.cells.iter().for_each(|cell| cell.set_health(Health::Down, world.rt.now(), Duration::ZERO));
        let stream = world.dial(client_host(2)).await.expect("connected");
        answered(&world, &stream, 503, Duration::ZERO, 5 * MS).await;
        world.cells[0].set_health(Health::Up, world.rt.now(), Duration::ZERO);
        let stream = world.dial(client_host(3)).await.expect("connected");
        answered(&world, &stream, 200, Duration::ZERO, 5 * MS).await;
    });
}
