//! The deployer with a worker's mailbox in hand.

use super::*;
use crate::NodeFacts;
use crate::compile;
use crate::node::InForce;
use base::publish::{self, Subscriber};
use config::{Format, Sealed};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;
use tokio::sync::oneshot;
use traffic::health::Service;

const CONFIG: &str = r#"
listener "web" { bind "127.0.0.1:8080" }
upstream "api" { endpoint "10.0.0.1:80" weight=3; endpoint "10.0.0.2:80"; endpoint "[2001:db8::1]:80" }
site "*" { route "/" upstream="api" }
"#;

/// A node whose only worker is the test.
struct Setup {
    node: Arc<Node>,
    door: Door,
    worker: Subscriber<Snapshot>,
    /// How often workers were woken.
    woken: Arc<AtomicUsize>,
}

/// Nobody listens.
pub(crate) struct NoEntrances;

impl Entrances for NoEntrances {
    fn open(&mut self, _: &Snapshot) -> Result<(), String> {
        Ok(())
    }

    fn hand_over(&mut self, _: &Snapshot) -> Vec<(String, Addr)> {
        Vec::new()
    }
}

/// Runs `test` beside the deployer, on the runtime that the control plane has.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Setup) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = config::parse(CONFIG, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
        let first = Arc::new(compile(&config, 1, None).unwrap().snapshot);
        let facts = NodeFacts {
            driver: "epoll",
            driver_reason: None,
            version: "0",
            pid: 1,
            workers: 1,
            started: SystemTime::UNIX_EPOCH,
            listeners: Vec::new(),
            budget: None,
            shared: Arc::new(traffic::overload::Node::new(traffic::overload::Supply::UNLIMITED, 1)),
        };
        let config = Arc::new(config);
        let in_force = InForce::first(Arc::clone(&config), "test.kdl".to_owned(), SystemTime::UNIX_EPOCH);
        let clock = || base::Instant::ZERO;
        let node = Arc::new(Node::new(
            facts,
            Vec::new(),
            clock,
            None,
            Arc::clone(&first),
            in_force,
            crate::process::channel().0,
        ));
        let (publisher, mut worker) = publish::channel();
        worker.retire(first);
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let means = Means {
            config,
            file: None,
            last_good: None,
            secrets: None,
            publishers: vec![publisher],
            bound: Box::new(|snapshot| {
                snapshot.limits.connections_max = 7;
                Ok(())
            }),
            entrances: Box::new(NoEntrances),
            stand_back: || {},
            wake: Box::new(move || {
                counter.fetch_add(1, Relaxed);
            }),
        };
        let (deployer, door) = Deployer::new(Arc::clone(&node), means);
        tokio::spawn(deployer.run(door.clone()));
        test(Setup { node, door, worker, woken }).await;
    });
}

impl Setup {
    async fn set(&self, address: &str, change: Change) -> Result<Changed, Refused> {
        self.door.set_endpoint("api".into(), address.into(), change, "the test".into()).await
    }
}

fn weight(weight: u16) -> Change {
    Change { weight: Some(Some(weight)), ..Change::default() }
}

fn state(service: Service) -> Change {
    Change { service: Some(service), ..Change::default() }
}

#[test]
fn a_weight_takes_a_generation_which_has_the_same_cells() {
    run(|mut setup| async move {
        let before = setup.node.snapshot();
        let changed = setup.set("10.0.0.1:80", weight(9)).await.unwrap();
        assert_eq!((changed.weight, changed.overridden, changed.generation), (9, true, 2));
        let taken = setup.worker.take().expect("published");
        assert_eq!((taken.generation, taken.limits.connections_max), (2, 7));
        assert_eq!((setup.woken.load(Relaxed), setup.node.snapshot().generation), (1, 2));
        let [old, new] = [&before, &taken].map(|snapshot| &snapshot.upstreams[0].endpoints);
        assert_eq!((old[0].weight, new[0].weight, new[1].weight), (3, 9, 1));
        assert!(old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(&old.cell, &new.cell)));
        assert!(new.iter().all(|endpoint| !endpoint.cell.is_removed()));
        let back = Change { weight: Some(None), ..Change::default() };
        let changed = setup.set("10.0.0.1:80", back).await.unwrap();
        assert_eq!((changed.weight, changed.overridden, changed.generation), (3, false, 3));
        assert_eq!(setup.node.snapshot().upstreams[0].endpoints[0].weight, 3);
    });
}

#[test]
fn a_state_is_in_force_at_once_and_survives_generations() {
    run(|setup| async move {
        let drained = setup.set("10.0.0.2:80", state(Service::Drain)).await.unwrap();
        assert_eq!((drained.service, drained.generation), (Service::Drain, 1), "no generation is needed");
        for round in 1..=3 {
            setup.set("10.0.0.1:80", weight(round)).await.unwrap();
        }
        let snapshot = setup.node.snapshot();
        let cell = &snapshot.upstreams[0].endpoints[1].cell;
        assert!(snapshot.generation >= 3 && cell.is_draining());
        let live = setup.node.live();
        let wish = live.wish("api", &snapshot.upstreams[0].endpoints[1].addr).unwrap();
        assert_eq!((wish.service, &*wish.by), (Service::Drain, "the test"));
        setup.set("10.0.0.2:80", state(Service::Ready)).await.unwrap();
        assert!(!cell.is_draining() && setup.node.live().wishes() == 1, "only the weight is left");
    });
}

#[test]
fn the_same_address_may_be_written_in_other_ways() {
    run(|setup| async move {
        let changed = setup.set("[2001:0db8:0::0001]:80", state(Service::Down)).await;
        assert_eq!(changed.unwrap().service, Service::Down);
        assert_eq!(setup.node.snapshot().upstreams[0].endpoints[2].cell.service(), Service::Down);
    });
}

#[test]
fn who_names_nothing_that_exists_is_told_what_does() {
    run(|setup| async move {
        let refused = setup.set("10.0.0.9:80", state(Service::Down)).await.unwrap_err();
        let there = "there are: 10.0.0.1:80, 10.0.0.2:80, [2001:db8::1]:80";
        assert!(refused.to_string().ends_with(there), "{refused}");
        let change = setup.door.set_endpoint("web".into(), "x".into(), weight(1), "the test".into());
        let refused = change.await.unwrap_err().to_string();
        assert_eq!(refused, "no upstream of that name; there are: api");
    });
}

#[test]
fn a_burst_of_orders_becomes_few_generations() {
    run(|setup| async move {
        let (all, done) = oneshot::channel();
        let left = Arc::new(AtomicUsize::new(100));
        let all = Arc::new(std::sync::Mutex::new(Some(all)));
        for n in 1..=100 {
            let (door, left, all) = (setup.door.clone(), Arc::clone(&left), Arc::clone(&all));
            tokio::spawn(async move {
                let change =
                    door.set_endpoint("api".into(), "10.0.0.1:80".into(), weight(n), "the test".into());
                change.await.unwrap();
                if left.fetch_sub(1, Relaxed) == 1 {
                    all.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            });
        }
        done.await.unwrap();
        let deployed = setup.node.deployed.deployed();
        assert!((1..=10).contains(&deployed), "{deployed} generations for 100 orders");
        assert_eq!(setup.node.snapshot().generation, 1 + deployed);
    });
}

#[test]
fn generations_that_no_worker_uses_are_freed() {
    run(|mut setup| async move {
        for n in 1..=5 {
            setup.set("10.0.0.1:80", weight(n)).await.unwrap();
            let taken = setup.worker.take().expect("published");
            if n < 5 {
                setup.worker.retire(taken);
            } else {
                // The one in force.
                assert_eq!(taken.generation, 6);
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while setup.node.deployed.alive() > 1 {
            assert!(std::time::Instant::now() < deadline, "{} are alive", setup.node.deployed.alive());
            tokio::task::yield_now().await;
        }
    });
}
