//! `h2raw`: a client that sends exactly the frames it is told and reads what comes back frame by frame.
//!
//! Heads are encoded without compression, so that a test can send what no library would. It allows Ringway no dynamic
//! table, so that heads can be decoded one by one.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::huffman_table::CODES;
use super::static_table::STATIC;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// The last stream that GOAWAY promises to serve.
    pub(crate) fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }
}

pub(crate) type Fields = Vec<(String, String)>;

/// What has come on one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Heads in the order in which they came: informational ones, the response, trailers.
    pub(crate) heads: Vec<Fields>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
    /// The code of a reset.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    /// The status of the final response; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        let statuses = self.heads.iter().filter_map(|head| get(head, ":status"));
        statuses.filter_map(|status| status.parse().ok()).find(|status| *status >= 200).unwrap_or(0)
    }

    /// A field of the final response.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let is_final = |head: &&Fields| get(head, ":status").is_some_and(|status| !status.starts_with('1'));
        self.heads.iter().find(is_final).and_then(|head| get(head, name))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as literals that are not indexed (RFC 7541 §6.2.2), without Huffman coding.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            put_integer(&mut bytes, 7, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

fn put_integer(out: &mut Vec<u8>, prefix: u32, value: usize) {
    let most = (1usize << prefix) - 1;
    if value < most {
        out.push(u8::try_from(value).expect("fits"));
        return;
    }
    out.push(u8::try_from(most).expect("fits"));
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("fits"));
}

/// The pseudo-header fields of an ordinary request.
pub(crate) fn request(method: &str, path: &str) -> Vec<(String, String)> {
    [(":method", method), (":scheme", "http"), (":authority", "suite.example"), (":path", path)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// The same with further fields.
pub(crate) fn request_with(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut fields = request(method, path);
    fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}

/// One connection.
pub(crate) struct Http2Client {
    stream: TcpStream,
    pending: Vec<u8>,
    next: u32,
    answers: HashMap<u32, Answer>,
    /// The GOAWAY frames that came.
    pub(crate) goaways: Vec<Frame>,
    /// Acknowledgements of PING.
    pub(crate) pongs: Vec<Vec<u8>>,
    /// What Ringway's SETTINGS say.
    pub(crate) settings: HashMap<u16, u32>,
    /// Answers PING and SETTINGS by itself.
    pub(crate) is_polite: bool,
    /// Gives back what DATA takes of the windows.
    pub(crate) gives_windows: bool,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Frame,
    Silent,
    Closed,
    Reset,
}

impl Http2Client {
    /// Connects, and sends the preface and settings.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Http2Client {
        let mut client = Http2Client::bare(address);
        client.send(PREFACE);
        // HEADER_TABLE_SIZE 0.
        client.send(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        client
    }

    /// Only connects.
    #[track_caller]
    pub(crate) fn bare(address: SocketAddr) -> Http2Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("Ringway listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Http2Client {
            stream,
            pending: Vec::new(),
            next: 1,
            answers: HashMap::new(),
            goaways: Vec::new(),
            pongs: Vec::new(),
            settings: HashMap::new(),
            is_polite: true,
            gives_windows: true,
        }
    }

    /// Sends bytes as they are. An error is ignored: Ringway may have ended the connection, which is what a test looks at.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Http2Client {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Whether so many bytes could be sent; false once the connection has ended.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Opens a stream with a request that has no body.
    pub(crate) fn ask<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> u32 {
        self.open(fields, END_STREAM)
    }

    /// Opens a stream; `flags` beside END_HEADERS.
    pub(crate) fn open<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)], flags: u8) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.send(frame(HEADERS, flags | END_HEADERS, stream, &block(fields)));
        stream
    }

    /// The number of the next stream, which is then used.
    pub(crate) fn take_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    pub(crate) fn data(&mut self, stream: u32, payload: &[u8], ends: bool) {
        self.send(frame(DATA, u8::from(ends) * END_STREAM, stream, payload));
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.send(frame(RST_STREAM, 0, stream, &code.to_be_bytes()));
    }

    pub(crate) fn window(&mut self, stream: u32, bytes: u32) {
        self.send(frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()));
    }

    /// A request without a body and its answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let stream = self.ask(&request("GET", path));
        self.answer(stream)
    }

    /// Reads on until the stream has ended or was reset.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        self.read_until("the end of an answer", |client| {
            client.peek(stream).is_some_and(|answer| answer.ended || answer.reset.is_some())
        });
        self.answers.remove(&stream).unwrap_or_default()
    }

    /// What has come so far on a stream.
    pub(crate) fn peek(&self, stream: u32) -> Option<&Answer> {
        self.answers.get(&stream)
    }

    /// Reads frames until `holds`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, what: &str, holds: impl Fn(&Http2Client) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read_frame(left) {
                Line::Frame => {}
                line => panic!("{what}: {line:?}; goaways {:?}, answers {:?}", self.goaways, self.answers),
            }
        }
    }

    /// Reads until the connection ends, and returns the code of the last GOAWAY before that.
    #[track_caller]
    pub(crate) fn ending(&mut self) -> Option<u32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read_frame(deadline.saturating_duration_since(Instant::now())) {
                Line::Frame => {}
                Line::Closed | Line::Reset => return self.goaways.last().map(Frame::code),
                Line::Silent => panic!("the connection goes on; goaways {:?}", self.goaways),
            }
        }
    }

    /// Reads what comes within `patience`; tells how the connection stands then.
    pub(crate) fn read_for(&mut self, patience: Duration) -> Line {
        let deadline = Instant::now() + patience;
        loop {
            match self.read_frame(deadline.saturating_duration_since(Instant::now())) {
                Line::Frame => {}
                line => return line,
            }
        }
    }

    /// A PING and its acknowledgement: what was sent before has been looked at when it comes.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        let pongs = self.pongs.len();
        self.send(frame(PING, 0, 0, b"suite..."));
        self.read_until("an acknowledged PING", |client| client.pongs.len() > pongs);
    }

    fn read_frame(&mut self, patience: Duration) -> Line {
        loop {
            if self.pending.len() >= 9 {
                let length =
                    u32::from_be_bytes([0, self.pending[0], self.pending[1], self.pending[2]]) as usize;
                if self.pending.len() >= 9 + length {
                    let bytes: Vec<u8> = self.pending.drain(..9 + length).collect();
                    let stream = u32::from_be_bytes(bytes[5..9].try_into().expect("four bytes"));
                    self.take(Frame {
                        kind: bytes[3],
                        flags: bytes[4],
                        stream,
                        payload: bytes[9..].to_vec(),
                    });
                    return Line::Frame;
                }
            }
            let _ = self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))));
            let mut buffer = [0; 16384];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Line::Closed,
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Line::Silent;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Line::Reset,
            }
        }
    }

    fn take(&mut self, frame_: Frame) {
        let Frame { kind, flags, stream, payload } = &frame_;
        match *kind {
            DATA => {
                let answer = self.answers.entry(*stream).or_default();
                answer.body.extend_from_slice(payload);
                answer.ended |= flags & END_STREAM != 0;
                let length = u32::try_from(payload.len()).expect("short");
                if self.gives_windows && length > 0 {
                    self.window(0, length);
                    self.window(*stream, length);
                }
            }
            HEADERS => {
                assert!(flags & END_HEADERS != 0, "Ringway's heads fit into a frame");
                let head = decode(payload);
                let answer = self.answers.entry(*stream).or_default();
                answer.heads.push(head);
                answer.ended |= flags & END_STREAM != 0;
            }
            RST_STREAM => self.answers.entry(*stream).or_default().reset = Some(frame_.code()),
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let (name, value) = setting.split_at(2);
                    self.settings.insert(
                        u16::from_be_bytes(name.try_into().expect("two bytes")),
                        u32::from_be_bytes(value.try_into().expect("four bytes")),
                    );
                }
                if self.is_polite {
                    self.send(frame(SETTINGS, ACK, 0, &[]));
                }
            }
            PING if flags & ACK == 0 && self.is_polite => {
                let pong = frame(PING, ACK, 0, payload);
                self.send(pong);
            }
            PING if flags & ACK == 0 => {}
            PING => self.pongs.push(payload.clone()),
            GOAWAY => self.goaways.push(frame_),
            _ => {}
        }
    }
}

/// Fields of a head that uses no dynamic table.
fn decode(mut bytes: &[u8]) -> Fields {
    let mut fields = Vec::new();
    while let [first, ..] = *bytes {
        let field = match first {
            0x80.. => {
                let (name, value) = STATIC[take_integer(&mut bytes, 7) - 1];
                (name.to_owned(), value.to_owned())
            }
            0x20..0x40 => {
                // A new size of the table, which is what we have allowed: none.
                assert_eq!(take_integer(&mut bytes, 5), 0, "the table was to have no room");
                continue;
            }
            _ => {
                let prefix = if first & 0x40 != 0 { 6 } else { 4 };
                let name = match take_integer(&mut bytes, prefix) {
                    0 => take_string(&mut bytes),
                    index => STATIC[index - 1].0.to_owned(),
                };
                let value = take_string(&mut bytes);
                (name, value)
            }
        };
        fields.push(field);
    }
    fields
}

fn take_integer(bytes: &mut &[u8], prefix: u32) -> usize {
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(bytes[0]) & most;
    *bytes = &bytes[1..];
    if value < most {
        return value;
    }
    let mut shift = 0;
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value += usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn take_string(bytes: &mut &[u8]) -> String {
    let is_coded = bytes[0] & 0x80 != 0;
    let length = take_integer(bytes, 7);
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    let text = if is_coded { unhuffman(text) } else { text.to_vec() };
    String::from_utf8_lossy(&text).into_owned()
}

fn unhuffman(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut code, mut length) = (0u32, 0u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if let Some(byte) = CODES.iter().position(|known| *known == (code, length)) {
            text.push(u8::try_from(byte).expect("256 codes"));
            (code, length) = (0, 0);
        }
    }
    text
}
