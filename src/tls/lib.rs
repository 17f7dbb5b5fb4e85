//! TLS by rustls, with the primitives of aws-lc: the only crate on the way of a request that names either.
//!
//! It implements [`wire::secure`]: whoever moves bytes sees that and nothing of this crate. The control plane makes
//! acceptors and connectors here, from files and rules; workers make engines of those.
//!
//! Not here: sockets, time limits, and what a certificate means for a request.
#![forbid(unsafe_code)]

mod client;
mod engine;
mod failure;
mod hello;
mod identity;
mod pair;
mod provider;
mod server;
mod sessions;
mod table;
#[cfg(test)]
mod tests;
mod tickets;

pub use client::{AnyCertificate, Connector, ConnectorError, EndpointRules, system_authorities};
pub use pair::{FILE_BYTES_MAX, Pair, PairError, What};
pub use server::{Acceptor, ClientRules, MinVersion, ServerRules};
pub use tickets::{TICKET_KEY_LIFE, TicketKeys};
