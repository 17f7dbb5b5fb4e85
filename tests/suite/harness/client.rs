//! `raw`: a client that sends exactly the bytes it is given and reads answers strictly.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::message::{self, Fields, Head};

/// One connection to Ringway (or to anything else that speaks HTTP/1.1).
pub(crate) struct Client {
    stream: TcpStream,
    /// Received and not yet taken by a message.
    pending: Vec<u8>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Interim answers (1xx) that came before.
    pub(crate) interim: Vec<Head>,
}

impl Response {
    /// The body as text, for messages and comparison.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// True if the sender announced that it closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.head.lists("connection", "close")
    }
}

/// Why no complete answer came.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Orderly end of the connection; carries what had come of the message.
    Closed(Vec<u8>),
    /// The peer reset the connection.
    Reset,
    /// Nothing more came in time; carries what had come.
    Silent(Vec<u8>),
    /// What came is not HTTP/1.1.
    Malformed(String),
}

/// How a connection stands after the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// End of stream.
    Closed,
    /// RST.
    Reset,
    /// Still open and silent.
    Open,
    /// More bytes came.
    Bytes,
}

impl Client {
    /// Connects, with Nagle's algorithm off so that pieces leave as they are sent.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|| panic!("cannot connect to {address}"))
    }

    /// The same where nobody may be listening yet, or any more.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Client { stream, pending: Vec::new() })
    }

    /// Connects from an address of this machine.
    pub(crate) fn connect_from(address: SocketAddr, from: IpAddr) -> Option<Client> {
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None).ok()?;
        socket.bind(&SocketAddr::from((from, 0)).into()).ok()?;
        socket.connect_timeout(&address.into(), PATIENCE).ok()?;
        Some(Client { stream: socket.into(), pending: Vec::new() })
    }

    /// Connects with a small receive buffer, so that an unread answer soon holds up its sender.
    #[track_caller]
    pub(crate) fn connect_slow(address: SocketAddr) -> Client {
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None).expect("socket");
        socket.set_recv_buffer_size(16 << 10).expect("SO_RCVBUF");
        socket.connect(&address.into()).expect("connect to Ringway");
        Client { stream: socket.into(), pending: Vec::new() }
    }

    /// Its own address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Sends everything at once. An error is ignored: the peer may have refused and closed already, and what
    /// it answered is what the test looks at.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends in pieces of `size` bytes, each its own segment.
    pub(crate) fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) -> &mut Client {
        for piece in bytes.as_ref().chunks(size) {
            if self.stream.write_all(piece).is_err() {
                break;
            }
        }
        self
    }

    /// A second hold on the same connection, to send from another thread while this one reads.
    #[track_caller]
    pub(crate) fn second(&self) -> Client {
        Client { stream: self.stream.try_clone().expect("a descriptor is free"), pending: Vec::new() }
    }

    /// Ends the sending direction.
    pub(crate) fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Sends a GET for `target` and reads the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: suite.example\r\n\r\n"));
        self.response("GET")
    }

    /// The next final answer to a request with `method`; panics with what came instead.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Response {
        match self.try_response(method) {
            Ok(response) => response,
            Err(broken) => panic!("no answer to {method}: {}", broken.describe()),
        }
    }

    /// The next final answer to a request with `method`.
    pub(crate) fn try_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            let status = status_of(&head)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let (body, trailers) = self.body(method, status, &head)?;
            return Ok(Response { status, head, body, trailers, interim });
        }
    }

    /// The next head, whatever it is.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        loop {
            if let Some(head) = message::take_head(&mut self.pending).map_err(Broken::Malformed)? {
                return Ok(head);
            }
            self.read_more()?;
        }
    }

    fn body(&mut self, method: &str, status: u16, head: &Head) -> Result<(Vec<u8>, Fields), Broken> {
        let malformed = Broken::Malformed;
        let length = message::content_length(head).map_err(malformed)?;
        let chunked = message::is_chunked(head).map_err(malformed)?;
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Ok((Vec::new(), Vec::new()));
        }
        if chunked {
            loop {
                if let Some(whole) = message::take_chunked(&mut self.pending).map_err(malformed)? {
                    if whole.extensions > 0 {
                        return Err(Broken::Malformed("chunk extensions were passed on".into()));
                    }
                    return Ok((whole.body, whole.trailers));
                }
                self.read_more()?;
            }
        }
        if let Some(length) = length {
            while self.pending.len() < length {
                self.read_more()?;
            }
            return Ok((self.pending.drain(..length).collect(), Vec::new()));
        }
        loop {
            match self.read_more() {
                Ok(()) => {}
                Err(Broken::Closed(body)) => return Ok((body, Vec::new())),
                Err(other) => return Err(other),
            }
        }
    }

    /// Reads `count` bytes that belong to no message: a tunnel.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count {
            if let Err(broken) = self.read_more() {
                panic!("wanted {count} bytes: {}", broken.describe());
            }
        }
        self.pending.drain(..count).collect()
    }

    /// What becomes of the connection within [`PATIENCE`]; panics if it stays open.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> Ending {
        let ending = self.ending_within(PATIENCE);
        assert!(
            matches!(ending, Ending::Closed | Ending::Reset),
            "expected the connection to end, it is {ending:?}: {:?}",
            String::from_utf8_lossy(&self.pending)
        );
        ending
    }

    /// As [`Client::expect_end`], after whatever still comes before.
    #[track_caller]
    pub(crate) fn expect_end_after_bytes(&mut self) -> Ending {
        loop {
            self.pending.clear();
            match self.ending_within(PATIENCE) {
                Ending::Bytes => {}
                Ending::Open => panic!("the connection stays open"),
                ending => return ending,
            }
        }
    }

    /// What becomes of the connection within `limit`.
    pub(crate) fn ending_within(&mut self, limit: Duration) -> Ending {
        if !self.pending.is_empty() {
            return Ending::Bytes;
        }
        match self.read_within(limit) {
            Ok(()) => Ending::Bytes,
            Err(Broken::Closed(_)) => Ending::Closed,
            Err(Broken::Silent(_)) => Ending::Open,
            Err(Broken::Reset | Broken::Malformed(_)) => Ending::Reset,
        }
    }

    fn read_more(&mut self) -> Result<(), Broken> {
        self.read_within(PATIENCE)
    }

    fn read_within(&mut self, limit: Duration) -> Result<(), Broken> {
        let mut chunk = [0; 16 << 10];
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(|_| Broken::Reset)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Broken::Closed(std::mem::take(&mut self.pending))),
                Ok(count) => {
                    self.pending.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Broken::Silent(self.pending.clone()));
                }
                Err(_) => return Err(Broken::Reset),
            }
        }
    }
}

impl Broken {
    /// For the message of a failed test.
    pub(crate) fn describe(&self) -> String {
        match self {
            Broken::Closed(bytes) => format!("closed after {:?}", String::from_utf8_lossy(bytes)),
            Broken::Silent(bytes) => format!("silent after {:?}", String::from_utf8_lossy(bytes)),
            Broken::Reset => "reset".into(),
            Broken::Malformed(why) => format!("malformed: {why}"),
        }
    }
}

fn status_of(head: &Head) -> Result<u16, Broken> {
    let malformed = || Broken::Malformed(format!("bad status line {:?}", head.start));
    let rest = head.start.strip_prefix("HTTP/1.1 ").ok_or_else(malformed)?;
    let (digits, reason) = rest.split_at_checked(3).ok_or_else(malformed)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || !reason.starts_with(' ') {
        return Err(malformed());
    }
    digits.parse().map_err(|_| malformed())
}
