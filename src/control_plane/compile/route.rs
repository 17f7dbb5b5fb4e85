//! Routes: their actions, the filters around them, their limits and their names.

use super::FOREVER;
use super::limit::Limiters;
use super::listener::bytes_or_unlimited;
use super::{Compiler, Problem, origin};
use base::ids::{RouteId, UpstreamId};
use config::model::{HeaderEdits, RetryOn as WrittenRetryOn};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use traffic::filter::{Chain, FieldRule, Filter, Headers, Rewrite, Template};
use traffic::hedge::{HedgeAfter, HedgeRules};
use traffic::retry::{RetryOn, RetryRules};
use traffic::snapshot::{Access, Action, FixedResponse, Redirect, Route, RouteTimeouts, Split};
use traffic::stats::RouteStats;

/// Where a compiled route stands in the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'c> {
    pub(super) site: &'c config::model::Site,
    pub(super) route: &'c config::model::Route,
}

impl<'c> Compiler<'c> {
    /// All routes by id, and the place of each.
    pub(super) fn routes(
        &mut self,
        upstreams: &HashMap<&str, UpstreamId>,
        access: &Access,
        limiters: &mut Limiters,
        caches: &[Arc<cache::Store>],
    ) -> (Vec<Route>, Vec<Place<'c>>) {
        let sites = self.config.sites.iter();
        let places: Vec<_> =
            sites.flat_map(|site| site.routes.iter().map(move |route| Place { site, route })).collect();
        let names = unique_names(&places);
        let mut routes = Vec::with_capacity(places.len());
        let mut kept = Vec::with_capacity(places.len());
        for (place, name) in places.into_iter().zip(names) {
            let limits = self.limit_filters(place, &name, limiters);
            let (Some(action), Some(chain)) =
                (self.action(place, upstreams), self.chain(place, access, limits))
            else {
                continue;
            };
            let Place { site, route } = place;
            routes.push(Route {
                id: RouteId(u32::try_from(routes.len()).unwrap_or(u32::MAX)),
                origin: origin(&route.origin),
                chain,
                timeouts: RouteTimeouts {
                    total: route.total(site),
                    per_try: route.per_try(site),
                    response_head: route.timeouts.response_header.map(|bound| bound.at().unwrap_or(FOREVER)),
                },
                retry: retry_rules(&route.retry()),
                hedge: route.hedge.as_ref().map(hedge_rules),
                compression: route.compress(site).map(|written| Box::new(super::compress::rules(written))),
                abort_on_close: route.abort_on_close,
                grpc_web: route.grpc_web,
                cache: route
                    .cache(site)
                    .filter(|_| matches!(action, Action::Forward(_)))
                    .and_then(|name| caches.iter().find(|store| *store.name == *name))
                    .map(Arc::clone),
                body_bytes_max: self.body_bytes_max(place),
                stats: self.carried.stats(&name).unwrap_or_else(|| Arc::new(RouteStats::new(self.workers))),
                name: name.into(),
                action,
            });
            kept.push(place);
        }
        (routes, kept)
    }

    /// The route's own limit or its site's; else that of its listeners, of which the strictest counts.
    fn body_bytes_max(&self, Place { site, route }: Place<'_>) -> u64 {
        match route.body(site) {
            Some(bound) => bytes_or_unlimited(bound),
            None => {
                let listeners = self.config.listeners.iter().filter(|listener| site.serves(&listener.name));
                listeners.map(|listener| bytes_or_unlimited(listener.limits.body)).min().unwrap_or(u64::MAX)
            }
        }
    }

    fn action(&mut self, place: Place<'_>, upstreams: &HashMap<&str, UpstreamId>) -> Option<Action> {
        match &place.route.action {
            config::model::Action::Upstream(name) => {
                let id = self.upstream(name, &place.route.origin, upstreams)?;
                Some(Action::Forward(Split { targets: vec![(id, 1)], total: 1 }))
            }
            config::model::Action::Split(split) => {
                let mut targets = Vec::with_capacity(split.shares.len());
                for share in split.shares.iter().filter(|share| share.weight > 0) {
                    targets.push((
                        self.upstream(&share.upstream, &share.origin, upstreams)?,
                        share.weight.into(),
                    ));
                }
                let total = targets.iter().map(|(_, weight)| weight).sum();
                if total == 0 {
                    self.problems
                        .push(Problem::new(&place.route.origin, "no part of the split gets any traffic"));
                    return None;
                }
                Some(Action::Forward(Split { targets, total }))
            }
            config::model::Action::Respond(respond) => Some(Action::Respond(fixed_response(respond))),
            config::model::Action::Redirect(redirect) => {
                let to = self.template(&redirect.to, place)?;
                Some(Action::Redirect(Redirect { status: redirect.status, to }))
            }
        }
    }

    fn upstream(
        &mut self,
        name: &str,
        at: &config::model::Origin,
        upstreams: &HashMap<&str, UpstreamId>,
    ) -> Option<UpstreamId> {
        let id = upstreams.get(name).copied();
        if id.is_none() {
            self.problems.push(Problem::new(at, format!("no upstream named \"{name}\"")));
        }
        id
    }

    fn template(&mut self, text: &str, place: Place<'_>) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => Some(template),
            Err(error) => {
                self.problems.push(Problem::new(&place.route.origin, format!("\"{text}\": {error}")));
                None
            }
        }
    }

    /// Rewrites first, then the fields of the site, then those of the route.
    fn chain(&mut self, place: Place<'_>, access: &Access, limits: Vec<Filter>) -> Option<Chain> {
        let mut filters = self.access_filters(place, access);
        filters.extend(limits);
        if let Some(rewrite) = &place.route.rewrite {
            let path = match &rewrite.path {
                Some(path) => Some(self.template(path, place)?),
                None => None,
            };
            let bytes = |text: &Option<String>| text.as_ref().map(|text| Box::from(text.as_bytes()));
            filters.push(Filter::Rewrite(Rewrite {
                strip_prefix: bytes(&rewrite.strip_prefix),
                add_prefix: bytes(&rewrite.prefix),
                path,
                host: bytes(&rewrite.host),
            }));
        }
        for headers in [&place.site.headers, &place.route.headers] {
            if !headers.request.is_empty() || !headers.response.is_empty() {
                let (request, response) = (field_rules(&headers.request), field_rules(&headers.response));
                filters.push(Filter::Headers(Headers { request, response }));
            }
        }
        let chain = Chain::new(filters);
        if chain.is_none() {
            self.problems.push(Problem::new(&place.route.origin, "too many filters on one route"));
        }
        chain
    }
}

fn fixed_response(written: &config::model::Respond) -> FixedResponse {
    let bytes = |text: &str| -> Box<[u8]> { text.as_bytes().into() };
    let mut fields: Vec<_> =
        written.headers.iter().map(|pair| (bytes(&pair.name), bytes(&pair.value))).collect();
    let typed = written.headers.iter().any(|pair| pair.name.eq_ignore_ascii_case("content-type"));
    if !typed && !written.body.is_empty() {
        fields.push((bytes("Content-Type"), bytes("text/plain; charset=utf-8")));
    }
    FixedResponse { status: written.status, fields, body: bytes(&written.body) }
}

/// Removed first, then set, then added, as the configuration promises.
fn field_rules(written: &HeaderEdits) -> Vec<FieldRule> {
    let bytes = |text: &str| -> Box<[u8]> { text.as_bytes().into() };
    let removed = written.remove.iter().map(|name| FieldRule::Remove(bytes(name)));
    let set = written.set.iter().map(|pair| FieldRule::Set(bytes(&pair.name), bytes(&pair.value)));
    let added = written.add.iter().map(|pair| FieldRule::Add(bytes(&pair.name), bytes(&pair.value)));
    removed.chain(set).chain(added).collect()
}

fn hedge_rules(written: &config::model::Hedge) -> HedgeRules {
    let after = match written.after {
        config::model::HedgeAfter::Time(time) => HedgeAfter::Time(time),
        config::model::HedgeAfter::Percentile(percent) => HedgeAfter::Percentile(percent),
    };
    HedgeRules { after }
}

fn retry_rules(written: &config::model::Retry) -> RetryRules {
    let on = |what| written.on.contains(&what);
    let statuses = written.on.iter().filter_map(|on| match on {
        WrittenRetryOn::Status(status) => Some(*status),
        _ => None,
    });
    RetryRules {
        attempts: written.attempts,
        on: RetryOn {
            connect: on(WrittenRetryOn::Connect),
            reset: on(WrittenRetryOn::Reset),
            timeout: on(WrittenRetryOn::Timeout),
            statuses: statuses.collect(),
        },
        idempotency_key: written.idempotency_key,
    }
}

/// A name for each route: first name of the site and path pattern, and what else tells the route apart where that is
/// not enough. It does not depend on the order of the text, unless routes differ in nothing but their order.
fn unique_names(places: &[Place<'_>]) -> Vec<String> {
    let short: Vec<_> = places.iter().map(short_name).collect();
    let mut uses = HashMap::new();
    short.iter().for_each(|name| *uses.entry(name.as_str()).or_insert(0) += 1);
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(places.len());
    for (name, place) in short.iter().zip(places) {
        let base = if uses[name.as_str()] > 1 {
            format!("{name}{}", distinctions(place.route))
        } else {
            name.clone()
        };
        let mut name = base.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{base} #{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

fn short_name(Place { site, route }: &Place<'_>) -> String {
    match site.names.first() {
        Some(name) => format!("{name} {}", route.matcher),
        None => route.matcher.to_string(),
    }
}

/// Methods and predicates in short, so that the name does not depend on the order of the text alone.
fn distinctions(route: &config::model::Route) -> String {
    let mut text = String::new();
    let mut add = |kind: &str, value: &str| {
        text.push(' ');
        text.push_str(kind);
        text.push_str(value);
    };
    if !route.methods.is_empty() {
        add("", &route.methods.join(","));
    }
    let predicates = &route.predicates;
    for (kind, pairs) in
        [("header:", &predicates.headers), ("query:", &predicates.query), ("cookie:", &predicates.cookies)]
    {
        for pair in pairs {
            let value = pair.value.as_ref().map_or(String::new(), |value| format!("={value}"));
            add(kind, &format!("{}{value}", pair.name));
        }
    }
    for cidr in &predicates.source {
        add("source:", &cidr.to_string());
    }
    text
}
