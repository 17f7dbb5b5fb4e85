//! Datagrams between simulated sockets: lost, repeated, out of order, and refused where nobody listens.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::Duration;

use super::super::{Errno, Op};
use super::listen::{Kind, Sock};
use super::world::{Happening, World};
use crate::datagram::{Batch, Local};

/// A datagram socket.
pub(super) struct Datagrams {
    pub(super) addr: SocketAddr,
    /// Its only peer, if it is connected.
    peer: Option<SocketAddr>,
    inbox: VecDeque<Arrived>,
    inbox_bytes: usize,
    /// What the network has told about an earlier datagram.
    error: Option<Errno>,
    /// Its host was killed.
    dead: bool,
}

struct Arrived {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// How much later than others a datagram may arrive that is out of order.
const DETOUR_MICROS_MAX: u64 = 2_000;

impl Datagrams {
    fn new(addr: SocketAddr, peer: Option<SocketAddr>) -> Datagrams {
        Datagrams { addr, peer, inbox: VecDeque::new(), inbox_bytes: 0, error: None, dead: false }
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.inbox.is_empty() || self.error.is_some()
    }
}

impl World {
    pub(super) fn bind_datagrams(&mut self, mut addr: SocketAddr) -> io::Result<(RawFd, SocketAddr)> {
        if addr.port() == 0 {
            addr = self.free_datagram_address(addr.ip())?;
        }
        if self.datagrams.contains_key(&addr) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let fd = self.insert(Sock::new(Kind::Datagrams(Datagrams::new(addr, None))));
        self.datagrams.insert(addr, fd);
        Ok((fd, addr))
    }

    pub(super) fn connect_datagrams(&mut self, to: SocketAddr, source: Option<IpAddr>) -> io::Result<RawFd> {
        let host = source.unwrap_or(self.options.host);
        let addr = self.free_datagram_address(host)?;
        let fd = self.insert(Sock::new(Kind::Datagrams(Datagrams::new(addr, Some(to)))));
        self.datagrams.insert(addr, fd);
        self.note("connect datagrams", fd, i64::from(to.port()));
        Ok(fd)
    }

    fn free_datagram_address(&mut self, host: IpAddr) -> io::Result<SocketAddr> {
        for _ in 32_768..=u16::MAX {
            let addr = SocketAddr::new(host, self.free_port());
            if !self.datagrams.contains_key(&addr) {
                return Ok(addr);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn datagrams_of(&mut self, fd: RawFd) -> Result<&mut Datagrams, Errno> {
        match self.sock(fd).map(|sock| &mut sock.kind) {
            Some(Kind::Datagrams(datagrams)) => Ok(datagrams),
            _ => Err(libc::EBADF),
        }
    }

    /// See `Driver::receive_datagrams`.
    pub(super) fn receive_datagrams(
        &mut self,
        fd: RawFd,
        batch: &mut Batch,
        max: usize,
        is_connected: bool,
    ) -> Result<usize, Errno> {
        let is_short = self.rng.one_in(self.faults.short_batches);
        let max = if is_short { max.min(1) } else { max };
        let datagrams = self.datagrams_of(fd)?;
        if let Some(errno) = datagrams.error.take() {
            self.note("datagram error", fd, errno.into());
            return Err(errno);
        }
        let is_wildcard = datagrams.addr.ip().is_unspecified();
        let mut received = 0;
        while received < max {
            let Some(Arrived { from, to, bytes }) = datagrams.inbox.pop_front() else { break };
            datagrams.inbox_bytes -= bytes.len();
            let local = is_wildcard.then_some(Local { ip: to.ip(), interface: 0 });
            if !batch.push(&bytes, (!is_connected).then_some(from), local) {
                break;
            }
            received += 1;
        }
        self.note("datagrams received", fd, i64::try_from(received).unwrap_or(i64::MAX));
        if received == 0 && max > 0 { Err(libc::EAGAIN) } else { Ok(received) }
    }

    /// See `Driver::send_datagrams`.
    pub(super) fn send_datagrams(
        &mut self,
        fd: RawFd,
        batch: &Batch,
        range: Range<usize>,
        is_connected: bool,
    ) -> (usize, Option<Errno>) {
        let (start, end) = (range.start, range.end);
        for at in range {
            if let Err(errno) = self.send_datagram(fd, batch, at, is_connected) {
                self.note("datagrams sent", fd, -i64::from(errno));
                return (at - start, Some(errno));
            }
        }
        (end - start, None)
    }

    fn send_datagram(
        &mut self,
        fd: RawFd,
        batch: &Batch,
        at: usize,
        is_connected: bool,
    ) -> Result<(), Errno> {
        let blocks = self.rng.one_in(self.faults.blocked_datagrams);
        let datagrams = self.datagrams_of(fd)?;
        if let Some(errno) = datagrams.error.take() {
            return Err(errno);
        }
        if blocks {
            return Err(libc::EAGAIN);
        }
        let datagram = batch.get(at);
        let to = if is_connected { datagrams.peer } else { datagram.peer }.ok_or(libc::EDESTADDRREQ)?;
        let mut from = datagrams.addr;
        if let Some(local) = datagram.local.filter(|_| !is_connected) {
            from.set_ip(local.ip);
        }
        if self.is_blackholed(from.ip(), to.ip()) || self.rng.one_in(self.faults.lost_datagrams) {
            self.note("datagram lost", fd, i64::from(to.port()));
            return Ok(());
        }
        let copies = 1 + usize::from(self.rng.one_in(self.faults.repeated_datagrams));
        for _ in 0..copies {
            let mut at = self.now + self.latency(from.ip(), to.ip());
            if self.rng.one_in(self.faults.reordered_datagrams) {
                at = at + Duration::from_micros(self.rng.below(DETOUR_MICROS_MAX));
            }
            let bytes = datagram.bytes.to_vec();
            self.schedule(at, Happening::Datagram { from, to, bytes });
        }
        Ok(())
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let capacity = self.options.receive_capacity;
        let everywhere = match to.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let wildcard = SocketAddr::new(everywhere, to.port());
        let fd = self.datagrams.get(&to).or_else(|| self.datagrams.get(&wildcard)).copied();
        let taken = fd.and_then(|fd| {
            let datagrams = self.datagrams_of(fd).ok()?;
            let is_for_it = !datagrams.dead && datagrams.peer.is_none_or(|peer| peer == from);
            is_for_it.then_some(fd)
        });
        let Some(fd) = taken else {
            let at = self.now + self.latency(to.ip(), from.ip());
            return self.schedule(at, Happening::Unreachable { from, to });
        };
        let Ok(datagrams) = self.datagrams_of(fd) else { return };
        if datagrams.inbox_bytes + bytes.len() > capacity {
            return self.note("datagram dropped", fd, 0);
        }
        datagrams.inbox_bytes += bytes.len();
        let amount = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        datagrams.inbox.push_back(Arrived { from, to, bytes });
        self.note("datagram", fd, amount);
        self.try_ready(fd, Op::Readable);
    }

    /// The news that nobody listens at `to` reaches whoever has sent there. Only a connected socket is told.
    pub(super) fn unreachable(&mut self, from: SocketAddr, to: SocketAddr) {
        let Some(fd) = self.datagrams.get(&from).copied() else { return };
        let Ok(datagrams) = self.datagrams_of(fd) else { return };
        if datagrams.peer == Some(to) {
            datagrams.error = Some(libc::ECONNREFUSED);
            self.note("unreachable", fd, i64::from(to.port()));
            self.try_ready(fd, Op::Readable);
        }
    }

    /// The socket's host dies.
    pub(super) fn kill_datagrams(&mut self, fd: RawFd) {
        let Ok(datagrams) = self.datagrams_of(fd) else { return };
        datagrams.dead = true;
        datagrams.inbox.clear();
        datagrams.inbox_bytes = 0;
        let addr = datagrams.addr;
        self.forget_datagrams(fd, addr);
    }

    pub(super) fn forget_datagrams(&mut self, fd: RawFd, addr: SocketAddr) {
        // Somebody else may have the address by now.
        if self.datagrams.get(&addr) == Some(&fd) {
            self.datagrams.remove(&addr);
        }
    }
}
