//! Heads as text, and whole connections against the client of `h2`, in memory.

use crate::head::{HeadFault, parse_response, write_request};
use crate::{Accepted, Ended, Options, Reason, Server, ServerStream, Transport};
use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::ext::Protocol;
use http::Request;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn text_of(request: Request<()>, has_body: bool) -> Result<String, HeadFault> {
    let mut out = Vec::new();
    write_request(&mut out, &request.into_parts().0, has_body, || *b"dGhlIHNhbXBsZSBub25jZQ==")?;
    Ok(String::from_utf8(out).expect("text"))
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

#[test]
fn a_request_becomes_the_head_that_http_1_1_has_for_it() {
    let request =
        get("http://a.example:81/p?q=1").header("x-a", "1").header("x-a", "2").body(()).expect("sound");
    assert_eq!(
        text_of(request, false).as_deref(),
        Ok("GET /p?q=1 HTTP/1.1\r\nhost: a.example:81\r\nx-a: 1\r\nx-a: 2\r\n\r\n")
    );
}

#[test]
fn a_body_of_unknown_length_is_announced_as_chunks() {
    let unknown = Request::post("http://a/").body(()).expect("sound");
    assert!(text_of(unknown, true).is_ok_and(|text| text.contains("\r\ntransfer-encoding: chunked\r\n")));
    let known = Request::post("http://a/").header("content-length", "5").body(()).expect("sound");
    assert!(text_of(known, true).is_ok_and(|text| !text.contains("chunked")));
    let none = Request::post("http://a/").body(()).expect("sound");
    assert!(text_of(none, false).is_ok_and(|text| !text.contains("chunked")));
}

#[test]
fn r40_authority_and_host_are_both_shown_to_the_parser() {
    let both = get("http://a.example/").header("host", "b.example").body(()).expect("sound");
    let text = text_of(both, false).expect("text");
    assert!(text.contains("\r\nhost: a.example\r\n") && text.contains("\r\nhost: b.example\r\n"), "{text}");
}

#[test]
fn cookies_in_pieces_are_one_field_up_to_a_bound() {
    let with = |crumbs: usize| {
        let request =
            (0..crumbs).fold(get("http://a/"), |request, at| request.header("cookie", format!("c{at}=1")));
        text_of(request.body(()).expect("sound"), false)
    };
    assert!(with(3).is_ok_and(|text| text.contains("\r\ncookie: c0=1; c1=1; c2=1\r\n")));
    assert!(with(256).is_ok());
    assert_eq!(with(257), Err(HeadFault::TooMany));
}

#[test]
fn what_text_could_not_say_is_refused() {
    for value in [" a", "a ", "\ta", "a\t"] {
        let request = get("http://a/").header("x", value).body(()).expect("sound for h2");
        assert_eq!(text_of(request, false), Err(HeadFault::Value), "{value:?}");
    }
    let scheme = get("ftp://a/").body(()).expect("sound for h2");
    assert_eq!(text_of(scheme, false), Err(HeadFault::Pseudo));
    let udp = Request::connect("http://a/")
        .extension(Protocol::from_static("connect-udp"))
        .body(())
        .expect("sound");
    assert_eq!(text_of(udp, true), Err(HeadFault::Protocol));
}

#[test]
fn a_websocket_becomes_an_upgrade() {
    let request = Request::connect("http://a/chat")
        .extension(Protocol::from_static("websocket"))
        .body(())
        .expect("sound");
    assert_eq!(
        text_of(request, true).as_deref(),
        Ok("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    );
}

#[test]
fn a_response_loses_what_belongs_to_a_connection() {
    let text = b"HTTP/1.1 204 No Content\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\n\
                 Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nProxy-Connection: y\r\n\r\n";
    let response = parse_response(text).expect("a head");
    assert_eq!(response.status(), 204);
    let names: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-a", "set-cookie"]);
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
}

#[test]
fn what_is_no_head_is_no_response() {
    for text in [
        &b""[..],
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 2",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        assert!(parse_response(text).is_none(), "{text:?}");
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// One end of a connection in memory.
struct End {
    from: Rc<RefCell<Way>>,
    to: Rc<RefCell<Way>>,
    seen: Vec<u8>,
}

fn connection() -> (End, End) {
    let (one, other) = (Rc::<RefCell<Way>>::default(), Rc::<RefCell<Way>>::default());
    let end = |from: &Rc<RefCell<Way>>, to: &Rc<RefCell<Way>>| End {
        from: Rc::clone(from),
        to: Rc::clone(to),
        seen: Vec::new(),
    };
    (end(&one, &other), end(&other, &one))
}

impl Transport for End {
    fn poll_received(&mut self, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.seen.is_empty() {
            let mut from = self.from.borrow_mut();
            // In small pieces, as a slow network brings them.
            let some = from.bytes.len().min(7);
            self.seen.extend(from.bytes.drain(..some));
            if self.seen.is_empty() && !from.ended {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(&self.seen))
    }

    fn consume(&mut self, bytes: usize) {
        self.seen.drain(..bytes);
    }

    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) {
        parts.iter().for_each(|part| self.to.borrow_mut().bytes.extend(part.iter()));
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut from = self.from.borrow_mut();
        let some = from.bytes.len().min(into.remaining());
        if some == 0 && !from.ended {
            return Poll::Pending;
        }
        let bytes: Vec<u8> = from.bytes.drain(..some).collect();
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.to.borrow_mut().bytes.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.borrow_mut().ended = true;
        Poll::Ready(Ok(()))
    }
}

const OPTIONS: Options = Options {
    streams_max: 10,
    stream_window: 100_000,
    connection_window: 200_000,
    head_bytes_max: 16 << 10,
    send_buffer: 10_000,
};

/// A server and a client of `h2`, polled in turn.
struct Pair {
    server: Server<End>,
    client: client::Connection<End, Bytes>,
    ask: SendRequest<Bytes>,
    accepted: Vec<Accepted>,
    ended: Option<Option<Ended>>,
    /// From the server, on its way to the client.
    sent: Rc<RefCell<Way>>,
}

impl Pair {
    fn new() -> Pair {
        let (ours, theirs) = connection();
        let sent = Rc::clone(&ours.to);
        let mut cx = Context::from_waker(Waker::noop());
        let mut handshake = std::pin::pin!(client::Builder::new().handshake::<_, Bytes>(theirs));
        let Poll::Ready(Ok((ask, client))) = handshake.as_mut().poll(&mut cx) else {
            panic!("the client's half of the handshake waits for nothing")
        };
        let mut pair = Pair {
            server: Server::new(ours, &OPTIONS),
            client,
            ask,
            accepted: Vec::new(),
            ended: None,
            sent,
        };
        pair.turn();
        pair
    }

    /// Lets everything happen that can.
    fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2000 {
            let _ = Pin::new(&mut self.client).poll(&mut cx);
            match self.server.poll_accept(&mut cx, || *b"dGhlIHNhbXBsZSBub25jZQ==") {
                Poll::Ready(Some(Ok(accepted))) => self.accepted.push(accepted),
                Poll::Ready(Some(Err(ended))) => self.ended = Some(Some(ended)),
                Poll::Ready(None) => self.ended = Some(None),
                Poll::Pending => {}
            }
            if self.ended.is_some() {
                return;
            }
        }
    }

    /// The stream of the next request.
    fn accept(&mut self) -> (String, ServerStream) {
        self.turn();
        let Accepted { head, stream } = self.accepted.remove(0);
        (String::from_utf8(head.expect("a sound head")).expect("text"), stream)
    }
}

fn poll<T>(f: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    f(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_request_and_its_response_pass() {
    let mut pair = Pair::new();
    let (mut answer, mut upload) = pair
        .ask
        .send_request(Request::post("http://a/up").body(()).expect("sound"), false)
        .expect("a stream");
    upload.send_data(Bytes::from_static(b"hello"), true).expect("sent");
    let (head, mut stream) = pair.accept();
    assert!(head.starts_with("POST /up HTTP/1.1\r\n"), "{head}");
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data == b"hello"[..]));
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data.is_empty()));
    stream.start(b"HTTP/1.1 201 Made\r\nX-A: 1\r\n\r\n", b"wor", false);
    stream.queue(b"ld", true);
    assert!(matches!(poll(|cx| stream.poll_taken(cx)), Poll::Ready(Ok(()))));
    assert!(stream.is_answered());
    pair.turn();
    let Poll::Ready(Ok(response)) = poll(|cx| Pin::new(&mut answer).poll(cx)) else { panic!("a response") };
    assert_eq!((response.status().as_u16(), response.headers()["x-a"].as_bytes()), (201, &b"1"[..]));
    let mut body = response.into_body();
    let mut got = Vec::new();
    while let Poll::Ready(Some(Ok(data))) = poll(|cx| body.poll_data(cx)) {
        got.extend_from_slice(&data);
    }
    assert_eq!((got.as_slice(), body.is_end_stream()), (&b"world"[..], true));
}

#[test]
fn trailers_pass_both_ways_behind_the_last_byte() {
    let mut pair = Pair::new();
    let (mut answer, mut upload) =
        pair.ask.send_request(Request::post("http://a/").body(()).expect("sound"), false).expect("a stream");
    upload.send_data(Bytes::from_static(b"hello"), false).expect("sent");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
    upload.send_trailers(trailers).expect("sent");
    let (_, mut stream) = pair.accept();
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data == b"hello"[..]));
    assert_eq!(stream.take_trailers(), b"", "not before the end was seen");
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data.is_empty()));
    assert_eq!(stream.take_trailers(), b"x-sum: 1\r\n");
    stream.start(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 40_000], false);
    stream.end_with(b"grpc-status: 0\r\nConnection: close\r\n");
    for _ in 0..4 {
        let _ = poll(|cx| stream.poll_taken(cx));
        pair.turn();
    }
    let Poll::Ready(Ok(response)) = poll(|cx| Pin::new(&mut answer).poll(cx)) else { panic!("a response") };
    let mut body = response.into_body();
    let mut got = 0;
    while let Poll::Ready(Some(Ok(data))) = poll(|cx| body.poll_data(cx)) {
        got += data.len();
    }
    let Poll::Ready(Ok(Some(trailers))) = poll(|cx| body.poll_trailers(cx)) else { panic!("trailers") };
    assert_eq!((got, trailers.len(), trailers["grpc-status"].as_bytes()), (40_000, 1, &b"0"[..]));
}

#[test]
fn nothing_is_taken_beyond_the_windows_and_the_buffer() {
    let mut pair = Pair::new();
    let (_answer, _) =
        pair.ask.send_request(Request::get("http://a/").body(()).expect("sound"), true).expect("a stream");
    let (_, mut stream) = pair.accept();
    stream.start(b"HTTP/1.1 200 OK\r\n\r\n", &vec![b'x'; 200_000], true);
    for _ in 0..50 {
        assert!(matches!(poll(|cx| stream.poll_taken(cx)), Poll::Pending));
        pair.turn();
    }
    assert_eq!((stream.sent_bytes(), stream.pending()), (65_535, 200_000 - 65_535));
}

#[test]
fn r36_the_last_bytes_wait_for_the_end_of_the_stream() {
    let mut pair = Pair::new();
    let request = Request::post("http://a/").header("content-length", "5").body(()).expect("sound");
    let (_answer, mut upload) = pair.ask.send_request(request, false).expect("a stream");
    upload.send_data(Bytes::from_static(b"hello"), false).expect("sent");
    let (_, mut stream) = pair.accept();
    stream.expect(5);
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Pending));
    upload.send_data(Bytes::new(), true).expect("sent");
    pair.turn();
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data == b"hello"[..]));
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Ok(data)) if data.is_empty()));
}

#[test]
fn a_cancelled_stream_says_so_to_whoever_asks() {
    let mut pair = Pair::new();
    let (answer, mut upload) =
        pair.ask.send_request(Request::post("http://a/").body(()).expect("sound"), false).expect("a stream");
    let (_, mut stream) = pair.accept();
    assert!(poll(|cx| stream.poll_gone(cx)).is_pending());
    upload.send_reset(h2::Reason::CANCEL);
    drop(answer);
    pair.turn();
    assert!(poll(|cx| stream.poll_gone(cx)).is_ready());
    assert!(matches!(poll(|cx| stream.poll_data(cx)), Poll::Ready(Err(_))));
}

#[test]
fn a_graceful_end_serves_what_is_open_and_then_ends() {
    let mut pair = Pair::new();
    let (_answer, _) =
        pair.ask.send_request(Request::get("http://a/").body(()).expect("sound"), true).expect("a stream");
    let (_, mut stream) = pair.accept();
    pair.server.end_gracefully();
    pair.turn();
    assert!(pair.ended.is_none(), "a stream is open");
    stream.start(b"HTTP/1.1 204 No Content\r\n\r\n", b"", true);
    drop(stream);
    pair.turn();
    assert_eq!(pair.ended, Some(None));
}

#[test]
fn an_abrupt_end_tells_why_and_waits_for_nothing() {
    let mut pair = Pair::new();
    let (_answer, _) =
        pair.ask.send_request(Request::get("http://a/").body(()).expect("sound"), true).expect("a stream");
    let (_, _stream) = pair.accept();
    let sent = Rc::clone(&pair.sent);
    pair.server.end_abruptly(Reason::EnhanceYourCalm);
    let ended = poll(|cx| pair.server.poll_accept(cx, || *b"dGhlIHNhbXBsZSBub25jZQ=="));
    assert!(ended.is_ready(), "although a stream is open");
    let bytes: Vec<u8> = sent.borrow().bytes.iter().copied().collect();
    // GOAWAY of eight bytes or more, whose code is ENHANCE_YOUR_CALM.
    let goaway = bytes.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == [0, 0, 0, 11]);
    assert!(goaway, "{bytes:?}");
}

#[test]
fn what_is_no_preface_ends_the_connection() {
    let (ours, theirs) = connection();
    theirs.to.borrow_mut().bytes.extend(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut server = Server::new(ours, &OPTIONS);
    let ended = loop {
        if let Poll::Ready(ended) = poll(|cx| server.poll_accept(cx, || *b"dGhlIHNhbXBsZSBub25jZQ==")) {
            break ended.map(|accepted| accepted.map(|_| ()));
        }
    };
    assert_eq!(ended, Some(Err(Ended::Protocol)));
}
