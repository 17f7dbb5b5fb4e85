//! The end-to-end suite: the real binary, real sockets on loopback, one file per subject.
//!
//! Every test runs twice, on io_uring and on epoll (`both!`), brings its own configuration, upstream and client,
//! and ends by asking Ringway whether everything it held for the test has been given back.

mod command_line;

#[macro_use]
#[allow(dead_code, reason = "a toolbox: not every tool is in use all the time")]
mod harness;

mod harness_itself;
