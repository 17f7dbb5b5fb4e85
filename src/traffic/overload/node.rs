//! What all workers of the node share about its limits: who holds how much, and how much there is.

use super::clients::Clients;
use super::pressure::{Permille, permille};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use base::Instant;
use base::ids::WorkerId;
use std::time::Duration;

/// Kernel memory of an open socket that carries little: measured for idle ones, for every proxy alike.
pub const SOCKET_BYTES: u64 = 8 << 10;
/// Kernel memory of a pipe that is in use.
pub const PIPE_BYTES: u64 = 256 << 10;
/// Descriptors that the process needs besides the sockets of its workers: logs, drivers, the admin API.
const OTHER_DESCRIPTORS: u64 = 16;
/// Of 1000 descriptors, how many clients and upstreams may have together; see `cli::capacity`.
const DESCRIPTORS_PERMILLE: u64 = 900;

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Bytes that the process may use; `u64::MAX` is unlimited.
    pub memory: u64,
    /// Descriptors that it may have open; `u64::MAX` is unlimited.
    pub descriptors: u64,
    /// False: nothing is ever shed.
    pub sheds: bool,
}

impl Supply {
    /// Nothing is short.
    pub const UNLIMITED: Supply = Supply { memory: u64::MAX, descriptors: u64::MAX, sheds: true };
}

/// The node as far as its workers share it.
#[derive(Debug)]
pub struct Node {
    pub supply: Supply,
    pub clients: Clients,
    /// Resident bytes as somebody read them last.
    resident: AtomicU64,
    /// When, in nanoseconds.
    read: AtomicU64,
    /// By worker: descriptors of its sockets and pipes, and what the kernel holds for them.
    descriptors: Box<[AtomicU64]>,
    kernel: Box<[AtomicU64]>,
}

impl Node {
    /// A node of `workers` workers.
    pub fn new(supply: Supply, workers: usize) -> Node {
        Node {
            supply,
            clients: Clients::default(),
            resident: AtomicU64::new(0),
            read: AtomicU64::new(0),
            descriptors: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            kernel: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether the caller is the one to read the resident size now: it is older than `age`, and nobody else was asked.
    pub fn is_due(&self, now: Instant, age: Duration) -> bool {
        let read = self.read.load(Relaxed);
        now.since(Instant::from_nanos(read)) >= age
            && self.read.compare_exchange(read, now.as_nanos(), Relaxed, Relaxed).is_ok()
    }

    /// The resident size of the process.
    pub fn set_resident(&self, bytes: u64) {
        self.resident.store(bytes, Relaxed);
    }

    /// What a worker has: open sockets, and pipes that hold bytes.
    pub fn set_open(&self, worker: WorkerId, sockets: u64, pipes: u64) {
        if let (Some(descriptors), Some(kernel)) =
            (self.descriptors.get(worker.index()), self.kernel.get(worker.index()))
        {
            descriptors.store(sockets + 2 * pipes, Relaxed);
            kernel.store(sockets * SOCKET_BYTES + pipes * PIPE_BYTES, Relaxed);
        }
    }

    /// Memory in use: what is resident, and what the kernel holds for sockets and pipes.
    pub fn memory_used(&self) -> u64 {
        self.resident.load(Relaxed).saturating_add(sum(&self.kernel))
    }

    /// Pressure on memory.
    pub fn memory(&self) -> Permille {
        permille(self.memory_used(), self.supply.memory)
    }

    /// Pressure on descriptors.
    pub fn descriptors(&self) -> Permille {
        if self.supply.descriptors == u64::MAX {
            return 0;
        }
        let limit = self.supply.descriptors.saturating_mul(DESCRIPTORS_PERMILLE) / 1000;
        permille(sum(&self.descriptors) + OTHER_DESCRIPTORS, limit)
    }
}

fn sum(cells: &[AtomicU64]) -> u64 {
    cells.iter().map(|cell| cell.load(Relaxed)).sum()
}
