//! R101: when every endpoint answers 503 and the route repeats on 503, how much load do the repetitions add?

use std::sync::Arc;
use std::time::Duration;

use crate::book::Book;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::Io;
use crate::load::{self, Schedule};
use crate::plan::{Mix, Plan};
use crate::stage::{Endpoints, Settings, Stage, own_address};

/// What the requirement allows: a fifth of the requests and so many a second.
const PER_SECOND: f64 = 10.0;

pub(crate) fn run(io: Io, seed: u64, rate: f64, time: Duration) -> Result<(), String> {
    let plan = Plan { seed, faults: 0, mix: Mix::Gets, status: Some(503) };
    let mut schedule = Schedule::default();
    schedule.steady(rate, time);
    let requests = schedule.requests();
    let book = Arc::new(Book::new(requests));
    let start = |index| Endpoint::start(Ways::of(plan, index), own_address(index), Arc::clone(&book) as _);
    let endpoints = Endpoints { here: (0..4).map(start).collect(), processes: Vec::new() };
    let settings = Settings { route: "retry attempts=2 on=\"503\"", ..Settings::default() };
    let stage = Stage::start(io, plan, book, &endpoints, settings);

    let samples = load::run(&stage, &schedule, 64, None, |_| {});
    let seconds = samples.iter().map(|s| s.due + s.took).max().unwrap_or_default().as_secs_f64();
    let report = stage.close(endpoints, false);
    let attempts = report.verdict.attempts;
    let allowed = f64::from(requests) * 1.2 + PER_SECOND * seconds;
    println!(
        "seed {seed}, storm on {}: {requests} requests that are answered 503 in {seconds:.1} s made {attempts} \
         attempts, {:.3} each; {allowed:.0} are allowed\n{report}",
        io.name(),
        attempts as f64 / f64::from(requests),
    );
    report.result(seed)?;
    if attempts as f64 > allowed {
        return Err(format!("{attempts} attempts, more than {allowed:.0}"));
    }
    if report.verdict.repeated == 0 {
        return Err("nothing was repeated, so nothing was shown".into());
    }
    Ok(())
}
