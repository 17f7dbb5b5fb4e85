//! Can connections come from the addresses that are written?

use super::Check;
use crate::literal::Address;
use crate::model::{Source, Upstream};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn sources(&mut self, upstream: &Upstream) {
        let (sources, origin) = (&upstream.source, &upstream.origin);
        if sources.is_empty() {
            return;
        }
        for (index, source) in sources.iter().enumerate() {
            let at = format!("/source/{index}");
            if sources[..index].contains(source) {
                self.error(Code::Duplicate, origin, &at, "the source stands here twice".to_owned(), None);
            } else if *source == Source::Client && sources.len() > 1 {
                let what = "\"client\" stands beside addresses of this machine".to_owned();
                let hint = Some("write source \"client\" alone: every connection has one source".to_owned());
                self.error(Code::Contradiction, origin, &at, what, hint);
            }
        }
        let ips = upstream.endpoints.iter().filter_map(|endpoint| match endpoint.address.address() {
            Some(Address::Ip(ip)) => Some((endpoint, ip.ip())),
            _ => None,
        });
        let serves = |is_ipv4: bool| {
            sources.iter().any(|source| match source {
                Source::Client => true,
                Source::Address(ip) => ip.is_ipv4() == is_ipv4,
            })
        };
        for (endpoint, ip) in ips {
            if !serves(ip.is_ipv4()) {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let what = format!("no source of the upstream is an {family} address");
                let hint = Some(format!("add an {family} address of this machine to \"source\""));
                self.error(Code::Contradiction, &endpoint.origin, "/address", what, hint);
            }
        }
        let on_unix = |address: Option<&Address>| matches!(address, Some(Address::Unix(_)));
        if upstream.endpoints.iter().all(|endpoint| on_unix(endpoint.address.address())) {
            let what = "\"source\" has no effect: all endpoints are unix sockets".to_owned();
            self.warning(Code::Contradiction, origin, "/source", what, None);
        }
    }
}
