//! Real databases behind a TCP listener: their own benchmark, and the death of one of two.

use crate::harness::redis::Session;
use crate::harness::{Io, Redis, Ringway, wait_until};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[track_caller]
fn start(databases: &[&Redis], io: Io) -> Ringway {
    let endpoints: String =
        databases.iter().map(|database| format!("endpoint \"{}\"\n", database.address())).collect();
    let text = format!(
        "tcp \"redis\" {{ bind \"127.0.0.1:0\"; upstream \"origin\"; }}\n\
         upstream \"origin\" {{ {endpoints}\nbalance \"round-robin\" }}\n"
    );
    Ringway::start(&text, io)
}

/// Connections of the load, each with one command after the other.
const CLIENTS: usize = 12;

/// What happened to one connection of the load.
#[derive(Default)]
struct Lived {
    /// The database that it reached.
    who: String,
    answers: usize,
    broke: bool,
}

/// Uses one connection until it breaks or `ends`.
fn live(address: SocketAddr, ends: &AtomicBool, answers: &AtomicUsize) -> Lived {
    let mut lived = Lived::default();
    let Some(mut session) = Session::open(address) else { return Lived { broke: true, ..lived } };
    while !ends.load(Ordering::Relaxed) {
        match session.ask("GET who") {
            Some(who) => {
                assert!(lived.who.is_empty() || lived.who == who, "a connection stays where it is");
                lived.who = who;
                lived.answers += 1;
                answers.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                lived.broke = true;
                break;
            }
        }
    }
    lived
}

both! {
    fn the_benchmark_of_redis_runs_clean_through_a_listener(io) {
        let databases = [Redis::start("a"), Redis::start("b")];
        let ringway = start(&databases.each_ref(), io);
        let port = ringway.address("redis").port().to_string();
        let run = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port, "-n", "2000", "-c", "24", "-P", "4", "-r", "100", "-d", "1024"])
            .args(["-t", "ping,set,get,lpush,lrange_100", "-q"])
            .output()
            .expect("redis-benchmark is installed with redis-server");
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{said}");
        assert!(!said.to_lowercase().contains("error"), "{said}");
        assert_eq!(said.matches("requests per second").count(), 7, "{said}");
        let records = ringway.records(24);
        let who: Vec<_> = records.iter().map(|record| record["endpoint"].as_str()).collect();
        for database in &databases {
            assert!(who.contains(&Some(database.address().to_string().as_str())), "both are used");
        }
        assert!(records.iter().all(|record| record["cause"] == "flow_closed" || record["cause"] == "client_gone"));
        ringway.stop_after(databases);
    }

    fn r158_the_death_of_one_database_of_two_ends_what_it_held_and_nothing_else(io) {
        let (mut doomed, other) = (Redis::start("doomed"), Redis::start("other"));
        let ringway = start(&[&doomed, &other], io);
        let address = ringway.address("redis");
        let (ends, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let lived: Vec<Lived> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut lives = Vec::new();
                        while !ends.load(Ordering::Relaxed) {
                            lives.push(live(address, &ends, &answers));
                        }
                        lives
                    })
                })
                .collect();
            let go_on = |count: usize| {
                let until = answers.load(Ordering::Relaxed) + count;
                wait_until("the load goes on", || answers.load(Ordering::Relaxed) >= until);
            };
            go_on(2000);
            doomed.kill();
            go_on(4000);
            ends.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
        });
        let mut broken: HashMap<&str, usize> = HashMap::new();
        for life in lived.iter().filter(|life| life.broke) {
            *broken.entry(&life.who).or_default() += 1;
        }
        // Half of the first connections were there; a client that came while it died may have been taken in as well.
        let of_doomed = broken.remove("doomed").unwrap_or(0);
        assert!((CLIENTS / 2..=CLIENTS).contains(&of_doomed), "{of_doomed} of {} broke", lived.len());
        assert!(!broken.contains_key("other"), "connections to the other one broke: {broken:?}");
        assert!(broken.get("").copied().unwrap_or(0) <= CLIENTS / 2, "new connections failed: {broken:?}");
        assert!(lived.iter().filter(|life| life.who == "other").map(|life| life.answers).sum::<usize>() > 2000);
        ringway.stop_after(other);
    }
}
