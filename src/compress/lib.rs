//! Content codings: how is a body made smaller while it passes?
//!
//! Bytes in, bytes out: a [`Compressor`] codes one body, piece by piece, and says nothing about fields, sockets or time.
//! [`Pool`] bounds what a worker spends on them and keeps what they have allocated.
#![forbid(unsafe_code)]

mod pool;
mod stream;

pub use pool::{Borrowed, Pool};
pub use stream::{Broken, Compressor, Effort, memory_bytes};

#[cfg(test)]
mod tests;
