//! One connection as both clients and endpoints see it: blocking, strict, and shared with nothing that it tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::message::{self, Head};

/// How a message ended before it was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Orderly end of the connection.
    Closed,
    Reset,
    /// Nothing came in time.
    Silent,
    /// As many bytes have come as were wanted.
    Enough,
    /// It is not HTTP/1.1.
    Malformed(String),
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The peer has something to say and takes no more.
    Stopped,
    /// The peer does not listen any more.
    Broken,
}

pub(crate) struct Talk {
    stream: TcpStream,
    /// Received and not yet taken by a message.
    pending: Vec<u8>,
    received: usize,
    /// [`Flaw::Enough`] once so many bytes have been received.
    pub(crate) enough: usize,
    /// Longest wait for the next byte.
    pub(crate) patience: Duration,
}

impl Talk {
    pub(crate) fn new(stream: TcpStream, patience: Duration) -> Talk {
        let _ = stream.set_nodelay(true);
        // Short, so that a sender notices an answer that comes before all has been sent.
        let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
        Talk { stream, pending: Vec::new(), received: 0, enough: usize::MAX, patience }
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> usize {
        self.received
    }

    /// Whether anything has been received that belongs to no message yet.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits for more bytes.
    pub(crate) fn more(&mut self) -> Result<(), Flaw> {
        if self.received >= self.enough {
            return Err(Flaw::Enough);
        }
        let mut chunk = [0; 32 << 10];
        let room = chunk.len().min(self.enough - self.received);
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(|_| Flaw::Reset)?;
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => return Err(Flaw::Closed),
                Ok(count) => {
                    self.received += count;
                    self.pending.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Flaw::Silent);
                }
                Err(_) => return Err(Flaw::Reset),
            }
        }
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Result<Head, Flaw> {
        loop {
            if let Some(head) = message::take_head(&mut self.pending).map_err(Flaw::Malformed)? {
                return Ok(head);
            }
            self.more()?;
        }
    }

    /// Appends exactly `bytes` bytes to `body`, or what comes of them.
    pub(crate) fn exactly(&mut self, bytes: usize, body: &mut Vec<u8>) -> Result<(), Flaw> {
        let mut left = bytes;
        loop {
            let here = left.min(self.pending.len());
            body.extend(self.pending.drain(..here));
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.more()?;
        }
    }

    /// Appends the payload of a chunked body to `body`, up to its end or at least `most` bytes.
    pub(crate) fn chunked(&mut self, most: usize, body: &mut Vec<u8>) -> Result<(), Flaw> {
        while body.len() < most {
            let line = self.line()?;
            let size = chunk_size(&line)?;
            self.exactly(size, body)?;
            let end = self.line()?;
            if !end.is_empty() {
                let what = if size == 0 { "trailer" } else { "chunk end" };
                return Err(Flaw::Malformed(format!("{what} {end:?}")));
            }
            if size == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Appends everything up to the orderly end of the connection.
    pub(crate) fn until_close(&mut self, body: &mut Vec<u8>) -> Result<(), Flaw> {
        loop {
            body.append(&mut self.pending);
            match self.more() {
                Ok(()) => {}
                Err(Flaw::Closed) => return Ok(()),
                Err(flaw) => return Err(flaw),
            }
        }
    }

    /// Reads on and forgets everything, until the peer ends the connection or is silent.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
        while self.more().is_ok() {
            self.pending.clear();
        }
    }

    fn line(&mut self) -> Result<String, Flaw> {
        const LINE_MAX: usize = 1024;
        loop {
            if let Some(end) = message::find(&self.pending, b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| Flaw::Malformed("bytes in a line".into()));
            }
            if self.pending.len() > LINE_MAX {
                return Err(Flaw::Malformed("a line without end".into()));
            }
            self.more()?;
        }
    }

    /// Sends everything, whatever the peer says meanwhile.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Sent {
        self.send_while(bytes, |_| true)
    }

    /// Sends everything unless the peer takes no more and has something to say.
    pub(crate) fn send_unless_answered(&mut self, bytes: &[u8]) -> Sent {
        self.send_while(bytes, |talk| !talk.has_arrived())
    }

    fn send_while(&mut self, mut bytes: &[u8], goes_on: impl Fn(&mut Talk) -> bool) -> Sent {
        let deadline = Instant::now() + self.patience;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !goes_on(self) {
                        return Sent::Stopped;
                    }
                    if Instant::now() > deadline {
                        return Sent::Broken;
                    }
                }
                Err(_) => return Sent::Broken,
            }
        }
        Sent::All
    }

    /// Whether bytes, or the end, can be read at once.
    pub(crate) fn has_arrived(&mut self) -> bool {
        if self.has_pending() {
            return true;
        }
        let _ = self.stream.set_nonblocking(true);
        let arrived = match self.stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        let _ = self.stream.set_nonblocking(false);
        arrived
    }

    pub(crate) fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes, with RST if `reset`.
    pub(crate) fn end(self, reset: bool) {
        if reset {
            let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn chunk_size(line: &str) -> Result<usize, Flaw> {
    let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = digits.then(|| usize::from_str_radix(line, 16).ok()).flatten();
    size.ok_or_else(|| Flaw::Malformed(format!("chunk size {line:?}")))
}

/// Lets time pass where a plan says that somebody is slow; the only place that waits for nothing.
pub(crate) fn linger(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
