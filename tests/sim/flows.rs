//! TCP listeners (R158): every byte and each end as it was, or a cut that is told as one, through any network; and what the
//! clock ends, to the virtual millisecond.

use crate::client::write_in_pieces;
use crate::peer::body_of;
use crate::world::{World, both, client_host, each_seed, endpoint, faulty, seeds, simulate, smooth};
use base::Rng;
use runtime::Stream;
use runtime::sim::Call;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use traffic::Cause;

const TWO: &str = r#"
tcp "db" { bind "10.0.0.1:8080"; upstream "app"; }
upstream "app" { endpoint "10.0.1.1:80"; endpoint "10.0.1.2:80"; balance "round-robin"; }
"#;

const ONE: &str = r#"
tcp "db" { bind "10.0.0.1:8080"; upstream "app"; timeouts { idle "10s"; half-closed "3s"; }; }
upstream "app" { endpoint "10.0.1.1:80"; }
"#;

const MS: Duration = Duration::from_millis(1);

/// What one side does: sends this, and then ends in an orderly way, or resets before the end.
struct Part {
    bytes: Vec<u8>,
    cut: Option<usize>,
}

/// Both parts of one flow. They follow from its number, so that each side knows what the other one should do.
struct Plan {
    client: Part,
    server: Part,
}

impl Plan {
    fn of(seed: u64, number: u8) -> Plan {
        let mut rng = Rng::new(seed ^ (u64::from(number) << 32));
        let mut part = |name: &str| {
            // Nothing at all, a little, or enough for pipes.
            let len = match rng.below(4) {
                0 => 0,
                1 => rng.index(200),
                2 => rng.index(30_000),
                _ => 70_000 + rng.index(250_000),
            };
            let cut = (rng.one_in(4) && len > 0).then(|| rng.index(len));
            Part { bytes: body_of(&format!("{name}{number}"), len), cut }
        };
        Plan { client: part("up"), server: part("down") }
    }

    fn is_cut(&self) -> bool {
        self.client.cut.is_some() || self.server.cut.is_some()
    }
}

/// Plays one side of a flow to its end. `got` is what has been received already.
async fn play(world: &World, stream: Stream, own: &Part, other: &Part, mut got: Vec<u8>, who: &str) {
    let is_cut = own.cut.is_some() || other.cut.is_some();
    let sending = async {
        let until = own.cut.unwrap_or(own.bytes.len());
        let sent = write_in_pieces(world, &stream, &own.bytes[..until]).await;
        if own.cut.is_none() {
            stream.shutdown_write();
        }
        if !sent && !is_cut {
            world.ledger.broken(format!("{who}: cannot send although nobody cuts the flow"));
        }
    };
    let receiving = async {
        loop {
            match stream.recv().await {
                Ok(buf) if buf.is_empty() => {
                    // An end is never less than everything.
                    if got != other.bytes || other.cut.is_some() {
                        world.ledger.broken(format!(
                            "{who} got an end after {} of {} bytes, cut {:?}",
                            got.len(),
                            other.bytes.len(),
                            other.cut
                        ));
                    }
                    return world.ledger.count("end");
                }
                Ok(buf) => got.extend_from_slice(&buf),
                Err(_) => break,
            }
        }
        world.ledger.count("reset");
        if !is_cut || !other.bytes.starts_with(&got) {
            world
                .ledger
                .broken(format!("{who}: a reset that nobody has asked for, after {} bytes", got.len()));
        }
    };
    {
        let (mut sending, mut receiving) = (pin!(sending), pin!(receiving));
        let (mut sent, mut received) = (false, false);
        poll_fn(|cx| {
            sent = sent || sending.as_mut().poll(cx).is_ready();
            received = received || received_now(&mut receiving, cx);
            // Whoever cuts does not wait for the other one.
            if sent && (received || own.cut.is_some()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    if own.cut.is_some() {
        stream.reset();
    }
}

fn received_now(
    receiving: &mut std::pin::Pin<&mut impl Future<Output = ()>>,
    cx: &mut std::task::Context<'_>,
) -> bool {
    receiving.as_mut().poll(cx).is_ready()
}

/// Accepts flows at an endpoint; the first byte of each is its number.
fn serve(world: &Rc<World>, last: u8, seed: u64) {
    let listener = world.rt.listen(world.net.bind(endpoint(last)).expect("free")).expect("listening");
    let world = Rc::clone(world);
    world.rt.clone().spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let inner = Rc::clone(&world);
            world.rt.spawn(async move {
                // A client that cuts its flow may have sent nothing.
                let Ok(first) = stream.recv().await else { return };
                let Some((&number, rest)) = first.split_first() else { return };
                let (plan, got) = (Plan::of(seed, number), rest.to_vec());
                drop(first);
                let who = format!("the server of flow {number}");
                play(&inner, stream, &plan.server, &plan.client, got, &who).await;
            });
        }
    });
}

/// One flow from the client's side.
async fn flow(world: &World, seed: u64, number: u8) {
    let Ok(stream) = world.dial(client_host(usize::from(number))).await else {
        return world.ledger.broken(format!("flow {number} cannot connect"));
    };
    let Plan { mut client, server } = Plan::of(seed, number);
    client.bytes.insert(0, number);
    client.cut = client.cut.map(|at| at + 1);
    play(world, stream, &client, &server, Vec::new(), &format!("the client of flow {number}")).await;
}

#[test]
fn r158_flows_carry_every_byte_and_each_end_or_tell_of_their_cut() {
    let (mut ends, mut resets, mut spliced, mut refused) = (0, 0, 0, 0);
    // Not all: a world of long flows takes as long as ten others.
    let all = seeds();
    for seed in all.iter().copied().take(all.len().div_ceil(2)) {
        let mut options = faulty(seed);
        // A capacity of a few bytes makes a long flow a long story, and nothing new happens in it.
        options.send_capacity = options.send_capacity.max(2000);
        options.receive_capacity = options.receive_capacity.max(2000);
        // Bulk is what fills one receive after the other.
        if seed % 2 == 0 {
            (options.send_capacity, options.receive_capacity) = (150_000, 150_000);
            options.faults.short_receives = 0;
        }
        options.runtime.pipes_max = [0, 1, 64][usize::try_from(seed % 3).unwrap_or(0)];
        let world = simulate(options, TWO, move |world| async move {
            serve(&world, 1, seed);
            serve(&world, 2, seed);
            world.settle().await;
            if seed % 5 == 0 {
                world.net.fail_next(Call::SpliceIn, 22);
            }
            let left = Rc::new(Cell::new(0));
            for number in 1..=5 {
                left.set(left.get() + 1);
                let (inner, left) = (Rc::clone(&world), Rc::clone(&left));
                world.rt.spawn(async move {
                    inner.pause(Duration::from_micros(inner.random(50_000))).await;
                    flow(&inner, seed, number).await;
                    left.set(left.get() - 1);
                });
            }
            while left.get() > 0 {
                world.pause(10 * MS).await;
            }
            // Those who cut are gone before the news has reached the other side.
            world.pause(Duration::from_secs(2)).await;
            world.net.forget_failures();
        });
        let flows = world.in_force().listeners[0].passthrough().expect("it is one").stats.clone();
        let sum = |figure: fn(&traffic::flow::FlowShard) -> u64| flows.sum(figure);
        assert_eq!((flows.open(), sum(|shard| shard.opened.get())), (0, 5), "seed {seed}");
        ends += world.ledger.counted("end");
        resets += world.ledger.counted("reset");
        spliced += sum(|shard| shard.moved.spliced_bytes.get());
        refused += sum(|shard| {
            shard.moved.switches(traffic::flow::Reason::NoPipe)
                + shard.moved.switches(traffic::flow::Reason::Unsupported)
        });
        let cut = (1..=5).any(|number| Plan::of(seed, number).is_cut());
        assert!(cut || world.stats.closes(Cause::FlowClosed) == 5, "seed {seed}");
    }
    assert!(ends > 0 && resets > 0, "{ends} ends, {resets} resets");
    assert!(spliced > 0 && refused > 0 || seeds().len() == 1, "{spliced} bytes spliced, {refused} refused");
}

#[test]
fn r158_flows_find_the_endpoint_that_accepts() {
    each_seed(|seed| {
        let world = simulate(faulty(seed), TWO, move |world| async move {
            // Nobody listens at the first endpoint.
            serve(&world, 2, seed);
            world.settle().await;
            for number in 1..=8 {
                flow(&world, seed, number).await;
            }
            world.pause(Duration::from_secs(2)).await;
        });
        let refused = world.stats.closes(Cause::ConnectRefused);
        assert_eq!(refused, 0, "seed {seed}: the other endpoint was there");
        assert!(world.stats.retries.get() >= 1, "seed {seed}");
    });
}

#[test]
fn a_flow_whose_endpoint_never_accepts_is_reset_when_both_attempts_have_had_their_time() {
    simulate(smooth(1), TWO, |world| async move {
        world.net.set_blackholed(endpoint(1).ip(), true);
        world.net.set_blackholed(endpoint(2).ip(), true);
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let since = world.rt.now();
        stream.write(|out| out.extend_from_slice(b"early"));
        ends(&world, &stream, true).await;
        took(&world, "two attempts of a second", since, Duration::from_secs(2));
        if world.stats.closes(Cause::ConnectTimeout) != 1 {
            world.ledger.broken("the cause is another one".into());
        }
    });
}

/// Waits for the end of the connection, and takes what comes before.
async fn ends(world: &World, stream: &Stream, reset: bool) {
    loop {
        match stream.recv().await {
            Ok(buf) if buf.is_empty() => {
                if reset {
                    world.ledger.broken("a reset was expected, not an end".into());
                }
                return;
            }
            Ok(_) => {}
            Err(_) if reset => return,
            Err(error) => return world.ledger.broken(format!("an end was expected, not {error}")),
        }
    }
}

/// Checks that something took as long as it should: the way, and a wheel's tick, may be added.
fn took(world: &World, what: &str, since: base::Instant, expected: Duration) {
    let spent = world.rt.now().since(since);
    if spent < expected || spent > expected + 4 * MS {
        world.ledger.broken(format!("{what} took {spent:?} instead of {expected:?}"));
    }
}

/// An endpoint that does the same with each connection.
fn endpoint_that<F: Future<Output = ()> + 'static>(
    world: &Rc<World>,
    each: impl Fn(Rc<World>, Stream) -> F + 'static,
) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let world = Rc::clone(world);
    world.rt.clone().spawn(async move {
        while let Ok(stream) = listener.accept().await {
            world.rt.spawn(each(Rc::clone(&world), stream));
        }
    });
}

#[test]
fn a_flow_ends_ten_seconds_after_its_last_byte_whichever_way_that_went() {
    for way in 0..2 {
        simulate(smooth(1), ONE, move |world| async move {
            endpoint_that(&world, move |world, stream| async move {
                for _ in 0..3 {
                    world.pause(Duration::from_secs(9)).await;
                    if way == 1 {
                        stream.write(|out| out.push(b'.'));
                    }
                }
                ends(&world, &stream, true).await;
            });
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let since = world.rt.now();
            for _ in 0..3 {
                world.pause(Duration::from_secs(9)).await;
                if way == 0 {
                    stream.write(|out| out.push(b'.'));
                }
            }
            ends(&world, &stream, true).await;
            took(&world, "three pauses and the idle time", since, Duration::from_secs(37));
            if world.stats.closes(Cause::FlowIdle) != 1 {
                world.ledger.broken("the cause is another one".into());
            }
        });
    }
}

#[test]
fn half_a_flow_goes_on_as_long_as_the_other_side_moves() {
    simulate(smooth(1), ONE, |world| async move {
        endpoint_that(&world, |world, stream| async move {
            ends(&world, &stream, false).await;
            for _ in 0..10 {
                world.pause(Duration::from_millis(2900)).await;
                stream.write(|out| out.push(b'.'));
            }
            // Silent from here on, and not at its end.
            world.pause(Duration::from_secs(60)).await;
        });
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let since = world.rt.now();
        stream.shutdown_write();
        ends(&world, &stream, true).await;
        took(&world, "ten answers and three seconds", since, Duration::from_secs(32));
        if world.stats.closes(Cause::HalfClosed) != 1 {
            world.ledger.broken("the cause is another one".into());
        }
    });
}

#[test]
fn a_receiver_that_takes_its_time_is_not_idle() {
    // Bulk towards a client that takes 2 KB every two seconds: each pipe lasts for longer than the idle time.
    let mut options = smooth(1);
    (options.send_capacity, options.receive_capacity) = (4000, 4000);
    let world = simulate(options, ONE, |world| async move {
        endpoint_that(&world, |_, stream| async move {
            stream.write(|out| out.extend_from_slice(&[b'.'; 400_000]));
            let _ = stream.flushed(0).await;
            stream.shutdown_write();
        });
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut got = 0;
        while let Ok(buf) = stream.recv().await {
            if buf.is_empty() {
                break;
            }
            got += buf.len();
            world.pause(Duration::from_secs(2)).await;
        }
        if got != 400_000 {
            world.ledger.broken(format!("only {got} bytes came"));
        }
        stream.shutdown_write();
        world.pause(Duration::from_secs(1)).await;
    });
    assert_eq!(world.stats.closes(Cause::FlowClosed), 1);
}

#[test]
fn a_stop_cuts_flows_that_do_not_end_and_says_so() {
    let world = simulate(smooth(1), ONE, |world| async move {
        let told = Rc::new(Cell::new(false));
        let inner = Rc::clone(&told);
        endpoint_that(&world, move |world, stream| {
            let told = Rc::clone(&inner);
            async move {
                ends(&world, &stream, true).await;
                told.set(true);
            }
        });
        let stream = world.dial(client_host(1)).await.expect("connected");
        stream.write(|out| out.push(b'.'));
        world.pause(10 * MS).await;
        let since = world.rt.now();
        world.stop_gracefully();
        let (_, ()) = both(
            async {
                // Not idle: only the stop can end it.
                for _ in 0..29 {
                    world.pause(Duration::from_secs(1)).await;
                    stream.write(|out| out.push(b'.'));
                }
            },
            ends(&world, &stream, true),
        )
        .await;
        took(&world, "a stop", since, Duration::from_millis(29_750));
        world.pause(10 * MS).await;
        if !told.get() {
            world.ledger.broken("the endpoint was not told".into());
        }
    });
    assert_eq!(world.stats.closes(Cause::Stopping), 1);
}
