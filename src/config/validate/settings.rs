//! Do settings agree with each other and with what they are meant for?

use super::Check;
use crate::model::{
    Action, HeaderEdits, Listener, Matcher, Origin, Retry, RetryOn, Route, RouteLimits, RouteTimeouts, Site,
    Upstream,
};
use crate::problem::Code;
use std::collections::HashMap;
use std::time::Duration;

impl Check<'_> {
    pub(super) fn settings(&mut self) {
        let config = self.config;
        config.listeners.iter().for_each(|listener| self.listener(listener));
        config.upstreams.iter().for_each(|upstream| self.upstream(upstream));
        for site in &config.sites {
            self.edits(&site.origin, "/headers/request", &site.headers.request);
            self.edits(&site.origin, "/headers/response", &site.headers.response);
            for route in &site.routes {
                self.edits(&route.origin, "/headers/request", &route.headers.request);
                self.edits(&route.origin, "/headers/response", &route.headers.response);
                self.timeouts(site, route);
                self.hedge(site, route);
                self.effects(route);
            }
        }
    }

    fn listener(&mut self, listener: &Listener) {
        let limits = &listener.limits;
        for (member, word, size) in
            [("/limits/header-line", "header-line", limits.header_line), ("/limits/uri", "uri", limits.uri)]
        {
            if size > limits.header {
                let what =
                    format!("\"{word}\" ({size}) is larger than the whole \"header\" ({})", limits.header);
                self.error(Code::Contradiction, &listener.origin, member, what, None);
            }
        }
        self.listener_tls(listener);
    }

    fn upstream(&mut self, upstream: &Upstream) {
        let mut seen = HashMap::new();
        for endpoint in &upstream.endpoints {
            if let Some(first) = seen.insert(&endpoint.address, &endpoint.origin) {
                let what = "the endpoint stands here twice".to_owned();
                let hint = Some(format!("give the one at {first} a weight instead"));
                self.error(Code::Duplicate, &endpoint.origin, "/address", what, hint);
            }
        }
        self.sources(upstream);
        self.protocol(upstream);
        self.admission(upstream);
        self.health(upstream);
        self.upstream_tls(upstream);
    }

    fn edits(&mut self, origin: &Origin, member: &str, edits: &HeaderEdits) {
        for (index, pair) in edits.set.iter().enumerate() {
            let at = format!("{member}/set/{index}");
            if edits.set[..index].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&pair.name)) {
                let hint = Some("use add for a second field of the name".to_owned());
                self.error(
                    Code::Duplicate,
                    origin,
                    &at,
                    format!("the field \"{}\" is set twice", pair.name),
                    hint,
                );
            }
        }
        for (index, name) in edits.remove.iter().enumerate() {
            if edits.set.iter().any(|pair| pair.name.eq_ignore_ascii_case(name)) {
                let what = format!("the field \"{name}\" is both set and removed");
                let hint = Some("set replaces what was there; remove is not needed".to_owned());
                self.error(Code::Contradiction, origin, &format!("{member}/remove/{index}"), what, hint);
            }
        }
    }

    fn timeouts(&mut self, site: &Site, route: &Route) {
        let Some(total) = route.total(site).filter(|total| !total.is_zero()) else { return };
        if let Some(per_try) = route.per_try(site)
            && per_try > total
        {
            let what = "an attempt (per-try) may take longer than the whole exchange (total)".to_owned();
            self.place_timeout(site, route, Code::Contradiction, "per-try", what);
        }
        let response_header = route.timeouts.response_header.and_then(|bound| bound.at());
        if response_header.is_some_and(|wait: Duration| wait > total) {
            let what =
                "the wait for the response (response-header) may take longer than the whole exchange (total)";
            self.error(
                Code::Contradiction,
                &route.origin,
                "/timeouts/response-header",
                what.to_owned(),
                None,
            );
        }
    }

    /// Reports a timeout that may come from the route or from its site.
    fn place_timeout(&mut self, site: &Site, route: &Route, code: Code, word: &str, what: String) {
        let member = format!("/timeouts/{word}");
        let origin =
            if self.is_written(&route.origin, &member) || self.is_written(&route.origin, "/timeouts/total") {
                &route.origin
            } else {
                &site.origin
            };
        let at = self.nearest_written(origin, &[&member, "/timeouts/total"]);
        self.error(code, origin, &at, what, None);
    }

    /// Reports parts of a route that its action does not use.
    fn effects(&mut self, route: &Route) {
        let forwards = matches!(route.action, Action::Upstream(_) | Action::Split(_));
        if !forwards {
            let action = if matches!(route.action, Action::Respond(_)) { "respond" } else { "redirect" };
            for (member, is_set) in [
                ("retry", route.retry.is_some()),
                ("hedge", route.hedge.is_some()),
                ("rewrite", route.rewrite.is_some()),
                ("timeouts", route.timeouts != RouteTimeouts::default()),
                ("limits", route.limits != RouteLimits::default()),
                ("headers/request", !route.headers.request.is_empty()),
            ] {
                if is_set {
                    let what = format!("\"{}\" has no effect beside \"{action}\"", member.replace('/', " "));
                    self.warning(Code::Contradiction, &route.origin, &format!("/{member}"), what, None);
                }
            }
        }
        if let Action::Split(split) = &route.action
            && !split.shares.is_empty()
            && split.shares.iter().all(|share| share.weight == 0)
        {
            let what = "all shares of the split are 0".to_owned();
            self.error(Code::Contradiction, &route.origin, "/split", what, None);
        }
        if let Some(strip) = route.rewrite.as_ref().and_then(|rewrite| rewrite.strip_prefix.as_deref()) {
            self.strip(route, strip);
        }
        if let Some(retry) = &route.retry
            && retry.attempts == 0
            && retry.on != Retry::default().on
        {
            let what = "\"on\" has no effect with attempts=0".to_owned();
            self.warning(Code::Contradiction, &route.origin, "/retry/on", what, None);
        }
        let waits = route.retry.as_ref().is_some_and(|retry| retry.on.contains(&RetryOn::Timeout));
        if waits && route.timeouts.response_header.is_some_and(|bound| bound.at().is_none()) {
            let what = "a retry on \"timeout\" never happens without response-header".to_owned();
            self.warning(Code::Contradiction, &route.origin, "/retry/on", what, None);
        }
    }

    /// Reports a prefix that no path of the route has.
    fn strip(&mut self, route: &Route, strip: &str) {
        let (Matcher::Prefix(path) | Matcher::Exact(path)) = &route.matcher else { return };
        let bare = strip.trim_end_matches('/');
        let longer = matches!(route.matcher, Matcher::Prefix(_)) && bare.starts_with(path.as_str());
        let at_border = path.strip_prefix(bare).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !at_border && !longer {
            let what = format!("no path of this route starts with \"{strip}\"");
            let hint = Some(format!("the route selects {}", route.matcher));
            self.warning(Code::Contradiction, &route.origin, "/rewrite/strip-prefix", what, hint);
        }
    }
}
