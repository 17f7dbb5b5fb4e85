//! Moving bytes between sockets and pipes: the calls that complete at once, and who makes them.
//!
//! splice(2) waits for the *socket* unless the socket itself is in non-blocking mode; SPLICE_F_NONBLOCK is about the
//! pipe alone. The sockets of the ring are in blocking mode, because operations of a ring fail with EAGAIN on others.
//! So the mode is changed around each call. Nobody notices: the ring runs its operations only while this thread is
//! inside `io_uring_enter` (DEFER_TASKRUN), and no descriptor is shared with anybody.
//!
//! IORING_OP_SPLICE is not used: the kernel hands each to a thread of its own pool.

use std::os::fd::{AsRawFd, RawFd};

use super::{Driver, Errno, Op, Token};
use crate::pipe::{Ends, Pipe};
use crate::sys::{self, Peeked, errno};

impl Driver {
    /// A pipe for [`Driver::splice_in`].
    pub(crate) fn pipe(&mut self) -> std::io::Result<Pipe> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => Pipe::new(),
            Driver::Sim(sim) => sim.pipe(),
        }
    }

    /// Moves at most `max` bytes that a socket has received into an empty pipe. 0 is the end of the stream.
    pub(crate) fn splice_in(
        &mut self,
        token: Token,
        fd: RawFd,
        pipe: &mut Pipe,
        max: usize,
    ) -> Result<usize, Errno> {
        debug_assert_eq!(
            pipe.held, 0,
            "EAGAIN of a pipe that holds bytes would say nothing about the socket"
        );
        if let Driver::Sim(sim) = self {
            return sim.splice_in(fd, pipe, max);
        }
        let Ends::Kernel { write, .. } = &pipe.ends else { return Err(libc::EINVAL) };
        let to = write.as_raw_fd();
        let splice = || match self {
            Driver::Ring(_) => nonblocking(fd, || splice(fd, to, max)),
            _ => splice(fd, to, max),
        };
        let mut moved = splice();
        // A splice stops short of urgent data, as if nothing were there or the stream had ended. Without another look
        // we would wait for what is there already, or be told again and again that it is.
        if let Ok(0) | Err(libc::EAGAIN) = moved
            && sys::peek(fd) == Peeked::Bytes
        {
            moved = match splice() {
                Ok(0) | Err(libc::EAGAIN) => Err(libc::EINVAL),
                moved => moved,
            };
        }
        if let (Driver::Epoll(epoll), Err(libc::EAGAIN)) = (self, moved) {
            epoll.unready(token, Op::Readable);
        }
        pipe.held += moved?;
        moved
    }

    /// Moves bytes of a pipe to a socket; how many. Fewer than there are: the socket has no more room.
    pub(crate) fn splice_out(&mut self, token: Token, fd: RawFd, pipe: &mut Pipe) -> Result<usize, Errno> {
        let moved = match (self, &pipe.ends) {
            (Driver::Ring(_), Ends::Kernel { read, .. }) => {
                nonblocking(fd, || splice(read.as_raw_fd(), fd, pipe.held))
            }
            (Driver::Epoll(epoll), Ends::Kernel { read, .. }) => {
                let moved = splice(read.as_raw_fd(), fd, pipe.held);
                if moved.is_ok_and(|n| n < pipe.held) || moved == Err(libc::EAGAIN) {
                    epoll.unready(token, Op::Writable);
                }
                moved
            }
            (Driver::Sim(sim), Ends::Memory(_)) => return sim.splice_out(fd, pipe),
            _ => Err(libc::EINVAL),
        }?;
        pipe.held = pipe.held.saturating_sub(moved);
        Ok(moved)
    }
}

/// Calls `f` while the socket is in non-blocking mode.
fn nonblocking(fd: RawFd, f: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    // Open sockets have no other flag that F_SETFL could change.
    // SAFETY: no memory is passed, here and below.
    if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
        return Err(errno());
    }
    let moved = f();
    // SAFETY: as above. It cannot fail where the same call has just succeeded.
    unsafe { libc::fcntl(fd, libc::F_SETFL, 0) };
    moved
}

fn splice(from: RawFd, to: RawFd, len: usize) -> Result<usize, Errno> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    loop {
        // SAFETY: null pointers say that the descriptors have no offset.
        let moved = unsafe { libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), len, flags) };
        match usize::try_from(moved).map_err(|_| errno()) {
            Err(libc::EINTR) => {}
            result => return result,
        }
    }
}
