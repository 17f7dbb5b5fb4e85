//! Readiness, and pipes: what a simulated socket gives into one and takes out of one.

use std::io;
use std::os::fd::RawFd;

use super::super::{Errno, Event, Op, Token};
use super::listen::{Kind, Sock};
use super::net::Call;
use super::world::World;
use crate::pipe::{CAPACITY, Ends, Pipe};

impl World {
    pub(super) fn pipe(&mut self) -> io::Result<Pipe> {
        match self.failure(Call::Pipe) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(Pipe::in_memory()),
        }
    }

    /// See `Driver::ready`.
    pub(super) fn ready(&mut self, token: Token, fd: RawFd, op: Op) {
        self.live += 1;
        let mistaken = self.rng.one_in(self.faults.false_readiness);
        let Some(sock) = self.sock(fd) else { return self.complete(token, fd, Event::Ready(op)) };
        sock.token = Some(token);
        *sock.awaits(op) = true;
        if mistaken {
            *sock.awaits(op) = false;
            return self.complete(token, fd, Event::Ready(op));
        }
        self.try_ready(fd, op);
    }

    /// Tells that the socket is ready, if it is and somebody waits for it.
    pub(super) fn try_ready(&mut self, fd: RawFd, op: Op) {
        let (now, capacity) = (self.now, self.options.send_capacity);
        if let Some(Sock { kind: Kind::Datagrams(datagrams), token, .. }) = self.sock(fd) {
            let (token, is_readable) = (*token, datagrams.is_readable());
            if let (Some(token), true, Op::Readable) = (token, is_readable, op)
                && self.sock(fd).is_some_and(|sock| std::mem::take(sock.awaits(op)))
            {
                self.complete(token, fd, Event::Ready(op));
            }
            return;
        }
        let Some((key, at)) = self.link_of(fd) else { return };
        let Some(sock) = self.sock(fd) else { return };
        let Some(token) = sock.token.filter(|_| *sock.awaits(op)) else { return };
        let Some(side) = self.links.get(key).map(|link| &link.sides[at]) else { return };
        let is_ready = match op {
            Op::Writable => side.reset || side.ends || side.outbox.len() < capacity,
            _ => {
                let stalls = side.stalled_until > now && !side.inbox.is_empty();
                !stalls && (!side.inbox.is_empty() || side.eof || side.reset)
            }
        };
        if is_ready && let Some(sock) = self.sock(fd) {
            *sock.awaits(op) = false;
            self.complete(token, fd, Event::Ready(op));
        }
    }

    /// See `Driver::splice_in`.
    pub(super) fn splice_in(&mut self, fd: RawFd, pipe: &mut Pipe, max: usize) -> Result<usize, Errno> {
        if let Some(errno) = self.failure(Call::SpliceIn) {
            return Err(errno);
        }
        let short = self.rng.one_in(self.faults.short_receives);
        let now = self.now;
        let (key, at) = self.link_of(fd).ok_or(libc::EBADF)?;
        let side = &mut self.links.get_mut(key).ok_or(libc::EBADF)?.sides[at];
        if side.inbox.is_empty() {
            return side.end().map_or(Err(libc::EAGAIN), |end| end.map(|()| 0));
        }
        if side.stalled_until > now {
            return Err(libc::EAGAIN);
        }
        let mut len = side.inbox.len().min(max).min(CAPACITY);
        if short {
            len = 1 + self.rng.index(len);
        }
        let side = &mut self.links.get_mut(key).ok_or(libc::EBADF)?.sides[at];
        let Ends::Memory(bytes) = &mut pipe.ends else { return Err(libc::EINVAL) };
        bytes.extend(side.inbox.drain(..len));
        pipe.held += len;
        self.note("spliced in", fd, i64::try_from(len).unwrap_or(i64::MAX));
        self.pump(key, 1 - at);
        Ok(len)
    }

    /// See `Driver::splice_out`.
    pub(super) fn splice_out(&mut self, fd: RawFd, pipe: &mut Pipe) -> Result<usize, Errno> {
        if let Some(errno) = self.failure(Call::SpliceOut) {
            return Err(errno);
        }
        let short = self.rng.one_in(self.faults.short_sends);
        let capacity = self.options.send_capacity;
        let (key, at) = self.link_of(fd).ok_or(libc::EBADF)?;
        let side = &mut self.links.get_mut(key).ok_or(libc::EBADF)?.sides[at];
        if let Some(errno) = side.send_failure() {
            return Err(errno);
        }
        let mut len = capacity.saturating_sub(side.outbox.len()).min(pipe.held);
        if len == 0 {
            return Err(libc::EAGAIN);
        }
        if short {
            len = 1 + self.rng.index(len);
        }
        let Ends::Memory(bytes) = &mut pipe.ends else { return Err(libc::EINVAL) };
        let side = &mut self.links.get_mut(key).ok_or(libc::EBADF)?.sides[at];
        side.outbox.extend(bytes.drain(..len));
        side.taken += len as u64;
        pipe.held -= len;
        self.note("spliced out", fd, i64::try_from(len).unwrap_or(i64::MAX));
        self.pump_quietly(key, at);
        Ok(len)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test data is small")]
mod tests {
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::Duration;

    use base::Rng;

    use crate::sim::{Call, Faults, Net, SimOptions};
    use crate::{Arrived, ConnectOptions, Piped, Refusal, Runtime, Stream, race};

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 1, last], 80))
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    /// Two ends of one connection.
    async fn pair(rt: &Runtime, net: &Net, last: u8) -> (Stream, Stream) {
        let listener = rt.listen(net.bind(addr(last)).expect("free")).expect("listening");
        let client = rt.connect(&addr(last).into(), ConnectOptions::default());
        let server = listener.accept().await.expect("accepted");
        (client.await.expect("connected"), server)
    }

    fn nothing_is_left(rt: &Runtime, net: &Net, seed: u64) {
        rt.shutdown();
        let gauges = rt.gauges();
        assert!(gauges.is_quiet() && net.descriptors() == 0, "seed {seed}: {gauges:?}");
    }

    /// Relays until the end; each wait may be given up and begun anew. Whatever is refused is copied.
    async fn relay(rt: &Runtime, from: &Stream, to: &Stream, rng: &mut Rng) -> std::io::Result<()> {
        let timer = rt.timer();
        let mut patience = || {
            timer.set(rt.now() + Duration::from_micros(1 + rng.below(2000)));
            &timer
        };
        loop {
            let Some(arrived) = race(from.recv_piped(50_000), patience()).await else { continue };
            match arrived? {
                Arrived::Piped(mut piped) => loop {
                    if let Some(sent) = race(to.send_piped(&mut piped), patience()).await {
                        sent?;
                        break;
                    }
                },
                Arrived::End => {
                    to.shutdown_write();
                    return to.flushed(0).await;
                }
                Arrived::Refused(_) => {
                    let buf = from.recv().await?;
                    to.write_buf(buf);
                    to.flushed(0).await?;
                }
            }
        }
    }

    #[test]
    fn bytes_pass_whole_through_every_kind_of_fault() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let options = SimOptions {
                seed,
                faults: Faults::random(&mut rng),
                send_capacity: 1 + rng.index(50_000),
                receive_capacity: 1000 + rng.index(50_000),
                ..SimOptions::default()
            };
            let (rt, net) = Runtime::simulated(options).expect("a world");
            if rng.one_in(3) {
                net.fail_next(Call::Pipe, libc::EMFILE);
            }
            if rng.one_in(3) {
                net.fail_next(Call::SpliceIn, libc::EINVAL);
            }
            let (rt2, net2) = (rt.clone(), net.clone());
            let len = rng.index(300_000);
            let got = rt.block_on(async move {
                let (sender, from) = pair(&rt2, &net2, 1).await;
                let (to, receiver) = pair(&rt2, &net2, 2).await;
                let inner = rt2.clone();
                rt2.spawn(async move { relay(&inner, &from, &to, &mut rng).await.expect("relayed") });
                rt2.spawn(async move {
                    for chunk in pattern(len).chunks(9_999) {
                        sender.write(|out| out.extend_from_slice(chunk));
                        sender.flushed(20_000).await.expect("sent");
                    }
                    sender.shutdown_write();
                    sender.flushed(0).await.expect("sent");
                });
                let mut got = Vec::new();
                loop {
                    let buf = receiver.recv().await.expect("received");
                    if buf.is_empty() {
                        return got;
                    }
                    got.extend_from_slice(&buf);
                }
            });
            assert!(got.expect("the world goes on") == pattern(len), "seed {seed}");
            nothing_is_left(&rt, &net, seed);
        }
    }

    #[test]
    fn a_host_that_dies_in_the_middle_is_an_error_on_its_side_and_leaves_nothing() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let faults = Faults { reset_discards: 2, ..Faults::random(&mut rng) };
            let options = SimOptions { seed, faults, ..SimOptions::default() };
            let (rt, net) = Runtime::simulated(options).expect("a world");
            let (rt2, net2) = (rt.clone(), net.clone());
            let victim = addr(if rng.one_in(2) { 1 } else { 2 });
            let failed = rt.block_on(async move {
                let (from, sender) = pair(&rt2, &net2, 1).await;
                let (to, receiver) = pair(&rt2, &net2, 2).await;
                let (inner, done) = (rt2.clone(), Rc::new(Cell::new(None)));
                let outcome = Rc::clone(&done);
                let after = Duration::from_micros(rng.below(5000));
                rt2.spawn(async move {
                    outcome.set(Some(relay(&inner, &from, &to, &mut rng).await.is_err()));
                });
                rt2.spawn(async move {
                    while sender.flushed(20_000).await.is_ok() {
                        sender.write(|out| out.extend_from_slice(&[1; 10_000]));
                    }
                });
                rt2.spawn(async move { while receiver.recv().await.is_ok_and(|buf| !buf.is_empty()) {} });
                let timer = rt2.timer();
                timer.set(rt2.now() + after);
                timer.wait().await;
                net2.kill(victim.ip());
                for _ in 0..10_000 {
                    if let Some(failed) = done.get() {
                        return failed;
                    }
                    timer.set(rt2.now() + Duration::from_millis(1));
                    timer.wait().await;
                }
                panic!("seed {seed}: the relay does not end");
            });
            assert!(failed.expect("the world goes on"), "seed {seed}: a cut looked like an end");
            nothing_is_left(&rt, &net, seed);
        }
    }

    #[test]
    fn a_pipe_that_the_kernel_does_not_give_is_a_refusal_and_takes_nothing() {
        let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
        let (rt2, net2) = (rt.clone(), net.clone());
        let ended = rt.block_on(async move {
            let (sender, from) = pair(&rt2, &net2, 1).await;
            sender.write(|out| out.extend_from_slice(b"bytes"));
            for (call, errno, refusal) in [
                (Call::Pipe, libc::EMFILE, Refusal::NoPipe),
                (Call::SpliceIn, libc::EINVAL, Refusal::Unsupported),
            ] {
                net2.fail_next(call, errno);
                match from.recv_piped(9).await {
                    Ok(Arrived::Refused(why)) => assert_eq!(why, refusal),
                    _ => panic!("{call:?} has failed"),
                }
            }
            let arrived: Option<Piped> = match from.recv_piped(9).await {
                Ok(Arrived::Piped(piped)) => Some(piped),
                _ => None,
            };
            assert_eq!(arrived.map(|piped| piped.len()), Some(5));
        });
        ended.expect("the world goes on");
        nothing_is_left(&rt, &net, 0);
    }
}
