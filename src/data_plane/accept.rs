//! Accepting connections: one task per listening socket, bounded by the connection limit and by descriptors.

use crate::bell::Seat;
use crate::crowd::Place;
use crate::downstream;
use crate::downstream::proxy_header::{self, Announced, Arrival};
use crate::entrance::Door;
use crate::secure;
use crate::worker::{Listening, Worker};
use base::ids::ListenerId;
use runtime::{Listener, Stream, race};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use traffic::Cause;
use traffic::overload::{Admitted, TooMany};
use traffic::proxy_protocol::Expected;

/// First pause after the process ran out of descriptors or memory; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long no connection must have arrived before a draining listener closes, and how long that may take.
const BACKLOG_QUIET: Duration = Duration::from_millis(20);
const BACKLOG_MAX: Duration = Duration::from_millis(500);

/// Starts accepting on a socket.
///
/// # Errors
/// When the driver refuses it.
pub(crate) fn start(worker: &Rc<Worker>, listening: Listening) -> io::Result<()> {
    let Listening { id, listener, socket, .. } = listening;
    if worker.generation().listeners[listener.index()].datagrams().is_some() {
        return crate::udp::start(worker, id, listener, socket);
    }
    let socket = worker.rt.listen(socket)?;
    let door = worker.entrance.open(id, listener);
    worker.accepting.set(worker.accepting.get() + 1);
    let owner = Rc::clone(worker);
    worker.rt.spawn(async move {
        accept_until_closed(&owner, &socket, &door).await;
        drop(socket);
        owner.entrance.shut(&owner, &door);
        owner.accepting.set(owner.accepting.get() - 1);
    });
    Ok(())
}

/// Until the worker drains, or no generation has the socket any more.
async fn accept_until_closed(worker: &Rc<Worker>, socket: &Listener, door: &Door) {
    let mut drain_seat = worker.drain.seat();
    let mut room_seat = worker.room.seat();
    let mut pause = PAUSE_MIN;
    loop {
        if has_no_room(worker, door.listener()) {
            // The kernel's backlog holds the clients that wait.
            socket.pause();
            worker.stats.accept_pauses.add(1);
            worker.stats.shed.accept_paused.add(u64::from(worker.overload.pauses_accepting(u32::MAX)));
            room_or_end(worker, door, &mut room_seat, &mut drain_seat).await;
            socket.resume();
        }
        match accept_or_end(worker, socket, door, &mut drain_seat).await {
            Some(Ok(stream)) => {
                pause = PAUSE_MIN;
                admit(worker, stream, door.listener());
            }
            Some(Err(error)) if is_exhaustion(&error) => {
                socket.pause();
                worker.stats.accept_pauses.add(1);
                let timer = worker.rt.timer();
                timer.set(worker.rt.now() + pause);
                let seated = poll_fn(|cx| {
                    drain_seat.take(cx.waker());
                    if is_over(worker, door) { Poll::Ready(()) } else { Poll::Pending }
                });
                let _ = race(seated, &timer).await;
                pause = (pause * 2).min(PAUSE_MAX);
                socket.resume();
            }
            // The connection ended between the handshake and accept; the next one is unaffected.
            Some(Err(_)) => worker.stats.connections_refused.add(1),
            None => break,
        }
    }
    accept_backlog(worker, socket, door.listener()).await;
}

/// Whether the socket is to close.
fn is_over(worker: &Worker, door: &Door) -> bool {
    worker.drain.is_draining() || door.closes()
}

/// Clients whose handshake the kernel has completed count as accepted: they are served before the socket closes. The
/// end comes once no more of them turn up, and at the latest after [`BACKLOG_MAX`].
async fn accept_backlog(worker: &Rc<Worker>, socket: &Listener, listener: ListenerId) {
    let end = worker.rt.now() + BACKLOG_MAX;
    while worker.rt.now() < end && accept_within(worker, socket, listener, BACKLOG_QUIET).await {}
    // What is accepted while the kernel is told to stop is served all the same. Nothing is waited for any more: whoever
    // connects from here on finds the door closed.
    while let Some(stream) = socket.last().await {
        match stream {
            Ok(stream) => admit(worker, stream, listener),
            Err(_) => worker.stats.connections_refused.add(1),
        }
    }
}

/// Admits one more connection; false when none came within `patience`.
async fn accept_within(
    worker: &Rc<Worker>,
    socket: &Listener,
    listener: ListenerId,
    patience: Duration,
) -> bool {
    let timer = worker.rt.timer();
    timer.set(worker.rt.now() + patience);
    match race(socket.accept(), &timer).await {
        Some(Ok(stream)) => admit(worker, stream, listener),
        Some(Err(_)) | None => return false,
    }
    true
}

/// Whether the worker, or this listener on it, has as many connections as it may, or is too hard pressed for more.
fn has_no_room(worker: &Worker, listener: ListenerId) -> bool {
    let generation = worker.generation();
    let open = worker.by_listener.borrow().get(listener.index()).copied().unwrap_or(0);
    let connections = worker.connections.get();
    connections >= generation.limits.connections_max
        || worker.overload.pauses_accepting(connections)
        || open >= generation.listeners[listener.index()].connections_max
}

/// Adds to or takes from the number of connections of the worker and of the listener.
fn count(worker: &Worker, listener: ListenerId, change: impl Fn(u32) -> u32) {
    worker.connections.set(change(worker.connections.get()));
    let mut by_listener = worker.by_listener.borrow_mut();
    if by_listener.len() <= listener.index() {
        by_listener.resize(listener.index() + 1, 0);
    }
    by_listener[listener.index()] = change(by_listener[listener.index()]);
}

/// Descriptors or kernel memory are used up: trying again at once would only spin.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOMEM | ENOBUFS))
}

/// The next connection, or `None` when the socket is to close.
async fn accept_or_end(
    worker: &Worker,
    socket: &Listener,
    door: &Door,
    seat: &mut Seat,
) -> Option<io::Result<Stream>> {
    let mut accept = std::pin::pin!(socket.accept());
    poll_fn(|cx| {
        seat.take(cx.waker());
        if is_over(worker, door) {
            return Poll::Ready(None);
        }
        accept.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn room_or_end(worker: &Worker, door: &Door, room: &mut Seat, drain: &mut Seat) {
    poll_fn(|cx| {
        room.take(cx.waker());
        drain.take(cx.waker());
        if is_over(worker, door) || !has_no_room(worker, door.listener()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Counts the connection in and starts its task, or closes it before anything is read when its client has as many as one
/// may.
fn admit(worker: &Rc<Worker>, stream: Stream, listener: ListenerId) {
    worker.stats.connections_accepted.add(1);
    let peer = stream.peer();
    let expected = proxy_header::expected(worker, listener, peer.map(|peer| peer.ip()));
    let entered = match expected {
        Expected::Payload => enter(worker, listener, peer),
        // Who the client is, the header says.
        Expected::Header | Expected::Either => Ok(Admitted::UNCOUNTED),
        Expected::Nothing => Err(Cause::ProxyPeerRefused),
    };
    let admitted = match entered {
        Ok(admitted) => admitted,
        Err(cause) => {
            worker.stats.connections_refused.add(1);
            worker.stats.connections_closed.add(1);
            worker.stats.count_close(cause);
            // A reset leaves nothing behind in our kernel, and the client learns at once.
            return stream.reset();
        }
    };
    count(worker, listener, |open| open + 1);
    if expected == Expected::Payload {
        return begin(worker, stream, listener, Arrival { peer, announced: None }, admitted);
    }
    // A task of its own, so that connections are not larger for what stands before a few of them.
    let member = Member { listener, place: join(worker, &stream), guest: Guest::new(worker, admitted) };
    worker.rt.spawn(async move {
        let owner = Rc::clone(&member.guest.worker);
        let received = proxy_header::receive(&owner, &stream, listener, member.place, expected).await;
        let entered =
            received.and_then(|client| Ok((enter_announced(&owner, listener, client.as_deref())?, client)));
        match entered {
            Ok((admitted, announced)) => {
                owner.overload.crowd.leave(member.place);
                begin(&owner, stream, listener, Arrival { peer, announced }, admitted);
            }
            Err(cause) => {
                // An orderly end for who looked whether we are there: nothing of it is lost.
                if cause != Cause::NoRequest {
                    stream.reset();
                }
                member.leave(cause);
            }
        }
    });
}

fn join(worker: &Worker, stream: &Stream) -> Place {
    worker.overload.crowd.join(stream.id(), worker.rt.now())
}

/// Starts the task of a connection that has been counted in. Its client is the peer, unless another one was announced.
fn begin(worker: &Rc<Worker>, stream: Stream, listener: ListenerId, arrival: Arrival, admitted: Admitted) {
    let place = join(worker, &stream);
    let member = Member { listener, place, guest: Guest::new(worker, admitted) };
    // One task each: the state of one kind must not make connections of the other larger.
    let generation = worker.generation_of(listener);
    let served = &generation.listeners[listener.index()];
    if served.passthrough().is_some() {
        let leave = move |_: &Worker, cause| member.leave(cause);
        worker.rt.spawn(downstream::tcp::serve(worker, stream, listener, arrival, place, leave));
    } else if let Some(acceptor) = &served.tls {
        let (acceptor, patience) = (Arc::clone(acceptor), served.timeouts.handshake);
        worker.rt.spawn(async move {
            let owner = &member.guest.worker;
            let secured = Box::pin(secure::accept(owner, stream, acceptor, patience)).await;
            let cause = match secured {
                Ok((channel, security)) => {
                    downstream::h1::serve(owner, channel, Some(security), listener, arrival, place).await
                }
                Err(cause) => cause,
            };
            member.leave(cause);
        });
    } else {
        worker.rt.spawn(async move {
            let owner = &member.guest.worker;
            let cause = downstream::h1::serve(owner, stream.into(), None, listener, arrival, place).await;
            member.leave(cause);
        });
    }
}

/// What a connection was counted as when it was admitted.
struct Member {
    listener: ListenerId,
    place: Place,
    guest: Guest,
}

impl Member {
    fn leave(self, cause: Cause) {
        let worker = Rc::clone(&self.guest.worker);
        worker.overload.crowd.leave(self.place);
        drop(self.guest);
        close(&worker, self.listener, cause);
    }
}

/// A connection as one of its client. Dropped it is none any more, whichever way it ended: all workers share the count.
struct Guest {
    worker: Rc<Worker>,
    admitted: Admitted,
}

impl Guest {
    fn new(worker: &Rc<Worker>, admitted: Admitted) -> Guest {
        Guest { worker: Rc::clone(worker), admitted }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let admitted = std::mem::replace(&mut self.admitted, Admitted::UNCOUNTED);
        self.worker.node.clients.leave(admitted);
    }
}

/// Counts a connection as one of the client that was announced. Who announces clients stands for many of them, and is not
/// counted for what it does itself.
fn enter_announced(
    worker: &Worker,
    listener: ListenerId,
    announced: Option<&Announced>,
) -> Result<Admitted, Cause> {
    match announced {
        Some(client) => enter(worker, listener, Some(client.source)).inspect_err(|_| {
            worker.stats.connections_refused.add(1);
        }),
        None => Ok(Admitted::UNCOUNTED),
    }
}

/// Counts the connection as one of its client address. Peers that stand for many clients, and programs of this machine,
/// are not counted.
fn enter(worker: &Worker, listener: ListenerId, peer: Option<SocketAddr>) -> Result<Admitted, Cause> {
    let generation = worker.generation();
    let listener = &generation.listeners[listener.index()];
    let (Some(max), Some(peer)) = (listener.connections_per_client_max, peer) else {
        return Ok(Admitted::UNCOUNTED);
    };
    let ip = peer.ip().to_canonical();
    let is_local = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    if is_local || listener.trusted_proxies.contains(ip) {
        return Ok(Admitted::UNCOUNTED);
    }
    worker.node.clients.enter(ip, max).map_err(|TooMany| Cause::ClientConnections)
}

fn close(worker: &Worker, listener: ListenerId, cause: Cause) {
    let was_full = has_no_room(worker, listener);
    count(worker, listener, |open| open - 1);
    worker.stats.connections_closed.add(1);
    worker.stats.count_close(cause);
    worker.entrance.release(worker, listener);
    if was_full {
        worker.room.ring();
    }
}
