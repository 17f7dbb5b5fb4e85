//! Every timeout to the virtual millisecond (R113), in a world without faults.

use crate::client::Ask;
use crate::peer::{End, Incoming};
use crate::world::{ONE_ENDPOINT, THREE_ENDPOINTS, World, client_host, endpoint, simulate, smooth};
use runtime::Stream;
use std::rc::Rc;
use std::time::Duration;

/// From one host to another, each way.
const LATENCY: Duration = Duration::from_micros(100);
const MS: Duration = Duration::from_millis(1);

/// Checks that something took as long as it should: a wheel's tick may be added, and nothing taken away.
fn took(world: &World, what: &str, since: base::Instant, expected: Duration) {
    let spent = world.rt.now().since(since);
    if spent < expected || spent > expected + 2 * MS {
        world.ledger.broken(format!("{what} took {spent:?} instead of {expected:?}"));
    }
}

async fn say(stream: &Stream, bytes: &[u8]) {
    stream.write(|out| out.extend_from_slice(bytes));
    let _ = stream.flushed(0).await;
}

/// Expects a response with this status and then the end of the connection.
async fn expect(world: &World, incoming: &mut Incoming<'_>, status: u16) {
    match incoming.reply("GET").await {
        Ok(reply) if reply.status == status && reply.end == End::Complete => {}
        other => world.ledger.broken(format!("{status} was expected, not {other:?}")),
    }
}

/// An upstream that accepts, reads, and answers what it is told to, once.
fn mute(world: &Rc<World>, answer: &'static [u8]) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let rt = world.rt.clone();
    world.rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            rt.spawn(async move {
                let mut answered = false;
                while stream.recv().await.is_ok_and(|buf| !buf.is_empty()) {
                    if !std::mem::replace(&mut answered, true) {
                        stream.write(|out| out.extend_from_slice(answer));
                    }
                }
            });
        }
    });
}

#[test]
fn a_head_must_be_complete_ten_seconds_after_its_first_byte() {
    simulate(smooth(1), THREE_ENDPOINTS, |world| async move {
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        world.pause(Duration::from_secs(3)).await;
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        say(&stream, b"GET / HTTP/1.1\r\n").await;
        world.pause(Duration::from_secs(9)).await;
        say(&stream, b"Host: a\r\n").await;
        expect(&world, &mut incoming, 408).await;
        took(&world, "the head timeout", since, Duration::from_secs(10) + 2 * LATENCY);
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_ten_seconds_and_an_idle_one_after_75_to_85() {
    for seed in 0..20 {
        simulate(smooth(seed), THREE_ENDPOINTS, |world| async move {
            world.settle().await;
            let stream = world.dial(client_host(1)).await.expect("connected");
            let since = world.rt.now();
            let end = stream.recv().await;
            if !end.is_ok_and(|buf| buf.is_empty()) {
                world.ledger.broken("a silent connection ends cleanly".into());
            }
            // The worker's side was there one latency before ours.
            took(&world, "silence", since, Duration::from_secs(10));
            drop(stream);

            let stream = world.dial(client_host(1)).await.expect("connected");
            let mut incoming = Incoming::new(&stream);
            say(&stream, b"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if !incoming.reply("GET").await.is_ok_and(|reply| reply.status == 200) {
                world.ledger.broken("a fixed response".into());
            }
            let since = world.rt.now();
            let _ = stream.recv().await;
            let spent = world.rt.now().since(since);
            if spent < Duration::from_secs(75) - MS || spent > Duration::from_millis(84_500) {
                world.ledger.broken(format!("idle for {spent:?}"));
            }
        });
    }
}

#[test]
fn a_body_below_1_kib_per_second_is_refused_after_ten_seconds() {
    simulate(smooth(2), ONE_ENDPOINT, |world| async move {
        mute(&world, b"");
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        say(&stream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
        for _ in 0..9 {
            world.pause(Duration::from_secs(1)).await;
            say(&stream, &[b'x'; 900]).await;
        }
        expect(&world, &mut incoming, 408).await;
        // The window starts when the head is there, after the connection to the endpoint was made.
        took(&world, "a slow body", since, Duration::from_secs(10) + 4 * LATENCY);
    });
}

#[test]
fn a_body_at_the_minimum_rate_may_take_for_ever() {
    simulate(smooth(3), ONE_ENDPOINT, |world| async move {
        let answer = b"HTTP/1.1 200 OK\r\nX-Id: slow\r\nContent-Length: 0\r\n\r\n";
        let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
        let upstream = Rc::clone(&world);
        world.rt.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let upstream = Rc::clone(&upstream);
                upstream.rt.clone().spawn(async move {
                    let mut incoming = Incoming::new(&stream);
                    let Ok(asked) = incoming.request().await else { return };
                    let mut body = Vec::new();
                    let reader = wire::h1::BodyReader::new(asked.body, &base::limits::HttpLimits::DEFAULT);
                    incoming.body(reader, &mut body).await;
                    say(&stream, answer).await;
                    let _ = stream.recv().await;
                });
            }
        });
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        say(&stream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 512000\r\n\r\n").await;
        for _ in 0..500 {
            world.pause(Duration::from_millis(999)).await;
            say(&stream, &[b'x'; 1024]).await;
        }
        expect(&world, &mut incoming, 200).await;
    });
}

#[test]
fn a_silent_body_is_given_up_after_thirty_seconds_where_no_rate_is_asked() {
    let kdl = ONE_ENDPOINT.replace("8080\"; }", "8080\"; timeouts { body-rate \"off\"; } }");
    simulate(smooth(4), &kdl, |world| async move {
        mute(&world, b"");
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        say(&stream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
        expect(&world, &mut incoming, 408).await;
        took(&world, "a silent body", since, Duration::from_secs(30) + 4 * LATENCY);
    });
}

#[test]
fn an_endpoint_has_thirty_seconds_for_its_response_head_and_sixty_of_silence_within_the_body() {
    simulate(smooth(5), ONE_ENDPOINT, |world| async move {
        mute(&world, b"");
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        let (head, _) = Ask::post("p", 0).bytes(&world);
        say(&stream, &head).await;
        expect(&world, &mut incoming, 504).await;
        took(&world, "a response head", since, Duration::from_secs(30) + 4 * LATENCY);
    });
    simulate(smooth(6), ONE_ENDPOINT, |world| async move {
        mute(&world, b"HTTP/1.1 200 OK\r\nX-Id: x\r\nContent-Length: 10\r\n\r\nhalf.");
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        say(&stream, b"GET /r/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        match incoming.reply("GET").await {
            Ok(reply) if reply.end == End::Reset && reply.body == b"half." => {}
            other => world.ledger.broken(format!("a cut response was expected, not {other:?}")),
        }
        took(&world, "a stalled body", since, Duration::from_secs(60) + 6 * LATENCY);
    });
}

#[test]
fn a_connection_attempt_is_given_up_after_a_second_and_repeated_elsewhere_once() {
    simulate(smooth(7), THREE_ENDPOINTS, |world| async move {
        for last in 1..=3 {
            world.net.set_blackholed(endpoint(last).ip(), true);
        }
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        // Nothing was sent to an endpoint, so that even this may be tried again.
        let (head, _) = Ask::post("p", 0).bytes(&world);
        say(&stream, &head).await;
        expect(&world, &mut incoming, 504).await;
        took(&world, "two attempts", since, Duration::from_secs(2) + 2 * LATENCY);
        let retries = world.stats.retries.get();
        if retries != 1 {
            world.ledger.broken(format!("{retries} retries"));
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_within_the_window_and_the_idle_limit() {
    simulate(smooth(8), ONE_ENDPOINT, |world| async move {
        let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
        let rt = world.rt.clone();
        world.rt.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                rt.spawn(async move {
                    let _ = stream.recv().await;
                    say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
                    while stream.flushed(0).await.is_ok() {
                        stream.write(|out| out.resize(out.len() + 60_000, b'x'));
                    }
                });
            }
        });
        world.settle().await;
        let stream = world.dial(client_host(1)).await.expect("connected");
        say(&stream, b"GET /r/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let since = world.rt.now();
        while world.stats.cause(traffic::Cause::ClientSlow) == 0
            && world.rt.now().since(since) < Duration::from_secs(200)
        {
            world.pause(MS).await;
        }
        let spent = world.rt.now().since(since);
        // The first look at what the client has acknowledged only sets the mark.
        if spent < Duration::from_secs(30) || spent > Duration::from_millis(60_010) {
            world.ledger.broken(format!("a client that does not read was cut after {spent:?}"));
        }
        let mut got = 0;
        let end = loop {
            match stream.recv().await {
                Ok(buf) if buf.is_empty() => break "the end",
                Ok(buf) => got += buf.len(),
                Err(_) => break "a reset",
            }
        };
        if end != "a reset" || got > 1 << 20 {
            world.ledger.broken(format!("{end} after {got} bytes"));
        }
    });
}

/// An endpoint that accepts, reads nothing, and goes away after a minute.
fn deaf(world: &Rc<World>) {
    let listener = world.rt.listen(world.net.bind(endpoint(1)).expect("free")).expect("listening");
    let inner = Rc::clone(world);
    world.rt.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let world = Rc::clone(&inner);
            inner.rt.spawn(async move {
                world.pause(Duration::from_secs(60)).await;
                drop(stream);
            });
        }
    });
}

/// What a client asks for while the endpoint does what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    Connecting,
    Answering,
    /// The endpoint takes nothing of the body.
    Taking,
    /// The client sends its body for ever.
    Sending,
}

/// How long a request takes, with which status and for which causes, under these timeouts of its route.
fn stuck(stuck: Stuck, timeouts: &str, status: u16, cause: traffic::Cause, expected: Duration) {
    let kdl = ONE_ENDPOINT
        .replace(
            "upstream=\"app\";",
            &format!("upstream=\"app\" {{ timeouts {{ {timeouts} }}; retry attempts=0; }}"),
        )
        .replace("80\"; }\nsite", "80\"; timeouts { connect \"20s\"; }; }\nsite");
    simulate(smooth(9), &kdl, |world| async move {
        match stuck {
            Stuck::Connecting => world.net.set_blackholed(endpoint(1).ip(), true),
            Stuck::Answering | Stuck::Sending => mute(&world, b""),
            Stuck::Taking => deaf(&world),
        }
        world.settle().await;
        let stream = Rc::new(world.dial(client_host(1)).await.expect("connected"));
        let mut incoming = Incoming::new(&stream);
        let since = world.rt.now();
        match stuck {
            Stuck::Connecting | Stuck::Answering => say(&stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await,
            Stuck::Taking | Stuck::Sending => {
                say(&stream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await;
            }
        }
        if matches!(stuck, Stuck::Taking | Stuck::Sending) {
            let (world, stream) = (Rc::clone(&world), Rc::clone(&stream));
            let bytes = if stuck == Stuck::Taking { 60_000 } else { 2000 };
            world.rt.clone().spawn(async move {
                while world.stats.requests.get() == 0 {
                    stream.write(|out| out.resize(out.len() + bytes, b'x'));
                    world.pause(Duration::from_millis(100)).await;
                }
            });
        }
        expect(&world, &mut incoming, status).await;
        took(&world, "the request", since, expected);
        if world.stats.cause(cause) != 1 {
            world.ledger.broken(format!("not {}", cause.name()));
        }
    });
}

#[test]
fn the_total_timeout_ends_every_wait() {
    for at in [Stuck::Connecting, Stuck::Answering, Stuck::Taking, Stuck::Sending] {
        let expected = Duration::from_secs(3) + 2 * LATENCY;
        stuck(at, "total \"3s\"", 504, traffic::Cause::TotalTimeout, expected);
    }
}

#[test]
fn an_attempt_ends_with_per_try_whatever_it_waits_for() {
    use traffic::Cause;
    for (at, status, cause) in [
        (Stuck::Connecting, 504, Cause::ConnectTimeout),
        (Stuck::Answering, 504, Cause::UpstreamTimeout),
        (Stuck::Taking, 504, Cause::UpstreamTimeout),
        (Stuck::Sending, 408, Cause::BodyTimeout),
    ] {
        stuck(at, "per-try \"2s\"", status, cause, Duration::from_secs(2) + 2 * LATENCY);
    }
}
