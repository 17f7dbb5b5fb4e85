//! A connection to an endpoint, and the requests that share it.

use crate::head;
use crate::io::Io;
use crate::outbound::{Outbound, Untaken};
use crate::{Ended, Options, Transport};
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::{Method, StatusCode, header};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Streams that we have reset and of which frames may still come: how many are remembered, and how long.
const RESET_STREAMS_MAX: usize = 256;
const RESET_STREAMS_FOR: Duration = Duration::from_secs(5);

/// The client's side of one connection. It ends when no [`Requester`] and no stream is left.
pub struct Connection<T: Transport> {
    connection: client::Connection<Io<T>, Bytes>,
    pings: Option<PingPong>,
}

/// Begins with the preface; waits for nothing but room.
///
/// # Errors
/// When the connection broke.
pub async fn connect<T: Transport>(
    transport: T,
    options: &Options,
) -> Result<(Connection<T>, Requester), Ended> {
    let (ask, mut connection) = client::Builder::new()
        .enable_push(false)
        .initial_max_send_streams(options.streams_max as usize)
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(options.head_bytes_max)
        .max_send_buffer_size(options.send_buffer)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(RESET_STREAMS_FOR)
        .handshake(Io(transport))
        .await
        .map_err(|error| Ended::of(&error))?;
    let pings = connection.ping_pong();
    Ok((Connection { connection, pings }, Requester { ask }))
}

impl<T: Transport> Connection<T> {
    /// Reads and writes frames until the connection has ended.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Pin::new(&mut self.connection).poll(cx).map_err(|error| Ended::of(&error))
    }

    /// Asks the endpoint for a sign of life; nothing while it owes one already.
    pub fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            // An error says that one is on its way.
            let _ = pings.send_ping(Ping::opaque());
        }
    }

    /// Takes the answer to a ping.
    pub fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.pings {
            Some(pings) => pings.poll_pong(cx).map(drop),
            None => Poll::Pending,
        }
    }
}

/// Opens streams on a connection.
#[derive(Clone)]
pub struct Requester {
    ask: SendRequest<Bytes>,
}

impl Requester {
    /// Whether the connection takes new streams: it has neither ended nor been told to take no more.
    pub fn is_open(&self) -> bool {
        let mut ask = self.ask.clone();
        matches!(ask.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    /// Streams that the endpoint lets us have open at once.
    pub fn streams_max(&self) -> usize {
        self.ask.current_max_send_streams()
    }

    /// Sends the request whose head is `text`; `ends` says that it has no body.
    ///
    /// # Errors
    /// When the connection takes no more streams, or the text is no head that HTTP/2 can say.
    pub fn start(&self, text: &[u8], scheme: &str, ends: bool) -> Result<RequestStream, Failed> {
        let request = head::parse_request(text, scheme).ok_or(Failed::Head)?;
        let answers_head = *request.method() == Method::HEAD;
        let mut ask = self.ask.clone();
        let (response, send) = ask.send_request(request, ends).map_err(|error| Failed::of(&error))?;
        Ok(RequestStream {
            incoming: Incoming::Head(response),
            answers_head,
            unreleased: 0,
            held: None,
            left: None,
            trailers_received: Vec::new(),
            send: (!ends).then_some(send),
            outbound: Outbound::default(),
        })
    }
}

/// Why a request has got no response, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The endpoint has certainly not processed it (RFC 9113 §8.7).
    Refused,
    /// It was reset, or its connection has broken.
    Gone,
    /// The endpoint broke the protocol.
    Protocol,
    /// The request cannot be said in HTTP/2.
    Head,
}

impl Failed {
    fn of(error: &h2::Error) -> Failed {
        // Of a GOAWAY hear only streams above its last one, and those that were to be opened after it.
        if error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM)) {
            Failed::Refused
        } else if error.is_remote() || error.is_io() {
            Failed::Gone
        } else {
            Failed::Protocol
        }
    }
}

/// One request and its response. Dropped before both have ended, it is cancelled.
pub struct RequestStream {
    incoming: Incoming,
    answers_head: bool,
    /// Bytes that were handed out and are to be given back to the endpoint's window when more are wanted.
    unreleased: usize,
    /// Payload that was received but not handed out, because only the end of the stream makes it valid.
    held: Option<Bytes>,
    /// What `Content-Length` promises that is still to come.
    left: Option<u64>,
    trailers_received: Vec<u8>,
    /// `None` when the request has ended.
    send: Option<SendStream<Bytes>>,
    /// What the request has still to send.
    outbound: Outbound,
}

enum Incoming {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl RequestStream {
    /// What comes next: heads as text, the final one with the payload that is there already behind it; then payload, none
    /// at its end, then and ever after.
    ///
    /// # Errors
    /// When there is no response, or not all of it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failed>> {
        match &mut self.incoming {
            Incoming::Head(response) => {
                if let Poll::Ready(Some(Ok(informational))) = response.poll_informational(cx) {
                    let mut text = Vec::with_capacity(256);
                    head::write_response(&mut text, informational.status(), informational.headers());
                    text.extend_from_slice(b"\r\n");
                    return Poll::Ready(Ok(text.into()));
                }
                let response = ready!(Pin::new(response).poll(cx)).map_err(|error| Failed::of(&error))?;
                self.take_head(response, cx)
            }
            Incoming::Body(_) => self.poll_data(cx),
        }
    }

    fn take_head(
        &mut self,
        response: http::Response<RecvStream>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Failed>> {
        let (parts, body) = response.into_parts();
        let announced = parts.headers.get(header::CONTENT_LENGTH);
        let has_body =
            !self.answers_head && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let (true, Some(announced)) = (has_body, announced) {
            self.left = announced.to_str().ok().and_then(|length| length.parse().ok());
        }
        let is_announced = announced.is_some();
        self.incoming = Incoming::Body(body);
        let mut text = Vec::with_capacity(512);
        head::write_response(&mut text, parts.status, &parts.headers);
        let first = match self.poll_data(cx) {
            Poll::Ready(Ok(first)) => first,
            // Whoever asks for more hears of it.
            Poll::Ready(Err(_)) | Poll::Pending => Bytes::new(),
        };
        if has_body && !is_announced && self.is_read() && self.trailers_received.is_empty() {
            head::put(&mut text, "content-length", first.len().to_string().as_bytes());
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&first);
        Poll::Ready(Ok(text.into()))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failed>> {
        let Incoming::Body(body) = &mut self.incoming else { return Poll::Pending };
        if self.unreleased > 0 {
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
        }
        loop {
            match ready!(body.poll_data(cx)) {
                None => break,
                Some(Err(error)) => return Poll::Ready(Err(Failed::of(&error))),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased += data.len();
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                        if *left == 0 && !body.is_end_stream() {
                            // Room for what must not come, so that it is seen; trailers may come.
                            let room = std::mem::take(&mut self.unreleased);
                            let _ = body.flow_control().release_capacity(room);
                            self.held = Some(data);
                            continue;
                        }
                    }
                    return Poll::Ready(Ok(data));
                }
            }
        }
        match body.poll_trailers(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::of(&error))),
            Poll::Ready(Ok(Some(trailers))) => head::write_trailers(&mut self.trailers_received, &trailers),
            Poll::Ready(Ok(None)) | Poll::Pending => {}
        }
        Poll::Ready(Ok(self.held.take().unwrap_or_default()))
    }

    /// Whether the response has ended and nothing of it is left to be read.
    pub fn is_read(&self) -> bool {
        let Incoming::Body(body) = &self.incoming else { return false };
        self.held.is_none() && body.is_end_stream()
    }

    /// The trailers of a response whose end was handed out, a line of text for each field; once.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers_received)
    }

    /// Queues `payload`; `ends` ends the request.
    pub fn queue(&mut self, payload: &[u8], ends: bool) {
        if self.send.is_some() {
            self.outbound.queue(payload, ends);
        }
    }

    /// Ends the request behind what was queued with `trailers`, a line of text for each field.
    pub fn end_with(&mut self, trailers: &[u8]) {
        if self.send.is_some() {
            self.outbound.end_with(trailers);
        }
    }

    /// Bytes that are queued and have not been taken.
    pub fn pending(&self) -> usize {
        self.outbound.pending()
    }

    /// Ready when the endpoint's windows had room for everything that was queued.
    ///
    /// # Errors
    /// When the endpoint takes no more of the request.
    pub fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        let taken = ready!(self.outbound.poll_taken(send, cx));
        if self.outbound.is_over() {
            self.send = None;
        }
        Poll::Ready(taken.map_err(|why| match why {
            Untaken::Gone => Failed::Gone,
            Untaken::Failed(error) => Failed::of(&error),
        }))
    }
}
