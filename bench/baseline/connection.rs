//! What the two servers need of a runtime. Buffers are owned, so that every runtime can do it its own way.

use std::io;
use std::ops::Deref;

/// Most bytes that one receive returns, with every runtime.
pub(crate) const RECEIVE_BYTES: usize = 16 << 10;

/// A connected socket.
pub(crate) trait Connection: Sized + 'static {
    /// What a receive returns and a send takes.
    type Bytes: Deref<Target = [u8]>;

    /// The next bytes; empty at the end of the stream.
    async fn receive(&mut self) -> io::Result<Self::Bytes>;

    /// All of `bytes`, as early as the runtime sees fit.
    async fn send(&mut self, bytes: Self::Bytes) -> io::Result<()>;

    /// Bytes that were collected from several receives.
    fn bytes(collected: Vec<u8>) -> Self::Bytes;
}

/// Makes connections to the origin.
pub(crate) trait Connect: 'static {
    type Connection: Connection;

    async fn connect(&self) -> io::Result<Self::Connection>;
}
