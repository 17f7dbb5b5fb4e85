//! New generations while requests run: endpoints come and go, weights and states change, and nobody notices (R123).

use crate::client::{Ask, Demand};
use crate::exchanges::clients;
use crate::upstream::{self, Manner};
use crate::world::{THREE_ENDPOINTS, World, each_seed, endpoint, faulty, simulate};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use traffic::health::Service;

/// Some of the three endpoints, at least one, with weights.
fn any_endpoints(world: &World) -> String {
    let kept = 1 + world.random(7);
    let nodes: String = (1u8..=3)
        .filter(|last| kept & (1 << (last - 1)) != 0)
        .map(|last| format!("endpoint \"{}\" weight={}\n", endpoint(last), 1 + world.random(5)))
        .collect();
    let (head, rest) = THREE_ENDPOINTS.split_once("endpoint \"10.0.1.1:80\"").expect("the first endpoint");
    let (_, tail) = rest.split_once("endpoint \"10.0.1.3:80\"").expect("the last endpoint");
    format!("{head}{nodes}{tail}")
}

#[test]
fn r123_endpoints_that_come_and_go_under_requests_cost_none() {
    let mut generations = 0;
    for seed in crate::world::seeds() {
        let world = simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::from_millis(30) });
            world.settle().await;
            let (deployer, done) = (Rc::clone(&world), Rc::new(Cell::new(false)));
            let is_done = Rc::clone(&done);
            world.rt.spawn(async move {
                for _ in 0..20 {
                    deployer.pause(Duration::from_micros(deployer.random(40_000))).await;
                    deployer.deploy(&any_endpoints(&deployer));
                }
                is_done.set(true);
            });
            clients(&world, 4, 6, Demand::Everything, Ask::any).await;
            while !done.get() {
                world.pause(Duration::from_millis(10)).await;
            }
            world.deploy(THREE_ENDPOINTS);
            world.pause(Duration::from_secs(1)).await;
            let alive = world.generations_alive();
            if alive != 1 {
                world.ledger.broken(format!("{alive} generations are alive"));
            }
        });
        generations += world.stats.generation.get();
    }
    assert!(generations > 20, "{generations} generations in all");
}

#[test]
fn endpoints_that_are_drained_one_after_the_other_cost_no_request() {
    each_seed(|seed| {
        simulate(faulty(seed), THREE_ENDPOINTS, |world| async move {
            upstream::start_three(&world, Manner::Honest { think_max: Duration::from_millis(30) });
            world.settle().await;
            let operator = Rc::clone(&world);
            world.rt.spawn(async move {
                for _ in 0..30 {
                    operator.pause(Duration::from_micros(operator.random(20_000))).await;
                    // The third one always serves.
                    let at = operator.random_size(2);
                    let service = Service::ALL[operator.random_size(3)];
                    operator.set_service(at, service);
                }
                (0..2).for_each(|at| operator.set_service(at, Service::Ready));
            });
            clients(&world, 4, 6, Demand::Everything, Ask::any).await;
        });
    });
}
