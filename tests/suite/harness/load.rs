//! Clients that ask for the same thing all the time, and remember what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::Client;

/// Load that runs beside a test until [`Load::stop`].
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Load {
    /// `clients` connections that each send one request after the other.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Load {
        let shared = Arc::<Shared>::default();
        let threads = (0..clients).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.ask(address))
        });
        let threads = threads.collect();
        Load { shared, threads }
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends the load; how many requests were answered, and what went wrong.
    #[track_caller]
    pub(crate) fn stop(self) -> (u64, Vec<String>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for thread in self.threads {
            wrong.extend(thread.join().expect("a client thread panicked"));
        }
        (self.shared.answered.load(Ordering::Relaxed), wrong)
    }
}

impl Shared {
    /// Only what is wrong: any answer but 200, and none.
    fn ask(&self, address: SocketAddr) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut client = Client::connect(address);
        while !self.stop.load(Ordering::Relaxed) && wrong.len() < 20 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            match client.try_response("GET") {
                Ok(response) if response.status == 200 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if response.closes() {
                        client = Client::connect(address);
                    }
                }
                Ok(response) => wrong.push(format!("{} {}", response.status, response.text())),
                Err(broken) => {
                    wrong.push(format!("{broken:?}"));
                    client = Client::connect(address);
                }
            }
        }
        wrong
    }
}
