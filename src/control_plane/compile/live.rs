//! What a generation is made of beside the configuration: what operators asked for at run time, and what names stand for.

use crate::certificates::Secrets;
use base::addr::Addr;
use config::{Config, Target};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use traffic::health::Service;

/// Kept by identity, so that it holds whenever the endpoint is there: also when it went away and came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    wishes: HashMap<Box<str>, HashMap<Addr, Wish>>,
    /// What stands in files beside the configuration; `None` before anything was compiled.
    pub(crate) secrets: Option<Arc<Secrets>>,
    /// By upstream and name; a name that was never resolved is not in it.
    found: HashMap<Box<str>, HashMap<Target, Arc<[Found]>>>,
}

/// One of the addresses that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Found {
    /// 0 for the addresses of a host; for those of a service one more with each priority.
    pub(crate) rank: u8,
    pub(crate) addr: SocketAddr,
    /// 1 for the addresses of a host.
    pub(crate) weight: u32,
}

/// What an operator asked of one endpoint, and who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) service: Service,
    /// Instead of the weight that is configured or was discovered.
    pub(crate) weight: Option<u16>,
    pub(crate) since: SystemTime,
    /// As the audit line names them.
    pub(crate) by: String,
}

impl Live {
    /// Nothing was asked for or found yet.
    pub(crate) fn new(secrets: Option<Arc<Secrets>>) -> Live {
        Live { secrets, ..Live::default() }
    }

    pub(crate) fn wish(&self, upstream: &str, addr: &Addr) -> Option<&Wish> {
        self.wishes.get(upstream)?.get(addr)
    }

    /// Remembers a wish; one that asks for nothing special is forgotten.
    pub(crate) fn set_wish(&mut self, upstream: &str, addr: Addr, wish: Wish) {
        let of_upstream = self.wishes.entry(upstream.into()).or_default();
        if wish.service == Service::Ready && wish.weight.is_none() {
            of_upstream.remove(&addr);
        } else {
            of_upstream.insert(addr, wish);
        }
    }

    /// What a name of an upstream stands for; empty while it has not been resolved.
    pub(crate) fn found(&self, upstream: &str, name: &Target) -> &[Found] {
        self.found.get(upstream).and_then(|names| names.get(name)).map_or(&[], |found| found)
    }

    /// A name stands for these now.
    pub(crate) fn set_found(&mut self, upstream: &str, name: Target, found: Arc<[Found]>) {
        self.found.entry(upstream.into()).or_default().insert(name, found);
    }

    /// Forgets what names stand for that `config` does not have.
    pub(crate) fn keep_names_of(&mut self, config: &Config) {
        self.found.retain(|upstream, names| {
            let written = config.upstream(upstream).map_or(&[][..], |upstream| &upstream.endpoints);
            names.retain(|name, _| written.iter().any(|endpoint| endpoint.address == *name));
            !names.is_empty()
        });
    }

    /// Endpoints of which something is asked.
    pub(crate) fn wishes(&self) -> usize {
        self.wishes.values().map(HashMap::len).sum()
    }
}
