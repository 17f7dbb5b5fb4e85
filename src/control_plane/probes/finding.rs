//! Why an endpoint did not pass.

use std::fmt;
use std::io;
use std::time::Duration;
use wire::h1::{BodyError, HeadError};

/// What a check found wrong.
#[derive(Debug)]
pub(crate) enum Finding {
    /// No connection, or it broke.
    Io(io::Error),
    /// The connection ended before the answer did.
    Ended,
    /// No complete answer in time.
    TooSlow { timeout: Duration },
    /// The answer is not valid HTTP.
    Head(HeadError),
    /// The body of the answer is not valid HTTP.
    Body(BodyError),
    /// The answer is valid but not one that is expected.
    Status(u16),
    /// The body does not contain what it should.
    Text,
    /// The answer is not valid HTTP/2.
    Http2(String),
    /// The call failed, with a code of gRPC and what the server said about it.
    Call { code: u32, message: String },
    /// The answer is not the message that it should be.
    Message,
    /// The service does not serve.
    NotServing(&'static str),
    /// The datagram that answered does not contain what it should.
    Datagram,
    /// The check itself cannot be prepared.
    Unprepared(String),
}

impl Finding {
    /// Whether it was this process that lacked something: that says nothing about the endpoint.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Finding::Io(error) => error.raw_os_error().is_some_and(|number| OURS.contains(&number)),
            _ => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Io(error) => error.fmt(f),
            Finding::Ended => f.write_str("the connection ended before the answer did"),
            Finding::TooSlow { timeout } => write!(f, "no complete answer within {} ms", timeout.as_millis()),
            Finding::Head(error) => write!(f, "invalid answer: {}", error.reason()),
            Finding::Body(error) => write!(f, "invalid body: {error:?}"),
            Finding::Status(status) => write!(f, "answered {status}"),
            Finding::Text => f.write_str("the body does not contain the expected text"),
            Finding::Http2(error) => write!(f, "invalid HTTP/2: {error}"),
            Finding::Call { code, message } if message.is_empty() => {
                write!(f, "gRPC status {code} ({})", code_name(*code))
            }
            Finding::Call { code, message } => {
                write!(f, "gRPC status {code} ({}): {message}", code_name(*code))
            }
            Finding::Message => f.write_str("invalid answer: no HealthCheckResponse"),
            Finding::NotServing(status) => write!(f, "answered {status}"),
            Finding::Datagram => f.write_str("the answer does not contain what is expected"),
            Finding::Unprepared(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Finding {
    fn from(error: io::Error) -> Self {
        Finding::Io(error)
    }
}

/// Names of the codes that a health check can meet.
fn code_name(code: u32) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND: it does not know the service",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        12 => "UNIMPLEMENTED: it has no health service",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "see the list of gRPC",
    }
}

/// ENOMEM, ENFILE, EMFILE, EADDRINUSE (no port for a source address), EADDRNOTAVAIL, ENOBUFS.
const OURS: [i32; 6] = [12, 23, 24, 98, 99, 105];
