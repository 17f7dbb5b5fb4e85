//! More requests than a worker can carry (R99), sent at a rate that does not wait for answers.
//!
//! The machine is shared, and client, upstream and worker take turns on the same cores: the figures are printed
//! (`--nocapture`), and what is asserted leaves room for that.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::harness::{Client, Setup, wait_until};

/// What the upstream takes for an answer.
const THINKS: Duration = Duration::from_millis(20);
/// Connections that send requests. Each waits for its answer before the next one, and leaves out what it missed.
const SENDERS: u32 = 300;
const LASTS: Duration = Duration::from_secs(3);

/// What came back.
#[derive(Default)]
struct Tally {
    served: Vec<Duration>,
    refused: Vec<Duration>,
    broken: usize,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.served.extend(other.served);
        self.refused.extend(other.refused);
        self.broken += other.broken;
    }
}

/// The time that 99 of 100 stay below.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

/// An upstream that answers every request after [`THINKS`], one thread per connection.
fn thoughtful_upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = Builder::new().stack_size(64 << 10).spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.set_nodelay(true);
    // Small requests arrive whole.
    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
        std::thread::park_timeout(THINKS);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Sends `rate` requests per second over all senders for [`LASTS`].
fn send(web: SocketAddr, rate: f64) -> Tally {
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for number in 0..SENDERS {
            let tally = &tally;
            let run = move || {
                let mine = send_one_by_one(web, Duration::from_secs_f64(f64::from(SENDERS) / rate), number);
                tally.lock().expect("nobody panics").add(mine);
            };
            Builder::new().stack_size(128 << 10).spawn_scoped(scope, run).expect("a thread");
        }
    });
    tally.into_inner().expect("nobody panics")
}

fn send_one_by_one(web: SocketAddr, every: Duration, number: u32) -> Tally {
    let mut tally = Tally::default();
    let began = Instant::now();
    let mut next = began + every * number / SENDERS;
    let mut client = Client::try_connect(web);
    while next < began + LASTS {
        let now = Instant::now();
        std::thread::park_timeout(next.saturating_duration_since(now));
        let sent = Instant::now();
        let Some(open) = &mut client else {
            client = Client::try_connect(web);
            next = sent + every;
            continue;
        };
        open.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        match open.try_response("GET") {
            Ok(response) if response.status == 200 => tally.served.push(sent.elapsed()),
            Ok(response) if response.status == 503 => tally.refused.push(sent.elapsed()),
            _ => {
                tally.broken += 1;
                client = None;
            }
        }
        while next <= Instant::now() {
            next += every;
        }
    }
    tally
}

both! {
    fn r99_at_three_times_the_capacity_most_of_the_peak_is_served(io) {
        let upstream = thoughtful_upstream();
        let ringway = Setup { top: "workers 1\n", ..Setup::to(upstream) }.start(io);
        let web = ringway.address("web");
        let mut alone = ringway.client();
        let mut idle: Vec<Duration> = (0..60)
            .map(|_| {
                let sent = Instant::now();
                assert_eq!(alone.get("/").status, 200);
                sent.elapsed()
            })
            .collect();
        // As fast as it goes: nobody leaves a pause.
        let peak = send(web, 1e6).served.len();
        let rate = 3.0 * peak as f64 / LASTS.as_secs_f64();
        let mut over = send(web, rate);
        let ended = Instant::now();
        wait_until("requests are served as before", || {
            let sent = Instant::now();
            let mut client = ringway.client();
            client.get("/").status == 200 && sent.elapsed() < 10 * THINKS
        });
        let recovery = ended.elapsed();
        println!(
            "{}: peak {peak}, at three times that {} served, {} refused, {} broken; p99 alone {:?}, admitted {:?}, \
             refused {:?}; recovery {recovery:?}",
            io.name(),
            over.served.len(),
            over.refused.len(),
            over.broken,
            p99(&mut idle),
            p99(&mut over.served),
            p99(&mut over.refused),
        );
        assert!(over.served.len() * 10 >= peak * 6, "{} of {peak} at three times the rate", over.served.len());
        assert!(over.broken * 20 <= over.served.len(), "{} broken", over.broken);
        assert!(recovery < Duration::from_secs(5), "{recovery:?} until it serves as before");
        drop(alone);
        // The upstream goes on, and with it idle connections to it: nothing to compare with the start.
        ringway.signal("TERM");
        ringway.expect_clean_exit();
    }
}
