//! HTTP/1.1 on the wire: strict readers of heads and bodies, the serialiser, and the rules of a connection.
//!
//! What is forwarded is written from the parsed form alone, never from received bytes (R27), and everything that two
//! parsers could read differently is refused. Not here: sockets, timers, routing, what to answer.
//!
//! ```text
//! bytes ─▶ scan ─▶ line, fields ─▶ request │ response ─▶ body ─▶ encode ─▶ bytes
//!          (line ends, lengths)   (framing, host, path)   (chunked)
//! ```

mod body;
mod bytes;
mod chunk;
mod connection;
pub mod encode;
mod error;
mod fields;
mod host;
mod line;
pub mod machine;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod request;
mod response;
mod scan;
mod target;
#[cfg(test)]
mod tests;
pub mod trailer;

pub use body::{BodyError, BodyPart, BodyReader};
pub use error::HeadError;
pub use request::RequestReader;
pub use response::ResponseReader;

/// How far the reading of a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head is complete and took so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Partial,
}
