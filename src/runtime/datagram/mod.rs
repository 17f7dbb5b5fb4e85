//! Datagram sockets of a worker: many datagrams per system call, and no memory while nothing arrives.
//!
//! A socket is watched for readiness (a poll on the ring, the edge of epoll), as streams with pipes are; then `recvmmsg`
//! and `sendmmsg` move datagrams between the kernel and one [`Batch`] per worker. Nothing of ours is with the kernel
//! between two calls. What the kernel cannot take at once is not sent: a datagram that waits is worth less than a new
//! one, and its sender knows how to repeat it.
//!
//! ```text
//!   readable ─▶ queue of `Arrivals` ─▶ recv into a `Batch` ─▶ all there was: watched again
//!                        ▲                     │
//!                        └──── there is more ──┘
//! ```
//!
//! Datagrams of equal size that arrive from one sender may come in one piece (UDP_GRO), and leave in one piece
//! (UDP_SEGMENT), where the kernel offers both.

mod arrivals;
mod batch;
mod control;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use base::addr::Addr;

use crate::bind::Bound;
use crate::connect::ConnectOptions;
use crate::core::Core;
use crate::driver::{Op, Token};
use crate::socket::{Readiness, Role, Socket};
use crate::sys::{self, SockAddr};
pub use arrivals::Arrivals;
pub use batch::{Batch, Datagram, Sent};

/// An address of ours that datagrams are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    pub ip: IpAddr,
    /// The network that a link-local address belongs to; 0 for others, which routing knows the way from.
    pub interface: u32,
}

impl Local {
    /// None for a group of receivers: nobody can answer in its name.
    fn v6(ip: Ipv6Addr, interface: u32) -> Option<Local> {
        let interface = if ip.is_unicast_link_local() { interface } else { 0 };
        (!ip.is_multicast()).then_some(Local { ip: ip.into(), interface })
    }
}

/// What the kernel does for many datagrams of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// It cuts what is sent into segments (UDP_SEGMENT, Linux 4.18).
    pub segments: bool,
    /// It hands out several datagrams as one (UDP_GRO, Linux 5.0). Only used together with the other.
    pub joins: bool,
}

impl Offload {
    /// Asks the kernel, with a socket of its own.
    pub(crate) fn probe() -> Offload {
        let Ok(socket) = sys::datagram_socket(libc::AF_INET) else { return Offload::default() };
        let has = |option| sys::set_option(socket.as_raw_fd(), libc::SOL_UDP, option, 0_i32).is_ok();
        let segments = has(libc::UDP_SEGMENT);
        Offload { segments, joins: segments && has(libc::UDP_GRO) }
    }
}

/// How to bind a datagram socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// Lets every worker have a socket of its own (SO_REUSEPORT): the kernel gives all datagrams of one sender's
    /// address and port to the same one as long as the set of sockets stays the same. Default true.
    pub reuse_port: bool,
    /// Received bytes that the kernel keeps until they are read; it grants no more than `net.core.rmem_max` to those who
    /// may not administrate the network. Default 4 MiB: some thousand small datagrams that arrive at once.
    pub receive_bytes: u32,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        DatagramOptions { reuse_port: true, receive_bytes: 4 << 20 }
    }
}

/// Binds a datagram socket, to be handed to a worker. Where it stands for several addresses (0.0.0.0, `::`), it will
/// tell for each datagram which one was meant.
pub fn bind_datagrams(addr: SocketAddr, options: DatagramOptions) -> io::Result<Bound> {
    let to = SockAddr::ip(addr);
    let socket = sys::datagram_socket(to.family())?;
    let fd = socket.as_raw_fd();
    if options.reuse_port {
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1_i32)?;
    }
    if addr.is_ipv6() {
        sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1_i32)?;
    }
    let bytes = i32::try_from(options.receive_bytes).unwrap_or(i32::MAX);
    // The kernel doubles it for its own overhead. Less room than wished for is no reason not to serve.
    if sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
        let _ = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
    }
    sys::bind(fd, &to)?;
    let bound = sys::address(fd, sys::End::Local).unwrap_or(Addr::Ip(addr));
    Ok(Bound::kernel(socket, bound))
}

/// A datagram socket of a worker. Dropping it closes it.
pub struct UdpSocket {
    core: Rc<Core>,
    token: Token,
    is_connected: bool,
}

/// What a datagram socket has besides what every socket has.
pub(crate) struct Herded {
    arrivals: Arrivals,
    tag: u64,
}

impl UdpSocket {
    pub(crate) fn listening(
        core: &Rc<Core>,
        socket: Bound,
        arrivals: &Arrivals,
        tag: u64,
    ) -> io::Result<UdpSocket> {
        let role = Role::Datagrams(Box::new(Herded { arrivals: arrivals.clone(), tag }));
        let token = core.insert(Socket::new(-1, role));
        let joins = core.offload().joins;
        let adopted = core.with(token, |entry, driver| {
            entry.fd = driver.adopt_datagrams(token, socket, joins)?;
            Ok(())
        });
        Self::started(core, token, false, adopted)
    }

    pub(crate) fn connected(
        core: &Rc<Core>,
        to: SocketAddr,
        options: ConnectOptions,
        arrivals: &Arrivals,
        tag: u64,
    ) -> io::Result<UdpSocket> {
        let joins = core.offload().joins;
        let fd = core.driver.borrow_mut().connect_datagrams(to, options, joins)?;
        let role = Role::Datagrams(Box::new(Herded { arrivals: arrivals.clone(), tag }));
        let token = core.insert(Socket::new(fd, role));
        let attached = core.with(token, |_, driver| driver.attach_datagrams(token, fd));
        if attached.is_err() {
            core.driver.borrow_mut().discard(fd);
        }
        Self::started(core, token, true, attached)
    }

    /// Begins to watch the socket, or removes its entry.
    fn started(
        core: &Rc<Core>,
        token: Token,
        is_connected: bool,
        made: io::Result<()>,
    ) -> io::Result<UdpSocket> {
        if let Err(error) = made {
            core.sockets.borrow_mut().remove(token);
            return Err(error);
        }
        let socket = UdpSocket { core: Rc::clone(core), token, is_connected };
        socket.watch();
        Ok(socket)
    }

    /// Lets `arrivals` know when there is something to read.
    fn watch(&self) {
        self.core.with(self.token, |socket, driver| {
            if socket.readable == Readiness::Unknown {
                socket.readable = Readiness::Awaited;
                driver.ready(self.token, socket.fd, Op::Readable);
            }
        });
    }

    /// Receives at most `max` datagrams into the free slots of `batch`; how many. To be called once for each time that
    /// the socket's tag comes up: afterwards it does so again, now if there may be more, else when there is.
    ///
    /// An error is what the network has told about an earlier datagram (ECONNREFUSED: nobody listens there), on connected
    /// sockets only; nothing is lost, and more may be waiting.
    pub fn recv(&self, batch: &mut Batch, max: usize) -> io::Result<usize> {
        let max = max.min(batch.room());
        let (result, waker) = self.core.with(self.token, |socket, driver| {
            let result = driver.receive_datagrams(self.token, socket.fd, batch, max, self.is_connected);
            let is_drained = match result {
                Ok(received) => received < max,
                Err(errno) => errno == libc::EAGAIN,
            };
            let mut waker = None;
            if is_drained && socket.readable != Readiness::Awaited {
                socket.readable = Readiness::Awaited;
                driver.ready(self.token, socket.fd, Op::Readable);
            } else if !is_drained && let Role::Datagrams(herded) = &socket.role {
                waker = herded.arrived();
            }
            (result, waker)
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        match result {
            Err(libc::EAGAIN) => Ok(0),
            result => result.map_err(io::Error::from_raw_os_error),
        }
    }

    /// Sends the datagrams in the slots of `range`, one after the other, until one cannot be sent. Nothing is kept.
    pub fn send(&self, batch: &mut Batch, range: Range<usize>) -> Sent {
        let (slots, errno) = self.core.with(self.token, |socket, driver| {
            driver.send_datagrams(socket.fd, batch, range, self.is_connected)
        });
        Sent { slots, error: errno.map(io::Error::from_raw_os_error) }
    }

    /// Comes up as `tag` from now on.
    pub fn set_tag(&self, tag: u64) {
        self.core.with(self.token, |socket, _| {
            if let Role::Datagrams(herded) = &mut socket.role {
                herded.tag = tag;
            }
        });
    }

    /// The address that it is bound to. One system call.
    pub fn local(&self) -> Option<SocketAddr> {
        self.core.with(self.token, |socket, driver| driver.address(socket.fd, sys::End::Local))?.ip()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.core.close(self.token);
    }
}

impl Herded {
    /// The socket was found readable; returns the task to wake.
    pub(crate) fn arrived(&self) -> Option<std::task::Waker> {
        self.arrivals.arrived(self.tag)
    }
}

/// Prepares a bound socket of the kernel for a worker.
pub(crate) fn adopt(socket: &OwnedFd, joins: bool) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let bound = sys::address(fd, sys::End::Local).and_then(|addr| addr.ip());
    let bound = bound.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
    if bound.ip().is_unspecified() {
        match bound {
            SocketAddr::V4(_) => sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1_i32)?,
            SocketAddr::V6(_) => sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1_i32)?,
        }
    }
    if joins {
        sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1_i32)?;
    }
    Ok(())
}

/// A socket of the kernel that is connected to `to`. It completes at once: nobody is asked.
pub(crate) fn connect(to: SocketAddr, options: ConnectOptions, joins: bool) -> io::Result<OwnedFd> {
    let addr = SockAddr::ip(to);
    let socket = sys::datagram_socket(addr.family())?;
    let fd = socket.as_raw_fd();
    if let Some(source) = options.source {
        sys::bind_source(fd, source, options.transparent)?;
    }
    if joins {
        sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1_i32)?;
    }
    sys::connect(fd, &addr).map_err(io::Error::from_raw_os_error)?;
    Ok(socket)
}
