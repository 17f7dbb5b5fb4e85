//! Do the caches exist that are named, and does anybody use those that there are?

use super::Check;
use crate::model::{Action, Cache, Origin};
use crate::problem::Code;
use std::collections::HashSet;

impl Check<'_> {
    pub(super) fn caches(&mut self, is_whole: bool) {
        let config = self.config;
        let caches: Vec<(&str, &Origin)> =
            config.caches.iter().map(|cache| (cache.name.as_str(), &cache.origin)).collect();
        self.unique("cache", &caches);
        let mut used: HashSet<&str> = HashSet::new();
        for site in &config.sites {
            let routes = site.routes.iter().map(|route| (&route.cache, &route.origin));
            for (cache, origin) in [(&site.cache, &site.origin)].into_iter().chain(routes) {
                let Some(name) = cache.as_deref().filter(|name| *name != Cache::OFF) else { continue };
                self.known("cache", name, origin, "/cache", caches.iter().map(|(name, _)| *name));
                used.insert(name);
            }
            for route in &site.routes {
                let is_own = matches!(route.action, Action::Respond(_) | Action::Redirect(_));
                if is_own && route.cache.as_ref().is_some_and(|name| name != Cache::OFF) {
                    let what = "the route answers by itself, so there is nothing to keep".to_owned();
                    self.warning(Code::Unused, &route.origin, "/cache", what, None);
                }
            }
        }
        if is_whole && self.problems.iter().all(|problem| problem.code != Code::Dangling) {
            for (name, origin) in caches.iter().filter(|(name, _)| !used.contains(name)) {
                let what = format!("no site or route uses the cache \"{name}\"");
                self.warning(Code::Unused, origin, "/name", what, None);
            }
        }
    }
}
