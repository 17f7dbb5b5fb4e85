//! Do limits say something that can be kept, and do they know whom they count?

use super::Check;
use crate::model::{Applies, Limit, LimitStage, LimitUse, LimitWindow, Route, Site};
use crate::problem::Code;
use std::collections::HashSet;
use std::time::Duration;

/// What two windows have room for.
const SLIDING_MAX: u32 = 1_000_000;
/// A bucket that takes longer to fill is a quota.
const FILL_MAX: Duration = Duration::from_secs(366 * 86_400);

impl Check<'_> {
    pub(super) fn limits(&mut self, is_whole: bool) {
        let config = self.config;
        let names: Vec<_> =
            config.limit.iter().filter_map(|one| Some((one.name.as_deref()?, &one.origin))).collect();
        self.unique("limit", &names);
        config.limit.iter().for_each(|limit| self.limit(limit));
        let mut used = HashSet::new();
        for site in &config.sites {
            for (uses, route) in std::iter::once((&site.limit, None))
                .chain(site.routes.iter().map(|route| (&route.limit, Some(route))))
            {
                for one in uses {
                    self.limit_use(one, site, route, &mut used);
                }
            }
        }
        if is_whole && self.problems.iter().all(|problem| problem.code != Code::Dangling) {
            for (name, origin) in names.iter().filter(|(name, _)| !used.contains(name)) {
                let what = format!("no site or route is limited by \"{name}\"");
                self.warning(Code::Unused, origin, "/name", what, None);
            }
        }
    }

    fn limit_use<'a>(
        &mut self,
        one: &'a LimitUse,
        site: &Site,
        route: Option<&Route>,
        used: &mut HashSet<&'a str>,
    ) {
        let config = self.config;
        let (limit, origin) = match one {
            LimitUse::Own(limit) => {
                self.limit(limit);
                (&**limit, &limit.origin)
            }
            LimitUse::Named { name, origin } => {
                let known = config.limit.iter().filter_map(|limit| limit.name.as_deref());
                self.known("limit", name, origin, "/name", known);
                used.insert(name);
                match config.limit.iter().find(|limit| limit.name.as_ref() == Some(name)) {
                    Some(limit) => (limit, origin),
                    None => return,
                }
            }
        };
        if !limit.key.0.iter().any(crate::model::LimitKey::needs_caller) {
            return;
        }
        let asks = |route: &Route| route.authenticate(site).is_some_and(|asked| asked.mode == Applies::On);
        let silent = match route {
            Some(route) => (!asks(route)).then_some(route),
            None => site.routes.iter().find(|route| !asks(route)),
        };
        if let Some(silent) = silent {
            let of = if route.is_some() { String::new() } else { format!(" at route {}", silent.matcher) };
            let what = format!("the limit counts by {}, but nobody asks who calls{of}", limit.key);
            let hint = Some("add authenticate { any-of { … } } to the site or the route".to_owned());
            self.error(Code::Contradiction, origin, "", what, hint);
        }
    }

    fn limit(&mut self, limit: &Limit) {
        let origin = &limit.origin;
        let by_caller = limit.key.0.iter().find(|key| key.needs_caller());
        if let (Some(key), Some(LimitStage::Early)) = (by_caller, limit.stage) {
            let what = format!("before authentication nobody knows the {key}");
            let hint = Some("remove stage=\"early\", or count by \"client.ip\" there".to_owned());
            self.error(Code::Contradiction, origin, "/stage", what, hint);
        }
        let bucket_only = limit.window != Some(LimitWindow::Bucket);
        if bucket_only && limit.burst.is_some() {
            let what = "a burst belongs to window=\"bucket\"".to_owned();
            let hint = Some("remove burst".to_owned());
            self.error(Code::Contradiction, origin, "/burst", what, hint);
        }
        if limit.concurrent.is_some() && limit.window.is_some() {
            let what = "requests under way are counted without a window".to_owned();
            self.error(Code::Contradiction, origin, "/window", what, Some("remove window".to_owned()));
        }
        let quota = limit.quota();
        if quota.is_some_and(|quota| limit.cost > quota) {
            let what = format!("one request costs {}, more than there ever is", limit.cost);
            let hint = quota.map(|quota| format!("at most {quota}"));
            self.error(Code::Contradiction, origin, "/cost", what, hint);
        }
        let Some(rate) = limit.rate else { return };
        if limit.window == Some(LimitWindow::Sliding) && rate.count > SLIDING_MAX {
            let what = format!("a sliding window counts to {SLIDING_MAX} at most");
            let hint = Some("use window=\"bucket\" or \"fixed\"".to_owned());
            self.error(Code::Value, origin, "/rate", what, hint);
        }
        let fills =
            rate.per.duration().as_secs_f64() * f64::from(limit.burst.unwrap_or(0)) / f64::from(rate.count);
        if fills > FILL_MAX.as_secs_f64() {
            let what = "the burst takes more than a year to come back".to_owned();
            self.error(Code::Value, origin, "/burst", what, None);
        }
    }
}

impl Limit {
    /// The most that can be taken at once.
    fn quota(&self) -> Option<u32> {
        self.concurrent.or(self.burst).or(self.rate.map(|rate| rate.count))
    }
}
