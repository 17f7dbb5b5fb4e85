//! Descriptors: opened, bound, connected, accepted, closed, killed.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::time::Duration;

use base::Key;
use base::addr::Addr;
use base::time::Instant;

use super::super::{Event, Op, Target, Token};
use super::datagrams::Datagrams;
use super::link::{Link, Side};
use super::net::Call;
use super::world::{Happening, World};
use crate::output::Message;
use crate::sys::End;

/// What one descriptor of the network stands for.
pub(super) struct Sock {
    /// Some once a socket of the worker owns it.
    pub(super) token: Option<Token>,
    pub(super) kind: Kind,
    pub(super) receive: Option<Target>,
    pub(super) send: Option<Sending>,
    accepting: bool,
    connecting: bool,
    awaits_readable: bool,
    awaits_writable: bool,
    pub(super) reset_on_close: bool,
}

pub(super) enum Kind {
    /// Opened and not connected.
    Fresh {
        source: Option<IpAddr>,
    },
    /// One side of a link.
    Stream {
        link: Key<Link>,
        side: usize,
    },
    Listener(Listening),
    Datagrams(Datagrams),
}

pub(super) struct Listening {
    addr: SocketAddr,
    /// Connected by their clients and not accepted.
    backlog: VecDeque<Key<Link>>,
    /// Attempts to accept that still fail for want of descriptors.
    exhausted: u32,
    /// Its host was killed.
    dead: bool,
}

/// A send that is under way.
pub(super) struct Sending {
    pub(super) message: *const Message,
    /// Bytes that the socket has taken of it.
    pub(super) taken: usize,
}

impl Sock {
    pub(super) fn new(kind: Kind) -> Sock {
        Sock {
            token: None,
            kind,
            receive: None,
            send: None,
            accepting: false,
            connecting: false,
            awaits_readable: false,
            awaits_writable: false,
            reset_on_close: false,
        }
    }

    pub(super) fn forget(&mut self) {
        (self.receive, self.send) = (None, None);
        (self.accepting, self.connecting) = (false, false);
        (self.awaits_readable, self.awaits_writable) = (false, false);
    }

    /// Whether somebody waits for `op`, which is `Readable` or `Writable`.
    pub(super) fn awaits(&mut self, op: Op) -> &mut bool {
        if op == Op::Writable { &mut self.awaits_writable } else { &mut self.awaits_readable }
    }
}

/// How long an attempt to connect waits before it knocks again at a full backlog.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn sock(&mut self, fd: RawFd) -> Option<&mut Sock> {
        self.sockets.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    pub(super) fn link_of(&self, fd: RawFd) -> Option<(Key<Link>, usize)> {
        match self.sockets.get(usize::try_from(fd).ok()?)?.as_ref()?.kind {
            Kind::Stream { link, side } => Some((link, side)),
            Kind::Fresh { .. } | Kind::Listener(_) | Kind::Datagrams(_) => None,
        }
    }

    fn listening(&mut self, fd: RawFd) -> Option<&mut Listening> {
        match &mut self.sock(fd)?.kind {
            Kind::Listener(listening) => Some(listening),
            Kind::Fresh { .. } | Kind::Stream { .. } | Kind::Datagrams(_) => None,
        }
    }

    pub(super) fn insert(&mut self, sock: Sock) -> RawFd {
        let free = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        if free == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[free] = Some(sock);
        RawFd::try_from(free).expect("far fewer sockets than 2^31")
    }

    /// The descriptor of a socket of the worker.
    pub(super) fn descriptor(&self, token: Token) -> Option<RawFd> {
        let owned = |sock: &Option<Sock>| sock.as_ref().is_some_and(|sock| sock.token == Some(token));
        self.sockets.iter().position(owned).and_then(|at| RawFd::try_from(at).ok())
    }

    pub(super) fn descriptors(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    pub(super) fn attach(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        let sock = self.sock(fd).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        sock.token = Some(token);
        Ok(())
    }

    pub(super) fn open(&mut self) -> RawFd {
        self.insert(Sock::new(Kind::Fresh { source: None }))
    }

    pub(super) fn set_source(&mut self, fd: RawFd, from: Option<IpAddr>) {
        if let Some(Sock { kind: Kind::Fresh { source }, .. }) = self.sock(fd) {
            *source = from;
        }
    }

    pub(super) fn bind(&mut self, mut addr: SocketAddr) -> io::Result<(RawFd, SocketAddr)> {
        if addr.port() == 0 {
            addr.set_port(self.free_port());
        }
        if self.bound.contains_key(&addr) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let listening = Listening { addr, backlog: VecDeque::new(), exhausted: 0, dead: false };
        let fd = self.insert(Sock::new(Kind::Listener(listening)));
        self.bound.insert(addr, fd);
        Ok((fd, addr))
    }

    pub(super) fn free_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
        self.next_port
    }

    pub(super) fn connect(&mut self, token: Token, fd: RawFd, to: Option<Addr>) {
        self.live += 1;
        let port = self.free_port();
        let host = self.options.host;
        let failure = self.failure(Call::Connect);
        let Some(sock) = self.sock(fd) else { return };
        sock.token = Some(token);
        if let Some(errno) = failure {
            return self.complete(token, fd, Event::Connected(Err(errno)));
        }
        sock.connecting = true;
        let Some(Addr::Ip(to)) = to else {
            sock.connecting = false;
            return self.complete(token, fd, Event::Connected(Err(libc::EAFNOSUPPORT)));
        };
        let Kind::Fresh { source } = sock.kind else { return };
        let from = SocketAddr::new(source.unwrap_or(host), port);
        let dribbles = self.rng.one_in(self.faults.dribbling_links);
        let mut client = Side::new(from);
        client.fd = Some(fd);
        let link = self.links.insert(Link { sides: [client, Side::new(to)], dribbles });
        if let Some(sock) = self.sock(fd) {
            sock.kind = Kind::Stream { link, side: 0 };
        }
        self.note("connect", fd, i64::from(to.port()));
        let at = self.now + self.latency(from.ip(), to.ip());
        self.schedule(at, Happening::Syn { link });
    }

    /// A client knocks.
    pub(super) fn syn(&mut self, key: Key<Link>) {
        let Some(link) = self.links.get(key) else { return };
        let [client, server] = &link.sides;
        let (from, to, gone) = (client.addr, server.addr, client.fd.is_none());
        if self.is_blackholed(from.ip(), to.ip()) || gone {
            return;
        }
        let back = self.now + self.latency(to.ip(), from.ip());
        let Some(&fd) = self.bound.get(&to) else {
            return self.schedule(back, Happening::Refused { link: key, errno: libc::ECONNREFUSED });
        };
        let backlog_max = self.options.backlog;
        let Some(listening) = self.listening(fd) else { return };
        if listening.backlog.len() >= backlog_max {
            let at = self.now + KNOCK_AGAIN;
            return self.schedule(at, Happening::Syn { link: key });
        }
        listening.backlog.push_back(key);
        if let Some(link) = self.links.get_mut(key) {
            link.sides[1].open = true;
            // What the server says first arrives after the handshake.
            link.sides[1].last_arrival = back;
        }
        self.schedule(back, Happening::Established { link: key });
        self.try_accept(fd);
    }

    pub(super) fn established(&mut self, link: Key<Link>) {
        self.connected(link, Ok(()));
    }

    pub(super) fn refused(&mut self, link: Key<Link>, errno: i32) {
        self.connected(link, Err(errno));
    }

    fn connected(&mut self, key: Key<Link>, result: Result<(), i32>) {
        let Some(link) = self.links.get_mut(key) else { return };
        let Some(fd) = link.sides[0].fd else { return };
        link.sides[0].open = result.is_ok();
        let Some(sock) = self.sock(fd) else { return };
        let Some(token) = sock.token.filter(|_| std::mem::take(&mut sock.connecting)) else { return };
        self.complete(token, fd, Event::Connected(result));
    }

    pub(super) fn accept(&mut self, token: Token, fd: RawFd) {
        self.live += 1;
        let Some(sock) = self.sock(fd) else { return };
        sock.token = Some(token);
        if let Some(errno) = self.failure(Call::Accept) {
            return self.complete(token, fd, Event::Accepted { result: Err(errno), more: false });
        }
        let Some(sock) = self.sock(fd) else { return };
        sock.accepting = true;
        self.try_accept(fd);
    }

    fn try_accept(&mut self, fd: RawFd) {
        loop {
            let Some(sock) = self.sock(fd) else { return };
            let (Kind::Listener(listening), Some(token), true) = (&mut sock.kind, sock.token, sock.accepting)
            else {
                return;
            };
            let failure = if listening.dead {
                Some(libc::EINVAL)
            } else if listening.exhausted > 0 && !listening.backlog.is_empty() {
                listening.exhausted -= 1;
                Some(libc::EMFILE)
            } else {
                None
            };
            if let Some(errno) = failure {
                sock.accepting = false;
                return self.complete(token, fd, Event::Accepted { result: Err(errno), more: false });
            }
            let Some(link) = listening.backlog.pop_front() else { return };
            if !self.links.contains(link) {
                continue;
            }
            let accepted = self.insert(Sock::new(Kind::Stream { link, side: 1 }));
            if let Some(link) = self.links.get_mut(link) {
                link.sides[1].fd = Some(accepted);
            }
            self.complete(token, fd, Event::Accepted { result: Ok(accepted), more: true });
        }
    }

    pub(super) fn is_pending(&mut self, fd: RawFd, op: Op) -> bool {
        self.sock(fd).is_some_and(|sock| match op {
            Op::Receive => sock.receive.is_some(),
            Op::Send => sock.send.is_some(),
            Op::Accept => sock.accepting,
            Op::Connect => sock.connecting,
            Op::Readable | Op::Writable => *sock.awaits(op),
        })
    }

    pub(super) fn take_pending(&mut self, fd: RawFd, op: Op) {
        let Some(sock) = self.sock(fd) else { return };
        match op {
            Op::Receive => sock.receive = None,
            Op::Send => sock.send = None,
            Op::Accept => sock.accepting = false,
            Op::Connect => sock.connecting = false,
            Op::Readable | Op::Writable => *sock.awaits(op) = false,
        }
    }

    pub(super) fn taken(&mut self, fd: RawFd) -> usize {
        self.sock(fd).and_then(|sock| sock.send.as_ref()).map_or(0, |sending| sending.taken)
    }

    pub(super) fn close(&mut self, _: Option<Token>, fd: RawFd) {
        let Some(slot) = usize::try_from(fd).ok().and_then(|at| self.sockets.get_mut(at)) else { return };
        let Some(sock) = slot.take() else { return };
        self.note("close", fd, 0);
        match sock.kind {
            Kind::Fresh { .. } => {}
            Kind::Datagrams(datagrams) => self.forget_datagrams(fd, datagrams.addr),
            Kind::Stream { link, side } => self.close_side(link, side, sock.reset_on_close),
            Kind::Listener(listening) => {
                if self.bound.get(&listening.addr) == Some(&fd) {
                    self.bound.remove(&listening.addr);
                }
                for link in listening.backlog {
                    self.close_side(link, 1, true);
                }
            }
        }
    }

    pub(super) fn kill(&mut self, host: IpAddr) {
        self.note("kill", 0, 0);
        let count = self.sockets.len();
        for fd in (0..count).filter_map(|at| RawFd::try_from(at).ok()) {
            if let Some((link, side)) = self.link_of(fd) {
                let here = self.links.get(link).map(|link| link.sides[side].addr.ip());
                if here == Some(host) {
                    self.send_reset(link, side);
                    self.reset(link, side);
                }
            } else if let Some(Sock { kind: Kind::Datagrams(Datagrams { addr, .. }), .. }) = self.sock(fd) {
                if addr.ip() == host {
                    self.kill_datagrams(fd);
                }
            } else if let Some(listening) = self.listening(fd).filter(|listening| listening.addr.ip() == host)
            {
                listening.dead = true;
                let (addr, backlog) = (listening.addr, std::mem::take(&mut listening.backlog));
                // Somebody else may have the address by now.
                if self.bound.get(&addr) == Some(&fd) {
                    self.bound.remove(&addr);
                }
                for link in backlog {
                    self.close_side(link, 1, true);
                }
                self.try_accept(fd);
            }
        }
    }

    pub(super) fn set_blackholed(&mut self, host: IpAddr, blackholed: bool) {
        if blackholed {
            self.blackholes.insert(host);
            return;
        }
        self.blackholes.remove(&host);
        for link in self.links.keys() {
            for side in 0..2 {
                self.pump(link, side);
            }
        }
    }

    pub(super) fn is_blackholed(&self, from: IpAddr, to: IpAddr) -> bool {
        self.blackholes.contains(&from) || self.blackholes.contains(&to)
    }

    pub(super) fn set_latency(&mut self, from: IpAddr, to: IpAddr, latency: Duration) {
        self.latencies.insert((from, to), latency);
    }

    pub(super) fn latency(&mut self, from: IpAddr, to: IpAddr) -> Duration {
        let latency = self.latencies.get(&(from, to)).copied().unwrap_or(self.options.latency);
        let jitter = u64::try_from(self.options.jitter.as_nanos()).unwrap_or(u64::MAX);
        // Never at once: an effect must not be reported before its cause.
        latency.max(Duration::from_micros(1)) + Duration::from_nanos(self.rng.below(jitter))
    }

    pub(super) fn exhaust_descriptors(&mut self, listener: SocketAddr, times: u32) {
        let fd = self.bound.get(&listener).copied();
        if let Some(listening) = fd.and_then(|fd| self.listening(fd)) {
            listening.exhausted = times;
        }
    }

    pub(super) fn address(&self, fd: RawFd, end: End) -> Option<SocketAddr> {
        let sock = self.sockets.get(usize::try_from(fd).ok()?)?.as_ref()?;
        match (&sock.kind, end) {
            (Kind::Listener(listening), End::Local) => Some(listening.addr),
            (Kind::Datagrams(datagrams), End::Local) => Some(datagrams.addr),
            (Kind::Stream { link, side }, end) => {
                let side = match end {
                    End::Local => *side,
                    End::Peer => 1 - side,
                };
                Some(self.links.get(*link)?.sides[side].addr)
            }
            _ => None,
        }
    }

    pub(super) fn set_reset_on_close(&mut self, fd: RawFd) {
        if let Some(sock) = self.sock(fd) {
            sock.reset_on_close = true;
        }
    }

    /// The moment at which something sent now arrives, not before what was sent earlier.
    pub(super) fn arrival(&mut self, link: Key<Link>, from: usize) -> Option<Instant> {
        let sides = &self.links.get(link)?.sides;
        let (here, there) = (sides[from].addr.ip(), sides[1 - from].addr.ip());
        let at = self.now + self.latency(here, there);
        let side = &mut self.links.get_mut(link)?.sides[from];
        side.last_arrival = side.last_arrival.max(at);
        Some(side.last_arrival)
    }
}
