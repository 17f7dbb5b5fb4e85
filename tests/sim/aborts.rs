//! Clients that go away at random points (R112): what was begun for them ends, and nobody else notices.

use crate::client::{Ask, Demand, session};
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, World, client_host, each_seed, faulty, simulate};
use runtime::race;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Sends requests and leaves in the middle of something, one way or another.
pub(crate) async fn leave_early(world: &World, number: usize) {
    let Ok(stream) = world.dial(client_host(number)).await else { return };
    let mut bytes = Vec::new();
    for n in 0..1 + world.random(3) {
        let (head, body) = Ask::any(world, &format!("gone{number}-{n}")).bytes(world);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&body);
    }
    if world.random(2) == 0 {
        bytes.truncate(world.random_size(bytes.len()));
    }
    let timer = world.rt.timer();
    timer.set(world.rt.now() + Duration::from_micros(world.random(60_000)));
    let _ = race(crate::client::write_in_pieces(world, &stream, &bytes), &timer).await;
    if world.random(2) == 0 {
        let _ = race(stream.recv(), &timer).await;
    }
    match world.random(3) {
        0 => stream.reset(),
        1 => drop(stream),
        _ => {
            stream.shutdown_write();
            timer.set(world.rt.now() + Duration::from_micros(world.random(60_000)));
            timer.wait().await;
        }
    }
}

#[test]
fn clients_that_leave_at_any_point_leave_nothing_behind_and_disturb_nobody() {
    each_seed(|seed| {
        simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::from_millis(30) });
            world.settle().await;
            let left = Rc::new(Cell::new(12));
            for number in 0..12 {
                let (world, left) = (Rc::clone(&world), Rc::clone(&left));
                world.rt.clone().spawn(async move {
                    world.pause(Duration::from_micros(world.random(100_000))).await;
                    leave_early(&world, number).await;
                    left.set(left.get() - 1);
                });
            }
            let asks: Vec<Ask> = (0..8).map(|n| Ask::any(&world, &format!("stays-{n}"))).collect();
            session(&world, client_host(99), &asks, Demand::Everything).await;
            while left.get() > 0 {
                world.pause(Duration::from_millis(10)).await;
            }
        });
    });
}
