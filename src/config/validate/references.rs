//! Do all names that are used exist, exist once, and get used?

use super::Check;
use crate::model::{Action, Origin, Route};
use crate::problem::{Code, nearest};
use std::collections::{HashMap, HashSet};

impl Check<'_> {
    pub(super) fn references(&mut self, is_whole: bool) {
        let config = self.config;
        let listeners: Vec<(&str, &Origin)> =
            config.listeners.iter().map(|l| (l.name.as_str(), &l.origin)).collect();
        let upstreams: Vec<(&str, &Origin)> =
            config.upstreams.iter().map(|u| (u.name.as_str(), &u.origin)).collect();
        // Metrics, logs and the status name entry points of all kinds.
        let tcp = config.tcp.iter().map(|tcp| (tcp.name.as_str(), &tcp.origin));
        let udp = config.udp.iter().map(|udp| (udp.name.as_str(), &udp.origin));
        let entries: Vec<(&str, &Origin)> = listeners.iter().copied().chain(tcp).chain(udp).collect();
        self.unique("listener", &entries);
        self.unique("upstream", &upstreams);

        let mut used: HashSet<&str> =
            config.tcp.iter().flat_map(|tcp| tcp.upstreams()).map(|(name, ..)| name).collect();
        let named = config.tcp.iter().flat_map(|tcp| tcp.upstreams());
        for (name, origin, member) in named.filter(|(name, ..)| !name.is_empty()) {
            let known = upstreams.iter().map(|(name, _)| *name);
            self.known("upstream", name, origin, member, known);
        }
        used.extend(config.udp.iter().map(|udp| udp.upstream.as_str()));
        for udp in config.udp.iter().filter(|udp| !udp.upstream.is_empty()) {
            let known = upstreams.iter().map(|(name, _)| *name);
            self.known("upstream", &udp.upstream, &udp.origin, "/upstream", known);
        }
        for site in &config.sites {
            for (index, name) in site.listeners.iter().enumerate() {
                let known = listeners.iter().map(|(name, _)| *name);
                self.known("listener", name, &site.origin, &format!("/listeners/{index}"), known);
            }
            for route in &site.routes {
                used.extend(route.upstreams());
                self.route_references(route, &upstreams);
            }
        }
        if is_whole && self.problems.iter().all(|problem| problem.code != Code::Dangling) {
            self.unused(&used);
        }
    }

    fn route_references(&mut self, route: &Route, upstreams: &[(&str, &Origin)]) {
        let known = || upstreams.iter().map(|(name, _)| *name);
        match &route.action {
            Action::Upstream(name) => self.known("upstream", name, &route.origin, "/upstream", known()),
            Action::Split(split) => {
                for share in &split.shares {
                    self.known("upstream", &share.upstream, &share.origin, "/name", known());
                }
            }
            Action::Respond(_) | Action::Redirect(_) => {}
        }
    }

    pub(super) fn known<'n>(
        &mut self,
        of: &str,
        name: &str,
        origin: &Origin,
        member: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        if known.clone().any(|candidate| candidate == name) {
            return;
        }
        let hint = match nearest(name, known.clone()) {
            Some(near) => Some(format!("did you mean \"{near}\"?")),
            None => {
                let names: Vec<&str> = known.filter(|name| !name.is_empty()).take(NAMES_SHOWN_MAX).collect();
                let none = format!("add {of} \"{name}\" {{ … }}");
                Some(if names.is_empty() { none } else { format!("there are: {}", names.join(", ")) })
            }
        };
        let shown = self.shown(origin, member, name);
        self.error(Code::Dangling, origin, member, format!("no {of} named {shown}"), hint);
    }

    pub(super) fn unique(&mut self, of: &str, names: &[(&str, &Origin)]) {
        let mut seen: HashMap<&str, &Origin> = HashMap::new();
        for (name, origin) in names.iter().filter(|(name, _)| !name.is_empty()) {
            if let Some(first) = seen.get(name) {
                let what = format!("a second {of} named {}", self.shown(origin, "/name", name));
                let hint = Some(format!("the first one is at {first}"));
                self.error(Code::Duplicate, origin, "/name", what, hint);
            } else {
                seen.insert(name, origin);
            }
        }
    }

    fn unused(&mut self, used: &HashSet<&str>) {
        let config = self.config;
        for upstream in config.upstreams.iter().filter(|upstream| !used.contains(upstream.name.as_str())) {
            let what = match (config.tcp.is_empty(), config.udp.is_empty()) {
                (true, true) => "no route uses this upstream".to_owned(),
                (false, true) => "no route and no tcp listener uses this upstream".to_owned(),
                (true, false) => "no route and no udp listener uses this upstream".to_owned(),
                (false, false) => "no route and no tcp or udp listener uses this upstream".to_owned(),
            };
            self.warning(Code::Unused, &upstream.origin, "/name", what, None);
        }
        for listener in config.listeners.iter().filter(|listener| config.sites_of(listener).next().is_none())
        {
            let what = "no site is served at this listener".to_owned();
            let hint = Some("name it in the listeners of a site".to_owned());
            self.warning(Code::Unused, &listener.origin, "/name", what, hint);
        }
    }
}

const NAMES_SHOWN_MAX: usize = 8;
