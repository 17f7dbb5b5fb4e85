//! One embedded upstream: what it answers, and whether it is well. Pure; `upstreams` does the I/O.

use serde_json::json;
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;
use wire::h1::encode;
use wire::http::{Method, Request};

/// An upstream's state.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) delay: Duration,
    pub(super) addr: SocketAddr,
    mood: Cell<Mood>,
    served: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers everything with 503.
    Refusing,
    /// Closes the connection instead of answering.
    HangingUp,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// These bytes after this delay; then the connection persists if the client likes.
    Answer { status: u16, body: String, delay: Duration },
    /// Nothing: the connection is closed.
    HangUp,
}

impl Site {
    pub(super) fn new(name: &'static str, delay: Duration, addr: SocketAddr) -> Site {
        Site { name, delay, addr, mood: Cell::new(Mood::Well), served: Cell::new(0) }
    }

    pub(super) fn reply(&self, request: Request<'_>) -> Reply {
        let at_once =
            |status, body: &str| Reply::Answer { status, body: format!("{body}\n"), delay: Duration::ZERO };
        if let Some(mood) = self.order(request) {
            self.mood.set(mood);
            return at_once(200, &format!("{} is now {}", self.name, mood.as_str()));
        }
        match self.mood.get() {
            Mood::HangingUp => Reply::HangUp,
            Mood::Refusing => at_once(503, &format!("{} is broken", self.name)),
            Mood::Well if request.path() == b"/healthz" => at_once(200, "well"),
            Mood::Well => {
                self.served.set(self.served.get() + 1);
                let body = json!({
                    "upstream": self.name,
                    "delay_ms": self.delay.as_millis(),
                    "path": String::from_utf8_lossy(request.path()),
                    "served": self.served.get(),
                });
                Reply::Answer { status: 200, body: format!("{body}\n"), delay: self.delay }
            }
        }
    }

    /// The mood that the request orders. Only whoever talks to us directly may: behind Ringway nobody could know which
    /// of the three it would hit.
    fn order(&self, request: Request<'_>) -> Option<Mood> {
        let direct = request.authority() == self.addr.to_string().as_bytes();
        if !direct || request.head.method != Method::Post {
            return None;
        }
        match (request.path(), request.query()) {
            (b"/heal", _) => Some(Mood::Well),
            (b"/break", Some(b"how=close")) => Some(Mood::HangingUp),
            (b"/break", _) => Some(Mood::Refusing),
            _ => None,
        }
    }
}

impl Mood {
    fn as_str(self) -> &'static str {
        match self {
            Mood::Well => "well",
            Mood::Refusing => "broken: it answers 503",
            Mood::HangingUp => "broken: it hangs up",
        }
    }
}

/// The bytes of an answer.
pub(super) fn write(out: &mut Vec<u8>, status: u16, body: &str, with_body: bool, keep_alive: bool) {
    let (reason, kind): (&[u8], &[u8]) = match status {
        200 => {
            (b"OK", if body.starts_with('{') { b"application/json" } else { b"text/plain; charset=utf-8" })
        }
        400 => (b"Bad Request", b"text/plain; charset=utf-8"),
        _ => (b"Service Unavailable", b"text/plain; charset=utf-8"),
    };
    encode::status_line(out, status, reason);
    encode::field(out, b"Content-Type", kind);
    encode::content_length(out, body.len() as u64);
    if !keep_alive {
        encode::field(out, b"Connection", b"close");
    }
    encode::end(out);
    if with_body {
        out.extend_from_slice(body.as_bytes());
    }
}
