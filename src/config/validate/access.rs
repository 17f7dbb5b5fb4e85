//! Do policies have keys of the right kind, and are callers asked for what somebody can show?

use super::Check;
use crate::model::{
    Applies, Authenticate, Authorize, ClientAuthMode, Config, Jwt, Listener, Methods, Origin, Route, Site,
};
use crate::problem::Code;
use crate::prove::why_open;
use std::collections::HashSet;

impl Check<'_> {
    pub(super) fn access(&mut self, is_whole: bool) {
        let config = self.config;
        let named = |names: Vec<(&'static str, &str, &Origin)>, check: &mut Self| {
            let of = names.first().map_or("", |(of, ..)| *of);
            let pairs: Vec<(&str, &Origin)> =
                names.iter().map(|(_, name, origin)| (*name, *origin)).collect();
            check.unique(of, &pairs);
        };
        named(config.jwt.iter().map(|one| ("jwt", one.name.as_str(), &one.origin)).collect(), self);
        named(config.keys.iter().map(|one| ("keys", one.name.as_str(), &one.origin)).collect(), self);
        named(config.basic.iter().map(|one| ("basic", one.name.as_str(), &one.origin)).collect(), self);
        let forward = config.forward_auth.iter();
        named(forward.map(|one| ("forward-auth", one.name.as_str(), &one.origin)).collect(), self);
        let mtls = config.mtls.iter();
        named(mtls.map(|one| ("mtls", one.name.as_str(), &one.origin)).collect(), self);
        let introspect = config.introspect.iter();
        named(introspect.map(|one| ("introspect", one.name.as_str(), &one.origin)).collect(), self);
        named(
            config.consumers.iter().map(|one| ("consumer", one.name.as_str(), &one.origin)).collect(),
            self,
        );
        for jwt in &config.jwt {
            self.jwt(jwt);
        }
        self.credentials();
        let mut used = HashSet::new();
        for site in &config.sites {
            used.extend(site.authenticate.iter().flat_map(|asked| self.methods_exist(asked)));
            for route in &site.routes {
                used.extend(route.authenticate.iter().flat_map(|asked| self.methods_exist(asked)));
                self.preflights_arrive(route, site);
                self.nobody_gets_in(route, site);
                let asked = route.authenticate(site);
                self.certificates_are_asked_for(site, asked);
                for rules in site.authorize.iter().chain(&route.authorize) {
                    self.callers_are_known(rules, asked);
                }
            }
        }
        if is_whole && self.problems.iter().all(|problem| problem.code != Code::Dangling) {
            self.unused_policies(&used);
        }
    }

    fn jwt(&mut self, jwt: &Jwt) {
        let symmetric = jwt.algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
        if symmetric > 0 && symmetric < jwt.algorithms.len() {
            let what = "algorithms with a secret beside algorithms with a public key".to_owned();
            let hint = Some("write two policies: a public key must never serve as a secret".to_owned());
            return self.error(Code::Contradiction, &jwt.origin, "/algorithms", what, hint);
        }
        let is_symmetric = symmetric > 0;
        let written = [!jwt.secret.is_empty(), !jwt.public_key.is_empty(), jwt.jwks.is_some()];
        // Algorithms that could not be read have been reported.
        if jwt.algorithms.is_empty() {
            return;
        }
        match written {
            [false, false, false] => {
                let hint = if is_symmetric {
                    "add secret (file)\"secrets/hs256\""
                } else {
                    "add public-key or jwks"
                };
                let what = "the policy has no key".to_owned();
                self.error(Code::Missing, &jwt.origin, "", what, Some(hint.to_owned()));
            }
            [true, false, false] if !is_symmetric => {
                let what = "\"secret\" fits no algorithm of the policy".to_owned();
                let hint = Some("use public-key or jwks, or an algorithm such as \"HS256\"".to_owned());
                self.error(Code::Contradiction, &jwt.origin, "/secret", what, hint);
            }
            [false, key, set] if is_symmetric && (key || set) => {
                let what = "a public key fits no algorithm of the policy".to_owned();
                let hint = Some("use secret, or an algorithm such as \"RS256\"".to_owned());
                let member = if key { "/public-key" } else { "/jwks" };
                self.error(Code::Contradiction, &jwt.origin, member, what, hint);
            }
            [true, false, false] | [false, true, false] | [false, false, true] => {}
            _ => {
                let what = "the policy has keys from more than one place".to_owned();
                let hint = Some("keep one of secret, public-key and jwks".to_owned());
                self.error(Code::Contradiction, &jwt.origin, "", what, hint);
            }
        }
    }

    fn credentials(&mut self) {
        let config = self.config;
        let mut seen = HashSet::new();
        for consumer in &config.consumers {
            for credential in &consumer.credentials {
                let (kind, name) = credential.policy();
                self.policy_exists(kind, name, &credential.origin, &format!("/{kind}"));
                if !seen.insert((kind, name, &credential.subject)) {
                    let what = "this subject is another consumer already".to_owned();
                    self.error(Code::Duplicate, &credential.origin, "/subject", what, None);
                }
            }
        }
    }

    fn methods_exist<'a>(&mut self, asked: &'a Authenticate) -> Vec<(&'static str, &'a str)> {
        let mut used = Vec::new();
        for (kind, method) in asked.methods().into_iter().flat_map(Methods::all) {
            self.policy_exists(kind, &method.name, &method.origin, "/name");
            used.push((kind, method.name.as_str()));
        }
        used
    }

    fn policy_exists(&mut self, kind: &'static str, name: &str, origin: &Origin, member: &str) {
        let policies = policies(self.config).filter(|(own, ..)| *own == kind);
        let known: Vec<&str> = policies.map(|(_, name, _)| name).collect();
        self.known(kind, name, origin, member, known.into_iter());
    }

    /// A rule about callers where nobody finds out who calls would refuse everybody.
    fn callers_are_known(&mut self, rules: &Authorize, asked: Option<&Authenticate>) {
        let asks = asked.is_some_and(|asked| asked.mode == Applies::On);
        if rules.needs_caller() && !asks {
            let what = "the rules are about callers, but nobody asks who calls".to_owned();
            let hint = Some("add authenticate { any-of { … } } to the site or the route".to_owned());
            self.error(Code::Contradiction, &rules.origin, "", what, hint);
        }
    }

    /// A browser asks with OPTIONS before it sends anything else.
    fn preflights_arrive(&mut self, route: &Route, site: &Site) {
        let takes = route.methods.is_empty() || route.methods.iter().any(|method| method == "OPTIONS");
        if route.cors(site).is_some() && !takes {
            let what = "questions of browsers (OPTIONS) do not come to this route".to_owned();
            let hint = Some("add \"OPTIONS\" to methods, or cors \"off\"".to_owned());
            self.error(Code::Contradiction, &route.origin, "/methods", what, hint);
        }
    }

    /// A certificate that no listener of the site asks for cannot be shown.
    fn certificates_are_asked_for(&mut self, site: &Site, asked: Option<&Authenticate>) {
        let config = self.config;
        let asks = |listener: &Listener| {
            let client = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
            client.is_some_and(|client| client.mode != ClientAuthMode::None)
        };
        let listeners = config.listeners.iter().filter(|listener| site.serves(&listener.name));
        let method = asked.and_then(Authenticate::methods).and_then(|methods| methods.mtls.first());
        if let Some(method) = method.filter(|_| !listeners.into_iter().any(asks)) {
            let what = "no listener of this site asks clients for certificates".to_owned();
            let hint = Some("add client-auth \"optional\" ca=\"…\" to tls of the listener".to_owned());
            self.error(Code::Contradiction, &method.origin, "/name", what, hint);
        }
    }

    /// A site may insist that every route asks who calls.
    fn nobody_gets_in(&mut self, route: &Route, site: &Site) {
        if let Some(why) = why_open(self.config, site, route).filter(|_| site.require_authentication) {
            let what = format!("the site requires authentication, and this route is open: {why}");
            let hint = Some("ask who calls, or move the route to another site".to_owned());
            self.error(Code::Contradiction, &route.origin, "", what, hint);
        }
    }

    fn unused_policies(&mut self, used: &HashSet<(&str, &str)>) {
        for (kind, name, origin) in policies(self.config) {
            if !used.contains(&(kind, name)) {
                let what = "no site or route asks for this policy".to_owned();
                self.warning(Code::Unused, origin, "/name", what, None);
            }
        }
    }
}

/// Every policy of the configuration: kind, name and place.
fn policies(config: &Config) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
    let jwt = config.jwt.iter().map(|one| ("jwt", one.name.as_str(), &one.origin));
    let keys = config.keys.iter().map(|one| ("keys", one.name.as_str(), &one.origin));
    let basic = config.basic.iter().map(|one| ("basic", one.name.as_str(), &one.origin));
    let forward = config.forward_auth.iter().map(|one| ("forward-auth", one.name.as_str(), &one.origin));
    let introspect = config.introspect.iter().map(|one| ("introspect", one.name.as_str(), &one.origin));
    let mtls = config.mtls.iter().map(|one| ("mtls", one.name.as_str(), &one.origin));
    jwt.chain(mtls).chain(keys).chain(basic).chain(forward).chain(introspect)
}
