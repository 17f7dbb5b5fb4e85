//! The route table of one listener, and its complaints in the operator's words.

use super::Problem;
use super::route::Place;
use config::model::{Matcher, NameMatch, SiteName};
use traffic::route::{BuildError, Expected, HostPattern, PathPattern, Predicate, RouteSpec, RouteTable};
use traffic::snapshot::Route;
use traffic::source::CidrSet;

/// The table of `served`; `None` when a route cannot be compiled, which `problems` then says.
pub(super) fn build(served: &[(&Route, &Place<'_>)], problems: &mut Vec<Problem>) -> Option<RouteTable> {
    let specs = served.iter().map(|(route, place)| spec(route, place)).collect();
    match RouteTable::build(specs) {
        Ok(table) => Some(table),
        Err(error) => {
            let place = served.iter().find(|(route, _)| route.id == error.route()).map(|(_, place)| place);
            let problem =
                place.map(|place| Problem::new(&place.route.origin, error.to_string()).hint(hint(&error)));
            // The same route may be served by several listeners; once is enough.
            problems.extend(problem.filter(|problem| !problems.contains(problem)));
            None
        }
    }
}

fn hint(error: &BuildError) -> &'static str {
    match error {
        BuildError::BadPath { .. } => "begin it with \"/\"",
        BuildError::BadHost { .. } => "write a name, \"*.\" and a name, or \"*\"",
        BuildError::BadRegex { .. } => "see the syntax of the crate `regex`",
        BuildError::RegexTooLarge { .. } => "use smaller repetitions or a prefix",
        BuildError::BadMethod { .. } => "a method is a token such as \"GET\"",
    }
}

fn spec(route: &Route, place: &Place<'_>) -> RouteSpec {
    let written = place.route;
    RouteSpec {
        id: route.id,
        hosts: place.site.names.iter().map(host).collect(),
        path: match &written.matcher {
            Matcher::Exact(path) => PathPattern::Exact(path.as_str().into()),
            Matcher::Prefix(path) => PathPattern::Prefix(path.as_str().into()),
            Matcher::Regex(pattern) => PathPattern::Regex(pattern.as_str().into()),
        },
        methods: written.methods.iter().map(|method| method.as_str().into()).collect(),
        predicates: predicates(&written.predicates),
        priority: (written.priority != 0).then_some(written.priority),
    }
}

fn host(name: &SiteName) -> HostPattern {
    match name {
        SiteName::Exact(name) => HostPattern::Exact(name.as_str().into()),
        SiteName::Wildcard(suffix) => HostPattern::Wildcard(suffix.as_str().into()),
        SiteName::Any => HostPattern::Any,
    }
}

fn predicates(written: &config::model::Predicates) -> Vec<Predicate> {
    let parts = |pair: &NameMatch| -> (Box<[u8]>, Expected) {
        let value =
            pair.value.as_ref().map_or(Expected::Present, |value| Expected::Exact(value.as_bytes().into()));
        (pair.name.as_bytes().into(), value)
    };
    let headers = written.headers.iter().map(parts).map(|(name, value)| Predicate::Header { name, value });
    let query = written.query.iter().map(parts).map(|(name, value)| Predicate::Query { name, value });
    let cookies = written.cookies.iter().map(parts).map(|(name, value)| Predicate::Cookie { name, value });
    let source = (!written.source.is_empty()).then(|| {
        Predicate::Source(CidrSet::from_cidrs(written.source.iter().map(|cidr| (cidr.address, cidr.prefix))))
    });
    headers.chain(query).chain(cookies).chain(source).collect()
}
