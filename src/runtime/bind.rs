//! Listening sockets before they belong to a worker: bound once, by any thread, and handed over.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use base::addr::Addr;

use crate::sys::{self, End, SockAddr};

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Connections that the kernel keeps until they are accepted. Default 4096 (the kernel caps it at somaxconn).
    pub backlog: u32,
    /// Lets every worker listen with a socket of its own (SO_REUSEPORT, IP only). Default true.
    pub reuse_port: bool,
    /// For a Unix socket with a file.
    pub file: FileOptions,
}

/// Permissions and owner of the file of a Unix socket, set before anybody can connect; `None` leaves what the kernel makes of
/// umask and user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    pub mode: Option<u32>,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Default for BindOptions {
    fn default() -> Self {
        BindOptions { backlog: 4096, reuse_port: true, file: FileOptions::default() }
    }
}

/// A listening socket that no worker has taken yet. Closing it does not remove a Unix socket's file.
#[derive(Debug)]
pub struct Bound {
    socket: Held,
    addr: Addr,
    /// Other workers accept from the same queue.
    shared: bool,
}

#[derive(Debug)]
enum Held {
    Kernel(OwnedFd),
    /// A listener of a simulated network, by its number there.
    Simulated(RawFd),
}

impl Bound {
    /// The address with the port that the kernel chose.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// A second descriptor of the same socket, with the same queue of connections.
    pub fn try_clone(&self) -> io::Result<Bound> {
        let Held::Kernel(fd) = &self.socket else { return Err(io::ErrorKind::Unsupported.into()) };
        Ok(Bound { socket: Held::Kernel(fd.try_clone()?), addr: self.addr.clone(), shared: self.shared })
    }

    /// `count` descriptors of this socket, one for each of as many workers, which accept from one queue.
    pub fn share(mut self, count: usize) -> io::Result<Vec<Bound>> {
        self.shared = count > 1;
        let mut all = (1..count).map(|_| self.try_clone()).collect::<io::Result<Vec<_>>>()?;
        all.push(self);
        Ok(all)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Takes over a socket that already listens, from another process for example.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Bound> {
        let addr = sys::address(fd.as_raw_fd(), End::Local);
        let addr =
            addr.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"))?;
        Ok(Bound { socket: Held::Kernel(fd), addr, shared: false })
    }

    /// Gives the descriptor away; `Unsupported` when the network is simulated.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        match self.socket {
            Held::Kernel(fd) => Ok(fd),
            Held::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A socket of the kernel whose address is known.
    pub(crate) fn kernel(socket: OwnedFd, addr: Addr) -> Bound {
        Bound { socket: Held::Kernel(socket), addr, shared: false }
    }

    pub(crate) fn simulated(number: RawFd, addr: Addr) -> Bound {
        Bound { socket: Held::Simulated(number), addr, shared: false }
    }

    /// The listener's number in its simulated network; `Unsupported` for a socket of the kernel.
    pub(crate) fn into_simulated(self) -> io::Result<RawFd> {
        match self.socket {
            Held::Simulated(number) => Ok(number),
            Held::Kernel(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Binds and listens. TCP_NODELAY is set here and inherited by every accepted connection.
///
/// A Unix socket's file that is left over from a process that is gone is replaced; if somebody answers on it, the error
/// is `AddrInUse`.
pub fn bind(addr: &Addr, options: BindOptions) -> io::Result<Bound> {
    let to = SockAddr::new(addr)?;
    let socket = sys::stream_socket(to.family(), false)?;
    let fd = socket.as_raw_fd();
    match addr {
        Addr::Ip(ip) => {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1_i32)?;
            if options.reuse_port {
                sys::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1_i32)?;
            }
            if ip.is_ipv6() {
                sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1_i32)?;
            }
            sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1_i32)?;
        }
        Addr::Unix(path) if addr.has_file() => remove_stale(path, &to)?,
        Addr::Unix(_) => {}
        // `SockAddr::new` has refused it.
        Addr::Passed(_) => {}
    }
    sys::bind(fd, &to)?;
    // Nobody can connect before `listen`.
    if let Addr::Unix(path) = addr
        && addr.has_file()
    {
        options.file.apply(path)?;
    }
    sys::listen(fd, i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let addr = match addr {
        Addr::Unix(_) | Addr::Passed(_) => addr.clone(),
        Addr::Ip(_) => sys::address(fd, End::Local).unwrap_or_else(|| addr.clone()),
    };
    Ok(Bound { socket: Held::Kernel(socket), addr, shared: false })
}

impl FileOptions {
    fn apply(self, path: &Path) -> io::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            std::os::unix::fs::chown(path, self.user, self.group)?;
        }
        match self.mode {
            Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

/// Removes the file of a Unix socket on which nobody listens.
fn remove_stale(path: &Path, to: &SockAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        // Other files are left alone; binding reports them.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = sys::stream_socket(to.family(), true)?;
    match sys::connect(probe.as_raw_fd(), to) {
        Err(libc::ECONNREFUSED) => fs::remove_file(path),
        Err(libc::ENOENT) => Ok(()),
        // Connected, or refused because the queue is full: there is somebody.
        Ok(()) | Err(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}
