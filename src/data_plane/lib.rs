//! The data plane: one worker per core drives parsing, decisions and bodies over `runtime`.
//!
//! Start reading in `worker.rs` (the loop), then `serve.rs` (the life of a request). Nothing here blocks, locks or reads
//! a clock; nothing here can name the configuration.
#![forbid(unsafe_code)]

mod accept;
mod ask;
mod bell;
mod channel;
mod client_cert;
mod crowd;
mod date;
mod downstream;
mod drain;
mod entrance;
mod exchange;
mod finish;
mod grpc;
mod hedge;
mod overload;
mod pace;
mod pump;
mod relay;
mod respond;
mod secure;
mod serve;
mod session;
mod settle;
mod stored;
mod tunnel;
mod udp;
mod upstream;
mod worker;

pub use drain::Stop;
pub use entrance::{Arrivals, Usher, arrivals};
pub use settle::settle;
pub use worker::{Listening, WorkerStart, run};
