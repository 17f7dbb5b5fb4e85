//! Datagrams in memory of the worker: what one system call receives, and what one call sends.
//!
//! Received datagrams stay where they are until the batch is cleared, and are sent from there. All calls complete at
//! once (MSG_DONTWAIT), so the kernel uses this memory only during a call.

#![expect(clippy::cast_possible_truncation, reason = "at most SLOTS datagrams of at most 64 KiB")]

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;

use super::control::{self, Control};
use super::{Local, Offload};
use crate::driver::Errno;
use crate::sys::{SockAddr, errno};

/// Room for [`Batch::SLOTS`] datagrams of any size. One per worker that has datagram sockets.
pub struct Batch {
    /// A slot of 64 KiB each. Pages that no datagram was large enough for are never touched.
    memory: Vec<u8>,
    slots: Vec<Slot>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    /// Slots in use.
    len: usize,
    /// The kernel cuts what is sent into segments; false for good once a device turned out not to.
    segments: bool,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    bytes: u32,
    /// Size of each datagram but the last one when there are several; 0 for one.
    segment: u32,
    peer: Option<SocketAddr>,
    local: Option<Local>,
}

/// What a slot holds: one datagram, or several of equal size from one sender that the kernel has put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it; None on a connected socket, where it can only be its peer.
    pub peer: Option<SocketAddr>,
    /// The address of ours that it was sent to, on a socket that listens on several.
    pub local: Option<Local>,
    pub bytes: &'a [u8],
    /// How many datagrams `bytes` are.
    pub count: u32,
}

/// What became of datagrams to be sent.
#[derive(Debug)]
pub struct Sent {
    /// Slots that were sent, from the first on.
    pub slots: usize,
    /// Why the next one was not; `WouldBlock` when the kernel has no room.
    pub error: Option<std::io::Error>,
}

/// The largest datagram that IP can carry, and what the kernel puts together at most, are a little smaller.
const SLOT_BYTES: usize = 64 << 10;

impl Batch {
    /// Datagrams that it holds.
    pub const SLOTS: usize = 32;
    /// Memory that it takes when all of it has been used.
    pub const BYTES: u64 = (Self::SLOTS * SLOT_BYTES) as u64;

    /// An empty batch; `offload` as found by `Runtime::datagram_offload`.
    pub fn new(offload: Offload) -> Batch {
        // SAFETY: all-zero is a valid `mmsghdr` and a valid `iovec`: null pointers with length 0.
        let (header, vector) = unsafe {
            (
                MaybeUninit::<libc::mmsghdr>::zeroed().assume_init(),
                MaybeUninit::<libc::iovec>::zeroed().assume_init(),
            )
        };
        Batch {
            memory: vec![0; Self::SLOTS * SLOT_BYTES],
            slots: vec![Slot::default(); Self::SLOTS],
            headers: vec![header; Self::SLOTS],
            vectors: vec![vector; Self::SLOTS],
            names: vec![SockAddr::unspecified(); Self::SLOTS],
            controls: vec![Control::default(); Self::SLOTS],
            len: 0,
            segments: offload.segments,
        }
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots that are free.
    pub fn room(&self) -> usize {
        Self::SLOTS - self.len
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What slot `at` holds. Panics when it is not in use.
    pub fn get(&self, at: usize) -> Datagram<'_> {
        assert!(at < self.len, "slot {at} of {}", self.len);
        let Slot { bytes, segment, peer, local } = self.slots[at];
        let from = at * SLOT_BYTES;
        let count = if segment == 0 { 1 } else { bytes.div_ceil(segment) };
        Datagram { peer, local, bytes: &self.memory[from..from + bytes as usize], count }
    }

    /// Where slot `at` is to be sent by a socket that is not connected, and which address of ours it should come from.
    pub fn direct(&mut self, at: usize, to: SocketAddr, from: Option<Local>) {
        let slot = &mut self.slots[at];
        (slot.peer, slot.local) = (Some(to), from);
    }

    /// Adds a datagram by hand. False when it does not fit.
    pub fn push(&mut self, bytes: &[u8], peer: Option<SocketAddr>, local: Option<Local>) -> bool {
        if self.room() == 0 || bytes.len() > SLOT_BYTES {
            return false;
        }
        let from = self.len * SLOT_BYTES;
        self.memory[from..from + bytes.len()].copy_from_slice(bytes);
        self.slots[self.len] = Slot { bytes: bytes.len() as u32, segment: 0, peer, local };
        self.len += 1;
        true
    }

    /// Takes what the slot holds for several datagrams of this size.
    #[cfg(test)]
    pub(crate) fn split(&mut self, at: usize, segment: u32) {
        self.slots[at].segment = segment;
    }

    /// Receives at most `max` datagrams behind those that are there; how many. Fewer than asked for and than there is
    /// room for: the socket has no more.
    pub(crate) fn receive(&mut self, fd: RawFd, max: usize, is_connected: bool) -> Result<usize, Errno> {
        let (from, count) = (self.len, max.min(self.room()));
        if count == 0 {
            return Ok(0);
        }
        for at in from..from + count {
            let name_bytes = if is_connected { 0 } else { SockAddr::ROOM };
            self.prepare(at, SLOT_BYTES, name_bytes, self.controls[at].capacity());
        }
        let headers = self.headers[from..].as_mut_ptr();
        let received = loop {
            // SAFETY: `count` headers from `from` on are prepared: each names memory of this batch that nobody else uses
            // during the call, with its size. A null timeout is none.
            let result = unsafe {
                libc::recvmmsg(fd, headers, count as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
            };
            match usize::try_from(result).map_err(|_| errno()) {
                Err(libc::EINTR) => {}
                result => break result?,
            }
        };
        for at in from..from + received {
            let header = &self.headers[at];
            let (segment, local) = control::parse(&header.msg_hdr);
            let bytes = header.msg_len;
            let peer = if is_connected { None } else { self.names[at].ip_addr() };
            let segment = segment.filter(|segment| *segment < bytes).unwrap_or(0);
            self.slots[at] = Slot { bytes, segment, peer, local };
        }
        self.len += received;
        Ok(received)
    }

    /// Sends slots from `range` until one cannot be sent. A connected socket sends to its peer, others to where slots
    /// are directed.
    pub(crate) fn send(
        &mut self,
        fd: RawFd,
        range: Range<usize>,
        is_connected: bool,
    ) -> (usize, Option<Errno>) {
        let Range { start, end } = range;
        for at in start..end {
            self.prepare_send(at, is_connected, None);
        }
        let mut at = start;
        while at < end {
            let headers = self.headers[at..end].as_mut_ptr();
            // SAFETY: the headers from `at` to `end` are prepared: they name memory of this batch, which lives and is not
            // changed during the call.
            let result = unsafe { libc::sendmmsg(fd, headers, (end - at) as u32, SEND_FLAGS) };
            match usize::try_from(result).map_err(|_| errno()) {
                Ok(sent) => at += sent.max(1),
                Err(libc::EINTR) => {}
                Err(errno) => match self.send_singly(fd, at, is_connected, errno) {
                    Ok(()) => at += 1,
                    Err(errno) => return (at - start, Some(errno)),
                },
            }
        }
        (at - start, None)
    }

    /// Sends the datagrams of a slot one by one, when the kernel refused to cut them apart.
    fn send_singly(&mut self, fd: RawFd, at: usize, is_connected: bool, refusal: Errno) -> Result<(), Errno> {
        let Slot { bytes, segment, .. } = self.slots[at];
        let is_refused = segment > 0 && matches!(refusal, libc::EIO | libc::EINVAL | libc::EMSGSIZE);
        if !is_refused {
            // The queue of the device is full: there is no room, as for EAGAIN.
            return Err(if refusal == libc::ENOBUFS { libc::EAGAIN } else { refusal });
        }
        // EIO: the device cannot compute checksums, for whatever it is sent. The others concern this size only.
        self.segments &= refusal != libc::EIO;
        let mut from = 0;
        while from < bytes {
            let len = segment.min(bytes - from);
            self.prepare_send(at, is_connected, Some(from..from + len));
            // SAFETY: as in `send`.
            let result = unsafe { libc::sendmsg(fd, &raw const self.headers[at].msg_hdr, SEND_FLAGS) };
            match if result < 0 { errno() } else { 0 } {
                0 => from += len,
                libc::EINTR => {}
                libc::ENOBUFS => return Err(libc::EAGAIN),
                errno => return Err(errno),
            }
        }
        Ok(())
    }

    /// Prepares the header of slot `at` for sending all of it, or one part.
    fn prepare_send(&mut self, at: usize, is_connected: bool, part: Option<Range<u32>>) {
        let Slot { bytes, segment, peer, local } = self.slots[at];
        let is_whole = part.is_none();
        let part = part.unwrap_or(0..bytes);
        let segment = if is_whole && self.segments { segment } else { 0 };
        let local = local.filter(|_| !is_connected);
        let control_bytes = self.controls[at].write(segment as u16, local);
        let peer = peer.filter(|_| !is_connected);
        let name_bytes = peer.map_or(0, |peer| {
            self.names[at] = SockAddr::ip(peer);
            self.names[at].len()
        });
        self.prepare(at, (part.end - part.start) as usize, name_bytes, control_bytes);
        self.vectors[at].iov_base = self.memory[at * SLOT_BYTES + part.start as usize..].as_mut_ptr().cast();
    }

    /// Points the header of slot `at` to its memory.
    fn prepare(&mut self, at: usize, bytes: usize, name_bytes: u32, control_bytes: usize) {
        let memory = &mut self.memory[at * SLOT_BYTES..(at + 1) * SLOT_BYTES];
        self.vectors[at] = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: bytes };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        (header.msg_name, header.msg_namelen) = match name_bytes {
            0 => (std::ptr::null_mut(), 0),
            bytes => (self.names[at].as_mut_ptr().cast(), bytes),
        };
        (header.msg_control, header.msg_controllen) = match control_bytes {
            0 => (std::ptr::null_mut(), 0),
            bytes => (self.controls[at].as_mut_ptr().cast(), bytes),
        };
        header.msg_flags = 0;
    }
}

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
