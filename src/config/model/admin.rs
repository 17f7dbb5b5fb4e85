//! The process itself: workers, driver, admin listener, access log, what is remembered.

use super::Origin;
use crate::literal::{Address, Bytes, Percent, words};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::num::NonZeroU16;
use std::path::PathBuf;

/// How many worker threads serve traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One per CPU that the affinity mask and the cgroup quota leave us.
    #[default]
    Auto,
    /// Exactly so many, 1 to 1024.
    Count(NonZeroU16),
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Workers::Auto => serializer.serialize_str("auto"),
            Workers::Count(count) => serializer.serialize_u16(count.get()),
        }
    }
}

words! {
    /// The I/O driver of the workers.
    pub enum Io {
        /// io_uring where the kernel allows it, else epoll, with one log line that says why.
        Auto = "auto",
        /// io_uring or refuse to start.
        IoUring = "io_uring",
        /// epoll, without probing.
        Epoll = "epoll",
    }
    default Auto;
}

/// Where the admin API listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Admin {
    /// Addresses; empty switches the admin API off, the default.
    #[serde(rename = "bind", skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Address>,
    #[serde(skip)]
    pub origin: Origin,
}

/// Where and how finished exchanges are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AccessLog {
    #[serde(flatten)]
    pub target: AccessLogTarget,
    /// Default: one JSON object per line.
    pub format: AccessLogFormat,
    #[serde(skip)]
    pub origin: Origin,
}

/// Who takes the lines of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogTarget {
    /// Nobody: the data plane does not build records at all. The default.
    #[default]
    #[serde(serialize_with = "yes")]
    #[schemars(with = "bool")]
    Off,
    /// Standard output.
    #[serde(serialize_with = "yes")]
    #[schemars(with = "bool")]
    Stdout,
    /// Appended to this file, which SIGUSR1 opens anew.
    File(PathBuf),
}

/// Serialises a target without further data as the flag that it is in the text.
fn yes<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

/// What is kept in memory of finished exchanges, for `ringway why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Decisions {
    /// Of each worker; `0B` keeps nothing. Default 256 KiB.
    pub memory: Bytes,
    /// Share of the requests that went well; all others are kept. Default 1 %.
    pub sample: Percent,
}

impl Decisions {
    /// Room for a few decisions at least.
    pub(crate) const MEMORY_MIN: Bytes = Bytes(16 << 10);
    pub(crate) const MEMORY_MAX: Bytes = Bytes(64 << 20);
}

impl Default for Decisions {
    fn default() -> Self {
        Decisions { memory: Bytes(256 << 10), sample: Percent::whole(1) }
    }
}

words! {
    /// The form of an access-log line.
    pub enum AccessLogFormat {
        /// One JSON object per line, with cause and phase times.
        Json = "json",
        /// The combined format of Apache httpd and nginx.
        Combined = "combined",
    }
    default Json;
}
