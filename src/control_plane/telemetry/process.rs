//! What the kernel says about this process, from /proc.

use std::fs;

/// Resources of the process. A number that cannot be read is `None` and left out of the metrics.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Memory that is really there, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Open descriptors.
    pub(crate) open_fds: Option<u64>,
    /// Limit of open descriptors (RLIMIT_NOFILE, the soft one).
    pub(crate) max_fds: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
}

impl Process {
    pub(crate) fn read() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Process {
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: number_after(&status, "Threads:"),
            max_fds: number_after(&limits, "Max open files"),
            // The directory that is being read is one of them.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as u64),
        }
    }
}

/// The first number in the line that begins with `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_this_process_are_plausible() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.open_fds.is_some_and(|fds| fds >= 3), "{process:?}");
        assert!(process.max_fds >= process.open_fds, "{process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1), "{process:?}");
    }

    #[test]
    fn an_unlimited_or_missing_number_is_none() {
        assert_eq!(
            number_after("Max open files            unlimited            unlimited", "Max open files"),
            None
        );
        assert_eq!(number_after("", "VmRSS:"), None);
        assert_eq!(number_after("VmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
    }
}
