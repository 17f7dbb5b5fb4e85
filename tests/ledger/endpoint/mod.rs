//! An endpoint that follows the plan: it answers, breaks off, stalls and lies as the seed says, and writes down
//! every attempt that reaches it.
//!
//! One thread accepts, one thread serves each connection. It runs in this process or, to be stopped and killed, as a
//! process of its own (`process.rs`).

mod answer;
pub(crate) mod process;
mod serve;

pub(crate) use answer::append_chunks;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::book::Witness;
use crate::plan::Plan;

/// Connections served at a time; more are closed at once.
const CONNECTIONS_MAX: u32 = 1024;

/// How an endpoint behaves beyond the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    pub(crate) plan: Plan,
    /// Which of the endpoints it is.
    pub(crate) index: usize,
    /// Closes connections that are idle for so long, whatever the plan says: from, and so much more at random.
    pub(crate) idle: Option<(Duration, Duration)>,
    /// Time that a request takes.
    pub(crate) service: Duration,
    /// Requests that are worked on at a time; others wait for their turn.
    pub(crate) slots: u32,
}

impl Ways {
    /// As the plan says and nothing else.
    pub(crate) fn of(plan: Plan, index: usize) -> Ways {
        Ways { plan, index, idle: None, service: Duration::ZERO, slots: u32::MAX }
    }
}

/// A running endpoint.
pub(crate) struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    ways: Ways,
    witness: Arc<dyn Witness>,
    stopping: AtomicBool,
    /// Whether connections are refused at present.
    refusing: Mutex<bool>,
    changed: Condvar,
    open: AtomicU32,
    slots: Slots,
}

/// Requests that may be worked on, and those that wait.
struct Slots {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Slots {
    fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        let done = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
        done
    }
}

impl Endpoint {
    /// Listens on `address`, whose port may be 0.
    pub(crate) fn start(ways: Ways, address: SocketAddr, witness: Arc<dyn Witness>) -> Endpoint {
        let listener = listen(address);
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            ways,
            witness,
            stopping: AtomicBool::new(false),
            refusing: Mutex::new(false),
            changed: Condvar::new(),
            open: AtomicU32::new(0),
            slots: Slots { free: Mutex::new(ways.slots), freed: Condvar::new() },
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(listener, address, &accepting));
        Endpoint { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listening socket, or opens it again. Connections that stand are served on.
    pub(crate) fn refuse(&self, refuse: bool) {
        *self.shared.refusing.lock().unwrap_or_else(PoisonError::into_inner) = refuse;
        if refuse {
            self.wake();
        }
        self.shared.changed.notify_all();
    }

    /// Makes `accept` return once more.
    fn wake(&self) {
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.refuse(false);
        self.wake();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address)
        .unwrap_or_else(|error| panic!("an endpoint cannot listen on {address}: {error}"))
}

fn accept(mut listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>) {
    let mut connection = 0;
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let refusing = shared.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        if *refusing {
            drop(listener);
            let opened = shared.changed.wait_while(refusing, |refusing| *refusing);
            drop(opened);
            listener = listen(address);
            continue;
        }
        drop(refusing);
        let Ok((stream, _)) = accepted else { continue };
        if shared.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let number = connection;
        connection += 1;
        let shared = Arc::clone(shared);
        let serving = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            serve::connection(&shared, stream, number);
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
        serving.expect("a thread for a connection");
    }
}
