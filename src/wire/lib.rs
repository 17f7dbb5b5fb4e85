//! Bytes ⇄ messages: sans-IO protocol machines.
//!
//! No socket, no clock, no randomness, no `async`. An error is a value that says whose fault it was.
#![forbid(unsafe_code)]

pub mod client_hello;
pub mod grpc_web;
pub mod h1;
pub mod h2;
pub mod http;
pub mod opening;
pub mod proxy_protocol;
pub mod secure;
