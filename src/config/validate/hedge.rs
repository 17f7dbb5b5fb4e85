//! Can a hedge ever happen?

use super::Check;
use crate::model::{Route, Site};
use crate::problem::Code;

/// Methods that are hedged: idempotent, and without a body.
const METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

impl Check<'_> {
    pub(super) fn hedge(&mut self, site: &Site, route: &Route) {
        let Some(hedge) = &route.hedge else { return };
        let bounds = [
            ("the whole exchange (total)", route.total(site)),
            ("the first attempt (per-try)", route.per_try(site)),
        ];
        for (what, bound) in bounds {
            let Some((after, bound)) = hedge.after.time().zip(bound) else { continue };
            if !bound.is_zero() && after >= bound {
                let what = format!("{what} is over before a second endpoint would be asked");
                let hint = Some("make after= shorter".to_owned());
                self.error(Code::Contradiction, &route.origin, "/hedge/after", what, hint);
            }
        }
        if !route.methods.is_empty() && !route.methods.iter().any(|method| METHODS.contains(&method.as_str()))
        {
            let what = "\"hedge\" has no effect: the route takes none of GET, HEAD and OPTIONS".to_owned();
            self.warning(Code::Contradiction, &route.origin, "/hedge", what, None);
        }
        for name in route.upstreams() {
            let upstream = self.config.upstreams.iter().find(|upstream| upstream.name == name);
            if let Some(upstream) = upstream.filter(|upstream| upstream.endpoints.len() == 1) {
                let what = format!("\"hedge\" has no effect: \"{}\" has only one endpoint", upstream.name);
                self.warning(Code::Contradiction, &route.origin, "/hedge", what, None);
            }
        }
    }
}
