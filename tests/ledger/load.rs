//! An open loop: requests are due at times that are fixed beforehand, whatever becomes of those before them.
//!
//! Latency counts from the time at which a request was due, so a client that is held up hides nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::book::Outcome;
use crate::client::Client;
use crate::stage::Stage;
use crate::talk::linger;

/// When each request is due, by its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule(Vec<Duration>);

impl Schedule {
    /// Appends `rate` requests a second for `time`; returns when they are due.
    pub(crate) fn steady(&mut self, rate: f64, time: Duration) -> Span {
        let from = self.0.last().copied().unwrap_or_default();
        let mut due = from;
        while due < from + time {
            due += Duration::from_secs_f64(1.0 / rate);
            self.0.push(due);
        }
        Span { from, to: due }
    }

    /// Appends one request that is due `after` the one before it.
    pub(crate) fn one(&mut self, after: Duration) {
        let last = self.0.last().copied().unwrap_or_default();
        self.0.push(last + after);
    }

    /// When the request with that number is due; none is after the last.
    pub(crate) fn due(&self, number: u32) -> Duration {
        self.0.get(number as usize).copied().unwrap_or(Duration::MAX)
    }

    pub(crate) fn requests(&self) -> u32 {
        u32::try_from(self.0.len()).expect("fewer than 2^32 requests")
    }
}

/// A part of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// How one request went.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) due: Duration,
    /// From when it was due until its outcome.
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

impl Sample {
    /// An endpoint's answer that is no error.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { status, .. } if status < 500)
    }
}

/// Makes the requests of `schedule` with so many clients, while `meanwhile` runs; it gets the time at which all began.
pub(crate) fn run(
    stage: &Stage,
    schedule: &Schedule,
    clients: usize,
    patience: Option<Duration>,
    meanwhile: impl FnOnce(Instant),
) -> Vec<Sample> {
    let next = AtomicU32::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let make = || {
            let client = Client::new(stage.plan, stage.web, &stage.book);
            let client = match patience {
                Some(patience) => client.impatient(patience),
                None => client,
            };
            one_client(client, schedule, &next, began)
        };
        let spawn = |_| std::thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, make);
        let threads: Vec<_> = (0..clients).map(spawn).collect();
        meanwhile(began);
        let threads = threads.into_iter().map(|thread| thread.expect("a thread for a client"));
        threads.flat_map(|thread| thread.join().expect("a client does not panic")).collect()
    })
}

fn one_client(mut client: Client<'_>, schedule: &Schedule, next: &AtomicU32, began: Instant) -> Vec<Sample> {
    let mut samples = Vec::new();
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let Some(due) = schedule.0.get(id as usize).copied() else { return samples };
        linger(due.saturating_sub(began.elapsed()));
        let outcome = client.make(id);
        samples.push(Sample { due, took: began.elapsed() - due, outcome });
    }
}

/// What a part of a run was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) asked_per_second: f64,
    pub(crate) good_per_second: f64,
    /// Of good answers.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Of answers that were none: the slowest refusal.
    pub(crate) slowest_refusal: Duration,
}

impl Figures {
    /// Of the requests that were due in `span`.
    pub(crate) fn of(samples: &[Sample], span: Span) -> Figures {
        let seconds = (span.to - span.from).as_secs_f64();
        let within: Vec<&Sample> = samples.iter().filter(|s| s.due >= span.from && s.due < span.to).collect();
        let mut good: Vec<Duration> = within.iter().filter(|s| s.is_good()).map(|s| s.took).collect();
        good.sort_unstable();
        let at = |permille: usize| good.get(good.len() * permille / 1000).copied().unwrap_or_default();
        let refusals = within.iter().filter(|s| matches!(s.outcome, Outcome::Refused { .. }));
        Figures {
            asked_per_second: within.len() as f64 / seconds,
            good_per_second: good.len() as f64 / seconds,
            p50: at(500),
            p99: at(990),
            slowest_refusal: refusals.map(|s| s.took).max().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0}/s asked, {:.0}/s good, p50 {:.1?}, p99 {:.1?}, slowest refusal {:.1?}",
            self.asked_per_second, self.good_per_second, self.p50, self.p99, self.slowest_refusal
        )
    }
}
