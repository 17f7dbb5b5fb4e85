//! Sockets that this process was started with: descriptors from 3 on, as a service manager passes them (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bind::Bound;
use crate::sys;

/// The first descriptor that is passed; those before it are the standard streams.
const FIRST: RawFd = 3;
/// More than that are not looked at.
const PASSED_MAX: usize = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets at the first `count` descriptors that can be passed, in their order, and for each that is none to accept
/// connections from the reason. Nothing the second time.
///
/// They are not inherited any more by what this process starts.
pub fn passed(count: usize) -> Vec<io::Result<Bound>> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    (FIRST..).take(count.min(PASSED_MAX)).map(take).collect()
}

fn take(fd: RawFd) -> io::Result<Bound> {
    let other = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    // ENOTSOCK and EBADF for what is none of our business.
    if sys::number_of(fd, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM {
        return other("it is no stream socket");
    }
    if sys::number_of(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
        return other("it does not listen; a unit of systemd needs Accept=no");
    }
    let family = sys::number_of(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    if ![libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&family) {
        return other("it is neither of TCP nor a unix socket");
    }
    sys::set_close_on_exec(fd)?;
    if family != libc::AF_UNIX {
        // Accepted connections inherit it.
        sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1_i32)?;
    }
    // SAFETY: a listening socket that was open when this process began, for what we open ourselves is bound after this;
    // so nobody else owns it. `TAKEN` keeps it from being taken twice.
    Bound::from_owned_fd(unsafe { OwnedFd::from_raw_fd(fd) })
}
