//! What has happened in a simulated world: a hash over everything, and the last part of it as text.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use base::time::Instant;

/// Steps kept as text.
const RECENT_MAX: usize = 2000;

#[derive(Clone, Copy)]
struct Step {
    at: Instant,
    what: &'static str,
    fd: RawFd,
    amount: i64,
}

pub(super) struct Trace {
    hash: u64,
    steps: u64,
    recent: VecDeque<Step>,
}

impl Trace {
    pub(super) fn new() -> Trace {
        // The offset of FNV-1a.
        Trace { hash: 0xcbf2_9ce4_8422_2325, steps: 0, recent: VecDeque::new() }
    }

    pub(super) fn note(&mut self, at: Instant, what: &'static str, fd: RawFd, amount: i64) {
        self.steps += 1;
        let numbers = [at.as_nanos(), u64::from(fd.cast_unsigned()), amount.cast_unsigned()];
        let bytes = numbers.into_iter().flat_map(u64::to_le_bytes).chain(what.bytes());
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Step { at, what, fd, amount });
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The last steps, one per line: milliseconds, descriptor, what, amount (bytes, or a negative error number).
    pub(super) fn recent(&self) -> Vec<String> {
        let line = |step: &Step| {
            #[expect(clippy::cast_precision_loss, reason = "for reading")]
            let millis = step.at.as_nanos() as f64 / 1e6;
            format!("{millis:14.4} ms  fd {:3}  {} {}", step.fd, step.what, step.amount)
        };
        self.recent.iter().map(line).collect()
    }
}
