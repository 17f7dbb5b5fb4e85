//! The request ledger: proves that nothing is lost, doubled or mixed up while everything goes wrong.
//!
//! Clients make requests that carry an id, endpoints answer or fail as a seed says and write down every attempt that
//! reaches them, and at the end an oracle compares what clients got, what endpoints saw and what Ringway logged.
//!
//! ```text
//! cargo test --test ledger                                        # the short form of every scenario
//! cargo test --release --test ledger -- run chaos --seed 7 --requests 300000
//! cargo test --release --test ledger -- help
//! ```

mod args;
mod book;
mod chaos;
mod client;
mod director;
mod endpoint;
#[path = "../suite/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the suite's toolbox, of which a part is used here"
)]
mod harness;
mod load;
mod metrics;
mod names;
mod oracle;
mod plan;
mod proof;
mod report;
mod scenario;
mod stage;
mod talk;

fn main() -> std::process::ExitCode {
    args::main()
}
