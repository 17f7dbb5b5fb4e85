//! What a client may do with HTTP/2: counted on the frames as they pass, before and behind whoever understands them.
//!
//! Frames are cheap to send and can be dear to receive. [`Meter`] reads nothing but their nine-byte heads, in both
//! directions, and says when a client has asked for too much. It is the only thing here: heads, flow control and the
//! states of streams are the business of the crate `http2`.

mod frames;
mod meter;
#[cfg(test)]
mod tests;

pub use meter::{Breach, Counts, Meter, Taken};

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
