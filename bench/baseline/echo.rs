//! Sends back what it receives.

use std::io;

use crate::connection::Connection;

/// Serves one connection until its peer ends it.
pub(crate) async fn serve<C: Connection>(mut connection: C) -> io::Result<()> {
    loop {
        let bytes = connection.receive().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        connection.send(bytes).await?;
    }
}
