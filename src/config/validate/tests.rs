//! The checks of routes against a matcher that tries every request of a small world.

use crate::model::{Config, Matcher, NameMatch, Route};
use crate::problem::Code;
use crate::{Format, Sealed, parse};
use proptest::prelude::*;

/// A request of the small world: path, method, value of `X`.
type Request = (&'static str, &'static str, Option<&'static str>);

const PATHS: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/x/y"];
const METHODS: [&str; 2] = ["GET", "POST"];
const VALUES: [Option<&str>; 3] = [None, Some("1"), Some("2")];

fn requests() -> impl Iterator<Item = Request> {
    PATHS.into_iter().flat_map(|path| {
        METHODS.into_iter().flat_map(move |method| VALUES.into_iter().map(move |value| (path, method, value)))
    })
}

/// Routes as text; the same draw twice is left to chance.
fn routes() -> impl Strategy<Value = Vec<String>> {
    let prefixes = prop::sample::select(vec!["\"/\"", "\"/a\"", "\"/a/\"", "\"/a/b\""]);
    let exact = prop::sample::select(vec!["exact=\"/\"", "exact=\"/a\"", "exact=\"/a/b\""]);
    let regex = prop::sample::select(vec!["regex=\"^/a/\"", "regex=\"b$\"", "regex=\"^/x/[a-z]+\""]);
    let path = prop_oneof![4 => prefixes, 3 => exact, 1 => regex];
    let priority = prop::sample::select(vec!["", "", "", "priority=1"]);
    let methods = prop::sample::select(vec![
        "",
        "",
        "methods \"GET\";",
        "methods \"POST\";",
        "methods \"GET\" \"POST\";",
    ]);
    let header = prop::sample::select(vec![
        "",
        "",
        "match { header \"X\"; };",
        "match { header \"x\" \"1\"; };",
        "match { header \"X\" \"2\"; };",
    ]);
    let route = (path, priority, methods, header).prop_map(|(path, priority, methods, header)| {
        format!("route {path} {priority} {{ {methods} {header} respond 200; }}")
    });
    prop::collection::vec(route, 1..6)
}

fn accepts(route: &Route, (path, method, value): Request) -> bool {
    let path = match &route.matcher {
        Matcher::Exact(exact) => path == exact,
        Matcher::Regex(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(path)),
        Matcher::Prefix(prefix) => {
            path == prefix
                || path.starts_with(&format!("{}/", prefix.trim_end_matches('/'))) && path.starts_with(prefix)
        }
    };
    let header =
        |wanted: &NameMatch| value.is_some() && (wanted.value.is_none() || wanted.value.as_deref() == value);
    path && (route.methods.is_empty() || route.methods.iter().any(|m| m == method))
        && route.predicates.headers.iter().all(header)
}

/// What `docs/configuration.md` says about which route wins; larger is asked first.
fn precedence(route: &Route) -> (i32, u8, usize, usize) {
    let (class, length) = match &route.matcher {
        Matcher::Exact(_) => (2, 0),
        Matcher::Prefix(prefix) => (1, prefix.len()),
        Matcher::Regex(_) => (0, 0),
    };
    (route.priority, class, length, route.predicates.headers.len() + usize::from(!route.methods.is_empty()))
}

/// The routes that could be meant by a request: those of highest precedence among the ones that accept it.
fn meant(routes: &[Route], request: Request) -> Vec<usize> {
    let accepting: Vec<usize> = (0..routes.len()).filter(|at| accepts(&routes[*at], request)).collect();
    let best = accepting.iter().map(|at| precedence(&routes[*at])).max();
    accepting.into_iter().filter(|at| Some(precedence(&routes[*at])) == best).collect()
}

/// The decoded routes, whatever the checks say about them, and the lines of two kinds of problems.
fn checked(routes: &[String]) -> (Vec<Route>, Vec<usize>, Vec<usize>) {
    let source =
        format!("listener \"a\" {{ bind \"127.0.0.1:1\"; }}\nsite \"*\" {{\n{}\n}}\n", routes.join("\n"));
    let problems = match parse(&source, "test.kdl", Format::Kdl, &Sealed) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems.0,
    };
    let lines = |code: Code| {
        let of_code = problems.iter().filter(|problem| problem.code == code);
        of_code.filter_map(|problem| Some(problem.place.as_ref()?.line as usize - 3)).collect()
    };
    (alone(routes), lines(Code::Tie), lines(Code::Unreachable))
}

/// Each route decoded in a site of its own, where nothing can be wrong with it.
fn alone(routes: &[String]) -> Vec<Route> {
    let one = |route: &String| -> Config {
        let source = format!("listener \"a\" {{ bind \"127.0.0.1:1\"; }}\nsite \"*\" {{ {route}; }}\n");
        parse(&source, "test.kdl", Format::Kdl, &Sealed)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
    };
    routes.iter().map(|route| one(route).sites[0].routes[0].clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_never_ambiguous(routes in routes()) {
        let (decoded, ties, _) = checked(&routes);
        for request in requests() {
            let meant = meant(&decoded, request);
            // Every route beyond the first that could be meant must have been reported.
            for later in meant.iter().skip(1) {
                prop_assert!(ties.contains(later), "{request:?} could mean {meant:?}; reported {ties:?}\n{}", routes.join("\n"));
            }
        }
    }

    #[test]
    fn a_route_that_is_called_unreachable_is_never_meant(routes in routes()) {
        let (decoded, _, unreachable) = checked(&routes);
        for request in requests() {
            for meant in meant(&decoded, request) {
                prop_assert!(!unreachable.contains(&meant), "{request:?} means {meant}\n{}", routes.join("\n"));
            }
        }
    }

    #[test]
    fn routes_that_are_called_a_tie_accept_a_common_request(routes in routes()) {
        let (decoded, ties, _) = checked(&routes);
        for tie in ties.into_iter().filter(|tie| !matches!(decoded[*tie].matcher, Matcher::Regex(_))) {
            let common = (0..tie).any(|other| {
                precedence(&decoded[other]) == precedence(&decoded[tie])
                    && requests().any(|request| accepts(&decoded[other], request) && accepts(&decoded[tie], request))
            });
            prop_assert!(common, "{tie}\n{}", routes.join("\n"));
        }
    }
}
