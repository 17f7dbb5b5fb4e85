//! Do the settings about resolving names agree, and is there a name to resolve?

use super::Check;
use crate::model::{Dns, Origin, Upstream};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn names(&mut self) {
        let config = self.config;
        let has_names =
            |upstream: &Upstream| upstream.endpoints.iter().any(|endpoint| endpoint.address.is_name());
        let root = Origin::command_line();
        for upstream in &config.upstreams {
            let dns = config.dns_of(upstream);
            let written_here = upstream.dns.ttl_min.is_some() || upstream.dns.ttl_max.is_some();
            if written_here {
                self.lifetimes(&upstream.origin, &dns);
            }
            if !upstream.dns.is_empty() && !has_names(upstream) {
                let what = "\"dns\" has no effect: no endpoint is a name".to_owned();
                self.warning(Code::Contradiction, &upstream.origin, "/dns", what, None);
            }
        }
        if config.dns.is_empty() {
            return;
        }
        let default = Dns::default();
        let dns = Dns {
            ttl_min: config.dns.ttl_min.unwrap_or(default.ttl_min),
            ttl_max: config.dns.ttl_max.unwrap_or(default.ttl_max),
            ..default
        };
        self.lifetimes(&root, &dns);
        if !config.upstreams.iter().any(has_names) {
            let what = "\"dns\" has no effect: no endpoint is a name".to_owned();
            self.warning(Code::Contradiction, &root, "/dns", what, None);
        }
    }

    /// The origin of the whole file has the empty pointer, so that its members are found like those of any object.
    fn lifetimes(&mut self, origin: &Origin, dns: &Dns) {
        if dns.ttl_min > dns.ttl_max {
            let at = self.nearest_written(origin, &["/dns/ttl-min", "/dns/ttl-max"]);
            let what = "the least time that an answer counts (ttl-min) is longer than the most (ttl-max)";
            let hint = Some("make ttl-min at most ttl-max".to_owned());
            self.error(Code::Contradiction, origin, &at, what.to_owned(), hint);
        }
    }
}
