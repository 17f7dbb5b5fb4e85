//! The rules of routing spelled out one by one, slowly: what the compiled table is compared with.

use super::{Expected, HostPattern, PathPattern, Predicate, RouteSpec};
use base::ids::RouteId;
use regex::bytes::Regex;
use std::cmp::Reverse;
use std::net::IpAddr;
use wire::http::Request;

/// The route that [`super::RouteTable::find`] must return.
pub(super) fn find(specs: &[RouteSpec], request: Request<'_>, client: IpAddr) -> Option<RouteId> {
    let host = String::from_utf8(request.host().to_ascii_lowercase()).unwrap();
    let patterns =
        || specs.iter().flat_map(|spec| &spec.hosts).filter(|pattern| host_matches(pattern, &host));
    let site = patterns().max_by_key(|pattern| match pattern {
        HostPattern::Exact(_) => (2, 0),
        HostPattern::Wildcard(name) => (1, name.len()),
        HostPattern::Any => (0, 0),
    })?;
    let matches = |spec: &RouteSpec| {
        spec.hosts.contains(site)
            && path_matches(&spec.path, request.path())
            && (spec.methods.is_empty()
                || spec.methods.iter().any(|method| method.as_bytes() == request.method()))
            && spec.predicates.iter().all(|predicate| predicate_holds(predicate, request, client))
    };
    let order = |(place, spec): &(usize, &RouteSpec)| {
        let path = match &spec.path {
            PathPattern::Exact(_) => (3, 0),
            PathPattern::Prefix(prefix) => (2, prefix.len()),
            PathPattern::Regex(_) => (1, 0),
        };
        (spec.priority.unwrap_or(0), path, spec.predicate_count(), Reverse(*place))
    };
    specs.iter().enumerate().filter(|(_, spec)| matches(spec)).max_by_key(order).map(|(_, spec)| spec.id)
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => host == name.as_ref(),
        HostPattern::Wildcard(name) => {
            host.strip_suffix(&format!(".{name}")).is_some_and(|left| !left.is_empty())
        }
        HostPattern::Any => true,
    }
}

fn path_matches(pattern: &PathPattern, path: &[u8]) -> bool {
    let path = std::str::from_utf8(path).unwrap();
    match pattern {
        PathPattern::Exact(exact) => path == exact.as_ref(),
        PathPattern::Prefix(prefix) if prefix.ends_with('/') => path.starts_with(prefix.as_ref()),
        PathPattern::Prefix(prefix) => path == prefix.as_ref() || path.starts_with(&format!("{prefix}/")),
        PathPattern::Regex(text) => Regex::new(text).unwrap().is_match(path.as_bytes()),
    }
}

fn predicate_holds(predicate: &Predicate, request: Request<'_>, client: IpAddr) -> bool {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields: Vec<(String, String)> = request
        .head
        .fields
        .iter()
        .map(|field| (text(field.name.of(request.bytes)).to_lowercase(), text(field.value.of(request.bytes))))
        .collect();
    let (name, expected, pairs) = match predicate {
        Predicate::Source(networks) => return networks.contains(client),
        Predicate::Header { name, value } => (text(name).to_lowercase(), value, fields),
        Predicate::Query { name, value } => {
            let query = text(request.query().unwrap_or_default());
            let pairs = query.split('&').filter(|pair| !pair.is_empty());
            (
                text(name),
                value,
                pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decoded).collect(),
            )
        }
        Predicate::Cookie { name, value } => {
            let lines = fields.into_iter().filter(|(name, _)| name == "cookie");
            let pairs: Vec<String> =
                lines.flat_map(|(_, line)| line.split(';').map(String::from).collect::<Vec<_>>()).collect();
            let split = |pair: &String| {
                pair.split_once('=').map(|(name, value)| (name.trim().to_string(), value.trim().to_string()))
            };
            (text(name), value, pairs.iter().filter_map(split).collect())
        }
    };
    let mut values = pairs.into_iter().filter(|(known, _)| *known == name).map(|(_, value)| value).peekable();
    values.peek().is_some()
        && values.all(|value| match expected {
            Expected::Present => true,
            Expected::Exact(wanted) => value.as_bytes() == wanted.as_ref(),
        })
}

/// The escapes that the generator of the tests uses.
fn decoded((name, value): (&str, &str)) -> (String, String) {
    let decode =
        |text: &str| text.replace('+', " ").replace("%31", "1").replace("%61", "a").replace("%71", "q");
    (decode(name), decode(value))
}
