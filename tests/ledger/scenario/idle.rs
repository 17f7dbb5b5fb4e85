//! Endpoints that close idle connections at a certain age, and POSTs that come just then: how many fail?
//!
//! A POST that was sent on a connection which the endpoint was closing must not be repeated unless TCP proves that
//! nobody read it, so a race that is lost is a 502. Ringway learns the age from what it sees
//! (docs/decisions/0015-idle-connections.md); failures count from when it can know. Clients send in bursts, all at once,
//! at intervals that lie around that age: then many pooled connections are about as old as they may become.

use std::sync::Arc;
use std::time::Duration;

use crate::book::Book;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::Io;
use crate::load::{self, Sample, Schedule};
use crate::plan::{Mix, Plan, Purpose};
use crate::stage::{Endpoints, Settings, Stage, own_address};

/// The form of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Age at which endpoints close idle connections; they do so up to a hundredth earlier or later.
    pub(crate) age: Duration,
    pub(crate) bursts: u32,
    /// Requests of a burst.
    pub(crate) width: u32,
    /// Bursts from which the age can be learned: at least two ends of connections, more than a second apart.
    pub(crate) learning: u32,
    /// Failures after these that are accepted.
    pub(crate) most: u64,
}

/// Seconds instead of minutes: endpoints usually keep idle connections for 5 s and longer.
pub(crate) const SHORT: Form =
    Form { age: Duration::from_millis(500), bursts: 14, width: 32, learning: 5, most: 0 };

pub(crate) fn run(io: Io, seed: u64, form: Form) -> Result<(), String> {
    let Form { age, bursts, width, learning, most } = form;
    let plan = Plan { seed, faults: 0, mix: Mix::Posts, status: None };
    let mut dice = plan.dice(Purpose::Pieces, 0);
    let mut schedule = Schedule::default();
    for _ in 0..bursts {
        // Between 97 % and 103 % of the age since the last burst.
        schedule.one(age.mul_f64(0.97 + dice.unit() * 0.06));
        (1..width).for_each(|_| schedule.one(Duration::ZERO));
    }
    let book = Arc::new(Book::new(schedule.requests()));
    let ways = |index| Ways { idle: Some((age.mul_f64(0.99), age.mul_f64(0.02))), ..Ways::of(plan, index) };
    let start = |index| Endpoint::start(ways(index), own_address(index), Arc::clone(&book) as _);
    let endpoints = Endpoints { here: (0..2).map(start).collect(), processes: Vec::new() };
    let stage = Stage::start(io, plan, book, &endpoints, Settings::default());

    let samples = load::run(&stage, &schedule, width as usize, None, |_| {});
    let report = stage.close(endpoints, true);
    let learned = schedule.due(learning * width);
    let failed = samples.iter().filter(|sample| !sample.is_good());
    let (late, early): (Vec<&Sample>, Vec<&Sample>) = failed.partition(|sample| sample.due >= learned);
    println!(
        "seed {seed}, idle on {}: of {} POSTs {} failed while the endpoints' time ({age:?} ± 1 %) was learned, and \
         {} afterwards\n{report}",
        io.name(),
        samples.len(),
        early.len(),
        late.len()
    );
    report.result(seed)?;
    if late.len() as u64 > most {
        return Err(format!("{} POSTs failed, more than {most}", late.len()));
    }
    Ok(())
}
