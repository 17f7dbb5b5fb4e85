//! Who sends a request to the admin API, as an audit line names them.

use std::fmt;
use std::net::SocketAddr;
use tokio::net::UnixStream;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Ip(SocketAddr),
    /// User and process at the other end of a Unix socket, as the kernel says.
    Unix {
        uid: u32,
        pid: Option<i32>,
    },
    /// The kernel does not say.
    Unknown,
}

impl Peer {
    pub(super) fn of_unix(stream: &UnixStream) -> Peer {
        stream.peer_cred().map_or(Peer::Unknown, |cred| Peer::Unix { uid: cred.uid(), pid: cred.pid() })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(addr) => addr.fmt(f),
            Peer::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Peer::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}
