//! Datagrams between sockets and a batch: the calls that complete at once, and who makes them.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{IntoRawFd, RawFd};

use super::{Driver, Errno, Op, Token};
use crate::bind::Bound;
use crate::connect::ConnectOptions;
use crate::datagram::{self, Batch};

impl Driver {
    /// Takes over a bound datagram socket.
    pub(crate) fn adopt_datagrams(&mut self, token: Token, socket: Bound, joins: bool) -> io::Result<RawFd> {
        if let Driver::Sim(sim) = self {
            let fd = socket.into_simulated()?;
            return sim.attach(token, fd).map(|()| fd);
        }
        let socket = socket.into_owned_fd()?;
        datagram::adopt(&socket, joins)?;
        let fd = socket.into_raw_fd();
        match self.attach_datagrams(token, fd) {
            Ok(()) => Ok(fd),
            Err(error) => {
                self.discard(fd);
                Err(error)
            }
        }
    }

    /// A socket that sends to and receives from `to` alone; [`Driver::attach_datagrams`] follows.
    pub(crate) fn connect_datagrams(
        &mut self,
        to: SocketAddr,
        options: ConnectOptions,
        joins: bool,
    ) -> io::Result<RawFd> {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => {
                datagram::connect(to, options, joins).map(IntoRawFd::into_raw_fd)
            }
            Driver::Sim(sim) => sim.connect_datagrams(to, options.source),
        }
    }

    /// As [`Driver::attach`], for a datagram socket: nobody waits for it to be writable.
    pub(crate) fn attach_datagrams(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        match self {
            Driver::Ring(ring) => ring.attach(token, fd),
            Driver::Epoll(epoll) => epoll.attach_datagrams(token, fd),
            Driver::Sim(sim) => sim.attach(token, fd),
        }
    }

    /// Receives what is there, at most `max` datagrams. Fewer than that: there is no more, and `ready` tells when
    /// there is. After an error other than EAGAIN there may be more.
    pub(crate) fn receive_datagrams(
        &mut self,
        token: Token,
        fd: RawFd,
        batch: &mut Batch,
        max: usize,
        is_connected: bool,
    ) -> Result<usize, Errno> {
        let result = match self {
            Driver::Ring(_) | Driver::Epoll(_) => batch.receive(fd, max, is_connected),
            Driver::Sim(sim) => sim.receive_datagrams(fd, batch, max, is_connected),
        };
        // What arrives from here on is another edge.
        let is_drained = result.is_ok_and(|received| received < max) || result == Err(libc::EAGAIN);
        if let (Driver::Epoll(epoll), true) = (self, is_drained) {
            epoll.unready(token, Op::Readable);
        }
        result
    }

    /// Sends slots of the batch until one cannot be sent: how many, and why no more. EAGAIN: there is no room.
    pub(crate) fn send_datagrams(
        &mut self,
        fd: RawFd,
        batch: &mut Batch,
        range: Range<usize>,
        is_connected: bool,
    ) -> (usize, Option<Errno>) {
        match self {
            Driver::Ring(_) | Driver::Epoll(_) => batch.send(fd, range, is_connected),
            Driver::Sim(sim) => sim.send_datagrams(fd, batch, range, is_connected),
        }
    }
}
