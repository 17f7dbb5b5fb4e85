//! Long bodies, which pass through pipes: whole or visibly cut, whatever the network, the endpoints and the clients do.

use crate::aborts::leave_early;
use crate::client::{Ask, Demand};
use crate::exchanges::clients;
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, World, faulty, seeds, simulate};
use runtime::sim::Call;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const EMFILE: i32 = 24;
const EINVAL: i32 = 22;

/// Long bodies both ways, from clients of both versions.
fn ask(world: &World, id: &str) -> Ask {
    match world.random(6) {
        0 => Ask::any(world, id),
        1 => Ask::post(id, 70_000 + world.random_size(150_000)),
        2 => Ask { method: "PUT", ..Ask::post(id, 130_000 + world.random_size(100_000)) },
        n => Ask { http10: n == 3, ..Ask::get(id) },
    }
}

#[test]
fn r104_long_bodies_arrive_whole_or_visibly_cut_through_any_network() {
    let (mut whole, mut spliced, mut refused) = (0, 0, 0);
    // Every third: a world of long bodies takes as long as ten others.
    for seed in seeds().into_iter().step_by(3) {
        let mut options = faulty(seed);
        // A capacity of a few bytes makes a long body a long story, and nothing new happens in it.
        options.send_capacity = options.send_capacity.max(4000);
        options.receive_capacity = options.receive_capacity.max(4000);
        options.runtime.pipes_max = [0, 1, 64][usize::try_from(seed / 3 % 3).unwrap_or(0)];
        let world = simulate(options, THREE_ENDPOINTS, move |world| async move {
            upstream::start_three(&world, Manner::Bulky);
            world.settle().await;
            for call in [Call::Pipe, Call::SpliceIn].into_iter().filter(|_| seed % 5 == 0) {
                world.net.fail_next(call, if call == Call::Pipe { EMFILE } else { EINVAL });
            }
            let leavers = Rc::new(Cell::new(3));
            for number in 0..leavers.get() {
                let (inner, left) = (Rc::clone(&world), Rc::clone(&leavers));
                world.rt.spawn(async move {
                    inner.pause(Duration::from_micros(inner.random(300_000))).await;
                    leave_early(&inner, 100 + number).await;
                    left.set(left.get() - 1);
                });
            }
            clients(&world, 3, 3, Demand::Truth, ask).await;
            while leavers.get() > 0 {
                world.pause(Duration::from_millis(10)).await;
            }
            // A body that was too short for a pipe has not met them.
            world.net.forget_failures();
        });
        whole += world.ledger.counted("whole");
        spliced += world.stats.spliced_bytes.get();
        refused += world.stats.splice_no_pipe.get() + world.stats.splice_unsupported.get();
    }
    assert!(whole > 0 && spliced > 0, "something must have come through, and through pipes");
    assert!(refused > 0 || seeds().len() == 1, "some have had to do without a pipe");
}
