//! What leaves the node about its traffic: lines and numbers.

pub(crate) mod access_log;
mod admission;
mod balance;
mod caches;
mod callers;
mod compression;
mod datagrams;
mod exposition;
mod flows;
mod limits;
pub(crate) mod metrics;
pub(crate) mod overload;
mod process;
mod tls;
