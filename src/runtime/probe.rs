//! Which driver this process can use, and why not the better one.

use std::fmt;

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
    let unavailable = "io_uring driver is not part of this build".to_owned();
    match choice {
        IoChoice::Epoll => Ok(Selection { kind: DriverKind::Epoll, reason: None }),
        IoChoice::Auto => Ok(Selection { kind: DriverKind::Epoll, reason: Some(unavailable) }),
        IoChoice::IoUring => Err(ProbeError::IoUringUnavailable(unavailable)),
    }
}
