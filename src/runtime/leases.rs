//! The receive buffers that a ring lends to the kernel, and the shared ring that lists the free ones.
//!
//! Owned by `buffers::Buffers`, filled by the kernel, registered by `driver::ring`. The memory outlives the ring: the
//! driver closes its ring, after the last completion, before it lets go of its `Rc<Buffers>`, and every `Buf` that is
//! still out holds another one.

#![expect(clippy::cast_possible_truncation, reason = "a lease has less than 4 GiB")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// `count` buffers of `bytes` each, with the ring through which they are lent.
pub(crate) struct Leases {
    memory: Mapping,
    ring: Mapping,
    bytes: usize,
    count: u16,
    /// Ring entries, a power of two that is at least `count`.
    entries: u16,
    tail: u16,
}

/// `struct io_uring_buf` of the kernel's interface; the tail of the ring overlays `reserved` of the first entry.
#[repr(C)]
struct Entry {
    address: u64,
    len: u32,
    index: u16,
    reserved: u16,
}

impl Leases {
    /// Maps the memory and lists every buffer as free.
    ///
    /// The kernel goes through the buffers in turn, so that a few hundred requests touch them all, whoever sends them.
    /// The first page of each, which is all that a small message fills, is therefore touched now: the resident size
    /// at start is what it will be, and no connection seems to cost what the pool does.
    pub(crate) fn new(count: u16, bytes: usize) -> io::Result<Leases> {
        let entries = count.next_power_of_two();
        let memory = Mapping::new(usize::from(count) * bytes)?;
        let ring = Mapping::new(usize::from(entries) * size_of::<Entry>())?;
        let mut leases = Leases { memory, ring, bytes, count, entries, tail: 0 };
        for index in 0..count {
            // SAFETY: the first byte of a buffer of the mapping, which nobody else uses yet.
            unsafe { leases.memory(index).as_ptr().write_volatile(0) };
            leases.give_back(index);
        }
        Ok(leases)
    }

    /// Address and number of entries, as the kernel wants them at registration.
    pub(crate) fn ring(&self) -> (u64, u16) {
        (self.ring.at.as_ptr().expose_provenance() as u64, self.entries)
    }

    /// Start of one buffer.
    pub(crate) fn memory(&self, index: u16) -> NonNull<u8> {
        assert!(index < self.count, "the kernel names only buffers that it was lent");
        // SAFETY: inside the mapping of `count * bytes`, as just checked.
        unsafe { self.memory.at.add(usize::from(index) * self.bytes) }
    }

    /// Lends a buffer to the kernel (again); the caller has stopped using it.
    pub(crate) fn give_back(&mut self, index: u16) {
        let entry = Entry {
            address: self.memory(index).as_ptr().expose_provenance() as u64,
            len: self.bytes as u32,
            index,
            reserved: 0,
        };
        let ring = self.ring.at.cast::<Entry>();
        let slot = usize::from(self.tail & (self.entries - 1));
        // SAFETY: `slot < entries`. The kernel reads entries before the tail only, and at most `count <= entries`
        // buffers are listed at once because each index is out or listed, never both (`Buf` is dropped once). The
        // fields are written one by one since `reserved` of entry 0 is the tail, which other threads of the kernel
        // may read at any time.
        unsafe {
            let at = ring.add(slot).as_ptr();
            (&raw mut (*at).address).write(entry.address);
            (&raw mut (*at).len).write(entry.len);
            (&raw mut (*at).index).write(entry.index);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `reserved` of entry 0 is the tail: aligned, inside the mapping, and accessed atomically by both sides.
        let tail = unsafe { AtomicU16::from_ptr(&raw mut (*ring.as_ptr()).reserved) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous, page-aligned, zeroed memory.
struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes.max(1), access, flags, -1, 0) };
        match NonNull::new(at.cast::<u8>()) {
            Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { at, bytes: bytes.max(1) }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody uses it any more, see the module doc.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}
