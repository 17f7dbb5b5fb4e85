//! Connecting to an endpoint, from where its upstream says.

use crate::worker::Worker;
use base::addr::Addr;
use runtime::{ConnectOptions, NoSource, Stream};
use std::io;
use std::net::IpAddr;
use traffic::Cause;
use traffic::egress::{Egress, From};
use traffic::snapshot::{Endpoint, Upstream};

/// A connection to the endpoint, made for `client`. Without a timeout: race it against a timer.
pub(crate) async fn dial(
    worker: &Worker,
    upstream: &Upstream,
    endpoint: &Endpoint,
    client: IpAddr,
) -> Result<Stream, Cause> {
    let result = match (&upstream.egress, &endpoint.addr) {
        (Some(egress), Addr::Ip(_)) => Box::pin(dial_from(worker, egress, endpoint, client)).await,
        _ => worker.rt.connect(&endpoint.addr, ConnectOptions::default()).await,
    };
    result.map_err(|error| {
        let cause = cause(&error);
        let stats = || upstream.stats.shard(worker.id);
        match cause {
            Cause::PortsExhausted => stats().ports_exhausted.add(1),
            Cause::SourceUnavailable => stats().source_unavailable.add(1),
            _ => {}
        }
        cause
    })
}

/// From the first source that can be used: the others are tried when one has no port left or is none of ours any more.
async fn dial_from(
    worker: &Worker,
    egress: &Egress,
    endpoint: &Endpoint,
    client: IpAddr,
) -> io::Result<Stream> {
    let random = worker.rng.borrow_mut().next_u64();
    let mut last = None;
    for From { source, transparent } in egress.candidates(&endpoint.addr, client, random) {
        let options = ConnectOptions { source: Some(source), transparent };
        match worker.rt.connect(&endpoint.addr, options).await {
            Err(error) if matches!(cause(&error), Cause::PortsExhausted | Cause::SourceUnavailable) => {
                last = Some(error);
            }
            done => return done,
        }
    }
    // Of another family than all sources, or for a client without an address.
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, NO_SOURCE)))
}

const NO_SOURCE: &str = "no source address of the endpoint's family";

fn cause(error: &io::Error) -> Cause {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENOBUFS: i32 = 105;
    match error.kind() {
        io::ErrorKind::TimedOut => return Cause::ConnectTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            return Cause::ConnectUnreachable;
        }
        _ => {}
    }
    match error.raw_os_error() {
        Some(EADDRNOTAVAIL) => Cause::PortsExhausted,
        Some(ENFILE | EMFILE | ENOBUFS) => Cause::UpstreamResources,
        // It was never tried: the error is ours or says so.
        None if is_about_source(error) => Cause::SourceUnavailable,
        // Refused, reset during the handshake, or a Unix socket that is not there: nobody listens.
        _ => Cause::ConnectRefused,
    }
}

fn is_about_source(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.get_ref().is_some_and(|inner| inner.is::<NoSource>())
}
