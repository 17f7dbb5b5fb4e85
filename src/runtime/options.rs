//! What a worker's runtime is built with, and what it counts.

use base::ids::WorkerId;

/// Sizes and bounds of one worker's runtime.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the worker in panics and counters; several runtimes of one process may share it.
    pub worker: WorkerId,
    /// Receive buffers lent by the worker, at most 32,768. Default 512.
    pub lease_count: u16,
    /// Size of one receive buffer. Default 20 KiB: a head and a body of 16 KiB, which many servers send in one piece, fit
    /// together (a fifth less CPU for such answers than with 16 KiB).
    pub lease_bytes: u32,
    /// Submission entries of the ring; the completion queue has four times as many. Default 1024.
    pub ring_entries: u32,
    /// All relay buffers above 16 KiB together. Default 64 MiB.
    pub relay_buffers_bytes_max: u64,
    /// Pipes through which bytes pass from socket to socket, in use and free together; each takes two descriptors.
    /// Default 64.
    pub pipes_max: u32,
    /// Completions reaped and tasks run in one turn, each. Default 256.
    pub turn_budget: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            worker: WorkerId(0),
            lease_count: 512,
            lease_bytes: 20 << 10,
            ring_entries: 1024,
            relay_buffers_bytes_max: 64 << 20,
            pipes_max: 64,
            turn_budget: 256,
        }
    }
}

/// What a worker holds now, and what it has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Operations whose last completion has not been seen.
    pub live_ops: u64,
    /// Receive buffers in use by the program.
    pub leases_out: u64,
    /// Descriptors that the runtime owns: listeners, streams, connection attempts, and those being closed.
    pub sockets: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// `Timer` values alive, set or not.
    pub timers: u64,
    /// Relay buffers in use, all sizes together.
    pub relay_buffer_bytes: u64,
    /// Pipes that hold bytes.
    pub pipes_out: u64,
    /// Pipes that are open; those that hold nothing are kept for a while, see `Runtime::trim_pipes`.
    pub pipes: u64,
    /// Total: receives that had to wait because no buffer was free.
    pub starved: u64,
    /// Total: completions for a socket that no longer exists; what they carried was released.
    pub stale_completions: u64,
    /// Total: connections accepted after their listener was dropped, and closed.
    pub late_accepts: u64,
    /// Total: times the completion queue overflowed and was flushed by the kernel.
    pub cq_overflows: u64,
    /// Total: received bytes copied out of a lease because few leases were left.
    pub copied_out_bytes: u64,
    /// Total: relay buffers that were smaller than asked for because of the bound.
    pub relay_downsized: u64,
}

impl Gauges {
    /// Whether nothing is held: what leak checks compare after everything has ended.
    pub fn is_quiet(&self) -> bool {
        self.live_ops == 0
            && self.leases_out == 0
            && self.sockets == 0
            && self.tasks == 0
            && self.timers == 0
            && self.relay_buffer_bytes == 0
            && self.pipes_out == 0
    }
}
