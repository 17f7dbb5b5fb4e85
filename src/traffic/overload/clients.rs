//! How many connections each client address has open, over all workers: a table of fixed size without locks.
//!
//! A listener allows one address so many connections (R92). Addresses are IPv4 addresses and IPv6 networks of 64 bits,
//! which is what one customer gets. One word of the table holds an address and its count:
//!
//! ```text
//!    63                           15 14        0
//!   ├──────── rest of the key ──────┼── count ──┤      0: free
//! ```
//!
//! The key is the address, shuffled by a secret permutation of 64 bits. Its other 15 bits choose the group of four words
//! in which it may stand, so that place and word together are the address again: two addresses are never taken for
//! one. An address leaves the table with its last connection; nothing is evicted.
//!
//! The table errs on one side only. When the four words of a group are taken by other addresses, a connection is let in
//! uncounted; when an address comes and goes at the same moment on several workers, it may end up in two words and so
//! get twice its share for a while. No address is ever refused because of another one.

use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Words in which one address may stand.
const WAYS: usize = 4;
/// 32,768 groups, 1 MiB: room for twice as many addresses as a listener allows connections by default.
const GROUP_BITS: u32 = 15;
/// As many bits as the group takes from the key are free for the count; `config` allows no larger limit.
const COUNT_MASK: u64 = (1 << GROUP_BITS) - 1;

/// The table. Shared by all workers for the life of the process.
pub struct Clients {
    words: Box<[AtomicU64]>,
    secret: [u64; 2],
    group_bits: u32,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

/// An admitted connection; given back with [`Clients::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the connection would be counted for ever"]
pub struct Admitted(Option<u32>);

impl Admitted {
    /// A connection that is not counted: of an exempt peer, or where no limit is set.
    pub const UNCOUNTED: Admitted = Admitted(None);

    /// Whether the table counts it.
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

/// The address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Default for Clients {
    fn default() -> Self {
        let random = RandomState::new();
        Clients::with(GROUP_BITS, [random.hash_one(0), random.hash_one(1)])
    }
}

impl Clients {
    /// Bytes that the table takes, however many addresses there are.
    pub const BYTES: u64 = ((WAYS * size_of::<u64>()) as u64) << GROUP_BITS;

    fn with(group_bits: u32, secret: [u64; 2]) -> Clients {
        let words = (0..WAYS << group_bits).map(|_| AtomicU64::new(0)).collect();
        Clients { words, secret, group_bits }
    }

    /// Counts one more connection of `address`, unless it has `max` of them.
    pub fn enter(&self, address: IpAddr, max: u32) -> Result<Admitted, TooMany> {
        let max = u64::from(max).min(COUNT_MASK);
        let (group, mark) = self.place(key_of(address));
        // Each failed exchange means that another connection came or went in this group.
        for _ in 0..ATTEMPTS_MAX {
            let words = &self.words[group..group + WAYS];
            let seen: [u64; WAYS] = std::array::from_fn(|way| words[way].load(Relaxed));
            let (way, next) = match seen.iter().position(|word| word & !COUNT_MASK == mark && *word != 0) {
                Some(way) if seen[way] & COUNT_MASK >= max => return Err(TooMany),
                Some(way) => (way, seen[way] + 1),
                None => match seen.iter().position(|word| *word == 0) {
                    Some(way) => (way, mark | 1),
                    None => return Ok(Admitted::UNCOUNTED),
                },
            };
            if words[way].compare_exchange(seen[way], next, Relaxed, Relaxed).is_ok() {
                return Ok(Admitted(u32::try_from(group + way).ok()));
            }
        }
        Ok(Admitted::UNCOUNTED)
    }

    /// The connection has ended.
    pub fn leave(&self, admitted: Admitted) {
        let Some(word) = admitted.0.and_then(|at| self.words.get(at as usize)) else { return };
        let mut seen = word.load(Relaxed);
        loop {
            debug_assert!(seen & COUNT_MASK > 0, "left twice");
            let next = if seen & COUNT_MASK <= 1 { 0 } else { seen - 1 };
            match word.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// Addresses and connections that are counted now; walks the whole table, for status pages.
    pub fn totals(&self) -> (u64, u64) {
        let counts = self.words.iter().map(|word| word.load(Relaxed) & COUNT_MASK).filter(|count| *count > 0);
        counts.fold((0, 0), |(addresses, connections), count| (addresses + 1, connections + count))
    }

    /// First word of the key's group, and the rest of the key in the upper bits of a word.
    fn place(&self, key: u64) -> (usize, u64) {
        let mixed = shuffle(key ^ self.secret[0], self.secret[1]);
        // The upper bits choose the group; the lower 49 stay in the word. With fewer groups, as in tests, the key does
        // not fit as a whole any more.
        let group = mixed >> (64 - self.group_bits);
        (usize::try_from(group).unwrap_or(0) * WAYS, mixed << GROUP_BITS)
    }
}

/// Loads and exchanges of one group before a connection is let in uncounted.
const ATTEMPTS_MAX: usize = 16;

/// IPv4 as it is, IPv6 by its first 64 bits. IPv4 keys lie where no IPv6 network is assigned (`0:ffff::/32`).
fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => 0x0000_ffff << 32 | u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// A permutation of all 64-bit numbers: each step can be undone.
fn shuffle(mut x: u64, secret: u64) -> u64 {
    for multiplier in [0xff51_afd7_ed55_8ccd, secret | 1, 0xc4ce_b9fe_1a85_ec53] {
        x = (x ^ (x >> 32)).wrapping_mul(multiplier);
    }
    x ^ (x >> 29)
}

#[cfg(all(test, not(loom)))]
mod tests;

/// `RUSTFLAGS="--cfg loom" cargo test -p traffic --release loom_tests`
#[cfg(all(test, loom))]
mod loom_tests;
