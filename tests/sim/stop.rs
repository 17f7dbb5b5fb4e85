//! The graceful stop (I8): what had arrived is answered, whole, and the worker ends in time.

use crate::client::{Ask, write_in_pieces};
use crate::peer::{End, Incoming};
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, World, client_host, each_seed, faulty, simulate};
use base::Instant;
use runtime::race;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A client under load: one request after the other, until the connection ends.
async fn busy_client(world: &World, number: usize, stopped: &Cell<Option<Instant>>, slack: Duration) {
    let Ok(stream) = world.dial(client_host(number)).await else { return };
    let mut incoming = Incoming::new(&stream);
    let timer = world.rt.timer();
    for n in 0..40 {
        let id = format!("c{number}-{n}");
        let ask = if world.random(3) == 0 { Ask::post(&id, world.random_size(3000)) } else { Ask::get(&id) };
        let (head, body) = ask.bytes(world);
        let sent = write_in_pieces(world, &stream, &[head, body].concat()).await;
        let sent_at = world.rt.now();
        timer.set(sent_at + Duration::from_secs(120));
        // What was on its way when the stop began may meet a closed door; what had arrived must not.
        let in_time = sent && stopped.get().is_none_or(|at| sent_at + slack < at);
        match race(incoming.reply(ask.method), &timer).await {
            Some(Ok(reply)) => {
                let whole = world.ledger.judge(&ask, &reply);
                if !whole {
                    world.ledger.broken(format!("{id}: {} ({:?}) while stopping", reply.status, reply.end));
                }
                if !reply.keep_alive || reply.end != End::Complete {
                    return;
                }
            }
            Some(Err(end)) => {
                if in_time && stopped.get().is_none_or(|at| sent_at + slack < at) {
                    world.ledger.broken(format!("{id}: no answer ({end:?}), sent at {sent_at:?}"));
                }
                return;
            }
            None => return world.ledger.broken(format!("{id}: no end in sight")),
        }
        if world.random(2) == 0 {
            world.pause(Duration::from_micros(world.random(30_000))).await;
        }
    }
}

#[test]
fn a_graceful_stop_answers_every_request_that_had_arrived() {
    each_seed(|seed| {
        let options = faulty(seed);
        let slack =
            2 * (options.latency + options.jitter) + options.faults.stall_max + Duration::from_millis(30);
        simulate(options, THREE_ENDPOINTS, move |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::from_millis(300) });
            let stopped = Rc::new(Cell::new(None));
            let left = Rc::new(RefCell::new(6));
            for number in 0..6 {
                let (world, stopped, left) = (Rc::clone(&world), Rc::clone(&stopped), Rc::clone(&left));
                world.rt.clone().spawn(async move {
                    busy_client(&world, number, &stopped, slack).await;
                    *left.borrow_mut() -= 1;
                });
            }
            world.pause(Duration::from_micros(5000 + world.random(1_500_000))).await;
            stopped.set(Some(world.rt.now()));
            world.stop_gracefully();
            let began = world.rt.now();
            while *left.borrow() > 0 {
                world.pause(Duration::from_millis(10)).await;
            }
            let spent = world.rt.now().since(began);
            if spent > Duration::from_secs(31) {
                world.ledger.broken(format!("the last client was done after {spent:?}"));
            }
        });
    });
}
