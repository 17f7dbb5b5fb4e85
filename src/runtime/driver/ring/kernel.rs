//! One io_uring instance: set up with the flags that the measurements ask for, entered with one system call per turn.
//!
//! It knows entries and completions, and no sockets. Linux 6.1 is the floor: DEFER_TASKRUN, provided-buffer rings,
//! POLL_FIRST and multishot accept are all used.

#![expect(clippy::cast_possible_truncation, reason = "the submission queue has at most 32,768 entries")]

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, squeue};

use crate::leases::Leases;

/// The ring of one thread. Made, entered and dropped on that thread only (SINGLE_ISSUER).
pub(crate) struct Kernel {
    ring: IoUring,
    /// Index of the ring's descriptor in the thread's table of registered rings; None where that is not supported.
    registered: Option<u32>,
    /// Entries that found the submission queue full even after submitting, in order. At most four per socket.
    backlog: VecDeque<squeue::Entry>,
    overflows: u64,
}

/// The group under which the receive buffers are registered.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// `struct io_uring_rsrc_update` of the kernel's interface.
#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg` of the kernel's interface.
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_micros: u32,
    timeout: u64,
}

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_REGISTERED_RING: u32 = 16;

impl Kernel {
    /// Fails with EINVAL when the kernel lacks a feature without which the driver would be wrong.
    pub(crate) fn new(entries: u32) -> io::Result<Kernel> {
        let entries = entries.clamp(8, 32_768).next_power_of_two();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(entries.saturating_mul(4).min(65_536))
            .build(entries)?;
        let features = ring.params();
        let enough = features.is_feature_nodrop()
            && features.is_feature_ext_arg()
            && features.is_feature_submit_stable()
            && features.is_feature_skip_cqe_on_success();
        if !enough {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let registered = register_ring_fd(ring.as_raw_fd());
        Ok(Kernel { ring, registered, backlog: VecDeque::new(), overflows: 0 })
    }

    /// Lends the receive buffers.
    ///
    /// # Safety
    /// The leases outlive the ring.
    pub(crate) unsafe fn lend(&mut self, leases: &Leases) -> io::Result<()> {
        let (address, entries) = leases.ring();
        // SAFETY: `address` is a page-aligned mapping with room for `entries` (`Leases::new`), and outlives the ring
        // by the caller's promise.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, BUFFER_GROUP, 0) }
    }

    /// Queues an entry for the next submission.
    ///
    /// # Safety
    /// The memory that the entry names is valid, and left alone, until its last completion.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the caller's promise is handed on, here and below.
        if self.backlog.is_empty() && unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return;
        }
        self.backlog.push_back(entry);
        // A failed submission keeps the entries queued; `enter` reports the error if it lasts.
        let _ = self.submit();
    }

    /// Submits without waiting until the backlog is empty or the kernel takes no more.
    fn submit(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            let mut queue = self.ring.submission();
            while let Some(entry) = self.backlog.front() {
                // SAFETY: `push` was called with this entry, and its memory stays valid by its caller's promise.
                if unsafe { queue.push(entry) }.is_err() {
                    break;
                }
                self.backlog.pop_front();
            }
            let left = !self.backlog.is_empty();
            drop(queue);
            if left {
                let before = self.ring.submission().len();
                self.call(0, None)?;
                if self.ring.submission().len() == before {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Submits everything and waits for a completion, at most for `timeout` (None: without limit).
    pub(crate) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.submit()?;
        if self.ring.submission().cq_overflow() {
            self.overflows += 1;
        }
        match timeout {
            _ if !self.backlog.is_empty() => self.call(0, None),
            Some(Duration::ZERO) => self.call(0, None),
            timeout => self.call(1, timeout),
        }
    }

    /// `io_uring_enter`. GETEVENTS is always set: with DEFER_TASKRUN no completion appears without it.
    fn call(&mut self, min_complete: u32, timeout: Option<Duration>) -> io::Result<()> {
        let to_submit = self.ring.submission().len();
        let timespec = timeout.map(|timeout| libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let argument = WaitArgument {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_micros: 0,
            timeout: timespec
                .as_ref()
                .map_or(0, |timespec| (&raw const *timespec).expose_provenance() as u64),
        };
        let (fd, flags) = match self.registered {
            Some(index) => (index, ENTER_REGISTERED_RING),
            None => (self.ring.as_raw_fd().unsigned_abs(), 0),
        };
        // SAFETY: `argument` and `timespec` live through the call. What the submitted entries name is valid by the
        // promise of `push`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                to_submit as u32,
                min_complete,
                flags | ENTER_GETEVENTS | ENTER_EXT_ARG,
                &raw const argument,
                size_of::<WaitArgument>(),
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Timed out, interrupted, or short of room for completions: the caller reaps and comes back.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Copies completions out, as many as are there and fit.
    pub(crate) fn completions<'a>(
        &mut self,
        room: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a mut [cqueue::Entry] {
        self.ring.completion().fill(room)
    }

    /// Times the completion queue was found overflowed; the kernel keeps what did not fit.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(index) = self.registered {
            // The registration holds the ring open, as a duplicate of its descriptor would.
            let mut update = RingFdUpdate { offset: index, reserved: 0, data: 0 };
            register(self.ring.as_raw_fd(), UNREGISTER_RING_FDS, &mut update);
        }
    }
}

fn register_ring_fd(fd: RawFd) -> Option<u32> {
    let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data: u64::from(fd.unsigned_abs()) };
    // The kernel writes the index that it chose to `offset`.
    (register(fd, REGISTER_RING_FDS, &mut update) == 1).then_some(update.offset)
}

fn register(fd: RawFd, what: u32, update: &mut RingFdUpdate) -> i64 {
    // SAFETY: one update that lives through the call and that the kernel may write to.
    unsafe { libc::syscall(libc::SYS_io_uring_register, fd, what, &raw mut *update, 1) }
}
