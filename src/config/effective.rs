//! `ringway config show --effective`: every value, and where it comes from.

use crate::document::Reference;
use crate::model::{Config, Origin, Route, Site, Upstream};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Every value of a configuration in the order of the JSON encoding, with the inherited ones of each route.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Effective {
    pub values: Vec<EffectiveValue>,
}

/// One value and its source.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveValue {
    /// Names from the outside in: `upstream "app" timeouts connect`.
    pub name: String,
    /// As it would be written; references stand for themselves.
    pub value: String,
    /// A place as `file:line:column`, `default`, or `default of …` for an inherited value.
    pub from: String,
}

impl Config {
    /// Every value and where it comes from.
    pub fn effective(&self) -> Effective {
        let mut listing = Listing { config: self, values: Vec::new() };
        listing.walk(&self.to_value(), "", "");
        listing.inherited();
        Effective { values: listing.values }
    }
}

impl Config {
    /// The values of one route of `site`, with what it takes over, named from the route on.
    pub fn effective_of_route(&self, site: &Site, route: &Route) -> Vec<EffectiveValue> {
        let mut listing = Listing { config: self, values: Vec::new() };
        // There is nothing in it that JSON could not hold.
        listing.walk(&serde_json::to_value(route).unwrap_or_default(), &route.origin.pointer, "");
        listing.inherited_of(site, route, "");
        listing.values
    }

    /// The values of one upstream but for its endpoints, named from the upstream on.
    pub fn effective_of_upstream(&self, upstream: &Upstream) -> Vec<EffectiveValue> {
        let mut listing = Listing { config: self, values: Vec::new() };
        listing.walk(&serde_json::to_value(upstream).unwrap_or_default(), &upstream.origin.pointer, "");
        listing.values.retain(|value| !value.name.starts_with("endpoint ") && value.name != "name");
        listing.values
    }
}

struct Listing<'a> {
    config: &'a Config,
    values: Vec<EffectiveValue>,
}

impl Listing<'_> {
    fn walk(&mut self, value: &Value, pointer: &str, name: &str) {
        match value {
            // A reference has the shape of an object, but is a value.
            Value::Object(_) if self.config.provenance.reference(pointer).is_some() => {
                self.leaf(value, pointer, name)
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let is_label =
                        ["name", "names", "address", "prefix", "exact", "regex"].contains(&key.as_str());
                    // What names an object stands in front of all its values already.
                    if is_label && !pointer.is_empty() && label(value).is_some_and(|(by, _)| by == key) {
                        continue;
                    }
                    self.walk(member, &format!("{pointer}/{key}"), &joined(name, key));
                }
            }
            Value::Array(items) if items.iter().all(|item| !item.is_object()) || items.is_empty() => {
                self.leaf(value, pointer, name);
            }
            Value::Array(items) => {
                let single = name.strip_suffix('s').unwrap_or(name);
                for (index, item) in items.iter().enumerate() {
                    let label = label(item).map_or_else(|| (index + 1).to_string(), |(_, label)| label);
                    self.walk(item, &format!("{pointer}/{index}"), &joined(single, &label));
                }
            }
            _ => self.leaf(value, pointer, name),
        }
    }

    fn leaf(&mut self, value: &Value, pointer: &str, name: &str) {
        let from =
            self.config.provenance.written(pointer).map_or("default".to_owned(), |place| place.to_string());
        let value = shown(self.config, value, pointer);
        self.values.push(EffectiveValue { name: name.to_owned(), value, from });
    }

    /// What each route takes over from its site and upstream, as far as it says nothing itself.
    fn inherited(&mut self) {
        let config = self.config;
        self.dns();
        for site in &config.sites {
            let names: Vec<String> =
                site.names.iter().map(|name| format!("{:?}", name.to_string())).collect();
            for route in &site.routes {
                let name = format!("site {} route {:?}", names.join(" "), route.matcher.to_string());
                self.inherited_of(site, route, &name);
            }
        }
    }

    fn inherited_of(&mut self, site: &Site, route: &Route, name: &str) {
        let config = self.config;
        let mut put = |rest: &str, value: Option<Value>, origins: &[(&Origin, &str)]| {
            let written = |(origin, member): &(&Origin, &str)| {
                config.provenance.written(&format!("{}{member}", origin.pointer))
            };
            let from =
                origins.iter().find_map(written).map_or("default".to_owned(), |place| place.to_string());
            let value = value.map_or("\"off\"".to_owned(), |value| value.to_string());
            self.values.push(EffectiveValue { name: joined(name, rest), value, from });
        };
        let text = |duration: std::time::Duration| Value::from(crate::literal::print_duration(&duration));
        if route.timeouts.total.is_none() {
            put("timeouts total", route.total(site).map(text), &[(&site.origin, "/timeouts/total")]);
        }
        if route.timeouts.per_try.is_none() {
            put("timeouts per-try", route.per_try(site).map(text), &[(&site.origin, "/timeouts/per-try")]);
        }
        if let (None, Some(upstream)) = (route.timeouts.response_header, one_upstream(config, route)) {
            let value = route.response_header(&upstream.timeouts).map(text);
            put("timeouts response-header", value, &[(&upstream.origin, "/timeouts/response-header")]);
        }
        if route.retry.is_none() && route.upstreams().next().is_some() {
            let retry = route.retry();
            let on: Vec<String> = retry.on.iter().map(ToString::to_string).collect();
            put("retry attempts", Some(retry.attempts.into()), &[]);
            put("retry on", Some(on.join(",").into()), &[]);
        }
    }
}

/// How the names of each upstream that has any are resolved.
impl Listing<'_> {
    fn dns(&mut self) {
        let config = self.config;
        let has_names = |upstream: &&crate::model::Upstream| {
            upstream.endpoints.iter().any(|endpoint| endpoint.address.is_name())
        };
        for upstream in config.upstreams.iter().filter(has_names) {
            let dns = config.dns_of(upstream);
            let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
            let servers = if servers.is_empty() { "/etc/resolv.conf".to_owned() } else { servers.join(" ") };
            let text = crate::literal::print_duration;
            for (word, value) in [
                ("servers", servers),
                ("ttl-min", text(&dns.ttl_min)),
                ("ttl-max", text(&dns.ttl_max)),
                ("timeout", text(&dns.timeout)),
                ("addresses", dns.addresses.to_string()),
            ] {
                let near = format!("{}/dns/{word}", upstream.origin.pointer);
                // What is written at the upstream is listed there already.
                if config.provenance.is_written(&near) {
                    continue;
                }
                let far = config.provenance.written(&format!("/dns/{word}"));
                let from = far.map_or("default".to_owned(), |place| place.to_string());
                let name = format!("upstream {:?} dns {word}", upstream.name);
                self.values.push(EffectiveValue { name, value: format!("{value:?}"), from });
            }
        }
    }
}

/// A value as it would be written; references stand for themselves.
pub(crate) fn shown(config: &Config, value: &Value, pointer: &str) -> String {
    match (config.provenance.reference(pointer), value) {
        (Some(Reference::Environment(name)), _) => format!("(env){name:?}"),
        (Some(Reference::File(path)), _) => format!("(file){path:?}"),
        (None, Value::Array(items)) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| shown(config, item, &format!("{pointer}/{index}")))
                .collect::<Vec<_>>()
                .join(" ")
        }
        (None, Value::Object(members)) => {
            let members = members.iter();
            let members = members
                .map(|(key, value)| format!("{key} {}", shown(config, value, &format!("{pointer}/{key}"))));
            format!("{{ {} }}", members.collect::<Vec<_>>().join("; "))
        }
        (None, Value::Bool(flag)) => format!("#{flag}"),
        (None, other) => other.to_string(),
    }
}

/// The upstream of a route that has just one.
fn one_upstream<'a>(config: &'a Config, route: &crate::model::Route) -> Option<&'a crate::model::Upstream> {
    let mut names = route.upstreams();
    let first = names.next()?;
    if names.next().is_some() { None } else { config.upstream(first) }
}

/// The member that names an object, and its text.
pub(crate) fn label(item: &Value) -> Option<(&'static str, String)> {
    for key in ["name", "address", "prefix"] {
        if let Some(Value::String(text)) = item.get(key) {
            return Some((key, format!("{text:?}")));
        }
    }
    for key in ["exact", "regex"] {
        if let Some(Value::String(text)) = item.get(key) {
            return Some((key, format!("{:?}", format!("{key}={text}"))));
        }
    }
    let Some(Value::Array(names)) = item.get("names") else { return None };
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(|name| format!("{name:?}")).collect();
    Some(("names", names.join(" ")))
}

fn joined(name: &str, part: &str) -> String {
    if name.is_empty() { part.to_owned() } else { format!("{name} {part}") }
}

/// One line per value: name, value, and where it comes from, in columns.
impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for EffectiveValue { name, value, from } in &self.values {
            writeln!(f, "{:<72} {from}", format!("{name} {value}"))?;
        }
        Ok(())
    }
}
