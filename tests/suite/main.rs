//! The end-to-end suite: the real binary, real sockets on loopback, one file per subject.
//!
//! Every test runs twice, on io_uring and on epoll (`both!`), brings its own configuration, upstream and client,
//! and ends by asking Ringway whether everything it held for the test has been given back. Names that begin with
//! a number (`r24_...`) refer to the table in `docs/requirements.md`.

mod command_line;

#[macro_use]
#[allow(dead_code, reason = "a toolbox: not every tool is in use all the time")]
mod harness;

mod access;
mod activation;
mod admission;
mod balancing;
mod basic;
mod caching;
mod compression;
mod cors;
mod datagrams;
mod doctor;
mod drain;
mod endpoints;
mod explain;
mod faults;
mod forwarding;
mod grpc;
mod grpc_callers;
mod harness_itself;
mod heads;
mod health;
mod hedging;
mod history;
mod http2;
mod http2_abuse;
mod http2_rules;
mod http2_upstream;
mod isolation;
mod issuers;
mod keep_alive;
mod limits;
mod listeners;
mod metrics;
mod names;
mod operations;
mod overload;
mod overload_rate;
mod passthrough;
mod piped;
mod proxy_protocol;
mod proxying;
mod rate_limits;
mod redis;
mod reload;
mod rulings;
mod smuggling;
mod sources;
mod streams;
mod supervision;
mod tls;
mod tls_audit;
mod tls_renewal;
mod tls_routing;
mod tls_upstream;
mod top;
mod websockets;
mod why;
