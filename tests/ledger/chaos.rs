//! The chaos mix: everything that can go wrong goes wrong, and the books must balance.
//!
//! Proves R103, R104, R105, R112, R117 and R162 together.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use crate::book::Book;
use crate::client::Client;
use crate::director;
use crate::endpoint::process::EndpointProcess;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::Io;
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
const ENDPOINTS: usize = 3;

/// Runs the mix and says what was wrong.
pub(crate) fn run(io: Io, seed: u64, faults: u32, size: Size) -> Result<(), String> {
    // First, so that whatever happens can be repeated.
    println!("seed {seed}, chaos on {}: {} requests", io.name(), size.requests);
    let plan = Plan { seed, faults, mix: Mix::All, status: None };
    let book = Arc::new(Book::new(size.requests));
    let start = |index| Endpoint::start(Ways::of(plan, index), own_address(index), Arc::clone(&book) as _);
    let endpoints = Endpoints {
        here: (0..ENDPOINTS).map(start).collect(),
        processes: vec![EndpointProcess::start(Ways::of(plan, ENDPOINTS), own_address(ENDPOINTS))],
    };
    let upstream = "timeouts { connect \"1s\"; response-header \"1s\"; idle \"1s\" }";
    let settings = Settings { upstream, ..Settings::default() };
    let stage = Stage::start(io, plan, Arc::clone(&book), &endpoints, settings);

    let windows = director::windows(plan, size.requests, ENDPOINTS);
    let next = AtomicU32::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..size.connections {
            scope.spawn(|| Client::new(plan, stage.web, &book).run(&next, size.requests));
        }
        director::direct(&windows, &next, size.requests, &endpoints);
    });
    println!("  {} windows of refusal or standstill, took {:.1?}", windows.len(), began.elapsed());
    let report = stage.close(endpoints, faults > 0);
    println!("{report}");
    report.result(seed)
}
