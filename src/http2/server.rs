//! A client's connection, and the streams that it opens.

use crate::head::{self, HeadFault};
use crate::io::Io;
use crate::outbound::{Outbound, Untaken};
use crate::{Reason, Transport};
use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What the other side may do on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Streams that may be open at once.
    pub streams_max: u32,
    /// Bytes of one request body that may be on their way.
    pub stream_window: u32,
    /// The same of all streams together.
    pub connection_window: u32,
    /// Size of one head as RFC 9113 §6.5.2 counts it: a longer one is answered 431 without being kept.
    pub head_bytes_max: u32,
    /// Response bytes of one stream that are taken in before the connection has taken them.
    pub send_buffer: usize,
}

/// Streams that were reset, by either side, and of which frames may still come: how many are remembered, and how long.
const RESET_STREAMS_MAX: usize = 64;
const RESET_STREAMS_FOR: Duration = Duration::from_secs(1);
/// Resets that the peer's mistakes have made us send. A second bound behind the budgets of `wire::h2`.
const ERROR_RESETS_MAX: usize = 1024;

/// The server's side of one connection.
pub struct Server<T: Transport> {
    state: State<T>,
}

enum State<T: Transport> {
    Handshake(server::Handshake<Io<T>, Bytes>),
    Open(server::Connection<Io<T>, Bytes>),
}

/// A request: its head as text, or why there is none, and the stream that it came on.
pub struct Accepted {
    pub head: Result<Vec<u8>, HeadFault>,
    pub stream: ServerStream,
}

impl<T: Transport> Server<T> {
    /// Begins with what must come first, the preface.
    pub fn new(transport: T, options: &Options) -> Server<T> {
        let handshake = server::Builder::new()
            .max_concurrent_streams(options.streams_max)
            .initial_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_header_list_size(options.head_bytes_max)
            .max_send_buffer_size(options.send_buffer)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .reset_stream_duration(RESET_STREAMS_FOR)
            .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
            .enable_connect_protocol()
            .handshake(Io(transport));
        Server { state: State::Handshake(handshake) }
    }

    /// The next request; reads and writes frames meanwhile. `None` when the connection has ended.
    ///
    /// `key` gives 24 bytes of base64 for a WebSocket handshake.
    ///
    /// # Errors
    /// When the client broke the protocol or the connection broke.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        key: impl FnOnce() -> [u8; 24],
    ) -> Poll<Option<Result<Accepted, Ended>>> {
        if let State::Handshake(handshake) = &mut self.state {
            match ready!(Pin::new(handshake).poll(cx)) {
                Ok(connection) => self.state = State::Open(connection),
                Err(error) => return Poll::Ready(Some(Err(Ended::of(&error)))),
            }
        }
        let State::Open(connection) = &mut self.state else { return Poll::Pending };
        match ready!(connection.poll_accept(cx)) {
            None => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(Ended::of(&error)))),
            Some(Ok((request, respond))) => {
                let (parts, body) = request.into_parts();
                let mut text = Vec::with_capacity(512);
                let written = head::write_request(&mut text, &parts, !body.is_end_stream(), key);
                let stream = ServerStream::new(body, respond);
                Poll::Ready(Some(Ok(Accepted { head: written.map(|()| text), stream })))
            }
        }
    }

    /// Tells the client to open no more streams, first without a number, then, when it has surely read that, with the
    /// last one that counts (RFC 9113 §6.8). The connection ends when all of them have.
    pub fn end_gracefully(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Tells the client why, and ends whatever is open.
    pub fn end_abruptly(&mut self, reason: Reason) {
        if let State::Open(connection) = &mut self.state {
            connection.abrupt_shutdown(reason.into());
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It broke, or the client closed it.
    Gone,
    /// The client broke the protocol, and was told so.
    Protocol,
    /// The client asked for too much of what costs more than it brings, and was told so.
    Excess,
}

impl Ended {
    pub(crate) fn of(error: &h2::Error) -> Ended {
        match error.reason() {
            _ if error.is_io() || error.is_remote() => Ended::Gone,
            Some(h2::Reason::ENHANCE_YOUR_CALM) => Ended::Excess,
            Some(h2::Reason::NO_ERROR) => Ended::Gone,
            _ => Ended::Protocol,
        }
    }
}

/// One request and its response.
///
/// Dropped before the response has ended, it is cancelled; before the request has ended, the client is told that nobody
/// wants the rest.
pub struct ServerStream {
    body: RecvStream,
    /// Bytes that were handed out and are to be given back to the client's window when more are wanted.
    unreleased: usize,
    /// Payload that was received but not handed out, because only the end of the stream makes it valid.
    held: Option<Bytes>,
    /// What `Content-Length` promises that is still to come.
    left: Option<u64>,
    side: Side,
    /// What the response has still to send.
    outbound: Outbound,
    /// What the request ended with.
    trailers_received: Vec<u8>,
}

enum Side {
    /// No response has begun.
    Waiting(SendResponse<Bytes>),
    /// Its head was sent.
    Started(SendStream<Bytes>),
    /// Everything was sent, or the client has gone. The handle is kept: dropping it early would cancel the stream.
    Ended { _stream: Option<SendStream<Bytes>> },
}

impl ServerStream {
    fn new(body: RecvStream, respond: SendResponse<Bytes>) -> ServerStream {
        ServerStream {
            body,
            unreleased: 0,
            held: None,
            left: None,
            side: Side::Waiting(respond),
            outbound: Outbound::default(),
            trailers_received: Vec::new(),
        }
    }

    /// The request announces so many bytes. Its last ones are handed out when the stream has ended and nothing more has
    /// come, so that a longer body is never taken for a complete one.
    pub fn expect(&mut self, bytes: u64) {
        self.left = Some(bytes);
    }

    /// The next bytes of the request's body, none at its end. Asking for more gives the client leave to send as many as
    /// were handed out before.
    ///
    /// # Errors
    /// When the client has cancelled the request or broken its framing.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.unreleased > 0 {
            let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
        }
        loop {
            match ready!(self.body.poll_data(cx)) {
                None => return Poll::Ready(self.last_data(cx)),
                Some(Err(error)) => return Poll::Ready(Err(gone(&error))),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased += data.len();
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                        if *left == 0 && !self.body.is_end_stream() {
                            // Room for what must not come, so that it is seen.
                            let _ = self
                                .body
                                .flow_control()
                                .release_capacity(std::mem::take(&mut self.unreleased));
                            self.held = Some(data);
                            continue;
                        }
                    }
                    return Poll::Ready(Ok(data));
                }
            }
        }
    }

    fn last_data(&mut self, cx: &mut Context<'_>) -> io::Result<Bytes> {
        match self.body.poll_trailers(cx) {
            Poll::Ready(Err(error)) => return Err(gone(&error)),
            Poll::Ready(Ok(Some(trailers))) => head::write_trailers(&mut self.trailers_received, &trailers),
            Poll::Ready(Ok(None)) | Poll::Pending => {}
        }
        Ok(self.held.take().unwrap_or_default())
    }

    /// The trailers of a request whose end was handed out, a line of text for each field; once.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers_received)
    }

    /// Whether the request has ended and nothing of it is left to be read.
    pub fn is_read(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    /// Sends an informational response, whose head is `text`. Nothing happens when the response has begun.
    pub fn inform(&mut self, text: &[u8]) {
        if let (Side::Waiting(respond), Some(response)) = (&mut self.side, head::parse_response(text)) {
            let _ = respond.send_informational(response);
        }
    }

    /// Begins the response whose head is `text`, with `payload` behind it; `ends` says that it is complete.
    pub fn start(&mut self, text: &[u8], payload: &[u8], ends: bool) {
        let Side::Waiting(respond) = &mut self.side else { return };
        let ends_with_head = ends && payload.is_empty();
        let started = head::parse_response(text)
            .and_then(|response| respond.send_response(response, ends_with_head).ok());
        self.side = match started {
            Some(stream) if ends_with_head => Side::Ended { _stream: Some(stream) },
            Some(stream) => Side::Started(stream),
            None => Side::Ended { _stream: None },
        };
        if !ends_with_head {
            self.queue(payload, ends);
        }
    }

    /// Queues `payload` behind what was started; `ends` ends the response. Small, unless everything that was queued
    /// before has been taken ([`ServerStream::poll_taken`]).
    pub fn queue(&mut self, payload: &[u8], ends: bool) {
        if matches!(self.side, Side::Started(_)) {
            self.outbound.queue(payload, ends);
        }
    }

    /// Ends the response behind what was queued with `trailers`, a line of text for each field.
    pub fn end_with(&mut self, trailers: &[u8]) {
        if matches!(self.side, Side::Started(_)) {
            self.outbound.end_with(trailers);
        }
    }

    /// Bytes that are queued and have not been taken.
    pub fn pending(&self) -> usize {
        self.outbound.pending()
    }

    /// Ready when the client's windows had room for everything that was queued.
    ///
    /// # Errors
    /// When the client has cancelled the request.
    pub fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Side::Started(stream) = &mut self.side else { return Poll::Ready(Ok(())) };
        let taken = ready!(self.outbound.poll_taken(stream, cx));
        if self.outbound.is_over() {
            self.end();
        }
        Poll::Ready(taken.map_err(|why| match why {
            Untaken::Gone => io::ErrorKind::ConnectionReset.into(),
            Untaken::Failed(error) => gone(&error),
        }))
    }

    /// Payload bytes that the client's windows had room for.
    pub fn sent_bytes(&self) -> u64 {
        self.outbound.sent()
    }

    /// Ready when the client has cancelled the request or is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.side {
            Side::Waiting(respond) => respond.poll_reset(cx).map(drop),
            Side::Started(stream) => stream.poll_reset(cx).map(drop),
            Side::Ended { .. } => Poll::Pending,
        }
    }

    /// Whether the end of the response has been handed over.
    pub fn is_answered(&self) -> bool {
        matches!(self.side, Side::Ended { .. })
    }

    /// Cuts the stream off.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.side {
            Side::Waiting(respond) => respond.send_reset(reason.into()),
            Side::Started(stream) => stream.send_reset(reason.into()),
            Side::Ended { .. } => {}
        }
        self.side = Side::Ended { _stream: None };
    }

    fn end(&mut self) {
        let started = std::mem::replace(&mut self.side, Side::Ended { _stream: None });
        if let Side::Started(stream) = started {
            self.side = Side::Ended { _stream: Some(stream) };
        }
    }
}

fn gone(error: &h2::Error) -> io::Error {
    let kind = if error.is_io() || error.is_remote() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::InvalidData
    };
    kind.into()
}
