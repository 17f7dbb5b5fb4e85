//! Can every route be reached, and is it always clear which one is meant?
//!
//! The order in which routes of one site are asked: priority, then exact path, longest prefix, regex, then the number of
//! further predicates. Predicates over one name with two different values exclude each other, because a request that
//! carries both satisfies neither.

use super::Check;
use super::overlap::{agree, covers_path, covers_predicates, literal_prefix, segments};
use crate::model::{Matcher, NameMatch, Origin, Route};
use crate::problem::Code;
use std::collections::HashMap;

/// Pairs of routes that are compared in one site; beyond it a tie goes unnoticed, and the order of the text decides.
const PAIRS_MAX: usize = 2_000_000;

impl Check<'_> {
    pub(super) fn routes(&mut self) {
        let config = self.config;
        for site in &config.sites {
            for route in &site.routes {
                self.satisfiable(route);
            }
            let by_path = by_path(&site.routes);
            let unreachable: Vec<bool> =
                site.routes.iter().map(|route| self.unreachable(route, &by_path)).collect();
            self.ties(&site.routes, &unreachable);
        }
    }

    /// Reports conditions of one route that exclude or repeat each other.
    fn satisfiable(&mut self, route: &Route) {
        let lists = [
            ("headers", "header", &route.predicates.headers),
            ("query", "query", &route.predicates.query),
            ("cookies", "cookie", &route.predicates.cookies),
        ];
        for (member, word, list) in lists {
            for (index, second) in list.iter().enumerate() {
                let same = |first: &&NameMatch| match member {
                    "headers" => first.name.eq_ignore_ascii_case(&second.name),
                    _ => first.name == second.name,
                };
                let Some(first) = list[..index].iter().find(same) else { continue };
                let at = format!("/match/{member}/{index}");
                let name = &second.name;
                if first.value.is_some() && second.value.is_some() && first.value != second.value {
                    let what = format!("the {word} \"{name}\" cannot have two values at once");
                    let hint = Some("write one route per value".to_owned());
                    self.error(Code::Unreachable, &route.origin, &at, what, hint);
                } else {
                    self.error(
                        Code::Duplicate,
                        &route.origin,
                        &at,
                        format!("a second condition on the {word} \"{name}\""),
                        None,
                    );
                }
            }
        }
    }

    /// Reports the route if another one takes all of its requests before it.
    fn unreachable(&mut self, route: &Route, by_path: &HashMap<&Matcher, Vec<&Route>>) -> bool {
        let own = by_path.get(&route.matcher).into_iter().flatten();
        let path = match &route.matcher {
            Matcher::Exact(path) | Matcher::Prefix(path) => path.clone(),
            Matcher::Regex(pattern) => literal_prefix(pattern),
        };
        let wider: Vec<&Route> = segments(&path)
            .filter_map(|prefix| by_path.get(&Matcher::Prefix(prefix.to_owned())))
            .flatten()
            .chain(own)
            .copied()
            .collect();
        let hides = |other: &&&Route| {
            !std::ptr::eq(**other, route)
                && rank(other) < rank(route)
                && covers_path(&other.matcher, &route.matcher)
                && covers_predicates(other, route)
        };
        let Some(other) = wider.iter().find(hides) else { return false };
        let what =
            format!("this route can never match: the route {} takes its requests first", at(other, route));
        let hint = match (&other.matcher, &route.matcher) {
            (Matcher::Prefix(_), Matcher::Regex(_)) if other.priority == route.priority => {
                "prefixes come before regexes; give this route a higher priority"
            }
            _ => "remove it, or give it a higher priority",
        };
        self.error(Code::Unreachable, &route.origin, "", what, Some(hint.to_owned()));
        true
    }

    /// Reports routes of equal rank that could match one request.
    fn ties(&mut self, routes: &[Route], unreachable: &[bool]) {
        let mut ranks: HashMap<(Rank, &str), Vec<&Route>> = HashMap::new();
        for (route, _) in routes.iter().zip(unreachable).filter(|(_, unreachable)| !**unreachable) {
            // Different paths of equal length never match one request; different regexes may.
            let path = match &route.matcher {
                Matcher::Exact(path) | Matcher::Prefix(path) => path.as_str(),
                Matcher::Regex(_) => "",
            };
            ranks.entry((rank(route), path)).or_default().push(route);
        }
        let mut pairs = 0;
        for group in ranks.values() {
            for (index, second) in group.iter().enumerate() {
                pairs += index;
                if pairs > PAIRS_MAX {
                    return;
                }
                let Some(first) = group[..index].iter().find(|first| agree(first, second)) else { continue };
                let what =
                    format!("this route and the route {} can match the same request", at(first, second));
                let hint = "decide with priority=, or add a condition to one of them".to_owned();
                self.error(Code::Tie, &second.origin, "", what, Some(hint));
            }
        }
    }
}

/// A place as another place of the same file would name it.
fn at(other: &Route, from: &Route) -> String {
    let Origin { file, line, .. } = &other.origin;
    if *file == from.origin.file { format!("in line {line}") } else { format!("at {}", other.origin) }
}

/// Position in the order in which routes are asked; smaller is earlier.
type Rank = (i64, u8, i64, i64);

fn rank(route: &Route) -> Rank {
    let (class, length) = match &route.matcher {
        Matcher::Exact(_) => (0, 0),
        Matcher::Prefix(path) => (1, path.len()),
        Matcher::Regex(_) => (2, 0),
    };
    let further = &route.predicates;
    let count = further.headers.len()
        + further.query.len()
        + further.cookies.len()
        + usize::from(!further.source.is_empty())
        + usize::from(!route.methods.is_empty());
    let negative = |number: usize| -i64::try_from(number).unwrap_or(i64::MAX);
    (-i64::from(route.priority), class, negative(length), negative(count))
}

fn by_path(routes: &[Route]) -> HashMap<&Matcher, Vec<&Route>> {
    let mut by_path: HashMap<&Matcher, Vec<&Route>> = HashMap::new();
    for route in routes {
        by_path.entry(&route.matcher).or_default().push(route);
    }
    by_path
}
