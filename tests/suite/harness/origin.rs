//! `fup`: an upstream that does what the test tells it, and remembers every byte it was sent.
//!
//! One thread accepts, one thread serves each connection, at most [`CONNECTIONS_MAX`] at a time. It reads
//! requests with the strict reader of `message`; what that refuses is recorded, answered with nothing and closed,
//! so that a proxy that forwards nonsense fails its test.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::message::{self, Fields, Head};
use super::{Gate, PATIENCE};

/// Connections served at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 128;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Counts the connections of this origin from 0.
    pub(crate) connection: usize,
    /// Where it came from.
    pub(crate) peer: IpAddr,
    pub(crate) head: Head,
    /// Empty when the answer did not wait for it ([`Reply::before_body`]).
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Received {
    /// Method of the request line.
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    /// Target of the request line.
    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// What to do about one request.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    steps: Vec<Step>,
    before_body: bool,
}

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    SendInPieces(Vec<u8>, usize),
    Wait(Gate),
    Open(Gate),
    Echo,
    Close,
    Reset,
}

impl Reply {
    /// `200 OK` with a body of known length.
    pub(crate) fn ok(body: &str) -> Reply {
        Reply::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// Exactly these bytes.
    pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::default().then(bytes)
    }

    /// Nothing at all, for good: the connection stays open until the peer ends it.
    pub(crate) fn silence() -> Reply {
        Reply::default().then_echo()
    }

    /// Further bytes.
    pub(crate) fn then(self, bytes: impl AsRef<[u8]>) -> Reply {
        self.step(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Further bytes, each `size` of them in a segment of their own.
    pub(crate) fn then_in_pieces(self, bytes: impl AsRef<[u8]>, size: usize) -> Reply {
        self.step(Step::SendInPieces(bytes.as_ref().to_vec(), size))
    }

    /// Goes on once the gate is open.
    pub(crate) fn then_wait(self, gate: &Gate) -> Reply {
        self.step(Step::Wait(gate.clone()))
    }

    /// Lets everybody through who waits at the gate.
    pub(crate) fn then_open(self, gate: &Gate) -> Reply {
        self.step(Step::Open(gate.clone()))
    }

    /// Sends back whatever comes, until the peer ends.
    pub(crate) fn then_echo(self) -> Reply {
        self.step(Step::Echo)
    }

    /// Ends the connection in an orderly way.
    pub(crate) fn then_close(self) -> Reply {
        self.step(Step::Close)
    }

    /// Ends the connection with RST.
    pub(crate) fn then_reset(self) -> Reply {
        self.step(Step::Reset)
    }

    /// Starts as soon as the head is there, without reading the body.
    pub(crate) fn before_body(mut self) -> Reply {
        self.before_body = true;
        self
    }

    fn step(mut self, step: Step) -> Reply {
        self.steps.push(step);
        self
    }
}

/// The scripted upstream.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<dyn Fn(&Received) -> Reply + Send + Sync>,
    log: Mutex<Log>,
    /// Signalled whenever the log changes.
    changed: Condvar,
    stopping: AtomicBool,
    /// How long the next wait for a request may take before the connection is closed.
    idle: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Received>,
    /// Raw bytes by connection, in order of acceptance.
    raw: Vec<Vec<u8>>,
    /// What the strict reader refused.
    refused: Vec<String>,
    open: Vec<Option<TcpStream>>,
}

impl Origin {
    /// Listens on a free loopback port and answers every request as `script` says.
    pub(crate) fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::start_with(script, || None)
    }

    /// The same, but closes a connection when no request has come for as long as `idle` says at that time.
    pub(crate) fn start_closing(
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
        idle: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Origin {
        Origin::start_with(script, move || Some(idle()))
    }

    /// As [`Origin::start`] at a certain address; `None` when somebody else has it.
    pub(crate) fn start_at(
        at: SocketAddr,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Option<Origin> {
        let listener = TcpListener::bind(at).ok()?;
        Some(Origin::serve(listener, script, || None))
    }

    fn start_with(
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
        idle: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        Origin::serve(listener, script, idle)
    }

    fn serve(
        listener: TcpListener,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
        idle: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Origin {
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            log: Mutex::default(),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            idle: Box::new(idle),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Origin { address, shared, acceptor: Some(acceptor) }
    }

    /// An origin that answers everything with the same body.
    pub(crate) fn ok(body: &'static str) -> Origin {
        Origin::start(move |_| Reply::ok(body))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.log().requests.clone()
    }

    /// The only request so far; panics when there are none or several.
    #[track_caller]
    pub(crate) fn only_request(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request at the origin: {requests:?}; {:?}", self.refused());
        requests.into_iter().next().expect("one element")
    }

    /// All bytes that have arrived, over all connections.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.shared.log().raw.concat()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.log().raw.len()
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.log().open.iter().flatten().count()
    }

    /// Ends all connections in an orderly way, whatever they are doing.
    pub(crate) fn end_connections(&self) {
        for stream in self.shared.log().open.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What was not HTTP/1.1 to the strict reader.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.shared.log().refused.clone()
    }

    /// Waits until `holds` is true of what has arrived.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&[Received], usize) -> bool) {
        let unmet = |log: &mut Log| !holds(&log.requests, log.raw.iter().map(Vec::len).sum());
        let waited = self.shared.changed.wait_timeout_while(self.shared.log(), PATIENCE, unmet);
        let (log, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "origin waited in vain: {what}; got {:?}", log.requests);
    }

    /// Waits for the n-th request.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.wait_for(&format!("{count} requests"), |requests, _| requests.len() >= count);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for stream in self.shared.log().open.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which then sees the flag.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log());
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let mut log = shared.log();
        if log.open.iter().flatten().count() >= CONNECTIONS_MAX {
            continue;
        }
        let index = log.raw.len();
        log.raw.push(Vec::new());
        log.open.push(stream.try_clone().ok());
        drop(log);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let mut connection = Connection { stream, index, pending: Vec::new(), shared: &shared };
            connection.serve();
            shared.change(|log| log.open[index] = None);
        });
    }
}

struct Connection<'a> {
    stream: TcpStream,
    index: usize,
    pending: Vec<u8>,
    shared: &'a Shared,
}

impl Connection<'_> {
    fn serve(&mut self) {
        let _ = self.stream.set_nodelay(true);
        loop {
            match self.request() {
                Ok(Some((received, reply))) => {
                    if !self.play(&reply.steps) {
                        return;
                    }
                    // The answer went first; the body still has to be taken off the stream.
                    if reply.before_body && self.body(&received.head).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(why) => {
                    self.shared.change(|log| log.refused.push(why));
                    return;
                }
            }
        }
    }

    /// The next request and what to answer; None at the end of the connection.
    fn request(&mut self) -> Result<Option<(Received, Reply)>, String> {
        let _ = self.stream.set_read_timeout((self.shared.idle)());
        let head = loop {
            if let Some(head) = message::take_head(&mut self.pending)? {
                break head;
            }
            if !self.read_more() {
                return Ok(None);
            }
            let _ = self.stream.set_read_timeout(None);
        };
        check_request_line(&head.start)?;
        let peer = self.stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        let (body, trailers) = (Vec::new(), Vec::new());
        let mut received = Received { connection: self.index, peer, head, body, trailers };
        let reply = (self.shared.script)(&received);
        if !reply.before_body {
            (received.body, received.trailers) = self.body(&received.head)?;
        }
        self.shared.change(|log| log.requests.push(received.clone()));
        Ok(Some((received, reply)))
    }

    fn body(&mut self, head: &Head) -> Result<(Vec<u8>, Fields), String> {
        let cut = || "the body was cut off".to_string();
        if message::is_chunked(head)? {
            loop {
                if let Some(whole) = message::take_chunked(&mut self.pending)? {
                    if whole.extensions > 0 {
                        return Err("chunk extensions were passed on".into());
                    }
                    return Ok((whole.body, whole.trailers));
                }
                self.read_more().then_some(()).ok_or_else(cut)?;
            }
        }
        let length = message::content_length(head)?.unwrap_or(0);
        while self.pending.len() < length {
            self.read_more().then_some(()).ok_or_else(cut)?;
        }
        Ok((self.pending.drain(..length).collect(), Vec::new()))
    }

    /// Carries out an answer; false when the connection is over.
    fn play(&mut self, steps: &[Step]) -> bool {
        for step in steps {
            let goes_on = match step {
                Step::Send(bytes) => self.stream.write_all(bytes).is_ok(),
                Step::SendInPieces(bytes, size) => {
                    bytes.chunks(*size).all(|piece| self.stream.write_all(piece).is_ok())
                }
                Step::Wait(gate) => gate.wait(),
                Step::Open(gate) => {
                    gate.open();
                    true
                }
                Step::Echo => self.echo(),
                Step::Close => false,
                Step::Reset => {
                    let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    // The clone in the log would keep the socket alive.
                    self.shared.change(|log| log.open[self.index] = None);
                    false
                }
            };
            if !goes_on {
                return false;
            }
        }
        true
    }

    fn echo(&mut self) -> bool {
        loop {
            let bytes = std::mem::take(&mut self.pending);
            if self.stream.write_all(&bytes).is_err() || !self.read_more() {
                return false;
            }
        }
    }

    /// Blocks for more bytes; false at the end of the stream. Ends when the peer or [`Origin::drop`] closes.
    fn read_more(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(count) if count > 0 => {
                self.pending.extend_from_slice(&chunk[..count]);
                self.shared.change(|log| log.raw[self.index].extend_from_slice(&chunk[..count]));
                true
            }
            _ => false,
        }
    }
}

fn check_request_line(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    match parts.as_slice() {
        [method, target, "HTTP/1.1"] if !method.is_empty() && !target.is_empty() => Ok(()),
        _ => Err(format!("bad request line {line:?}")),
    }
}
