//! What a worker has shed, and how hard pressed it is.

use base::stat::Counter;

/// Part of [`crate::stats::WorkerStats`]; one writer, its worker.
#[derive(Debug, Default)]
pub struct ShedStats {
    /// Gauge: [`super::Level`] as a number.
    pub level: Counter,
    /// Gauge: pressure on memory and descriptors, in thousandths.
    pub space: Counter,
    /// Gauge: pressure on time, in thousandths.
    pub time: Counter,
    /// Gauge: nanoseconds that ready work waits at the least.
    pub lag_nanos: Counter,
    /// Gauge: since when (in nanoseconds) accepting is paused because of pressure; 0 while it is not.
    pub paused_since: Counter,
    /// Idle client connections closed before their timeout.
    pub idle_closed: Counter,
    /// Idle client connections closed at once.
    pub idle_evicted: Counter,
    /// Client connections that were not kept after a response.
    pub not_kept: Counter,
    /// Idle upstream connections closed.
    pub upstream_closed: Counter,
    /// Attempts not repeated.
    pub not_repeated: Counter,
    /// Stalled exchanges reset.
    pub stalled_reset: Counter,
    /// Requests refused.
    pub refused: Counter,
    /// Times that accepting paused.
    pub accept_paused: Counter,
    /// Gauge: nanoseconds at which the present turn began; 0 while the worker waits.
    pub turn_began: Counter,
    /// Turns that took longer than a second.
    pub long_turns: Counter,
    /// Gauge: nanoseconds of the last of them.
    pub long_turn_nanos: Counter,
    /// Times that the process stood still and its deadlines were moved.
    pub gaps: Counter,
}
