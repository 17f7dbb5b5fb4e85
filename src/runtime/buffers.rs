//! Buffers that own their memory: leases of the worker's receive pool, relay buffers, and plain heap bytes.
//!
//! A [`Buf`] is what every receive returns and what `Stream::write_buf` takes. It is never a borrow: the kernel may
//! read or write behind it while no future is alive. Dropping it gives the memory back to where it came from, on the
//! worker that it came from (`Buf` is not `Send`).

#![expect(clippy::cast_possible_truncation, reason = "`adopt` refuses buffers of 4 GiB, so lengths fit")]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::leases::Leases;

/// Owned bytes with room in front and behind.
pub struct Buf {
    at: NonNull<u8>,
    /// Bytes `start..end` are initialised and belong to the reader.
    start: u32,
    end: u32,
    capacity: u32,
    kind: Kind,
    /// None only for [`Kind::Heap`].
    home: Option<Rc<Buffers>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heap,
    /// From the pool of receive buffers of a worker without a buffer ring.
    Pooled,
    /// Entry of the ring of provided buffers.
    Lease(u16),
    Relay(u8),
}

/// Room that relay buffers keep in front: a chunk-size line of 16 digits with CR LF fits.
const HEADROOM: usize = 32;
const RELAY_SIZES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// Free relay buffers kept per size; the larger ones also count against the bound while they wait.
const RELAY_FREE_MAX: usize = 64;

impl Buf {
    /// An empty buffer without memory.
    pub fn empty() -> Buf {
        Buf::from_vec(Vec::new())
    }

    /// Takes over the vector's memory; its spare capacity stays usable.
    ///
    /// Panics above 4 GiB, which no bound of the product allows.
    pub fn from_vec(bytes: Vec<u8>) -> Buf {
        let len = bytes.len();
        Buf::adopt(bytes, 0, len, Kind::Heap, None)
    }

    /// A heap buffer of exactly these bytes.
    pub fn copied(bytes: &[u8]) -> Buf {
        Buf::from_vec(bytes.to_vec())
    }

    fn adopt(bytes: Vec<u8>, start: usize, end: usize, kind: Kind, home: Option<Rc<Buffers>>) -> Buf {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        let small = |n: usize| u32::try_from(n).expect("buffers stay below 4 GiB");
        let (start, end, capacity) = (small(start), small(end), small(bytes.capacity()));
        let at = NonNull::new(bytes.as_mut_ptr()).expect("vectors are never null");
        Buf { at, start, end, capacity, kind, home }
    }

    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Memory behind it, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Drops the first `n` bytes; `n` must not exceed the length. Their room becomes headroom.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consumed {n} of {} bytes", self.len());
        self.start += n as u32;
    }

    /// Keeps the first `n` bytes; does nothing when there are fewer.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.end = self.start + n as u32;
        }
    }

    /// Forgets all bytes and restores the headroom that the buffer was made with.
    pub fn clear(&mut self) {
        self.start = match self.kind {
            Kind::Relay(_) => HEADROOM as u32,
            Kind::Heap | Kind::Pooled | Kind::Lease(_) => 0,
        };
        self.end = self.start;
    }

    /// Bytes that fit behind the present ones.
    pub fn spare(&self) -> usize {
        (self.capacity - self.end) as usize
    }

    /// Bytes that fit in front of the present ones.
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// Puts bytes in front; they must fit in [`Buf::headroom`].
    pub fn prepend(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.headroom(), "no headroom for {} bytes", bytes.len());
        self.start -= bytes.len() as u32;
        // SAFETY: `start..start + bytes.len()` was headroom, inside the allocation that `self` owns alone; `bytes`
        // borrows other memory because `self` is borrowed mutably.
        unsafe {
            let to = self.at.as_ptr().add(self.start as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Puts bytes behind; they must fit in [`Buf::spare`].
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.spare(), "no room for {} bytes", bytes.len());
        // SAFETY: `end..end + bytes.len()` lies inside the allocation that `self` owns alone (checked above); `bytes`
        // borrows other memory because `self` is borrowed mutably.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.spare_at(), bytes.len()) };
        self.end += bytes.len() as u32;
    }

    /// Where the spare capacity starts, for the kernel to write to.
    pub(crate) fn spare_at(&mut self) -> *mut u8 {
        // SAFETY: `end <= capacity`, so the result is inside the allocation or one past its end.
        unsafe { self.at.as_ptr().add(self.end as usize) }
    }

    /// Counts `n` more bytes as initialised.
    ///
    /// # Safety
    /// The `n` bytes from [`Buf::spare_at`] on have been written.
    pub(crate) unsafe fn filled(&mut self, n: usize) {
        assert!(n <= self.spare(), "the kernel reported more bytes than the buffer holds");
        self.end += n as u32;
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start..end` is inside the allocation and initialised: `from_vec` starts with a vector's own
        // bytes, and only `append`, `prepend` and `filled` widen the range, each over written bytes.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(self.start as usize), self.len()) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the memory belongs to `self` alone, which is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr().add(self.start as usize), self.len()) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let (Kind::Lease(index), Some(home)) = (self.kind, &self.home) {
            return home.lease_back(index);
        }
        // SAFETY: every kind but `Lease` was made by `adopt` from a vector with this pointer and this capacity, and
        // gives it up here, once.
        let bytes = unsafe { Vec::from_raw_parts(self.at.as_ptr(), 0, self.capacity as usize) };
        match (self.kind, &self.home) {
            (Kind::Pooled, Some(home)) => home.pooled_back(bytes),
            (Kind::Relay(size), Some(home)) => home.relay_back(usize::from(size), bytes),
            (Kind::Heap | Kind::Lease(_), _) | (_, None) => drop(bytes),
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {} bytes)", self.len(), self.capacity)
    }
}

impl From<Vec<u8>> for Buf {
    fn from(bytes: Vec<u8>) -> Buf {
        Buf::from_vec(bytes)
    }
}

/// The buffers of one worker: its leases, and the free lists of everything that it hands out.
pub(crate) struct Buffers {
    lease_count: u16,
    lease_bytes: usize,
    /// Some while the ring driver lends its receive buffers to the kernel.
    leases: RefCell<Option<Leases>>,
    /// Leases and pooled receive buffers that the program holds.
    out: Cell<u32>,
    pooled: RefCell<Vec<Vec<u8>>>,
    relay: RefCell<[Vec<Vec<u8>>; 3]>,
    /// Relay buffers above 16 KiB, in use or free.
    relay_large_bytes: Cell<u64>,
    relay_large_bytes_max: u64,
    relay_out_bytes: Cell<u64>,
    copied_out_bytes: Cell<u64>,
    relay_downsized: Cell<u64>,
}

impl Buffers {
    pub(crate) fn new(lease_count: u16, lease_bytes: u32, relay_large_bytes_max: u64) -> Rc<Buffers> {
        Rc::new(Buffers {
            lease_count: lease_count.clamp(1, 1 << 15),
            lease_bytes: lease_bytes.max(512) as usize,
            leases: RefCell::new(None),
            out: Cell::new(0),
            pooled: RefCell::default(),
            relay: RefCell::default(),
            relay_large_bytes: Cell::new(0),
            relay_large_bytes_max,
            relay_out_bytes: Cell::new(0),
            copied_out_bytes: Cell::new(0),
            relay_downsized: Cell::new(0),
        })
    }

    /// Gives the leases a home; called once, by the ring driver, before it registers them.
    pub(crate) fn install(&self, leases: Leases) {
        *self.leases.borrow_mut() = Some(leases);
    }

    pub(crate) fn lease_count(&self) -> u16 {
        self.lease_count
    }

    pub(crate) fn lease_bytes(&self) -> usize {
        self.lease_bytes
    }

    /// Leases and pooled receive buffers in use.
    pub(crate) fn out(&self) -> u32 {
        self.out.get()
    }

    pub(crate) fn relay_out_bytes(&self) -> u64 {
        self.relay_out_bytes.get()
    }

    pub(crate) fn copied_out_bytes(&self) -> u64 {
        self.copied_out_bytes.get()
    }

    pub(crate) fn relay_downsized(&self) -> u64 {
        self.relay_downsized.get()
    }

    /// Wraps the lease that the kernel has just filled with `len` bytes.
    ///
    /// # Safety
    /// The kernel has reported `index` and `len` in a completion that was not used before.
    pub(crate) unsafe fn lease(self: &Rc<Self>, index: u16, len: usize) -> Buf {
        let at = self.leases.borrow().as_ref().expect("only the ring driver leases").memory(index);
        self.out.set(self.out.get() + 1);
        let end = len.min(self.lease_bytes) as u32;
        let capacity = self.lease_bytes as u32;
        let lease =
            Buf { at, start: 0, end, capacity, kind: Kind::Lease(index), home: Some(Rc::clone(self)) };
        self.relieved(lease)
    }

    /// An empty receive buffer for drivers that receive with an ordinary system call.
    pub(crate) fn pooled(self: &Rc<Self>) -> Buf {
        let bytes = self.pooled.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(self.lease_bytes));
        self.out.set(self.out.get() + 1);
        Buf::adopt(bytes, 0, 0, Kind::Pooled, Some(Rc::clone(self)))
    }

    /// Copies the bytes into a buffer of their own size when fewer than a quarter of the leases are free.
    ///
    /// A task may keep what it received for as long as its other side is slow; without this, as many stalled
    /// connections as there are leases would stop every other receive of the worker.
    pub(crate) fn relieved(&self, buf: Buf) -> Buf {
        if self.out.get() * 4 <= u32::from(self.lease_count) * 3 {
            return buf;
        }
        self.copied_out_bytes.set(self.copied_out_bytes.get() + buf.len() as u64);
        Buf::copied(&buf)
    }

    /// Frees everything that waits to be reused; returns how many bytes.
    pub(crate) fn trim(&self) -> u64 {
        let pooled = std::mem::take(&mut *self.pooled.borrow_mut());
        let mut freed = (pooled.len() * self.lease_bytes) as u64;
        for (size, bytes) in RELAY_SIZES.into_iter().enumerate() {
            let unused = std::mem::take(&mut self.relay.borrow_mut()[size]);
            unused.iter().for_each(|_| self.count_large(size, false));
            freed += (unused.len() * bytes) as u64;
        }
        freed
    }

    fn lease_back(&self, index: u16) {
        self.out.set(self.out.get() - 1);
        if let Some(leases) = self.leases.borrow_mut().as_mut() {
            leases.give_back(index);
        }
    }

    fn pooled_back(&self, bytes: Vec<u8>) {
        self.out.set(self.out.get() - 1);
        let mut free = self.pooled.borrow_mut();
        if free.len() < usize::from(self.lease_count) {
            free.push(bytes);
        }
    }

    /// An empty relay buffer of the smallest size that holds `bytes` (at most 256 KiB), or of 16 KiB when the bound
    /// on large ones is reached.
    pub(crate) fn relay(self: &Rc<Self>, bytes: usize) -> Buf {
        let wanted = RELAY_SIZES.iter().position(|&size| bytes <= size).unwrap_or(RELAY_SIZES.len() - 1);
        let size = if self.may_hold(wanted) { wanted } else { 0 };
        if size != wanted {
            self.relay_downsized.set(self.relay_downsized.get() + 1);
        }
        let reused = self.relay.borrow_mut()[size].pop();
        let bytes = reused.unwrap_or_else(|| {
            self.count_large(size, true);
            Vec::with_capacity(RELAY_SIZES[size] + HEADROOM)
        });
        self.relay_out_bytes.set(self.relay_out_bytes.get() + RELAY_SIZES[size] as u64);
        Buf::adopt(bytes, HEADROOM, HEADROOM, Kind::Relay(size as u8), Some(Rc::clone(self)))
    }

    /// Whether one more buffer of this size fits under the bound, after freeing unused ones of other sizes if needed.
    fn may_hold(&self, size: usize) -> bool {
        let fits = |b: &Self| b.relay_large_bytes.get() + RELAY_SIZES[size] as u64 <= b.relay_large_bytes_max;
        if size == 0 || fits(self) || !self.relay.borrow()[size].is_empty() {
            return true;
        }
        for other in 1..RELAY_SIZES.len() {
            let unused = std::mem::take(&mut self.relay.borrow_mut()[other]);
            unused.iter().for_each(|_| self.count_large(other, false));
        }
        fits(self)
    }

    fn count_large(&self, size: usize, more: bool) {
        if size > 0 {
            let (now, bytes) = (self.relay_large_bytes.get(), RELAY_SIZES[size] as u64);
            self.relay_large_bytes.set(if more { now + bytes } else { now - bytes });
        }
    }

    fn relay_back(&self, size: usize, bytes: Vec<u8>) {
        self.relay_out_bytes.set(self.relay_out_bytes.get() - RELAY_SIZES[size] as u64);
        let mut free = self.relay.borrow_mut();
        if free[size].len() < RELAY_FREE_MAX {
            free[size].push(bytes);
        } else {
            self.count_large(size, false);
        }
    }
}

const _: () = assert!(size_of::<Buf>() <= 40, "every idle socket has room for two");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_buffer_has_room_in_front_for_a_chunk_size_line() {
        let buffers = Buffers::new(4, 1024, 1 << 20);
        let mut buf = buffers.relay(20_000);
        assert!(buf.is_empty() && buf.spare() >= 64 << 10 && buf.headroom() == HEADROOM);
        buf.append(b"body");
        buf.prepend(b"4\r\n");
        assert_eq!(&buf[..], b"4\r\nbody");
        buf.consume(3);
        buf.truncate(2);
        assert_eq!(&buf[..], b"bo");
        buf.clear();
        assert!(buf.is_empty() && buf.headroom() == HEADROOM);
        drop(buf);
        assert_eq!(buffers.relay_out_bytes(), 0);
    }

    #[test]
    fn large_relay_buffers_fall_back_to_16_kib_at_the_bound_and_unused_ones_make_room() {
        let buffers = Buffers::new(4, 1024, 300 << 10);
        let large = buffers.relay(256 << 10);
        assert!(large.spare() >= 256 << 10);
        let small = buffers.relay(256 << 10);
        assert!(small.spare() < 64 << 10, "only one large buffer fits under the bound");
        assert_eq!(buffers.relay_downsized(), 1);
        drop(large);
        let medium = buffers.relay(64 << 10);
        assert!(medium.spare() >= 64 << 10, "the unused large buffer was freed for it");
    }

    #[test]
    fn trimming_frees_what_waits_for_reuse_and_nothing_else() {
        let buffers = Buffers::new(4, 1024, 1 << 20);
        let used = buffers.relay(256 << 10);
        drop((buffers.relay(256 << 10), buffers.relay(1), buffers.pooled()));
        assert_eq!(buffers.relay_large_bytes.get(), 512 << 10);
        assert_eq!(buffers.trim(), (256 << 10) + (16 << 10) + 1024);
        assert_eq!((buffers.relay_large_bytes.get(), buffers.trim()), (256 << 10, 0));
        drop(used);
        assert_eq!(buffers.trim(), 256 << 10);
    }

    #[test]
    fn what_is_received_while_few_buffers_are_free_is_copied_out() {
        let buffers = Buffers::new(4, 1024, 0);
        let held: Vec<Buf> = (0..3).map(|_| buffers.relieved(buffers.pooled())).collect();
        assert_eq!(buffers.out(), 3);
        let mut fourth = buffers.pooled();
        fourth.append(b"bytes");
        let fourth = buffers.relieved(fourth);
        assert_eq!((&fourth[..], buffers.out()), (&b"bytes"[..], 3));
        assert_eq!(buffers.copied_out_bytes(), 5);
        drop(held);
        assert_eq!(buffers.out(), 0);
    }
}
