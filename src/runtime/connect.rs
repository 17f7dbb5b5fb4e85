//! Connecting to an address.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use base::addr::Addr;

use crate::core::Core;
use crate::driver::{Driver, Token};
use crate::socket::{End, Role, Socket};
use crate::stream::Stream;
use crate::sys::{self, SockAddr};
use crate::timer::remember;

/// How to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Local address to connect from; the kernel chooses when None. Of the family of the destination; nothing for Unix
    /// sockets.
    pub source: Option<IpAddr>,
    /// `source` need not be an address of this machine (IP_TRANSPARENT). Needs CAP_NET_ADMIN or CAP_NET_RAW, and routes
    /// that bring the answers back.
    pub transparent: bool,
}

/// That a connection cannot come from the source that was asked for; inside the [`io::Error`] that connecting returns, so
/// that it is told from an address that has no port left.
#[derive(Debug)]
pub struct NoSource(io::Error);

impl std::error::Error for NoSource {}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether connections could come from `source`, without making one.
///
/// # Errors
/// EADDRNOTAVAIL when it is no address of this machine, EPERM when the right for `transparent` is missing.
pub fn try_source(source: IpAddr, transparent: bool) -> io::Result<()> {
    let socket = sys::stream_socket(SockAddr::ip(SocketAddr::new(source, 0)).family(), false)?;
    sys::bind_source(socket.as_raw_fd(), source, transparent)
}

/// A connection attempt that is under way; dropping it gives it up.
///
/// There is no timeout here: race it against a timer.
#[must_use = "dropping the attempt cancels it"]
pub struct Connect {
    core: Rc<Core>,
    state: State,
}

enum State {
    Refused(io::Error),
    Pending(Token),
    Done,
}

impl Connect {
    pub(crate) fn new(core: Rc<Core>, to: &Addr, options: ConnectOptions) -> Connect {
        let state = match start(&core, to, options) {
            Ok(token) => State::Pending(token),
            Err(error) => State::Refused(error),
        };
        Connect { core, state }
    }
}

fn start(core: &Core, to: &Addr, options: ConnectOptions) -> io::Result<Token> {
    let to = Box::new(SockAddr::new(to)?);
    let mut driver = core.driver.borrow_mut();
    let fd = driver.open(to.family())?;
    if let Err(error) = prepare(&mut driver, fd, to.family(), options) {
        driver.discard(fd);
        return Err(error);
    }
    let mut sockets = core.sockets.borrow_mut();
    let token = sockets.insert(Socket::new(fd, Role::Connecting { to, pending: true }));
    let Some(Role::Connecting { to, .. }) = sockets.get(token).map(|socket| &socket.role) else {
        unreachable!("inserted just now")
    };
    let address: *const SockAddr = &raw const **to;
    // SAFETY: the address lives in a box of the socket's role, which changes only in `core::connected`, after the
    // terminal event; the slot is not freed before that (`Socket::is_busy`).
    unsafe { driver.connect(token, fd, address) };
    Ok(token)
}

fn prepare(driver: &mut Driver, fd: RawFd, family: i32, options: ConnectOptions) -> io::Result<()> {
    if family == libc::AF_UNIX {
        return Ok(());
    }
    let prepared = driver.set_source(fd, options);
    if options.source.is_none() {
        return prepared;
    }
    prepared.map_err(|error| io::Error::new(error.kind(), NoSource(error)))
}

impl Future for Connect {
    type Output = io::Result<Stream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let token = match std::mem::replace(&mut self.state, State::Done) {
            State::Refused(error) => return Poll::Ready(Err(error)),
            State::Pending(token) => token,
            State::Done => return Poll::Ready(Err(io::Error::other("polled after it ended"))),
        };
        let end = self.core.with(token, |socket, _| {
            remember(&mut socket.reader, cx);
            match (&socket.role, socket.end) {
                (Role::Stream, _) => Some(Ok(())),
                (_, Some(End::Failed(errno))) => Some(Err(io::Error::from_raw_os_error(errno))),
                _ => None,
            }
        });
        match end {
            None => {
                self.state = State::Pending(token);
                Poll::Pending
            }
            Some(Ok(())) => Poll::Ready(Ok(Stream::connected(Rc::clone(&self.core), token))),
            Some(Err(error)) => {
                self.core.close(token);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if let State::Pending(token) = self.state {
            self.core.close(token);
        }
    }
}
