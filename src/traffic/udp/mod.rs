//! Flows of datagrams: whose they are, how many there may be, and when they are over.
//!
//! UDP knows no connections. Datagrams between the same addresses are taken for one *flow* until none has come for a
//! while, so that a client stays with its endpoint and an answer finds its client. A flow is a promise to somebody who
//! may have forged an address, so its number, its memory and what it sends are bounded whoever asks (R160).
//!
//! Nothing here knows a socket: `data_plane::udp` keeps its own things as the values of a [`FlowTable`].

mod index;
mod list;
mod meter;
mod stats;
mod table;
#[cfg(test)]
mod tests;

pub use meter::{FlowRules, Meter};
pub use stats::{Lost, UdpShard, UdpStats};
pub use table::{Bounds, FlowTable, Full};

use std::net::{IpAddr, SocketAddr};

/// What makes datagrams one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub client: SocketAddr,
    /// The address of ours that was asked, where a socket stands for several.
    pub local: Option<IpAddr>,
}

/// A place in a table, and which of those that had it one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(u64);

impl FlowId {
    /// None of any table.
    pub const NOBODY: FlowId = FlowId(u64::MAX >> 1);

    fn new(place: u32, generation: u32) -> FlowId {
        FlowId(u64::from(generation & GENERATION_MASK) << 32 | u64::from(place))
    }

    /// As a number, and back with [`FlowId::from_u64`]; below 2^62.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    pub fn from_u64(number: u64) -> FlowId {
        FlowId(number)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn place(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Generations of a place before it counts anew.
const GENERATION_MASK: u32 = u32::MAX >> 2;

/// Why a flow was given up for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Its client has begun more than it may have.
    ClientQuota,
    /// The table was full.
    TableFull,
}
