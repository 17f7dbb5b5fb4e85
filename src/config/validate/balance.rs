//! Does what is written about the choice of endpoints have an effect, and the one that was meant?

use super::Check;
use crate::model::{HashKey, SPILL_OVER, SameSite, Sticky, Tier, Upstream};
use crate::problem::Code;
use std::collections::HashMap;

impl Check<'_> {
    pub(super) fn balance(&mut self) {
        let config = self.config;
        config.upstreams.iter().for_each(|upstream| self.choice(upstream));
        let mut seen: HashMap<(&str, &str, Option<&str>), &Upstream> = HashMap::new();
        for upstream in &config.upstreams {
            let Some(sticky) = &upstream.sticky else { continue };
            self.cookie(upstream, sticky);
            let scope = (sticky.cookie.as_str(), sticky.path.as_str(), sticky.domain.as_deref());
            if let Some(other) = seen.insert(scope, upstream) {
                let what = format!(
                    "the cookie \"{}\" is that of \"{}\" too: a client of both loses its place with each change",
                    sticky.cookie, other.name
                );
                let hint = Some("give each upstream a cookie of its own".to_owned());
                self.warning(Code::Duplicate, &upstream.origin, "/sticky/cookie", what, hint);
            }
        }
    }

    fn choice(&mut self, upstream: &Upstream) {
        let endpoints = &upstream.endpoints;
        if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.tier == Tier::Backup) {
            let what = format!("all endpoints of \"{}\" are backups", upstream.name);
            let hint = Some("they serve all the time; leave out tier=\"backup\"".to_owned());
            self.warning(Code::Contradiction, &upstream.origin, "", what, hint);
        }
        if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            let what =
                format!("all endpoints of \"{}\" have weight 0: nobody new would be served", upstream.name);
            self.error(Code::Contradiction, &upstream.origin, "", what, None);
        }
        if !upstream.balance.hashes() {
            for (member, is_set) in [
                ("hash-key", upstream.hash_key != HashKey::default()),
                ("bounded-load", upstream.bounded_load.is_some()),
            ] {
                if is_set {
                    let what = format!("\"{member}\" has no effect with balance \"{}\"", upstream.balance);
                    let hint = Some("use balance \"ring-hash\" or \"maglev\"".to_owned());
                    self.warning(Code::Contradiction, &upstream.origin, &format!("/{member}"), what, hint);
                }
            }
        }
        let zoned = endpoints.iter().find(|endpoint| endpoint.zone.is_some());
        match zoned {
            Some(endpoint) if self.config.zone.is_none() => {
                let what = "the zone of an endpoint has no effect: this node has none".to_owned();
                let hint = Some("write zone \"name\" at the top of the file".to_owned());
                self.warning(Code::Contradiction, &endpoint.origin, "/zone", what, hint);
            }
            None if upstream.spill_over != SPILL_OVER => {
                let what = "\"spill-over\" has no effect: no endpoint has a zone".to_owned();
                let hint = Some("write endpoint \"address\" zone=\"name\"".to_owned());
                self.warning(Code::Contradiction, &upstream.origin, "/spill-over", what, hint);
            }
            _ => {}
        }
    }

    fn cookie(&mut self, upstream: &Upstream, sticky: &Sticky) {
        let origin = &upstream.origin;
        let name = &sticky.cookie;
        let host_only = sticky.path == "/" && sticky.domain.is_none();
        for (wrong, why) in [
            (
                sticky.same_site == SameSite::None && !sticky.secure,
                "same-site \"none\" without secure".to_owned(),
            ),
            (name.starts_with("__Secure-") && !sticky.secure, format!("a cookie \"{name}\" without secure")),
            (
                name.starts_with("__Host-") && !(sticky.secure && host_only),
                format!("a cookie \"{name}\" that is not secure or has another path or a domain"),
            ),
        ] {
            if wrong {
                let at = self.nearest_written(origin, &["/sticky/same-site", "/sticky/cookie"]);
                self.error(Code::Contradiction, origin, &at, format!("browsers refuse {why}"), None);
            }
        }
        if !self.is_written(origin, "/sticky/secret") {
            let what =
                format!("the sessions of \"{}\" end with a restart: there is no secret", upstream.name);
            let hint = Some("add secret (file)\"path\"; every node needs the same one".to_owned());
            self.warning(Code::Missing, origin, "/sticky", what, hint);
        }
    }
}
