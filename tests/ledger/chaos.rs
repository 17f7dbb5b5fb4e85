//! The chaos mix: everything that can go wrong goes wrong, and the books must balance.
//!
//! Proves R103, R104, R105, R112, R117 and R162 together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use crate::book::Book;
use crate::client::Client;
use crate::director;
use crate::endpoint::process::EndpointProcess;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::Io;
use crate::metrics;
use crate::names::{self, Names};
use crate::plan::{Mix, Plan};
use crate::stage::{Endpoints, Settings, Stage, own_address};

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) requests: u32,
    pub(crate) connections: u32,
}

/// Of a thousand first attempts, so many go wrong.
pub(crate) const FAULTS: u32 = 250;

/// Endpoints in this process; one more is a process of its own.
const ENDPOINTS: usize = 4;
/// So many of them come by names. Nobody else is at their ports, for each has an address of its own.
const NAMED: usize = 3;

/// Runs the mix and says what was wrong.
pub(crate) fn run(io: Io, seed: u64, faults: u32, size: Size) -> Result<(), String> {
    // First, so that whatever happens can be repeated.
    println!("seed {seed}, chaos on {}: {} requests", io.name(), size.requests);
    let plan = Plan { seed, faults, mix: Mix::All, status: None };
    let book = Arc::new(Book::new(size.requests));
    let start = |index, address| Endpoint::start(Ways::of(plan, index), address, Arc::clone(&book) as _);
    let mut here: Vec<_> = (0..ENDPOINTS - 1).map(|index| start(index, own_address(index))).collect();
    let port = here[ENDPOINTS - 2].address().port();
    here.push(start(ENDPOINTS - 1, SocketAddr::new(own_address(ENDPOINTS - 1).ip(), port)));
    let [.., other, first, second] = &here[..] else { unreachable!("there are four") };
    let nobody = own_address(ENDPOINTS + 1).ip();
    let names = Names::start([first.address(), second.address()], other.address(), nobody);
    let endpoints = Endpoints {
        here,
        processes: vec![EndpointProcess::start(Ways::of(plan, ENDPOINTS), own_address(ENDPOINTS))],
    };
    let upstream = "timeouts { connect \"1s\"; response-header \"1s\"; idle \"1s\" }";
    let (resolver, named) = (names.resolver(), names.endpoints());
    let settings = Settings { top: &resolver, named: (&named, NAMED), upstream, ..Settings::default() };
    let stage = Stage::start(io, plan, Arc::clone(&book), &endpoints, settings);

    let windows = director::windows(plan, size.requests, ENDPOINTS);
    let changes = names::changes(plan, size.requests);
    let next = AtomicU32::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..size.connections {
            scope.spawn(|| Client::new(plan, stage.web, &book).run(&next, size.requests));
        }
        scope.spawn(|| names.direct(&changes, &next, size.requests));
        director::direct(&windows, &next, size.requests, &endpoints);
    });
    println!("  {} windows of refusal or standstill, took {:.1?}", windows.len(), began.elapsed());
    let [changed, failed, generations] = followed(&stage);
    println!(
        "  {} changes of names: {changed} answers with other addresses, {failed} failures, {generations} generations",
        changes.len()
    );
    let report = stage.close(endpoints, faults > 0);
    println!("{report}");
    report.result(seed)?;
    if changes.len() >= ENOUGH && (changed == 0 || failed == 0 || generations == 0) {
        return Err(format!("seed {seed}: names changed and failed, and Ringway did not follow"));
    }
    Ok(())
}

/// So many changes of names, and some must have been noticed.
const ENOUGH: usize = 30;

/// What Ringway noticed of the names: answers that changed something, failures, generations that followed.
fn followed(stage: &Stage) -> [u64; 3] {
    let metrics = stage.ringway.admin("/metrics").text();
    ["ringway_name_changes_total", "ringway_name_failures_total", "ringway_generations_deployed_total"]
        .map(|name| metrics::sum(&metrics, name))
}
