//! Which driver this process can use, and why not the better one.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use crate::driver::ring::kernel::{BUFFER_GROUP, Kernel};
use crate::leases::Leases;
use crate::options::Options;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or no start.
    IoUring,
    /// epoll, without looking at io_uring.
    Epoll,
}

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverKind {
    IoUring,
    Epoll,
    Simulated,
}

impl DriverKind {
    /// The name in the configuration, the status and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DriverKind::IoUring => "io_uring",
            DriverKind::Epoll => "epoll",
            DriverKind::Simulated => "simulated",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The driver to use on every worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub kind: DriverKind,
    /// Why epoll was chosen although io_uring was wanted: the errno's name and the cure, one line for operators.
    pub reason: Option<String>,
}

/// Why the driver that was asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// io_uring was forced; the text names the errno and the cure.
    IoUringUnavailable(String),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::IoUringUnavailable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Chooses a driver. Call it once, at start; it sets up and tears down a real ring.
pub fn probe(choice: IoChoice) -> Result<Selection, ProbeError> {
    if choice == IoChoice::Epoll {
        return Ok(Selection { kind: DriverKind::Epoll, reason: None });
    }
    match try_ring() {
        Ok(()) => Ok(Selection { kind: DriverKind::IoUring, reason: None }),
        Err(error) => {
            let reason = explain(&error);
            match choice {
                IoChoice::IoUring => Err(ProbeError::IoUringUnavailable(reason)),
                IoChoice::Auto | IoChoice::Epoll => {
                    Ok(Selection { kind: DriverKind::Epoll, reason: Some(reason) })
                }
            }
        }
    }
}

/// Does once, on a small scale, everything that the driver stands on: the flags, a ring of provided buffers, a receive
/// that takes one, on a socket pair of its own.
fn try_ring() -> io::Result<()> {
    let entries = Options::default().ring_entries;
    let (reader, mut writer) = UnixStream::pair()?;
    writer.write_all(b"!")?;
    let leases = Leases::new(8, 4096)?;
    let mut kernel = Kernel::new(entries)?;
    // SAFETY: `kernel` is declared after `leases`, so it is dropped first; the one operation has ended by then, or
    // `leases` is kept for ever.
    unsafe { kernel.lend(&leases) }?;
    let receive = opcode::Recv::new(Fd(reader.as_raw_fd()), std::ptr::null_mut(), 0).buf_group(BUFFER_GROUP);
    // SAFETY: the entry names no memory; the kernel takes a lease.
    unsafe { kernel.push(receive.build().flags(squeue::Flags::BUFFER_SELECT)) };
    kernel.enter(Some(Duration::from_secs(1)))?;
    let mut room = [const { MaybeUninit::uninit() }; 1];
    match kernel.completions(&mut room) {
        [entry] if entry.result() == 1 && cqueue::buffer_select(entry.flags()).is_some() => Ok(()),
        [entry] if entry.result() < 0 => Err(io::Error::from_raw_os_error(-entry.result())),
        [_] => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        _ => {
            std::mem::forget(leases);
            Err(io::Error::from_raw_os_error(libc::ETIME))
        }
    }
}

/// One line for operators: what is missing, and what to do.
fn explain(error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    explain_errno(error, disabled, locked_bytes_max())
}

fn explain_errno(error: &io::Error, disabled: u32, locked_bytes_max: u64) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "io_uring is not part of this kernel or hidden by its sandbox (ENOSYS); \
            use Linux 6.1 or newer and allow io_uring_setup, io_uring_enter and io_uring_register"
            .to_owned(),
        Some(libc::EPERM) if disabled > 0 => format!(
            "io_uring is disabled (EPERM, kernel.io_uring_disabled={disabled}); \
             set it to 0 or run with CAP_SYS_ADMIN"
        ),
        Some(libc::EPERM | libc::EACCES) => "io_uring is forbidden (EPERM), as in most containers; allow \
            io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
            .to_owned(),
        Some(libc::ENOMEM) => format!(
            "io_uring needs more locked memory than is allowed (ENOMEM, RLIMIT_MEMLOCK is {} KiB); \
             raise it to 1024 KiB per worker (LimitMEMLOCK= in the systemd unit)",
            locked_bytes_max >> 10
        ),
        Some(libc::EINVAL) => {
            "io_uring of this kernel lacks a needed feature (EINVAL); use Linux 6.1 or newer".to_owned()
        }
        _ => format!("io_uring cannot be used ({error}); set io \"epoll\" to do without it"),
    }
}

fn locked_bytes_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    limit.rlim_cur
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small constants of the kernel's interface")]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_the_errno_and_the_cure() {
        let cases = [
            (libc::ENOSYS, 0, "ENOSYS", "6.1"),
            (libc::EPERM, 2, "kernel.io_uring_disabled=2", "CAP_SYS_ADMIN"),
            (libc::EPERM, 0, "EPERM", "seccomp profile"),
            (libc::ENOMEM, 0, "RLIMIT_MEMLOCK is 64 KiB", "LimitMEMLOCK"),
            (libc::EINVAL, 0, "EINVAL", "6.1"),
            (libc::EMFILE, 0, "os error 24", "epoll"),
        ];
        for (errno, disabled, what, cure) in cases {
            let text = explain_errno(&io::Error::from_raw_os_error(errno), disabled, 64 << 10);
            assert!(text.contains(what) && text.contains(cure) && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn a_sandbox_without_io_uring_gets_epoll_or_a_clear_refusal() {
        // The filter binds this thread only.
        let thread = std::thread::spawn(|| {
            forbid_io_uring();
            (probe(IoChoice::Auto), probe(IoChoice::IoUring), probe(IoChoice::Epoll))
        });
        let (auto, forced, epoll) = thread.join().expect("ended");
        let auto = auto.expect("falls back");
        assert_eq!(auto.kind, DriverKind::Epoll);
        assert!(auto.reason.is_some_and(|reason| reason.contains("EPERM")));
        assert!(forced.is_err_and(|error| error.to_string().contains("EPERM")));
        assert_eq!(epoll.map(|selection| selection.reason), Ok(None));
    }

    /// Installs a seccomp filter that answers EPERM to io_uring_setup, as container runtimes do.
    fn forbid_io_uring() {
        let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32, 0, 1),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program and its filter live through the calls; they restrict the calling thread only.
        let results = unsafe {
            let private = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let filtered = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
            (private, filtered)
        };
        assert_eq!(results, (0, 0), "{}", io::Error::last_os_error());
    }
}
