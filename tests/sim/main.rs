//! The data path in a simulated world: a whole worker, with clients and upstreams as tasks of the same runtime, on a
//! virtual clock and a network that is as inconvenient as its seed asks.
//!
//! ```text
//!   world.rs     one run: configuration, worker, script, quiet end     ledger.rs    what must hold (I1-I8)
//!   peer.rs      messages as a second reader sees them                 client.rs    requests and their replies
//!   upstream.rs  servers that behave, and servers that do not
//! ```
//!
//! Each scenario runs once per seed: 200 times, `SIM_SEEDS=n` times, or with `SIM_SEED=x` alone, which repeats what a
//! failure has printed. `long.rs` runs worlds with new seeds until enough has happened.
//!
//! - I1 every response belongs to its request, or is an error that the product made and says so;
//! - I2 a request that is not idempotent is never seen twice by upstreams;
//! - I3 no truncated message looks complete, neither response nor request;
//! - I4 responses to pipelined requests come in their order;
//! - I5 nothing is forwarded for a request that was refused;
//! - I6 live operations, leases, sockets, tasks and timers return to where they were;
//! - I7 nothing turns the loop without input or a timer;
//! - I8 a graceful stop answers every request that had arrived.

mod client;
mod ledger;
mod peer;
mod upstream;
mod world;

mod aborts;
mod admission;
mod endings;
mod exchanges;
mod flows;
mod generations;
mod hedging;
mod holding;
mod http2;
mod idle;
mod long;
mod overload;
mod piped;
mod refusals;
mod resources;
mod stop;
mod timeouts;
mod tunnels;
