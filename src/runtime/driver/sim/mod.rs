//! The driver without a kernel: a virtual clock and a network in memory, both driven by one seed.
//!
//! Not a model of TCP: it keeps the promises of the seam (`driver`, module doc) and of stream sockets, and within them
//! is as inconvenient as its [`Faults`] ask. Time stands still while anything can happen and then jumps to the next
//! delivery or timer, so hours of timeouts pass in milliseconds. `Runtime::simulated` makes one; tests and benchmarks
//! are its only callers.
//!
//! ```text
//!   mod.rs     the seam           world.rs   clock, agenda, completions, cancellation
//!   link.rs    bytes in flight    listen.rs  descriptors: open, connect, accept, close
//!   splice.rs  readiness, pipes   trace.rs   what has happened, as text and as a hash
//!   net.rs     what tests steer    datagrams.rs
//! ```
//!
//! Beyond the contract it checks two things and fails `wait` when they are broken: somebody is waited for although
//! nothing can happen any more (a lost wake-up), and turns follow each other without end while time stands still (a
//! loop that makes no progress).

mod datagrams;
mod link;
mod listen;
mod net;
mod splice;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use base::addr::Addr;
use base::time::Instant;

use super::{Cancelled, Completion, Counts, Errno, Op, Submitted, Target, Token};
use crate::datagram::Batch;
use crate::output::Message;
use crate::pipe::Pipe;
use crate::sys::{End, Peeked, SockAddr};
pub use net::{Call, Faults, Net, SimOptions};
pub(crate) use world::World;

/// One worker's view of a simulated world, which it shares with the [`Net`] in the hands of the test.
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
}

impl Sim {
    pub(crate) fn new(world: Rc<RefCell<World>>) -> Sim {
        Sim { world }
    }

    pub(crate) fn attach(&mut self, token: Token, fd: RawFd) -> io::Result<()> {
        self.world.borrow_mut().attach(token, fd)
    }

    /// See `Driver::receive`.
    pub(crate) unsafe fn receive(&mut self, token: Token, fd: RawFd, target: Target, _: bool) {
        // SAFETY: the caller's promise is handed on.
        unsafe { self.world.borrow_mut().receive(token, fd, target) }
    }

    /// See `Driver::send`.
    pub(crate) unsafe fn send(&mut self, token: Token, fd: RawFd, message: *const Message) -> Submitted {
        // SAFETY: the caller's promise is handed on.
        unsafe { self.world.borrow_mut().send(token, fd, message) }
    }

    pub(crate) fn accept(&mut self, token: Token, fd: RawFd) {
        self.world.borrow_mut().accept(token, fd);
    }

    /// See `Driver::connect`.
    pub(crate) unsafe fn connect(&mut self, token: Token, fd: RawFd, to: *const SockAddr) {
        // SAFETY: the caller keeps the address valid until the terminal event, so also through this call.
        let to = unsafe { &*to }.to_addr();
        self.world.borrow_mut().connect(token, fd, to);
    }

    pub(crate) fn ready(&mut self, token: Token, fd: RawFd, op: Op) {
        self.world.borrow_mut().ready(token, fd, op);
    }

    pub(crate) fn pipe(&mut self) -> io::Result<Pipe> {
        self.world.borrow_mut().pipe()
    }

    pub(crate) fn splice_in(&mut self, fd: RawFd, pipe: &mut Pipe, max: usize) -> Result<usize, Errno> {
        self.world.borrow_mut().splice_in(fd, pipe, max)
    }

    pub(crate) fn splice_out(&mut self, fd: RawFd, pipe: &mut Pipe) -> Result<usize, Errno> {
        self.world.borrow_mut().splice_out(fd, pipe)
    }

    pub(crate) fn cancel(&mut self, token: Token, op: Op) -> Cancelled {
        self.world.borrow_mut().cancel(token, op)
    }

    pub(crate) fn close(&mut self, token: Token, fd: RawFd) {
        self.world.borrow_mut().close(Some(token), fd);
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.world.borrow_mut().wait(timeout)
    }

    pub(crate) fn reap(&mut self, budget: usize, completions: &mut Vec<Completion>) {
        self.world.borrow_mut().reap(budget, completions);
    }

    /// Operations are forgotten at once: nobody else uses the memory behind them.
    pub(crate) fn end(&mut self) -> bool {
        self.world.borrow_mut().forget_operations();
        true
    }

    pub(crate) fn live_ops(&self) -> u64 {
        self.world.borrow().live_ops()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.world.borrow().counts()
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.borrow().now
    }

    pub(crate) fn wall_nanos(&self) -> u64 {
        world::EPOCH_NANOS + self.world.borrow().now.as_nanos()
    }

    pub(crate) fn open(&mut self) -> io::Result<RawFd> {
        Ok(self.world.borrow_mut().open())
    }

    pub(crate) fn set_source(&mut self, fd: RawFd, source: Option<IpAddr>) -> io::Result<()> {
        self.world.borrow_mut().set_source(fd, source);
        Ok(())
    }

    pub(crate) fn adopt_listener(&mut self, token: Token, fd: RawFd) -> io::Result<RawFd> {
        self.world.borrow_mut().attach(token, fd).map(|()| fd)
    }

    pub(crate) fn connect_datagrams(&mut self, to: SocketAddr, source: Option<IpAddr>) -> io::Result<RawFd> {
        self.world.borrow_mut().connect_datagrams(to, source)
    }

    pub(crate) fn receive_datagrams(
        &mut self,
        fd: RawFd,
        batch: &mut Batch,
        max: usize,
        is_connected: bool,
    ) -> Result<usize, Errno> {
        self.world.borrow_mut().receive_datagrams(fd, batch, max, is_connected)
    }

    pub(crate) fn send_datagrams(
        &mut self,
        fd: RawFd,
        batch: &Batch,
        range: Range<usize>,
        is_connected: bool,
    ) -> (usize, Option<Errno>) {
        self.world.borrow_mut().send_datagrams(fd, batch, range, is_connected)
    }

    pub(crate) fn address(&self, fd: RawFd, end: End) -> Option<Addr> {
        self.world.borrow().address(fd, end).map(Addr::Ip)
    }

    pub(crate) fn shutdown_write(&mut self, fd: RawFd) {
        self.world.borrow_mut().shutdown_write(fd);
    }

    pub(crate) fn set_reset_on_close(&mut self, fd: RawFd) {
        self.world.borrow_mut().set_reset_on_close(fd);
    }

    pub(crate) fn acked_bytes(&self, fd: RawFd) -> Option<u64> {
        self.world.borrow().acked_bytes(fd)
    }

    pub(crate) fn unacked_bytes(&self, fd: RawFd) -> Option<u64> {
        self.world.borrow().unacked_bytes(fd)
    }

    pub(crate) fn peek(&self, fd: RawFd) -> Peeked {
        self.world.borrow().peek(fd)
    }

    pub(crate) fn discard(&mut self, fd: RawFd) {
        self.world.borrow_mut().close(None, fd);
    }
}
