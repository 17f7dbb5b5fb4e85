//! What every driver must keep, tested through the public API over real sockets on 127.0.0.1.
//!
//! Each test runs once per driver that this machine allows, and ends with everything given back.

#![expect(clippy::cast_possible_truncation, reason = "test data is small")]

mod accept;
mod cancel;
mod chaos;
mod datagrams;
mod limits;
mod piped;
mod process;
mod stream;
mod task;

use std::cell::Cell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use base::addr::Addr;

use crate::*;

/// No test may take longer; it fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// The drivers that this machine allows.
fn selections() -> Vec<Selection> {
    let epoll = probe(IoChoice::Epoll).expect("epoll is always there");
    let ring = probe(IoChoice::IoUring).ok();
    std::iter::once(epoll).chain(ring).collect()
}

/// Runs the test on every driver, and checks that nothing is left afterwards.
fn on_each_driver<F: Future<Output = ()>>(test: impl Fn(Runtime) -> F) {
    with_options(Options::default(), test);
}

fn with_options<F: Future<Output = ()>>(options: Options, test: impl Fn(Runtime) -> F) {
    for selection in selections() {
        let runtime = Runtime::new(&selection, options.clone()).expect("the probe has passed");
        let bound = runtime.timer();
        bound.set(runtime.now() + PATIENCE);
        let done = runtime.block_on(race(test(runtime.clone()), &bound)).expect("the loop turns");
        assert!(done.is_some(), "{}: too slow, {:?}", selection.kind, runtime.gauges());
        drop(bound);
        quiesce(&runtime);
    }
}

/// Turns the loop until everything that was dropped is closed.
fn quiesce(runtime: &Runtime) {
    runtime.shutdown();
    let gauges = runtime.gauges();
    assert!(gauges.is_quiet(), "something was left behind: {gauges:?}");
}

fn loopback() -> Addr {
    Addr::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn listen(runtime: &Runtime) -> Listener {
    let bound = bind(&loopback(), BindOptions::default()).expect("a free port");
    runtime.listen(bound).expect("listening")
}

/// Two ends of one connection.
async fn pair(runtime: &Runtime) -> (Stream, Stream) {
    let listener = listen(runtime);
    let client = runtime.connect(listener.addr(), ConnectOptions::default());
    let server = listener.accept().await.expect("accepted");
    (client.await.expect("connected"), server)
}

/// Receives exactly `len` bytes, or fewer at the end of the stream.
async fn receive(stream: &Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let mut buf = stream.recv().await.expect("received");
        if buf.is_empty() {
            break;
        }
        let taken = buf.len().min(len - bytes.len());
        bytes.extend_from_slice(&buf[..taken]);
        buf.consume(taken);
        stream.unread(buf);
    }
    bytes
}

/// Bytes that show where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Waits until `ready` holds, turning the loop.
async fn until(runtime: &Runtime, ready: impl Fn() -> bool) {
    let timer = runtime.timer();
    while !ready() {
        timer.set(runtime.now() + Duration::from_millis(1));
        timer.wait().await;
    }
}

/// A flag that tasks share.
fn flag() -> (Rc<Cell<bool>>, Rc<Cell<bool>>) {
    let flag = Rc::new(Cell::new(false));
    (Rc::clone(&flag), flag)
}
