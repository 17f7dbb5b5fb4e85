//! Whether connections can come from the sources that upstreams ask for.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use traffic::Snapshot;
use traffic::egress::Egress;
use traffic::snapshot::Upstream;

/// A source that cannot be used.
#[derive(Debug)]
pub(crate) struct SourceError {
    upstream: String,
    origin: traffic::Origin,
    /// None is the client's.
    source: Option<IpAddr>,
    error: io::Error,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceError { upstream, origin, source, error } = self;
        write!(f, "{origin}: upstream \"{upstream}\" cannot connect from ")?;
        match source {
            Some(ip) => write!(f, "{ip}: {error}"),
            None => write!(f, "the addresses of its clients: {error}"),
        }
    }
}

impl SourceError {
    pub(crate) fn next_step(&self) -> &'static str {
        match self.source {
            Some(_) => "use an address of this machine (`ip addr`), or leave `source` out",
            None => {
                "`source \"client\"` needs CAP_NET_ADMIN, for example AmbientCapabilities=CAP_NET_ADMIN in a unit of systemd"
            }
        }
    }
}

/// Tries the sources of an upstream without making a connection.
pub(crate) fn check(upstream: &Upstream) -> Result<(), SourceError> {
    let failed = |source, error| SourceError {
        upstream: upstream.name.to_string(),
        origin: upstream.origin.clone(),
        source,
        error,
    };
    match upstream.egress.as_deref() {
        None => Ok(()),
        Some(Egress::Own(own)) => own
            .iter()
            .try_for_each(|ip| runtime::try_source(*ip, false).map_err(|error| failed(Some(*ip), error))),
        Some(Egress::Client) => {
            // Any address will do: what may fail is the right to use one that is not ours.
            let any = Ipv4Addr::LOCALHOST.into();
            runtime::try_source(any, true).map_err(|error| failed(None, error))
        }
    }
}

/// Sources of generations that were put into force: they are not tried again, so that an address which this machine loses
/// keeps no later generation from taking over.
#[derive(Default)]
pub(crate) struct Known(Mutex<Vec<Egress>>);

impl Known {
    /// Tries those that are new; the error says which one cannot be used, and what to do.
    pub(crate) fn check(&self, snapshot: &Snapshot) -> Result<(), String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for upstream in &snapshot.upstreams {
            if upstream.egress.as_deref().is_some_and(|egress| !known.contains(egress)) {
                check(upstream).map_err(|error| format!("{error}; {}", error.next_step()))?;
            }
        }
        *known =
            snapshot.upstreams.iter().filter_map(|upstream| upstream.egress.as_deref().cloned()).collect();
        Ok(())
    }
}
