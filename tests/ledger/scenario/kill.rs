//! One of four endpoint processes is killed under load and comes back: no GET fails, the endpoint is left out in time
//! and taken in again.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::book::Book;
use crate::endpoint::Ways;
use crate::endpoint::process::EndpointProcess;
use crate::harness::{Io, pause};
use crate::load::{self, Figures, Schedule};
use crate::plan::{Mix, Plan};
use crate::stage::{Endpoints, Settings, Stage, own_address};

/// Shares that do not depend on latencies: with `p2c-ewma` an endpoint in slow start gets next to nothing while the
/// others are not busy.
const BALANCE: &str = "balance \"round-robin\"";
/// Checks that find a dead endpoint within `fall` intervals of at most 240 ms, a quarter more than nothing is failing.
const HEALTH: &str = "health { http \"/healthz\" every=\"200ms\" timeout=\"100ms\" rise=2 fall=2 }";
/// The time that these checks may take, with the last one's timeout and a turn of a busy machine.
const OUT_WITHIN: Duration = Duration::from_millis(1000);
/// The same for coming back.
const IN_WITHIN: Duration = Duration::from_millis(1500);

/// When the process is killed and when it is started again, in thousandths of the time.
const KILLED_AT: u32 = 250;
const BACK_AT: u32 = 500;

/// What was seen from outside.
#[derive(Default)]
struct Seen {
    out_after: Option<Duration>,
    in_after: Option<Duration>,
    served_again: Option<Duration>,
}

pub(crate) fn run(io: Io, seed: u64, rate: f64, time: Duration) -> Result<(), String> {
    let plan = Plan { seed, faults: 0, mix: Mix::Gets, status: None };
    let mut schedule = Schedule::default();
    let span = schedule.steady(rate, time);
    let book = Arc::new(Book::new(schedule.requests()));
    let start = |index| EndpointProcess::start(Ways::of(plan, index), own_address(index));
    let mut endpoints = Endpoints { here: Vec::new(), processes: (0..4).map(start).collect() };
    let upstream = format!("{BALANCE}\n{HEALTH}");
    let settings = Settings { upstream: &upstream, ..Settings::default() };
    let stage = Stage::start(io, plan, Arc::clone(&book), &endpoints, settings);

    let victim = endpoints.processes.remove(0);
    let address = victim.address().to_string();
    let seen = RefCell::new(Seen::default());
    let samples = load::run(&stage, &schedule, 128, None, |began| {
        wait_until_past(began + time * KILLED_AT / 1000);
        victim.end(&book);
        seen.borrow_mut().out_after = wait_for(OUT_WITHIN * 4, || !serves(&state(&stage, &address).0));
        wait_until_past(began + time * BACK_AT / 1000);
        let again = EndpointProcess::start(Ways::of(plan, 0), address.parse().expect("an address"));
        seen.borrow_mut().in_after = wait_for(IN_WITHIN * 4, || serves(&state(&stage, &address).0));
        let before = state(&stage, &address).1;
        seen.borrow_mut().served_again = wait_for(IN_WITHIN * 4, || state(&stage, &address).1 > before);
        endpoints.processes.push(again);
    });
    let report = stage.close(endpoints, true);
    let Seen { out_after, in_after, served_again } = seen.into_inner();
    let failed = samples.iter().filter(|sample| !sample.is_good()).count();
    println!(
        "seed {seed}, kill on {}: {} requests, {failed} failed; out after {out_after:.0?}, in again after \
         {in_after:.0?}, serving after {served_again:.0?} more\n  {}\n{report}",
        io.name(),
        samples.len(),
        Figures::of(&samples, span)
    );
    report.result(seed)?;
    let in_time = |what, seen: Option<Duration>, most: Duration| match seen {
        Some(after) if after <= most => Ok(()),
        _ => Err(format!("{what} after {seen:?}, {most:?} are allowed")),
    };
    in_time("left out", out_after, OUT_WITHIN)?;
    in_time("taken in", in_after, IN_WITHIN)?;
    in_time("served", served_again, IN_WITHIN)?;
    if failed > 0 {
        return Err(format!("{failed} requests failed"));
    }
    Ok(())
}

fn wait_until_past(at: Instant) {
    while Instant::now() < at {
        pause();
    }
}

/// How long it took until `holds`; None when it did not within `most`.
fn wait_for(most: Duration, holds: impl Fn() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while began.elapsed() < most {
        if holds() {
            return Some(began.elapsed());
        }
        pause();
    }
    None
}

fn serves(state: &str) -> bool {
    matches!(state, "up" | "slow-start")
}

/// State and attempts of an endpoint, as the admin API tells them.
fn state(stage: &Stage, address: &str) -> (String, u64) {
    let answer = stage.ringway.admin("/v1/upstreams");
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let endpoints = document["upstreams"][0]["endpoints"].as_array().cloned().unwrap_or_default();
    let found = endpoints.iter().find(|endpoint| endpoint["address"] == address);
    let state = found.and_then(|endpoint| endpoint["state"].as_str()).unwrap_or_default();
    let requests = found.and_then(|endpoint| endpoint["requests"].as_u64()).unwrap_or_default();
    (state.to_string(), requests)
}
