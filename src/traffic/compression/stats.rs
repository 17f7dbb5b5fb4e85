//! What is counted of compression.

use super::Kept;
use base::stat::Counter;
use wire::http::Coding;

/// Part of [`crate::stats::WorkerStats`]; one writer, its worker.
#[derive(Debug, Default)]
pub struct CompressionStats {
    /// By [`Coding`].
    codings: [OfCoding; Coding::ALL.len()],
    /// By [`Kept`].
    kept: [Counter; Kept::ALL.len()],
    /// Gauge: what the compressors under way may allocate.
    pub lent_bytes: Counter,
}

/// Responses in one coding.
#[derive(Debug, Default)]
pub struct OfCoding {
    pub responses: Counter,
    /// Payload before and after.
    pub bytes_in: Counter,
    pub bytes_out: Counter,
}

impl CompressionStats {
    pub fn of(&self, coding: Coding) -> &OfCoding {
        &self.codings[coding as usize]
    }

    /// Counts a response that stayed as it was.
    pub fn keep(&self, why: Kept) {
        self.kept[why as usize].add(1);
    }

    /// Responses that stayed as they were.
    pub fn kept(&self, why: Kept) -> u64 {
        self.kept[why as usize].get()
    }
}
