//! Where the time of an exchange went.
//!
//! An exchange carries one monotonic mark per step. A step that did not happen takes no time, so the durations between
//! the marks always add up to the total.

use base::Instant;
use std::time::Duration;

/// A step of an exchange, named after what the time before its mark was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// TLS handshake; only in the first exchange of a connection.
    Tls,
    /// From the first byte of the head to its last.
    Head,
    /// Choosing the route.
    Route,
    /// Request filters, with the I/O that they asked for.
    Filter,
    /// Attempts that failed before the one that answered, with the pauses between them.
    Retry,
    /// Waiting for a place at the upstream, because it had all the requests that it may have.
    Queue,
    /// Choosing an endpoint and obtaining a connection to it.
    Connect,
    /// Writing the request head (and the body as far as it was known) to the upstream.
    Send,
    /// Waiting for the first byte of the response.
    Wait,
    /// From the first to the last byte of the response.
    Receive,
    /// From the last upstream byte to the last byte handed to the client's socket.
    Deliver,
}

impl Phase {
    /// All phases in the order in which they happen.
    pub const ALL: [Phase; 11] = [
        Phase::Tls,
        Phase::Head,
        Phase::Route,
        Phase::Filter,
        Phase::Retry,
        Phase::Queue,
        Phase::Connect,
        Phase::Send,
        Phase::Wait,
        Phase::Receive,
        Phase::Deliver,
    ];

    /// Name in log fields (`tls_us`) and metric labels (`phase="tls"`).
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Tls => "tls",
            Phase::Head => "head",
            Phase::Route => "route",
            Phase::Filter => "filter",
            Phase::Retry => "retry",
            Phase::Queue => "queue",
            Phase::Connect => "connect",
            Phase::Send => "send",
            Phase::Wait => "wait",
            Phase::Receive => "receive",
            Phase::Deliver => "deliver",
        }
    }
}

/// The marks of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    start: Instant,
    /// End of each phase; earlier than its predecessor's end when the phase did not happen.
    ends: [Instant; Phase::ALL.len()],
}

impl Phases {
    /// An exchange whose first byte (or connection) arrived at `start`.
    pub fn new(start: Instant) -> Self {
        Phases { start, ends: [start; Phase::ALL.len()] }
    }

    /// When the exchange began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The phase ended at `now`. Marking a phase again moves its end: the last attempt counts.
    pub fn mark(&mut self, phase: Phase, now: Instant) {
        self.ends[phase as usize] = now;
    }

    /// Forgets what a failed attempt marked; its time becomes [`Phase::Retry`].
    pub fn retry(&mut self, now: Instant) {
        self.mark(Phase::Retry, now);
        for phase in &Phase::ALL[Phase::Queue as usize..] {
            self.ends[*phase as usize] = self.start;
        }
    }

    /// Duration of each phase, in the order of [`Phase::ALL`]. Their sum is [`Phases::total`].
    pub fn durations(&self) -> [Duration; Phase::ALL.len()] {
        let mut reached = self.start;
        self.ends.map(|end| {
            let end = end.max(reached);
            let spent = end.since(reached);
            reached = end;
            spent
        })
    }

    /// From the start to the latest mark.
    pub fn total(&self) -> Duration {
        self.ends.iter().max().map_or(Duration::ZERO, |end| end.since(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn durations_add_up_to_the_total_even_when_steps_are_missing() {
        let mut phases = Phases::new(at(10));
        phases.mark(Phase::Head, at(12));
        phases.mark(Phase::Connect, at(20));
        phases.mark(Phase::Deliver, at(50));
        assert_eq!(phases.durations().iter().sum::<Duration>(), phases.total());
        assert_eq!(phases.total(), Duration::from_millis(40));
    }

    #[test]
    fn time_of_a_failed_attempt_is_retry_time() {
        let mut phases = Phases::new(at(0));
        phases.mark(Phase::Head, at(1));
        phases.mark(Phase::Connect, at(5));
        phases.mark(Phase::Wait, at(30));
        phases.retry(at(31));
        phases.mark(Phase::Connect, at(33));
        phases.mark(Phase::Deliver, at(40));
        let spent = phases.durations();
        assert_eq!(spent[Phase::Retry as usize], Duration::from_millis(30));
        assert_eq!(spent[Phase::Connect as usize], Duration::from_millis(2));
        assert_eq!(spent.iter().sum::<Duration>(), phases.total());
    }
}
