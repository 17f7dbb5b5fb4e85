//! An endpoint as a process of its own, which can be stopped, continued and killed.
//!
//! It writes its notes to standard error, one line each, so that what it saw survives its end.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use super::{Endpoint, Ways};
use crate::book::{Body, Book, ELSEWHERE, Note, Place, Witness, now_us};
use crate::harness::process::Process;
use crate::plan::{Mix, Plan};

/// The process as seen from outside.
pub(crate) struct EndpointProcess {
    process: Process,
    address: SocketAddr,
}

impl EndpointProcess {
    /// Starts this program again as an endpoint.
    pub(crate) fn start(ways: Ways, address: SocketAddr) -> EndpointProcess {
        let program = std::env::current_exe().expect("the path of this program");
        let Plan { seed, faults, mix, .. } = ways.plan;
        let words = [
            "endpoint".to_string(),
            ways.index.to_string(),
            address.to_string(),
            seed.to_string(),
            faults.to_string(),
            mix.name().to_string(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let process = Process::start(&program.display().to_string(), &words);
        let address = process.wait_for_line("the address of an endpoint", |line| {
            line.strip_prefix("listening on ").and_then(|address| address.parse().ok())
        });
        EndpointProcess { process, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `STOP`, `CONT` or `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Kills it, stopped or not, and copies what it wrote down until then.
    pub(crate) fn end(mut self, book: &Book) {
        self.process.signal("CONT");
        self.process.signal("KILL");
        self.process.wait();
        book.copy(&self.process.last_words());
    }
}

/// The whole life of such a process, by the words of its command line.
pub(crate) fn live(words: &[String]) -> Option<()> {
    let [index, address, seed, faults, mix] = words else { return None };
    let plan =
        Plan { seed: seed.parse().ok()?, faults: faults.parse().ok()?, mix: Mix::named(mix)?, status: None };
    let speaker = Arc::new(Speaker::default());
    let ways = Ways::of(plan, index.parse().ok()?);
    let endpoint = Endpoint::start(ways, address.parse().ok()?, speaker);
    say(&format!("listening on {}", endpoint.address()));
    loop {
        std::thread::park();
    }
}

/// Says what a [`Book`] would write down.
#[derive(Default)]
struct Speaker {
    times: Mutex<HashMap<u32, u32>>,
}

/// One write per line, so that a line is whole or not there.
fn say(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

impl Witness for Speaker {
    fn seen(&self, id: u32, place: Place) -> u32 {
        let mut times = self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seen = times.entry(id).or_insert(ELSEWHERE);
        let nth = *seen;
        *seen += 1;
        say(&Note::Seen { id, nth, place, at_us: now_us() }.write());
        nth
    }

    fn body(&self, id: u32, nth: u32, body: Body) {
        say(&Note::Body { id, nth, body }.write());
    }

    fn wrong(&self, what: String) {
        say(&Note::Wrong(what).write());
    }

    fn count(&self, what: &str) {
        say(&Note::Count(what.to_string()).write());
    }
}
