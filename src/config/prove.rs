//! Which routes can be reached without saying who one is: read off the configuration, for `ringway prove`.

use crate::model::{Applies, Authenticate, Config, Route, Site, Unjudged};
use serde::Serialize;

/// A route that somebody without a credential may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Open {
    /// Names of the site.
    pub site: String,
    /// As the text has it.
    pub route: String,
    /// `file:line:column` of the route.
    pub at: String,
    /// Why nobody is asked.
    pub why: String,
    /// What still keeps some away: addresses and methods of `authorize`.
    pub only: Vec<String>,
}

/// All of them in the order of the text, and how many routes there are.
pub fn prove(config: &Config) -> (Vec<Open>, usize) {
    let routes = config.sites.iter().flat_map(|site| site.routes.iter().map(move |route| (site, route)));
    let open = routes.clone().filter_map(|(site, route)| {
        let why = why_open(config, site, route)?;
        let names: Vec<String> = site.names.iter().map(ToString::to_string).collect();
        Some(Open {
            site: names.join(" "),
            route: route.matcher.to_string(),
            at: route.origin.to_string(),
            why,
            only: conditions(site, route),
        })
    });
    (open.collect(), routes.count())
}

/// Why a request without a credential passes; `None` when none does.
pub(crate) fn why_open(config: &Config, site: &Site, route: &Route) -> Option<String> {
    let needs_caller = |rules: &crate::model::Authorize| {
        !(rules.scope.is_empty() && rules.group.is_empty() && rules.claims.is_empty())
            || (!rules.allow.is_empty()
                && rules.allow.iter().all(|rule| rule.group.is_some() || rule.consumer.is_some()))
    };
    // Where the rules need a caller, nobody's requests are refused by them.
    if site.authorize.iter().chain(&route.authorize).any(needs_caller) {
        return None;
    }
    let Some(asked) = route.authenticate(site) else { return Some("nobody is asked".to_owned()) };
    if asked.mode == Applies::Off {
        return Some("authenticate \"off\"".to_owned());
    }
    if asked.optional {
        return Some("authenticate is optional".to_owned());
    }
    lenient(config, asked).map(|name| {
        format!("forward-auth \"{name}\" lets requests pass while its service cannot be asked (on-error \"allow\")")
    })
}

fn lenient<'c>(config: &'c Config, asked: &Authenticate) -> Option<&'c str> {
    let named = asked.methods().map_or(&[][..], |methods| &methods.forward_auth);
    let mut policies = config.forward_auth.iter().filter(|one| one.on_error == Unjudged::Allow);
    // With `all-of` the others still have to agree.
    let decides_alone =
        asked.any_of.is_some() || asked.methods().is_some_and(|methods| methods.all().count() == 1);
    policies
        .find(|one| decides_alone && named.iter().any(|method| method.name == one.name))
        .map(|one| &*one.name)
}

fn conditions(site: &Site, route: &Route) -> Vec<String> {
    let rules = site.authorize.iter().chain(&route.authorize).flat_map(|rules| &rules.allow);
    let mut conditions: Vec<String> = rules
        .filter(|rule| rule.group.is_none() && rule.consumer.is_none())
        .map(|rule| {
            let source = rule.source.map(|source| format!("source {source}"));
            let method = rule.method.as_ref().map(|method| format!("method {method}"));
            source.into_iter().chain(method).collect::<Vec<_>>().join(" and ")
        })
        .collect();
    let methods = route.methods.join(" ");
    if !methods.is_empty() {
        conditions.push(format!("methods {methods}"));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, System, parse};

    #[test]
    fn every_route_without_a_credential_is_found() {
        let text = r#"
            listener "web" { bind "127.0.0.1:8080"; }
            upstream "app" { endpoint "127.0.0.1:9001"; }
            jwt "corp" { algorithms "ES256"; public-key "a.pem"; }
            forward-auth "soft" { url "http://127.0.0.1:1/"; on-error "allow"; }
            site "a.example" {
                authenticate { any-of { jwt "corp"; }; }
                route "/" upstream="app"
                route "/off" upstream="app" { authenticate "off"; }
                route "/office" upstream="app" { authenticate "off"; authorize { allow source="10.0.0.0/8"; }; }
                route "/maybe" upstream="app" { authenticate { optional; any-of { jwt "corp"; }; }; }
                route "/scoped" upstream="app" { authenticate { optional; any-of { jwt "corp"; }; }; authorize { scope "a"; }; }
                route "/soft" upstream="app" { authenticate { any-of { jwt "corp"; forward-auth "soft"; }; }; }
                route "/both" upstream="app" { authenticate { all-of { jwt "corp"; forward-auth "soft"; }; }; }
            }
            site "b.example" { route exact="/x" upstream="app" { methods "GET"; }; }
        "#;
        let loaded = parse(text, "test.kdl", Format::Kdl, &System).unwrap();
        let (open, routes) = prove(&loaded.config);
        let shown: Vec<String> = open
            .iter()
            .map(|one| format!("{} {}: {} {:?}", one.site, one.route, one.why, one.only))
            .collect();
        assert_eq!(routes, 8);
        let wanted = [
            ("a.example /off: authenticate \"off\"", "[]"),
            ("a.example /office: authenticate \"off\"", "[\"source 10.0.0.0/8\"]"),
            ("a.example /maybe: authenticate is optional", "[]"),
            ("a.example /soft: forward-auth \"soft\" lets", "[]"),
            ("b.example", "[\"methods GET\"]"),
        ];
        assert_eq!(shown.len(), wanted.len(), "{shown:?}");
        for (line, (begin, end)) in shown.iter().zip(wanted) {
            assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
        }
    }
}
