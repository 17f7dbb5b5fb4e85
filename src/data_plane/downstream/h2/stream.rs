//! One stream: a request and its response, in a task of its own.

use super::connection::Streams;
use crate::downstream::{Client, ClientStream};
use crate::exchange::{Exchange, HeadBytes, Upload};
use crate::relay::RECEIVE_MIN;
use crate::respond;
use crate::serve::{self, Next};
use http2::{HeadFault, Reason, ServerStream};
use runtime::Buf;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use traffic::{Cause, Phase, Phases, Side};
use wire::h1::{BodyReader, HeadError, Progress, RequestReader};
use wire::http::{BodyLength, Version};

/// What a response is written to and a request body comes from.
pub(crate) struct Http2Stream {
    stream: RefCell<ServerStream>,
    /// Bytes that were put back.
    unread: RefCell<Option<Buf>>,
    /// Those of its connection.
    streams: Rc<Streams>,
}

/// Response bytes that all streams of a connection may hold because their windows are full, as long as each has at least
/// [`RECEIVE_MIN`].
const HELD_MAX: usize = 512 << 10;

impl Http2Stream {
    fn new(stream: ServerStream, streams: Rc<Streams>) -> Http2Stream {
        Http2Stream { stream: RefCell::new(stream), unread: RefCell::new(None), streams }
    }

    pub(crate) fn piece_max(&self, most: usize) -> usize {
        (HELD_MAX / self.streams.open.get().max(1) as usize).clamp(RECEIVE_MIN, most.min(64 << 10))
    }

    pub(crate) fn start(&self, payload: &[u8], done: bool, head: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::with_capacity(512);
        head(&mut text);
        self.stream.borrow_mut().start(&text, payload, done);
    }

    pub(crate) fn inform(&self, head: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::with_capacity(128);
        head(&mut text);
        self.stream.borrow_mut().inform(&text);
    }

    pub(crate) fn queue(&self, payload: &[u8], done: bool) {
        self.stream.borrow_mut().queue(payload, done);
    }

    pub(crate) fn end_with(&self, trailers: &[u8]) {
        self.stream.borrow_mut().end_with(trailers);
    }

    pub(crate) fn take_trailers(&self) -> Vec<u8> {
        self.stream.borrow_mut().take_trailers()
    }

    pub(crate) fn pending(&self) -> usize {
        self.stream.borrow().pending()
    }

    pub(crate) fn reset(&self, reason: Reason) {
        self.stream.borrow_mut().reset(reason);
    }

    pub(crate) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_taken(cx)
    }

    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.borrow_mut().poll_gone(cx)
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        if let Some(buf) = self.unread.borrow_mut().take() {
            return Poll::Ready(Ok(buf));
        }
        let data = ready!(self.stream.borrow_mut().poll_data(cx))?;
        Poll::Ready(Ok(Buf::from_vec(data.into())))
    }

    pub(crate) fn unread(&self, buf: Buf) {
        *self.unread.borrow_mut() = Some(buf);
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.stream.borrow().sent_bytes()
    }
}

/// A stream that is to be served.
pub(super) struct Opened {
    pub(super) head: Result<Vec<u8>, HeadFault>,
    pub(super) stream: ServerStream,
    /// Its place among the requests of the connection, from 1.
    pub(super) number: u32,
    pub(super) streams: Rc<Streams>,
    pub(super) head_bytes: usize,
}

/// Starts the task of a stream. It runs when the connection's task has read all that has arrived, so that a request that
/// is taken back in the same breath never reaches an endpoint (R28).
pub(super) fn spawn(of: &Client, opened: Opened) {
    let worker = Rc::clone(&of.worker);
    let client = Client {
        timer: worker.rt.timer(),
        upstream_timer: worker.rt.timer(),
        stream: ClientStream::Http2(Box::new(Http2Stream::new(opened.stream, Rc::clone(&opened.streams)))),
        security: of.security.clone(),
        listener: of.listener,
        peer: of.peer,
        announced: of.announced.clone(),
        local_port: of.local_port,
        place: of.place,
        requests: opened.number,
        worker: Rc::clone(&worker),
    };
    let place = Place { streams: opened.streams, head_bytes: opened.head_bytes };
    let head = opened.head;
    worker.rt.spawn(async move {
        let mut x = client.worker.take_exchange();
        let next = exchange(&client, &mut x, head).await;
        if let Next::Abort(cause) = next
            && let ClientStream::Http2(stream) = &client.stream
        {
            stream.reset(reason_of(cause));
        }
        client.worker.give_back(x);
        drop(client);
        drop(place);
    });
}

/// What a stream takes of its connection, given back when dropped.
struct Place {
    streams: Rc<Streams>,
    head_bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = &*self.streams;
        streams.heads_bytes.set(streams.heads_bytes.get() - self.head_bytes);
        streams.open.set(streams.open.get() - 1);
        if streams.open.get() == 0
            && let Some(waker) = &*streams.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

/// One request and its response.
async fn exchange(client: &Client, x: &mut Exchange, head: Result<Vec<u8>, HeadFault>) -> Next {
    let worker = &client.worker;
    let now = worker.rt.now();
    x.begin(worker.generation_of(client.listener), worker.next_request_id(), client.peer_ip(), now);
    if let (1, Some(security)) = (client.requests, &client.security) {
        // The first request has waited for the handshake.
        x.phases = Phases::new(now - security.took);
        x.phases.mark(Phase::Tls, now);
    }
    match take_head(client, x, head) {
        Ok(()) => serve::serve(client, x).await,
        Err(cause) => {
            x.head.clear();
            x.head.version = Version::Http2;
            x.head_bytes = HeadBytes::None;
            x.upload.done = false;
            let next = Box::pin(respond::refuse(client, x, cause)).await;
            crate::finish::exchange(client, x);
            next
        }
    }
}

/// Parses the head and prepares for the body that it announces.
fn take_head(client: &Client, x: &mut Exchange, head: Result<Vec<u8>, HeadFault>) -> Result<(), Cause> {
    let generation = Rc::clone(&x.generation);
    let listener = client.listener(&generation);
    let text = head.map_err(|fault| match fault {
        HeadFault::Pseudo => Cause::BadRequestLine,
        HeadFault::Value => Cause::BadFieldValue,
        HeadFault::TooMany => Cause::TooManyFields,
        HeadFault::Protocol => Cause::ConnectNotAllowed,
    })?;
    let mut reader = RequestReader::new(&listener.http).with_underscores(listener.unsafe_underscore_fields);
    match reader.read(&text, &mut x.head).map_err(Cause::of_head)? {
        Progress::Complete(length) if length == text.len() => {}
        // The text is one head, and a reading that finds less or more in it is not to be trusted.
        _ => return Err(Cause::of_head(HeadError::BadRequestLine)),
    }
    x.head_bytes = HeadBytes::Copied(text);
    x.head.version = Version::Http2;
    let spare = std::mem::take(&mut x.upload.replay.payload);
    x.upload = Upload::new(&x.head, &listener.http, spare);
    match x.head.body {
        BodyLength::Length(bytes) => {
            if let ClientStream::Http2(stream) = &client.stream {
                stream.stream.borrow_mut().expect(bytes);
            }
        }
        // Frames take the place of chunks.
        BodyLength::Chunked => x.upload.reader = BodyReader::new(BodyLength::UntilClose, &listener.http),
        BodyLength::None | BodyLength::UntilClose => {}
    }
    x.phases.mark(Phase::Head, client.worker.rt.now());
    Ok(())
}

/// What the client is told about a response that does not come to its end.
fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Http2Stream => Reason::Protocol,
        Cause::ClientSlow | Cause::Shed => Reason::EnhanceYourCalm,
        cause if cause.side() == Side::Upstream => Reason::Internal,
        _ => Reason::Cancel,
    }
}
