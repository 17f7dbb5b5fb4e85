//! The bytes of an HTTP/2 connection on their way between the socket and `http2`, and what they cost.

use crate::downstream::Client;
use http2::Transport;
use runtime::Buf;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use wire::h2::{Breach, Meter};

/// What the connection's task and its transport share.
pub(super) struct Line {
    /// The client of the connection, of which streams have copies without its socket.
    pub(super) client: Client,
    pub(super) meter: RefCell<Meter>,
    /// A budget is used up: nothing more is read.
    pub(super) breach: Cell<Option<Breach>>,
    /// A head has been read, and nothing is until the task has looked at it.
    pub(super) paused: Cell<bool>,
}

/// Frames that wait for the socket; no more are made or read until it has taken some.
const OUTPUT_MAX: usize = 64 << 10;

/// The transport under `http2`.
pub(super) struct Wire {
    line: Rc<Line>,
    received: Option<Buf>,
    /// Bytes from the front of `received` that have been counted and may be read.
    counted: usize,
}

impl Wire {
    /// `first` has been received already.
    pub(super) fn new(line: Rc<Line>, first: Buf) -> Wire {
        Wire { line, received: Some(first), counted: 0 }
    }

    /// Makes at least one byte readable. True at the end of the connection.
    fn poll_counted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.counted == 0 {
            let line = &*self.line;
            if line.paused.get() || line.breach.get().is_some() {
                // The task goes on by itself.
                return Poll::Pending;
            }
            let received = match &self.received {
                Some(buf) if !buf.is_empty() => buf,
                _ => {
                    let buf = ready!(line.client.stream.poll_recv(cx))?;
                    if buf.is_empty() {
                        return Poll::Ready(Ok(true));
                    }
                    self.received.insert(buf)
                }
            };
            match line.meter.borrow_mut().receive(received, line.client.worker.rt.now()) {
                Ok(taken) => {
                    self.counted = taken.bytes;
                    line.paused.set(taken.ends_head);
                }
                Err(breach) => line.breach.set(Some(breach)),
            }
        }
        Poll::Ready(Ok(false))
    }
}

impl Transport for Wire {
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let has_ended = ready!(self.poll_counted(cx))?;
        let received: &[u8] = match &self.received {
            Some(buf) if !has_ended => &buf[..self.counted],
            _ => &[],
        };
        Poll::Ready(Ok(received))
    }

    fn consume(&mut self, bytes: usize) {
        self.counted = self.counted.saturating_sub(bytes);
        if let Some(buf) = &mut self.received {
            buf.consume(bytes);
            if buf.is_empty() {
                // An idle connection holds no buffer.
                self.received = None;
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.client.stream.poll_flushed(cx, OUTPUT_MAX)
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) {
        let line = &*self.line;
        let now = line.client.worker.rt.now();
        line.client.stream.write(|out| {
            for part in parts {
                out.extend_from_slice(part);
                if let Err(breach) = line.meter.borrow_mut().send(part, now) {
                    line.breach.set(Some(breach));
                }
            }
        });
    }
}
