//! How slowly a client may send or take data before we give up on it.
//!
//! Only the time that we spend waiting for the client counts: a slow upstream never makes a client look slow.

use crate::crowd::Place;
use crate::downstream::ClientStream;
use crate::worker::Worker;
use base::Instant;
use runtime::{Runtime, Timer, race};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use traffic::snapshot::DownstreamTimeouts;

/// Progress of one direction of one exchange over the time spent waiting for it.
pub(crate) struct Pace {
    rate_min: u64,
    window: Duration,
    idle: Duration,
    waited: Duration,
    bytes: u64,
    /// What the client had acknowledged when we last looked.
    acked: Option<u64>,
}

impl Pace {
    /// For a request body.
    pub(crate) fn of_body(timeouts: &DownstreamTimeouts) -> Pace {
        Pace::new(timeouts.body_rate_min, timeouts.body_rate_window, timeouts.body_idle)
    }

    /// For a request body that is a stream of messages.
    pub(crate) fn of_stream(timeouts: &DownstreamTimeouts) -> Pace {
        Pace::new(0, timeouts.body_rate_window, timeouts.body_idle.max(timeouts.tunnel_idle))
    }

    /// For a response.
    pub(crate) fn of_response(timeouts: &DownstreamTimeouts) -> Pace {
        Pace::new(timeouts.send_rate_min, timeouts.send_rate_window, timeouts.send_idle)
    }

    fn new(rate_min: u64, window: Duration, idle: Duration) -> Pace {
        Pace { rate_min, window, idle, waited: Duration::ZERO, bytes: 0, acked: None }
    }

    /// How long the next wait may last before [`Pace::waited`] must be asked.
    pub(crate) fn patience(&self) -> Duration {
        if self.rate_min == 0 {
            return self.idle;
        }
        self.idle.min(self.window.saturating_sub(self.waited).max(Duration::from_millis(1)))
    }

    /// The longest silence.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// `bytes` arrived after a wait of `spent`. `Err` when the client is too slow.
    pub(crate) fn waited(&mut self, spent: Duration, bytes: u64) -> Result<(), TooSlow> {
        if bytes == 0 && spent >= self.idle {
            return Err(TooSlow);
        }
        self.waited += spent;
        self.bytes += bytes;
        if self.rate_min > 0 && self.waited >= self.window {
            let millis = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
            if self.bytes.saturating_mul(1000) < self.rate_min.saturating_mul(millis) {
                return Err(TooSlow);
            }
            self.waited = Duration::ZERO;
            self.bytes = 0;
        }
        Ok(())
    }
}

impl Pace {
    /// The client has acknowledged `acked` bytes in all after a wait of `spent`. The first call only sets the mark:
    /// asking the kernel before every wait would cost a system call for every response that is taken at once.
    fn acknowledged(&mut self, spent: Duration, acked: u64) -> Result<(), TooSlow> {
        match self.acked.replace(acked) {
            None => Ok(()),
            Some(before) => self.waited(spent, acked.saturating_sub(before)),
        }
    }
}

/// The beginning of a wait. Time in which the worker stood still is not waited: nobody looked whether bytes had come.
pub(crate) struct Wait {
    began: Instant,
    stood_still: Duration,
}

impl Wait {
    pub(crate) fn begin(rt: &Runtime) -> Wait {
        Wait { began: rt.now(), stood_still: rt.stood_still() }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// How long it has lasted.
    pub(crate) fn spent(&self, rt: &Runtime) -> Duration {
        rt.now().since(self.began).saturating_sub(rt.stood_still() - self.stood_still)
    }
}

/// The client fell below the minimum rate or made no progress at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// Why a response could not be handed to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFault {
    Slow,
    Gone,
    /// The exchange's own deadline passed.
    Deadline,
    /// The worker is hard pressed, and this exchange holds much and does not move.
    Shed,
}

/// Waits until the kernel has taken everything that was written, as long as the client keeps pace.
pub(crate) async fn flush(
    worker: &Worker,
    (stream, place): (&ClientStream, Place),
    timer: &Timer,
    pace: &mut Pace,
    deadline: Instant,
) -> Result<(), SendFault> {
    taken(worker, (stream, place), timer, pace, deadline, stream.flushed(0)).await
}

/// Waits until `sending`, which sends to `stream`, has ended, as long as the client keeps pace.
pub(crate) async fn taken(
    worker: &Worker,
    (stream, place): (&ClientStream, Place),
    timer: &Timer,
    pace: &mut Pace,
    deadline: Instant,
    sending: impl Future<Output = io::Result<()>>,
) -> Result<(), SendFault> {
    let mut sending = pin!(sending);
    let mut sending = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(sent) => Poll::Ready(sent.map_err(|_| SendFault::Gone)),
        Poll::Pending if worker.overload.crowd.is_told(place, cx.waker()) => {
            Poll::Ready(Err(SendFault::Shed))
        }
        Poll::Pending => Poll::Pending,
    });
    loop {
        let wait = Wait::begin(&worker.rt);
        timer.set((wait.began() + pace.patience()).min(deadline));
        if let Some(sent) = race(&mut sending, timer).await {
            return sent;
        }
        if worker.rt.now() >= deadline {
            return Err(SendFault::Deadline);
        }
        pace.acknowledged(wait.spent(&worker.rt), stream.acked_bytes()).map_err(|TooSlow| SendFault::Slow)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(1024, Duration::from_secs(10), Duration::from_secs(30))
    }

    #[test]
    fn one_byte_every_nine_seconds_is_too_slow() {
        let mut pace = pace();
        assert_eq!(pace.waited(Duration::from_secs(9), 1), Ok(()));
        assert_eq!(pace.waited(Duration::from_secs(9), 1), Err(TooSlow));
    }

    #[test]
    fn the_minimum_rate_is_fast_enough_for_ever() {
        let mut pace = pace();
        for _ in 0..1000 {
            assert_eq!(pace.waited(Duration::from_secs(5), 5 * 1024), Ok(()));
        }
    }

    #[test]
    fn waits_are_cut_at_the_end_of_the_window() {
        let mut pace = pace();
        assert_eq!(pace.patience(), Duration::from_secs(10));
        assert_eq!(pace.waited(Duration::from_secs(4), 100_000), Ok(()));
        assert_eq!(pace.patience(), Duration::from_secs(6));
    }

    #[test]
    fn silence_ends_at_the_idle_limit_when_no_rate_is_asked() {
        let mut pace = Pace::new(0, Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(pace.waited(Duration::from_secs(29), 0), Ok(()));
        assert_eq!(pace.waited(Duration::from_secs(30), 0), Err(TooSlow));
    }
}
