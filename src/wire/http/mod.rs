//! The version-neutral HTTP message: what routing, filters and balancing see.
//!
//! A head never owns copies of names and values. It holds [`Span`]s into the bytes it was parsed from, and the two
//! travel together as [`Request`] or [`Response`]. Heads are reused from exchange to exchange.

mod coding;
mod field;
mod message;
mod method;

pub use coding::{Coding, preferred};
pub use field::{Field, FieldFlags, Known};
pub use message::{BodyLength, Request, RequestHead, Response, ResponseHead, TargetForm};
pub use method::Method;

/// A range of the bytes that a head was parsed from. Offsets are `u32`: heads are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// The empty span.
    pub const EMPTY: Span = Span { start: 0, len: 0 };

    /// The bytes of the span; empty when `bytes` is not what the span was made for.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.len as usize).unwrap_or_default()
    }

    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// HTTP versions that Ringway tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
    Http3,
}

impl Version {
    /// As in the access log: `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
            Version::Http3 => "HTTP/3",
        }
    }
}
