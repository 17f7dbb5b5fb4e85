//! Addresses that listeners bind and endpoints are reached at.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An IP socket, a Unix socket path, or a socket that is open already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    Ip(SocketAddr),
    Unix(PathBuf),
    /// A listening socket that the process was started with, by its name. Nothing can be connected to it by that.
    Passed(Box<str>),
}

impl Addr {
    /// Whether it is a Unix socket that is found by a file; those whose names begin with `@` are not.
    pub fn has_file(&self) -> bool {
        matches!(self, Addr::Unix(path) if !path.as_os_str().as_encoded_bytes().starts_with(b"@"))
    }

    /// The IP socket address, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Addr::Ip(addr) => Some(*addr),
            Addr::Unix(_) | Addr::Passed(_) => None,
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Ip(addr) => addr.fmt(f),
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Addr::Ip(addr)
    }
}
