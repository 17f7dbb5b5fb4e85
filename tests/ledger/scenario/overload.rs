//! Three times as many requests as the endpoints can do, from clients that do not wait for each other and go away
//! after a second: how much is still done in time, how late is it, and how soon is all well again?
//!
//! Endpoints take a fixed time for a request and work on a few at a time; everything else waits there. An answer
//! that comes after the client has gone is work done for nobody.

use std::sync::Arc;
use std::time::Duration;

use crate::book::Book;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::Io;
use crate::load::{self, Figures, Sample, Schedule, Span};
use crate::plan::{Mix, Plan};
use crate::stage::{Endpoints, Settings, Stage, own_address};

/// Two endpoints that do four requests of 40 ms at a time: 200 requests a second.
const ENDPOINTS: usize = 2;
const SLOTS: u32 = 4;
const SERVICE: Duration = Duration::from_millis(40);
const CAPACITY: f64 = 200.0;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked of Ringway (R99).
const GOODPUT_MIN: f64 = 0.8;
const SLOWER_MAX: u32 = 5;
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// Limits that fit these endpoints: as many requests as they work on, and a queue that they empty in 80 ms.
pub(crate) const LIMITS: &str = "limits { requests 8; queue 16; queue-timeout \"200ms\" }";

/// `upstream` are further nodes of the upstream, such as limits; without `judge` the figures are only printed.
pub(crate) fn run(io: Io, seed: u64, upstream: &str, judge: bool) -> Result<(), String> {
    let plan = Plan { seed, faults: 0, mix: Mix::Gets, status: None };
    let mut schedule = Schedule::default();
    let idle = schedule.steady(CAPACITY * 0.2, Duration::from_secs(3));
    let peak = schedule.steady(CAPACITY * 0.95, Duration::from_secs(4));
    let over = schedule.steady(CAPACITY * 3.0, Duration::from_secs(6));
    let after = schedule.steady(CAPACITY * 0.5, Duration::from_secs(7));
    let book = Arc::new(Book::new(schedule.requests()));
    let ways = |index| Ways { service: SERVICE, slots: SLOTS, ..Ways::of(plan, index) };
    let start = |index| Endpoint::start(ways(index), own_address(index), Arc::clone(&book) as _);
    let endpoints = Endpoints { here: (0..ENDPOINTS).map(start).collect(), processes: Vec::new() };
    let settings = Settings { upstream, ..Settings::default() };
    let mut stage = Stage::start(io, plan, book, &endpoints, settings);
    stage.sheds = !upstream.is_empty();

    let samples = load::run(&stage, &schedule, 800, Some(PATIENCE), |_| {});
    // The queues of endpoints have emptied by now; their last connections may hold requests of clients that left.
    let report = stage.close(endpoints, true);
    let [idle, peak, over_figures] = [idle, peak, over].map(|span| Figures::of(&samples, span));
    let recovery = recovery(&samples, after, idle.p99 * SLOWER_MAX);
    println!("seed {seed}, overload on {}, upstream {{ {upstream} }}", io.name());
    println!(
        "  idle:  {idle}\n  peak:  {peak}\n  over:  {over_figures}\n  after: {}",
        Figures::of(&samples, after)
    );
    println!(
        "  goodput {:.0} % of peak, p99 {:.1} times that of idle, recovered after {recovery:.1?}\n{report}",
        100.0 * over_figures.good_per_second / peak.good_per_second,
        over_figures.p99.as_secs_f64() / idle.p99.as_secs_f64()
    );
    report.result(seed)?;
    let enough = over_figures.good_per_second >= GOODPUT_MIN * peak.good_per_second;
    let quick = over_figures.p99 <= idle.p99 * SLOWER_MAX;
    if judge && !(enough && quick && recovery <= RECOVERY_MAX) {
        return Err("the overload does not stay within its bounds".into());
    }
    Ok(())
}

/// From the end of the overload until the last request that failed or was late was due.
fn recovery(samples: &[Sample], after: Span, slow: Duration) -> Duration {
    let later = samples.iter().filter(|sample| sample.due >= after.from);
    let bad = later.filter(|sample| !sample.is_good() || sample.took > slow);
    bad.map(|sample| sample.due - after.from).max().unwrap_or_default()
}
