//! One run: a configuration compiled as it is in the product, a worker on the simulated runtime, a script beside it, and
//! the quiet that must follow.

use crate::ledger::Ledger;
use base::ids::{ListenerId, SocketId, WorkerId};
use base::{Rng, publish, spsc};
use data_plane::{Listening, Stop, WorkerStart};
use runtime::sim::{Faults, Net, SimOptions};
use runtime::{ConnectOptions, Gauges, Runtime, Stream};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;
use traffic::health::{EndpointCell, Service};
use traffic::overload::{Node, Supply};
use traffic::stats::WorkerStats;
use traffic::{Cause, Snapshot};

/// What the tasks of one run share.
pub(crate) struct World {
    pub(crate) rt: Runtime,
    pub(crate) net: Net,
    pub(crate) ledger: Ledger,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) node: Arc<Node>,
    pub(crate) rng: RefCell<Rng>,
    /// What is shared about the endpoints of all upstreams, in the order of the text.
    pub(crate) cells: Vec<Arc<EndpointCell>>,
    generations: RefCell<Generations>,
    baseline: Cell<Option<Gauges>>,
    discovery_max: Duration,
}

/// What the control plane of this world knows of generations.
struct Generations {
    publisher: publish::Publisher<Snapshot>,
    in_force: Arc<Snapshot>,
    all: Vec<Weak<Snapshot>>,
}

/// Where the worker listens.
pub(crate) fn front() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 8080))
}

/// So much memory that no run uses it up; tests say how much is resident.
const LIMITED: Supply = Supply { memory: 1 << 30, descriptors: u64::MAX, sheds: true };

/// The address of an upstream's endpoint.
pub(crate) fn endpoint(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, last], 80))
}

/// The host that a client comes from.
pub(crate) fn client_host(number: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(number % 200).unwrap_or(0)])
}

pub(crate) const THREE_ENDPOINTS: &str = r#"
listener "web" { bind "10.0.0.1:8080"; }
upstream "app" {
    endpoint "10.0.1.1:80"
    endpoint "10.0.1.2:80"
    endpoint "10.0.1.3:80"
    balance "round-robin"
}
site "*" {
    route "/" upstream="app"
    route exact="/fixed" { respond 200 body="hello"; }
}
"#;

pub(crate) const ONE_ENDPOINT: &str = r#"
listener "web" { bind "10.0.0.1:8080"; }
upstream "app" { endpoint "10.0.1.1:80"; }
site "*" { route "/" upstream="app"; }
"#;

/// The seeds of one scenario.
pub(crate) fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIM_SEEDS").unwrap_or(200)).collect(),
    }
}

/// Runs a scenario once per seed.
pub(crate) fn each_seed(run: impl Fn(u64)) {
    for seed in seeds() {
        run(seed);
    }
}

/// A world whose faults follow from the seed.
pub(crate) fn faulty(seed: u64) -> SimOptions {
    let mut rng = Rng::new(seed ^ 0xfa17);
    let micros = |n: u64| Duration::from_micros(n);
    SimOptions {
        seed,
        faults: Faults::random(&mut rng),
        latency: micros(20 + rng.below(2000)),
        jitter: micros(rng.below(2) * rng.below(3000)),
        send_capacity: 1 + rng.index(2) * 65_535 + rng.index(5000),
        receive_capacity: 1000 + rng.index(2) * 64_000 + rng.index(5000),
        runtime: runtime::Options {
            lease_count: if rng.one_in(3) { 3 } else { 512 },
            turn_budget: if rng.one_in(3) { 3 } else { 256 },
            ..runtime::Options::default()
        },
        ..SimOptions::default()
    }
}

/// A world in which everything goes as one would like.
pub(crate) fn smooth(seed: u64) -> SimOptions {
    SimOptions { seed, ..SimOptions::default() }
}

/// Prints how to repeat a run that panics.
struct Repeat(u64, Net);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with SIM_SEED={}; trace {:016x}", self.0, self.1.trace_hash());
        }
    }
}

/// Runs `script` beside a worker with this configuration; then everything must become quiet, and nothing be broken.
pub(crate) fn simulate<F: Future<Output = ()> + 'static>(
    options: SimOptions,
    kdl: &str,
    script: impl FnOnce(Rc<World>) -> F,
) -> Rc<World> {
    let seed = options.seed;
    let discovery_max =
        2 * (options.latency + options.jitter) + options.faults.stall_max + Duration::from_millis(2);
    let snapshot = Arc::new(compiled(kdl, None));
    let endpoints = snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let cells = endpoints.map(|endpoint| Arc::clone(&endpoint.cell)).collect();
    let (rt, net) = Runtime::simulated(options).expect("a world");
    let repeat = Repeat(seed, net.clone());
    let (publisher, snapshots) = publish::channel();
    let (in_force, all) = (Arc::clone(&snapshot), vec![Arc::downgrade(&snapshot)]);
    let node = Arc::new(Node::new(LIMITED, 1));
    let (log, _records) = spsc::channel(1 << 20);
    let start = WorkerStart {
        id: WorkerId(0),
        snapshot,
        snapshots,
        listening: vec![Listening {
            id: SocketId(0),
            listener: ListenerId(0),
            generation: 1,
            socket: net.bind(front()).expect("free"),
        }],
        arrivals: data_plane::arrivals().1,
        stats: Arc::default(),
        log,
        stop: Arc::default(),
        node: Arc::clone(&node),
        seed,
    };
    let world = Rc::new(World {
        rt: rt.clone(),
        net: net.clone(),
        ledger: Ledger::new(net.clone()),
        stats: Arc::clone(&start.stats),
        stop: Arc::clone(&start.stop),
        node,
        rng: RefCell::new(Rng::new(seed ^ 0x5eed)),
        cells,
        generations: RefCell::new(Generations { publisher, in_force, all }),
        baseline: Cell::new(None),
        discovery_max,
    });
    let done = Rc::new(Cell::new(false));
    let (inner, is_done) = (Rc::clone(&world), Rc::clone(&done));
    let script = script(Rc::clone(&world));
    rt.spawn(async move {
        script.await;
        inner.quiet_down().await;
        is_done.set(true);
        inner.stop_gracefully();
    });
    if let Err(error) = data_plane::run(&rt, start) {
        world.ledger.broken(format!("the worker ended: {error}"));
    } else if !done.get() {
        // The worker was stopped by the script, which goes on without it.
        let rest = rt.clone();
        let ended = rt.block_on(async move {
            let timer = rest.timer();
            let until = rest.now() + Duration::from_secs(600);
            while !done.get() && rest.now() < until {
                timer.set(rest.now() + Duration::from_millis(1));
                timer.wait().await;
            }
            done.get()
        });
        if !matches!(ended, Ok(true)) {
            world.ledger.broken(format!("the script does not end: {ended:?}"));
        }
    }
    rt.shutdown();
    let (gauges, descriptors) = (rt.gauges(), net.descriptors());
    if !gauges.is_quiet() || descriptors > 0 {
        world.ledger.broken(format!("I6: left behind: {gauges:?}, {descriptors} descriptors"));
    }
    let broken = world.ledger.take_broken();
    assert!(broken.is_empty(), "seed {seed}:\n{}\ncauses: {:?}", broken.join("\n"), world.causes());
    drop(repeat);
    world
}

fn compiled(kdl: &str, previous: Option<&Snapshot>) -> Snapshot {
    let loaded = match config::parse(kdl, "sim.kdl", config::Format::Kdl, &config::Sealed) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems:?}"),
    };
    control_plane::compile(&loaded.config, 1, previous).expect("it compiles").snapshot
}

fn cells_of(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<EndpointCell>> {
    snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints).map(|endpoint| &endpoint.cell)
}

impl World {
    /// Puts another generation into force, as the deployer does.
    pub(crate) fn deploy(&self, kdl: &str) {
        let generations = &mut *self.generations.borrow_mut();
        let next = Arc::new(compiled(kdl, Some(&generations.in_force)));
        generations.publisher.publish(Arc::clone(&next));
        generations.all.push(Arc::downgrade(&next));
        let before = std::mem::replace(&mut generations.in_force, Arc::clone(&next));
        for gone in cells_of(&before).filter(|old| cells_of(&next).all(|new| !Arc::ptr_eq(old, new))) {
            gone.set_removed();
        }
        self.rt.remote().wake();
    }

    /// The generation in force. Who keeps it keeps it alive.
    pub(crate) fn in_force(&self) -> Arc<Snapshot> {
        Arc::clone(&self.generations.borrow().in_force)
    }

    /// Generations that somebody still uses, the one in force included.
    pub(crate) fn generations_alive(&self) -> usize {
        let generations = &mut *self.generations.borrow_mut();
        generations.publisher.reclaim();
        generations.all.retain(|snapshot| snapshot.strong_count() > 0);
        generations.all.len()
    }

    /// Changes what the endpoint at that place of the generation in force may get.
    pub(crate) fn set_service(&self, at: usize, service: Service) {
        let generations = self.generations.borrow();
        cells_of(&generations.in_force).nth(at).expect("there is one").set_service(service);
    }

    /// Why the product answered by itself or closed connections, with how often.
    fn causes(&self) -> Vec<(&'static str, u64)> {
        let times = |cause: &Cause| self.stats.cause(*cause) + self.stats.closes(*cause);
        let counted = Cause::ALL.iter().map(|cause| (cause.name(), times(cause)));
        counted.filter(|(_, times)| *times > 0).collect()
    }

    /// How long after their arrival bytes may stay unnoticed, and a request that was sent meanwhile may be under way.
    pub(crate) fn discovery_max(&self) -> Duration {
        self.discovery_max
    }

    pub(crate) fn stop_gracefully(&self) {
        self.stop.gracefully();
        self.rt.remote().wake();
    }

    pub(crate) async fn pause(&self, time: Duration) {
        let timer = self.rt.timer();
        timer.set(self.rt.now() + time);
        timer.wait().await;
    }

    pub(crate) fn random(&self, below: u64) -> u64 {
        self.rng.borrow_mut().below(below)
    }

    pub(crate) fn random_size(&self, below: usize) -> usize {
        self.rng.borrow_mut().index(below)
    }

    /// Remembers what is held while nothing goes on; the end is compared with it.
    pub(crate) async fn settle(&self) {
        self.pause(Duration::from_millis(5)).await;
        self.baseline.set(Some(self.rt.gauges()));
    }

    /// A connection to the worker from one of the clients' hosts.
    pub(crate) async fn dial(&self, host: IpAddr) -> std::io::Result<Stream> {
        self.rt
            .connect(&front().into(), ConnectOptions { source: Some(host), ..ConnectOptions::default() })
            .await
    }

    /// Lets every timeout pass, and compares with the baseline.
    async fn quiet_down(&self) {
        let Some(before) = self.baseline.get() else { return };
        self.net.set_faults(Faults::NONE);
        self.pause(Duration::from_secs(400)).await;
        let turns = self.net.turns();
        self.pause(Duration::from_secs(100)).await;
        let turns = self.net.turns() - turns;
        // One sweep per second, and the wheel's own steps.
        if turns > 1000 {
            self.ledger.broken(format!("I7: {turns} turns in 100 s without input"));
        }
        let now = self.rt.gauges();
        let held =
            |g: &Gauges| [g.live_ops, g.leases_out, g.sockets, g.tasks, g.timers, g.relay_buffer_bytes];
        if held(&before) != held(&now) {
            self.ledger.broken(format!("I6: before {before:?}, after {now:?}"));
        }
    }
}

/// Runs both to their end.
pub(crate) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        if first.is_none()
            && let std::task::Poll::Ready(output) = a.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let std::task::Poll::Ready(output) = b.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.is_some(), second.is_some()) {
            (true, true) => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    })
    .await;
    (first.expect("ended"), second.expect("ended"))
}
