//! HTTP/2 as streams of heads and bytes: the `h2` crate behind an interface of ours.
//!
//! `h2` frames, compresses and keeps the books of flow control. It needs neither a socket nor a runtime: it is polled,
//! and reads and writes through a [`Transport`]. Heads come out of it, and go into it, as the text that HTTP/1.1 has for
//! them, so that one strict parser and one writer of heads serve both versions, and nothing outside this crate knows the
//! types of `h2`, `http` or tokio's traits.
//!
//! Not here: what frames may cost (`wire::h2`), tasks, timeouts, routing.
#![forbid(unsafe_code)]

mod client;
mod head;
mod io;
mod outbound;
mod server;
#[cfg(test)]
mod tests;

pub use bytes::Bytes;
pub use client::{Connection, Failed, RequestStream, Requester, connect};
pub use head::HeadFault;
pub use io::Transport;
pub use server::{Accepted, Ended, Options, Server, ServerStream};

/// Why a connection or a stream ends, as the protocol tells it (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoError,
    Protocol,
    Internal,
    Refused,
    Cancel,
    EnhanceYourCalm,
}

impl From<Reason> for h2::Reason {
    fn from(reason: Reason) -> h2::Reason {
        match reason {
            Reason::NoError => h2::Reason::NO_ERROR,
            Reason::Protocol => h2::Reason::PROTOCOL_ERROR,
            Reason::Internal => h2::Reason::INTERNAL_ERROR,
            Reason::Refused => h2::Reason::REFUSED_STREAM,
            Reason::Cancel => h2::Reason::CANCEL,
            Reason::EnhanceYourCalm => h2::Reason::ENHANCE_YOUR_CALM,
        }
    }
}
