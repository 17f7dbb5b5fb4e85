//! What the suite is written with: Ringway under test, a scripted upstream, a byte-exact client, a real nginx.
//!
//! Nothing here sleeps. Waiting is done on conditions with a deadline, and a deadline that passes is a failure
//! which says what was waited for.

pub(crate) mod base64;
pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod dnsmasq;
pub(crate) mod haproxy;
pub(crate) mod http2;
mod huffman_table;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod nginx;
pub(crate) mod oidc;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod ringway;
mod static_table;
pub(crate) mod tls;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use client::{Broken, Client, Ending};
pub(crate) use haproxy::Haproxy;
pub(crate) use load::Load;
pub(crate) use nginx::Nginx;
pub(crate) use origin::{Origin, Received, Reply};
pub(crate) use peer::Peer;
pub(crate) use redis::Redis;
pub(crate) use ringway::{Ringway, Setup};

/// Longest that any single step of a test may take; generous, because the machine is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Which driver Ringway is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    Uring,
    Epoll,
}

impl Io {
    /// The word in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Io::Uring => "io_uring",
            Io::Epoll => "epoll",
        }
    }
}

/// Defines tests that run on both drivers: `NAME::io_uring` and `NAME::epoll`.
macro_rules! both {
    ($($(#[$about:meta])* fn $name:ident($io:ident) $body:block)*) => {
        $(
            $(#[$about])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                #[test]
                fn io_uring() {
                    run($crate::harness::Io::Uring);
                }

                #[test]
                fn epoll() {
                    run($crate::harness::Io::Epoll);
                }

                fn run($io: $crate::harness::Io) $body
            }
        )*
    };
}

/// Waits until `holds` is true, looking again every few milliseconds.
///
/// For conditions of another process only; inside this one a [`Gate`] or a channel wakes the waiter.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        pause();
    }
}

/// Lets other processes run for a few milliseconds before a condition is looked at again.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// Lets so much time pass: for tests about what the passing of time does, never to wait for something.
pub(crate) fn elapse(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Something that one thread waits for and another opens, once.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through who waits or will wait.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it is open now.
    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True once open; false when [`PATIENCE`] ran out.
    pub(crate) fn wait(&self) -> bool {
        let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A directory of one test, removed when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringway-suite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
