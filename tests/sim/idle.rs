//! Endpoints that close idle connections while requests are on their way to them (R106, R117).

use crate::client::{Ask, write_in_pieces};
use crate::peer::{End, Incoming};
use crate::upstream::{self, Manner};
use crate::world::{ONE_ENDPOINT, World, client_host, each_seed, endpoint, faulty, simulate, smooth};
use runtime::sim::SimOptions;
use runtime::{IdleState, Stream, race};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// After how long the servers of these tests close idle connections.
const IDLE: Duration = Duration::from_millis(300);
const JITTER: Duration = Duration::from_millis(5);

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A random time within `spread` of `middle`, on both sides.
fn around(world: &World, middle: Duration, spread: Duration) -> Duration {
    middle - spread + Duration::from_micros(world.random(2 * micros(spread) + 1))
}

/// A server that closes a connection when nothing has come for about as long as `idle` says at that moment.
fn start_server(world: &Rc<World>, idle: &Rc<Cell<Duration>>) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let (world, idle) = (Rc::clone(world), Rc::clone(idle));
    let rt = world.rt.clone();
    rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let (world, idle) = (Rc::clone(&world), Rc::clone(&idle));
            let rt = world.rt.clone();
            rt.spawn(async move { serve(&world, &stream, &idle).await });
        }
    });
}

async fn serve(world: &World, stream: &Stream, idle: &Cell<Duration>) {
    let mut incoming = Incoming::new(stream);
    let timer = world.rt.timer();
    loop {
        timer.set(world.rt.now() + around(world, idle.get(), JITTER.min(idle.get())));
        while incoming.bytes.is_empty() {
            match race(incoming.more(), &timer).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return,
                // What has arrived is served: closing now would throw it away unread.
                None if stream.idle_state_now() == IdleState::Quiet => return,
                None => timer.set(world.rt.now() + Duration::from_secs(1)),
            }
        }
        let Ok(asked) = incoming.request().await else { return };
        world.ledger.seen(&asked.id, &asked.method);
        let manner = Manner::Terse { think_max: Duration::ZERO };
        if !matches!(
            upstream::honest(world, stream, &mut incoming, &asked, manner).await,
            upstream::After::Keep
        ) {
            return;
        }
    }
}

/// One request after the other, with pauses between them; each must be answered by the server.
async fn ask(world: &World, name: &str, count: usize, gap: impl Fn() -> Duration) {
    let stream = world.dial(client_host(1)).await.expect("connected");
    let mut incoming = Incoming::new(&stream);
    for n in 0..count {
        let id = format!("{name}-{n}");
        let ask = if world.random(8) == 0 { Ask::get(&id) } else { Ask::post(&id, world.random_size(2000)) };
        let (head, body) = ask.bytes(world);
        if world.random(2) == 0 {
            stream.write(|out| out.extend_from_slice(&[head, body].concat()));
        } else {
            write_in_pieces(world, &stream, &[head, body].concat()).await;
        }
        match incoming.reply(ask.method).await {
            Ok(reply) if world.ledger.judge(&ask, &reply) && reply.end == End::Complete => {}
            Ok(reply) => {
                world.ledger.broken(format!("{} {id}: {:?}", ask.method, (reply.status, reply.proxy_status)))
            }
            Err(end) => return world.ledger.broken(format!("{} {id}: no answer ({end:?})", ask.method)),
        }
        world.pause(gap()).await;
    }
}

thread_local! {
    /// Over all seeds: how often each way out was taken.
    static AVOIDED: RefCell<[u64; 2]> = const { RefCell::new([0; 2]) };
}

#[test]
fn r106_a_post_that_meets_the_end_of_an_idle_connection_fails_no_client_and_is_done_once() {
    each_seed(|seed| {
        // The kernel takes a request at once: of one that it still holds back it cannot say how much arrived.
        let mut options = SimOptions { send_capacity: 64 << 10, receive_capacity: 64 << 10, ..faulty(seed) };
        // A server that closes what has arrived without reading it leaves no proof of that.
        options.faults.cancel_races = 0;
        let world = simulate(options, ONE_ENDPOINT, |world| async move {
            start_server(&world, &Rc::new(Cell::new(IDLE)));
            world.settle().await;
            // A request is sent while the end is on its way, or just before or after: a few round trips around it.
            let spread = 8 * world.discovery_max().min(Duration::from_millis(5)) + JITTER;
            ask(&world, "a", 30, || around(&world, IDLE, spread)).await;
        });
        let stats = &world.stats;
        let counts = [stats.races_retired.get(), stats.races_unseen.get()];
        AVOIDED.with_borrow_mut(|all| all.iter_mut().zip(counts).for_each(|(all, count)| *all += count));
    });
    let avoided = AVOIDED.take();
    if std::env::var_os("SIM_SEED").is_none() {
        assert!(avoided.iter().all(|&count| count > 0), "retired, unseen: {avoided:?}");
    }
}

#[test]
fn what_was_learned_keeps_requests_off_connections_that_are_about_to_end() {
    each_seed(|seed| {
        simulate(smooth(seed), ONE_ENDPOINT, |world| async move {
            start_server(&world, &Rc::new(Cell::new(IDLE)));
            world.settle().await;
            ask(&world, "learning", 20, || around(&world, IDLE, 2 * JITTER)).await;
            let stale = || world.stats.pool_stale.get() + world.stats.races_unseen.get();
            let (before, retired) = (stale(), world.stats.races_retired.get());
            ask(&world, "knowing", 40, || around(&world, IDLE, 2 * JITTER)).await;
            // The witness ends now and then; no request meets an end.
            if world.stats.races_retired.get() < retired + 35 {
                let now = world.stats.races_retired.get();
                world
                    .ledger
                    .broken(format!("retired {retired}, then {now}; stale {before}, then {}", stale()));
            }
        });
    });
}

#[test]
fn a_restart_that_ends_all_connections_is_forgotten_soon() {
    each_seed(|seed| {
        simulate(smooth(seed), ONE_ENDPOINT, |world| async move {
            let idle = Rc::new(Cell::new(Duration::from_secs(5)));
            start_server(&world, &idle);
            world.settle().await;
            ask(&world, "before", 5, || Duration::from_millis(100)).await;
            // For some seconds every connection ends at once, as during an unlucky restart.
            idle.set(Duration::from_millis(7 + world.random(20)));
            ask(&world, "during", 8, || Duration::from_millis(700)).await;
            idle.set(Duration::from_secs(5));
            ask(&world, "after", 10, || Duration::from_millis(900)).await;
            let hits = world.stats.pool_hits.get();
            ask(&world, "later", 10, || Duration::from_millis(900)).await;
            let hits = world.stats.pool_hits.get() - hits;
            if hits < 9 {
                world.ledger.broken(format!("{hits} of 10 requests found a connection after the restart"));
            }
        });
    });
}
