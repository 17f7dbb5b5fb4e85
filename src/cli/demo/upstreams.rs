//! The thread behind the demo: its three upstreams, and the clients of `--load`, on one loop of `runtime`.

use super::site::{Reply, Site, write};
use super::{PEERS, client};
use base::addr::Addr;
use base::limits::HttpLimits;
use runtime::{BindOptions, Bound, DriverKind, Options, Remote, Runtime, Selection, Stream, bind, race};
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use wire::h1::{BodyReader, Progress, RequestReader};
use wire::http::{Method, Request, RequestHead};

/// The running upstreams.
pub(super) struct Upstreams {
    addrs: Vec<SocketAddr>,
    orders: mpsc::SyncSender<Load>,
    stop: Arc<AtomicBool>,
    remote: Remote,
    thread: JoinHandle<()>,
}

/// Clients to start.
struct Load {
    web: SocketAddr,
    connections: u16,
}

impl Upstreams {
    /// Binds free loopback ports and starts the thread.
    pub(super) fn start() -> io::Result<Upstreams> {
        let any = Addr::Ip((Ipv4Addr::LOCALHOST, 0).into());
        let bound: Vec<Bound> =
            PEERS.iter().map(|_| bind(&any, BindOptions::default())).collect::<io::Result<_>>()?;
        let addrs: Vec<SocketAddr> = bound.iter().filter_map(|bound| bound.addr().ip()).collect();
        let (orders, taken) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, readies) = mpsc::sync_channel(1);
        let (of_thread, their_addrs) = (Arc::clone(&stop), addrs.clone());
        let thread = Builder::new().name("upstreams".into()).spawn(move || {
            // epoll serves everywhere and leaves the kernel's memory for rings to the workers.
            let selection = Selection { kind: DriverKind::Epoll, reason: None };
            match Runtime::new(&selection, Options { lease_count: 64, ..Options::default() }) {
                Ok(rt) => {
                    let _ = ready.send(Ok(rt.remote()));
                    run(&rt, bound, &their_addrs, &taken, &of_thread);
                    rt.shutdown();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let remote = readies.recv().map_err(|_| io::Error::other("the thread ended at once"))??;
        Ok(Upstreams { addrs, orders, stop, remote, thread })
    }

    /// In the order of [`PEERS`].
    pub(super) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Starts clients that send one request after the other to `web`; the first call counts.
    pub(super) fn load(&self, web: SocketAddr, connections: u16) {
        // The channel has one place, and a thread that has ended needs no load.
        let _ = self.orders.try_send(Load { web, connections });
        self.remote.wake();
    }

    /// Ends the thread; whatever is open is dropped.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.remote.wake();
        // A panic there has been printed and harms nobody any more.
        let _ = self.thread.join();
    }
}

fn run(
    rt: &Runtime,
    bound: Vec<Bound>,
    addrs: &[SocketAddr],
    orders: &mpsc::Receiver<Load>,
    stop: &AtomicBool,
) {
    let open = Rc::new(Cell::new(0));
    for ((socket, &(name, delay)), &addr) in bound.into_iter().zip(&PEERS).zip(addrs) {
        let site = Rc::new(Site::new(name, delay, addr));
        rt.spawn(accept(rt.clone(), socket, site, Rc::clone(&open)));
    }
    while !stop.load(Ordering::Acquire) {
        if rt.turn(None).is_err() {
            return;
        }
        if let Ok(Load { web, connections }) = orders.try_recv() {
            (0..connections).for_each(|_| rt.spawn(client::send(rt.clone(), web)));
        }
    }
}

/// Far more than Ringway opens; the rest of the descriptors belongs to its workers.
const CONNECTIONS_MAX: usize = 512;
/// Longer than Ringway keeps an idle connection, so that we are never the one who hangs up first.
const IDLE_MAX: Duration = Duration::from_secs(75);

async fn accept(rt: Runtime, socket: Bound, site: Rc<Site>, open: Rc<Cell<usize>>) {
    let Ok(listener) = rt.listen(socket) else { return };
    let pause = rt.timer();
    loop {
        match listener.accept().await {
            Ok(stream) if open.get() < CONNECTIONS_MAX => {
                open.set(open.get() + 1);
                let (of_task, site, open) = (rt.clone(), Rc::clone(&site), Rc::clone(&open));
                rt.spawn(async move {
                    // Whatever ends a connection, there is nobody to tell.
                    let _ = serve(&of_task, stream, &site).await;
                    open.set(open.get() - 1);
                });
            }
            Ok(refused) => drop(refused),
            Err(_) => {
                // Out of descriptors, most likely: some time must pass, or this would spin.
                pause.set(rt.now() + Duration::from_millis(100));
                pause.wait().await;
            }
        }
    }
}

/// One connection; `None` when it is over.
async fn serve(rt: &Runtime, stream: Stream, site: &Site) -> Option<()> {
    let limits = HttpLimits::DEFAULT;
    let (mut reader, mut head) = (RequestReader::new(&limits), RequestHead::default());
    let mut received = Vec::new();
    loop {
        let length = loop {
            match reader.read(&received, &mut head) {
                Ok(Progress::Complete(length)) => break length,
                Ok(Progress::Partial) => receive(rt, &stream, &mut received).await?,
                Err(_) => {
                    stream.write(|out| write(out, 400, "this is no HTTP/1.1\n", true, false));
                    return stream.flushed(0).await.ok();
                }
            }
        };
        let reply = site.reply(Request::new(&head, &received[..length]));
        received.drain(..length);
        if head.expect_continue {
            stream.write(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        skip_body(rt, &stream, &mut received, BodyReader::new(head.body, &limits)).await?;
        let Reply::Answer { status, body, delay } = reply else { return None };
        if !delay.is_zero() {
            let timer = rt.timer();
            timer.set(rt.now() + delay);
            timer.wait().await;
        }
        let (with_body, keep_alive) = (head.method != Method::Head, head.keep_alive);
        stream.write(|out| write(out, status, &body, with_body, keep_alive));
        stream.flushed(0).await.ok()?;
        if !keep_alive {
            return Some(());
        }
    }
}

/// Reads a request body and forgets it.
async fn skip_body(
    rt: &Runtime,
    stream: &Stream,
    received: &mut Vec<u8>,
    mut body: BodyReader,
) -> Option<()> {
    while !body.is_done() {
        let part = body.read(received).ok()?;
        received.drain(..part.consumed);
        if !part.done {
            receive(rt, stream, received).await?;
        }
    }
    Some(())
}

/// Appends what comes next; `None` at the end of the connection.
async fn receive(rt: &Runtime, stream: &Stream, received: &mut Vec<u8>) -> Option<()> {
    let timer = rt.timer();
    timer.set(rt.now() + IDLE_MAX);
    let bytes = race(stream.recv(), &timer).await?.ok()?;
    received.extend_from_slice(&bytes);
    (!bytes.is_empty()).then_some(())
}
