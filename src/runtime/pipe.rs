//! Pipes of one worker: where bytes are between two sockets when they never come into this process.
//!
//! A pipe is lent while it holds bytes and not longer, so that there are as many in use as there are receivers that
//! take their time. One that still holds bytes when it is given back is closed, and the bytes are gone with it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::check;

/// One pipe, owned by whoever moves bytes through it.
pub(crate) struct Pipe {
    pub(crate) ends: Ends,
    /// Bytes in it.
    pub(crate) held: usize,
}

pub(crate) enum Ends {
    Kernel {
        read: OwnedFd,
        write: OwnedFd,
    },
    /// Of a simulated kernel.
    Memory(VecDeque<u8>),
}

/// What a pipe is asked to hold. The kernel counts pages, and a page holds what one segment brought: of short segments
/// fewer bytes fit.
pub(crate) const CAPACITY: usize = 256 << 10;

/// A kernel that is short of pipes gives out tiny ones, through which copying would be faster.
const CAPACITY_MIN: usize = 64 << 10;

impl Pipe {
    /// A pipe of the kernel. Fails as it does for want of descriptors, and with ENOSPC when the pipe would be too small.
    pub(crate) fn new() -> io::Result<Pipe> {
        let mut fds: [RawFd; 2] = [-1; 2];
        // SAFETY: room for the two descriptors that the kernel writes.
        check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        // SAFETY: the kernel has just given us these descriptors; nobody else owns them.
        let [read, write] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let wanted = i32::try_from(CAPACITY).unwrap_or(i32::MAX);
        // SAFETY: no memory is passed, here and below. A user who has used up the quota keeps the size that there is.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, wanted) };
        // SAFETY: as above.
        let capacity = check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
        if usize::try_from(capacity).unwrap_or(0) < CAPACITY_MIN {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(Pipe { ends: Ends::Kernel { read, write }, held: 0 })
    }

    /// A pipe in memory, for a driver without a kernel.
    pub(crate) fn in_memory() -> Pipe {
        Pipe { ends: Ends::Memory(VecDeque::new()), held: 0 }
    }
}

/// The pipes of one worker.
pub(crate) struct Pipes {
    /// Empty ones, the last used at the back.
    free: Vec<Pipe>,
    out: u32,
    max: u32,
    /// The fewest that were free since the last [`Pipes::trim`].
    spare: usize,
}

impl Pipes {
    pub(crate) fn new(max: u32) -> Pipes {
        Pipes { free: Vec::new(), out: 0, max, spare: 0 }
    }

    /// An empty pipe; `make` is asked when none is free. None when the bound is reached or `make` fails.
    pub(crate) fn lend(&mut self, make: impl FnOnce() -> io::Result<Pipe>) -> Option<Pipe> {
        let pipe = match self.free.pop() {
            Some(pipe) => pipe,
            None if self.out >= self.max => return None,
            None => make().ok()?,
        };
        self.spare = self.spare.min(self.free.len());
        self.out += 1;
        Some(pipe)
    }

    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        self.out -= 1;
        if pipe.held == 0 {
            self.free.push(pipe);
        }
    }

    /// Closes the pipes that were free all the time since the last call.
    pub(crate) fn trim(&mut self) {
        self.free.drain(..self.spare);
        self.spare = self.free.len();
    }

    /// Pipes that hold bytes.
    pub(crate) fn out(&self) -> u32 {
        self.out
    }

    /// Pipes that are open.
    pub(crate) fn count(&self) -> usize {
        self.free.len() + self.out as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_still_holds_bytes_is_not_lent_again() {
        let mut pipes = Pipes::new(2);
        let mut pipe = pipes.lend(|| Ok(Pipe::in_memory())).expect("below the bound");
        pipe.held = 1;
        pipes.give_back(pipe);
        assert_eq!((pipes.out(), pipes.count()), (0, 0));
    }

    #[test]
    fn no_more_pipes_are_open_than_the_bound_allows() {
        let mut pipes = Pipes::new(2);
        let lent: Vec<Pipe> = (0..2).filter_map(|_| pipes.lend(|| Ok(Pipe::in_memory()))).collect();
        assert_eq!(lent.len(), 2);
        assert!(pipes.lend(|| Ok(Pipe::in_memory())).is_none());
        lent.into_iter().for_each(|pipe| pipes.give_back(pipe));
        assert!(pipes.lend(|| panic!("two are free")).is_some());
        assert_eq!(pipes.count(), 2);
    }

    #[test]
    fn pipes_that_nobody_needed_since_the_last_look_are_closed() {
        let mut pipes = Pipes::new(8);
        let lent: Vec<Pipe> = (0..5).filter_map(|_| pipes.lend(|| Ok(Pipe::in_memory()))).collect();
        lent.into_iter().for_each(|pipe| pipes.give_back(pipe));
        pipes.trim();
        assert_eq!(pipes.count(), 5, "all five were needed");
        let one = pipes.lend(|| panic!("some are free")).expect("free");
        pipes.give_back(one);
        pipes.trim();
        assert_eq!(pipes.count(), 1);
        pipes.trim();
        assert_eq!(pipes.count(), 0);
    }

    #[test]
    fn a_pipe_of_the_kernel_is_large_or_there_is_none() {
        match Pipe::new() {
            Ok(Pipe { ends: Ends::Kernel { write, .. }, held: 0 }) => {
                // SAFETY: no memory is passed.
                let capacity = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) };
                assert!(usize::try_from(capacity).is_ok_and(|bytes| bytes >= CAPACITY_MIN));
            }
            Ok(_) => panic!("a new pipe of the kernel is empty"),
            Err(error) => assert!(error.raw_os_error().is_some()),
        }
    }
}
