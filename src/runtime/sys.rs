//! The system calls on sockets that complete at once, with Rust types on our side.
//!
//! What waits for a peer is not here: that belongs to the drivers.

#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes of the kernel's own structs, and address families"
)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use base::addr::Addr;
use base::time::Instant;
use libc::{c_int, c_void, socklen_t};

/// The result of a system call that returns -1 and sets `errno`.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The `errno` of the last failed call.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// CLOCK_MONOTONIC, which all workers of the process (and of the machine) share.
pub(crate) fn clock() -> Instant {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut at) };
    Instant::from_nanos(at.tv_sec.unsigned_abs() * 1_000_000_000 + at.tv_nsec.unsigned_abs())
}

/// Accepts a connection if one is waiting; leaves the listener in non-blocking mode.
pub(crate) fn accept_now(listener: RawFd, nonblocking: bool) -> Option<RawFd> {
    set_nonblocking(listener, true).ok()?;
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: null pointers tell the kernel that the peer's address is not wanted.
    let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    (fd >= 0).then_some(fd)
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut at) };
    Duration::from_secs(at.tv_sec.unsigned_abs()) + Duration::from_nanos(at.tv_nsec.unsigned_abs())
}

/// Size of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: no memory is passed.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// The wall clock in nanoseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut at) };
    at.tv_sec.unsigned_abs() * 1_000_000_000 + at.tv_nsec.unsigned_abs()
}

/// A socket address as the kernel lays it out.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    storage: libc::sockaddr_storage,
    len: socklen_t,
}

/// Bytes of a Unix address before its name.
const UNIX_NAME_AT: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

impl SockAddr {
    /// A Unix path that begins with `@` is a name without a file (unix(7), abstract sockets).
    ///
    /// Fails for Unix paths that do not fit (107 bytes), and for sockets that are open already.
    pub(crate) fn new(addr: &Addr) -> io::Result<SockAddr> {
        match addr {
            Addr::Ip(addr) => Ok(SockAddr::ip(*addr)),
            Addr::Unix(path) => {
                let bytes = path.as_os_str().as_bytes();
                // SAFETY: all-zero is a valid `sockaddr_un`.
                let mut unix: libc::sockaddr_un = unsafe { std::mem::zeroed() };
                if bytes.len() >= unix.sun_path.len() || bytes.contains(&0) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "unix socket path is longer than 107 bytes",
                    ));
                }
                unix.sun_family = libc::AF_UNIX as u16;
                for (to, from) in unix.sun_path.iter_mut().zip(bytes) {
                    *to = from.cast_signed();
                }
                let mut len = UNIX_NAME_AT + bytes.len() + 1;
                if bytes.starts_with(b"@") {
                    // Such a name is as long as the address says; a zero at its end would belong to it.
                    unix.sun_path[0] = 0;
                    len -= 1;
                }
                Ok(SockAddr::store(unix, len))
            }
            Addr::Passed(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a passed socket has no address to use"))
            }
        }
    }

    pub(crate) fn ip(addr: SocketAddr) -> SockAddr {
        match addr {
            SocketAddr::V4(addr) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as u16,
                    sin_port: addr.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(addr.ip().octets()) },
                    sin_zero: [0; 8],
                };
                SockAddr::store(v4, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(addr) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: addr.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                    sin6_scope_id: addr.scope_id(),
                };
                SockAddr::store(v6, size_of::<libc::sockaddr_in6>())
            }
        }
    }

    /// Bytes that the kernel may write.
    pub(crate) const ROOM: socklen_t = size_of::<libc::sockaddr_storage>() as socklen_t;

    /// Room for whatever address the kernel writes.
    pub(crate) fn unspecified() -> SockAddr {
        // SAFETY: all-zero is a valid storage: an unspecified family.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        SockAddr { storage, len: SockAddr::ROOM }
    }

    fn store<T>(addr: T, len: usize) -> SockAddr {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        // SAFETY: `T` is one of the kernel's address structs, which fit (checked above) and are not more strictly
        // aligned than `sockaddr_storage`. All-zero plus such a struct is an initialised storage.
        let storage = unsafe {
            storage.as_mut_ptr().cast::<T>().write(addr);
            storage.assume_init()
        };
        SockAddr { storage, len: len as socklen_t }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// Where the kernel may write an address, of at most the size of a storage.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    pub(crate) fn ip_addr(&self) -> Option<SocketAddr> {
        self.to_addr()?.ip()
    }

    pub(crate) fn len(&self) -> socklen_t {
        self.len
    }

    pub(crate) fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    pub(crate) fn to_addr(self) -> Option<Addr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a `sockaddr_in`, as the family says; the storage is large and aligned enough.
                let v4 = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(Addr::Ip(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into()))
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote a `sockaddr_in6`, as the family says; the storage is large and aligned enough.
                let v6 = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Some(Addr::Ip(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into()))
            }
            libc::AF_UNIX => {
                // SAFETY: the kernel wrote a `sockaddr_un`, as the family says; the storage is large and aligned enough.
                let unix = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_un>() };
                let len = (self.len as usize).saturating_sub(UNIX_NAME_AT);
                let mut path: Vec<u8> = unix.sun_path.iter().take(len).map(|b| b.cast_unsigned()).collect();
                match path.first_mut() {
                    Some(first @ 0) => *first = b'@',
                    _ => path.truncate(path.iter().position(|&b| b == 0).unwrap_or(path.len())),
                }
                Some(Addr::Unix(PathBuf::from(std::ffi::OsStr::from_bytes(&path))))
            }
            _ => None,
        }
    }
}

/// Which end of a socket an address is asked for.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Local,
    Peer,
}

/// The address of one end; None when the socket is not connected any more or has no such address.
pub(crate) fn address(fd: RawFd, end: End) -> Option<Addr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as socklen_t;
    // SAFETY: `storage` and `len` are valid to write to, and `len` says how large `storage` is.
    let result = unsafe {
        match end {
            End::Local => libc::getsockname(fd, storage.as_mut_ptr().cast(), &mut len),
            End::Peer => libc::getpeername(fd, storage.as_mut_ptr().cast(), &mut len),
        }
    };
    // SAFETY: zeroed at first, so initialised whatever the kernel wrote.
    let storage = unsafe { storage.assume_init() };
    (result == 0).then_some(SockAddr { storage, len }).and_then(SockAddr::to_addr)
}

/// A new stream socket that is closed on exec.
pub(crate) fn stream_socket(family: c_int, nonblocking: bool) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, flags, 0) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new datagram socket that is closed on exec.
pub(crate) fn datagram_socket(family: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter that other threads increase to wake a worker; blocking, because it is read only when it is readable.
pub(crate) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets one option; `T` is the type that the option is documented with.
pub(crate) fn set_option<T: Copy>(fd: RawFd, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let (at, len) = ((&raw const value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `at` points to `len` bytes that live through the call.
    check(unsafe { libc::setsockopt(fd, level, name, at, len) }).map(drop)
}

/// The pending error of a socket, for connection attempts; 0 when it has none.
pub(crate) fn take_error(fd: RawFd) -> i32 {
    let (mut error, mut len) = (0_i32, size_of::<i32>() as socklen_t);
    // SAFETY: `error` is `len` bytes large and valid to write to.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &mut len) };
    if result == 0 { error } else { errno() }
}

/// An option that is a number.
pub(crate) fn number_of(fd: RawFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: `value` is `len` bytes large and valid to write to.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Keeps the descriptor from programs that this process starts.
pub(crate) fn set_close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Switches the descriptor between blocking (ring) and non-blocking (epoll) mode.
pub(crate) fn set_nonblocking(fd: RawFd, on: bool) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let wanted = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) }).map(drop)
}

/// Binds to `ip` without choosing a port yet: a port is taken when the connection is made, and the same one serves any
/// number of destinations.
pub(crate) fn bind_source(fd: RawFd, ip: IpAddr, transparent: bool) -> io::Result<()> {
    if transparent {
        match ip {
            IpAddr::V4(_) => set_option(fd, libc::SOL_IP, libc::IP_TRANSPARENT, 1_i32)?,
            IpAddr::V6(_) => set_option(fd, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1_i32)?,
        }
    }
    set_option(fd, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1_i32)?;
    bind(fd, &SockAddr::ip(SocketAddr::new(ip, 0)))
}

pub(crate) fn bind(fd: RawFd, addr: &SockAddr) -> io::Result<()> {
    // SAFETY: the address is valid for `len` bytes through the call.
    check(unsafe { libc::bind(fd, addr.as_ptr(), addr.len()) }).map(drop)
}

pub(crate) fn listen(fd: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// Starts connecting; on a non-blocking socket EINPROGRESS says that the result comes later.
pub(crate) fn connect(fd: RawFd, addr: &SockAddr) -> Result<(), i32> {
    // SAFETY: the address is valid for `len` bytes through the call.
    let result = unsafe { libc::connect(fd, addr.as_ptr(), addr.len()) };
    if result == 0 { Ok(()) } else { Err(errno()) }
}

/// Ends our direction; the peer reads end of file after the last byte.
pub(crate) fn shutdown_write(fd: RawFd) {
    // SAFETY: no memory is passed. A socket that is gone already needs no end.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Makes the coming close send RST and forget unsent bytes.
pub(crate) fn set_reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // Unix sockets have no RST; they close in the ordinary way.
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, linger);
}

/// Asks the kernel to probe an idle peer; times are rounded up to seconds.
pub(crate) fn set_keepalive(fd: RawFd, idle: Duration, interval: Duration, probes: u32) -> io::Result<()> {
    let seconds =
        |d: Duration| i32::try_from(d.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i32::MAX).max(1);
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1_i32)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds(idle))?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds(interval))?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, i32::try_from(probes).unwrap_or(i32::MAX).max(1))
}

/// Bytes that the peer's kernel has acknowledged; None without TCP.
pub(crate) fn acked_bytes(fd: RawFd) -> Option<u64> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as socklen_t;
    // SAFETY: `info` is `len` bytes large and valid to write to.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    let needed = std::mem::offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>();
    // SAFETY: zeroed at first, and every bit pattern is a valid `tcp_info`.
    let info = unsafe { info.assume_init() };
    (result == 0 && len as usize >= needed).then_some(info.tcpi_bytes_acked)
}

/// Bytes in the send queue of a TCP socket that the peer's kernel has not acknowledged; None without TCP.
///
/// The queue's numbers outlive the connection: after a reset they say what was acknowledged before it.
pub(crate) fn unacked_bytes(fd: RawFd) -> Option<u64> {
    // On a Unix socket the same call counts something else.
    acked_bytes(fd)?;
    let mut bytes: c_int = 0;
    // SAFETY: TIOCOUTQ (the same as SIOCOUTQ) writes one int, which lives through the call.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) }).ok()?;
    u64::try_from(bytes).ok()
}

/// What a receive would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peeked {
    Nothing,
    Bytes,
    End,
    Failed,
}

/// Looks at what the next receive would find, without taking it.
pub(crate) fn peek(fd: RawFd) -> Peeked {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one writable byte, which lives through the call.
    match unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) } {
        0 => Peeked::End,
        1.. => Peeked::Bytes,
        _ => match errno() {
            libc::EAGAIN | libc::EINTR => Peeked::Nothing,
            _ => Peeked::Failed,
        },
    }
}

/// Closes a descriptor that the caller owns and forgets.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: no memory is passed. Linux closes the descriptor even when it reports an error.
    unsafe { libc::close(fd) };
}

/// Adds one to an event counter.
pub(crate) fn signal(event: &OwnedFd) {
    let one = 1_u64;
    // SAFETY: eight readable bytes. It cannot block: the counter is read at least once per `notified`.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Resets an event counter that epoll has reported as readable.
pub(crate) fn take_signal(event: RawFd) {
    let mut count = 0_u64;
    // SAFETY: eight writable bytes.
    unsafe { libc::read(event, (&raw mut count).cast(), 8) };
}
