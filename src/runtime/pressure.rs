//! What a worker can find out about how hard pressed it is, and what it can give back.
//!
//! Nothing here decides anything: `traffic::overload` does, and `data_plane::overload` asks and acts.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::driver::{Driver, Token};
use crate::runtime::Runtime;
use crate::stream::Stream;
use crate::sys;

/// Names a stream without owning it; stale once the stream is gone.
#[derive(Clone, Copy)]
pub struct StreamId(pub(crate) Token);

/// How a stream stands, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Memory that holds what it has still to send, which is more than the bytes in it.
    pub held_bytes: usize,
    /// Bytes that the kernel has taken from it and given to it since it began.
    pub moved_bytes: u64,
}

impl Stream {
    /// A name for [`Runtime::queued`].
    pub fn id(&self) -> StreamId {
        StreamId(self.token())
    }
}

impl Runtime {
    /// Sends an event to this worker through the queue that all its events go through. False where there is no such
    /// queue: in the simulation.
    ///
    /// What the worker computes until [`Runtime::probes_returned`] has grown is what an event waits for that is ready now.
    pub fn send_probe(&self) -> bool {
        let has_queue = !matches!(*self.core.driver.borrow(), Driver::Sim(_));
        if has_queue {
            self.core.shared.probe();
        }
        has_queue
    }

    /// How many events of [`Runtime::send_probe`] or of other threads have arrived. Several may arrive as one.
    pub fn probes_returned(&self) -> u64 {
        self.core.driver.borrow().counts().wakes
    }

    /// CPU time that this worker has used; nothing in the simulation, where turns take none. One system call.
    pub fn cpu_time(&self) -> Duration {
        if matches!(*self.core.driver.borrow(), Driver::Sim(_)) {
            Duration::ZERO
        } else {
            sys::thread_cpu_time()
        }
    }

    /// As [`Stream::local`], of a stream that may be gone.
    pub fn local_of(&self, stream: StreamId) -> Option<SocketAddr> {
        self.core.sockets.borrow().get(stream.0).filter(|socket| !socket.closing)?;
        self.core.with(stream.0, |socket, driver| driver.address(socket.fd, sys::End::Local))?.ip()
    }

    /// What a stream has still to send; `None` when it is gone.
    pub fn queued(&self, stream: StreamId) -> Option<Queued> {
        let sockets = self.core.sockets.borrow();
        let socket = sockets.get(stream.0).filter(|socket| !socket.closing)?;
        let held_bytes = socket.output.as_ref().map_or(0, |output| output.held_bytes());
        Some(Queued { held_bytes, moved_bytes: socket.sent + socket.received })
    }

    /// Gives memory back that is kept for reuse; returns how many bytes, as far as they are counted.
    pub fn trim(&self) -> u64 {
        self.core.trim()
    }

    /// A meter of the process's resident memory; `None` in the simulation, and where `/proc` is missing.
    pub fn resident_meter(&self) -> Option<ResidentMeter> {
        if matches!(*self.core.driver.borrow(), Driver::Sim(_)) {
            return None;
        }
        ResidentMeter::open().ok()
    }
}

/// Gives memory that the allocator keeps for this thread, and memory that no thread uses, back to the kernel.
///
/// By itself mimalloc does so late, and only while it is asked for more: after a flood the process would stay as large as
/// it was. Takes milliseconds when there is much to give back, so callers do this seldom. Without mimalloc as the global
/// allocator (in most tests) nothing happens.
pub fn return_free_memory() {
    // SAFETY: mimalloc allows the call at any time and from any thread; no memory in use is touched.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Reads the resident size of this process: one system call that waits for nothing.
#[derive(Debug)]
pub struct ResidentMeter {
    statm: File,
    page_bytes: u64,
}

impl ResidentMeter {
    /// # Errors
    /// Where `/proc` is not mounted.
    pub fn open() -> io::Result<ResidentMeter> {
        Ok(ResidentMeter { statm: File::open("/proc/self/statm")?, page_bytes: sys::page_bytes() })
    }

    /// Bytes of this process that are in memory now.
    pub fn read(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        Some(text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BindOptions, ConnectOptions, IoChoice, Options, bind, probe};
    use base::addr::Addr;
    use std::net::Ipv4Addr;

    #[test]
    fn a_probe_comes_back_through_the_queue_of_events() {
        for choice in [IoChoice::Epoll, IoChoice::Auto] {
            let rt =
                Runtime::new(&probe(choice).expect("one of them"), Options::default()).expect("it starts");
            for round in 1..4 {
                assert!(rt.send_probe());
                while rt.probes_returned() < round {
                    rt.turn(Some(rt.now() + Duration::from_secs(5))).expect("it turns");
                }
                assert!(rt.time_in_turn() < Duration::from_secs(4), "it did not end the wait");
            }
        }
    }

    #[test]
    fn what_a_stream_has_to_send_can_be_seen_from_outside_until_it_is_gone() {
        let rt =
            Runtime::new(&probe(IoChoice::Auto).expect("a driver"), Options::default()).expect("it starts");
        rt.block_on(async {
            let bound =
                bind(&Addr::Ip((Ipv4Addr::LOCALHOST, 0).into()), BindOptions::default()).expect("free");
            let listener = rt.listen(bound).expect("listening");
            let client = rt.connect(listener.addr(), ConnectOptions::default());
            let (server, client) =
                (listener.accept().await.expect("accepted"), client.await.expect("connected"));
            let id = client.id();
            assert_eq!(rt.queued(id), Some(Queued { held_bytes: 0, moved_bytes: 0 }));
            let mut body = rt.relay_buf(256 << 10);
            body.append(b"body");
            client.write_buf(body);
            assert!(rt.queued(id).is_some_and(|queued| queued.held_bytes >= 256 << 10));
            client.flushed(0).await.expect("sent");
            assert_eq!(rt.queued(id), Some(Queued { held_bytes: 0, moved_bytes: 4 }));
            drop((client, server));
            assert_eq!(rt.queued(id), None);
        })
        .expect("the loop turns");
    }

    #[test]
    fn the_resident_size_grows_with_what_is_touched() {
        let meter = ResidentMeter::open().expect("there is /proc");
        let before = meter.read().expect("a number");
        let touched = vec![1_u8; 64 << 20];
        let after = meter.read().expect("a number");
        assert!(touched[5] == 1 && after > before + (48 << 20), "{before} to {after}");
    }
}
