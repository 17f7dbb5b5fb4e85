//! Which requests can two routes have in common?
//!
//! Exact for paths, prefixes and predicates. For regexes it errs on one side only: they count as overlapping unless the
//! text that they start with excludes it.

use crate::literal::Cidr;
use crate::model::{Matcher, NameMatch, Route};

/// Whether every path of `narrow` is one of `wide`.
pub(super) fn covers_path(wide: &Matcher, narrow: &Matcher) -> bool {
    match (wide, narrow) {
        (Matcher::Prefix(wide), Matcher::Prefix(path) | Matcher::Exact(path)) => is_under(path, wide),
        (Matcher::Prefix(wide), Matcher::Regex(pattern)) => {
            let start = literal_prefix(pattern);
            // The regex may go on after its literal start, so that the start must reach past a segment border.
            start.starts_with(wide.as_str()) && (wide.ends_with('/') || start[wide.len()..].starts_with('/'))
        }
        (wide, narrow) => wide == narrow,
    }
}

/// Whether a path lies under a prefix, by whole segments.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// All prefixes that a path could lie under.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let borders = path.match_indices('/').flat_map(|(at, _)| [at, at + 1]).filter(|at| *at > 0);
    borders.chain(std::iter::once(path.len())).map(|at| &path[..at])
}

/// The text that every path of a regex starts with; at least `/`.
pub(super) fn literal_prefix(pattern: &str) -> String {
    let anchored = pattern.strip_prefix('^').filter(|_| !pattern.contains('|'));
    let mut prefix = String::new();
    let mut chars = anchored.unwrap_or("").chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '$' | '^' => break,
            c => c,
        };
        match chars.peek() {
            // May be left out.
            Some('?' | '*' | '{') => break,
            _ => prefix.push(literal),
        }
        if chars.peek() == Some(&'+') {
            break;
        }
    }
    if prefix.starts_with('/') { prefix } else { "/".to_owned() }
}

/// Whether every request that satisfies the conditions of `narrow` satisfies those of `wide`.
pub(super) fn covers_predicates(wide: &Route, narrow: &Route) -> bool {
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && narrow.methods.iter().all(|method| wide.methods.contains(method)));
    let (a, b) = (&wide.predicates, &narrow.predicates);
    let source = a.source.is_empty()
        || (!b.source.is_empty() && b.source.iter().all(|b| a.source.iter().any(|a| a.covers(b))));
    let implied = |wide: &[NameMatch], narrow: &[NameMatch], same: fn(&str, &str) -> bool| {
        wide.iter().all(|a| {
            narrow.iter().any(|b| same(&a.name, &b.name) && (a.value.is_none() || a.value == b.value))
        })
    };
    methods
        && source
        && implied(&a.headers, &b.headers, str::eq_ignore_ascii_case)
        && implied(&a.query, &b.query, |a, b| a == b)
        && implied(&a.cookies, &b.cookies, |a, b| a == b)
}

/// Whether one request can satisfy both routes of equal rank.
pub(super) fn agree(first: &Route, second: &Route) -> bool {
    let (a, b) = (&first.predicates, &second.predicates);
    agree_paths(&first.matcher, &second.matcher)
        && agree_methods(&first.methods, &second.methods)
        && agree_values(&a.headers, &b.headers, str::eq_ignore_ascii_case)
        && agree_values(&a.query, &b.query, |a, b| a == b)
        && agree_values(&a.cookies, &b.cookies, |a, b| a == b)
        && agree_sources(&a.source, &b.source)
}

fn agree_paths(first: &Matcher, second: &Matcher) -> bool {
    match (first, second) {
        (Matcher::Regex(first), Matcher::Regex(second)) => {
            let (first, second) = (literal_prefix(first), literal_prefix(second));
            first.starts_with(&second) || second.starts_with(&first)
        }
        (first, second) => first == second,
    }
}

fn agree_methods(first: &[String], second: &[String]) -> bool {
    first.is_empty() || second.is_empty() || first.iter().any(|method| second.contains(method))
}

fn agree_values(first: &[NameMatch], second: &[NameMatch], same: fn(&str, &str) -> bool) -> bool {
    !first.iter().any(|a| {
        second
            .iter()
            .any(|b| same(&a.name, &b.name) && a.value.is_some() && b.value.is_some() && a.value != b.value)
    })
}

fn agree_sources(first: &[Cidr], second: &[Cidr]) -> bool {
    first.is_empty() || second.is_empty() || first.iter().any(|a| second.iter().any(|b| a.intersects(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_starts_with_what_cannot_be_left_out() {
        for (pattern, expected) in [
            ("^/users/[0-9]+$", "/users/"),
            ("^/users/me$", "/users/me"),
            ("^/colou?r", "/colo"),
            ("^/a+b", "/a"),
            ("^/a\\.b", "/a.b"),
            ("^/a\\d", "/a"),
            ("^/a|^/b", "/"),
            ("/anywhere", "/"),
            ("^(/a)", "/"),
            ("^/?x", "/"),
        ] {
            assert_eq!(literal_prefix(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn a_prefix_covers_what_lies_below_it_by_whole_segments() {
        let prefix = |path: &str| Matcher::Prefix(path.into());
        let regex = |pattern: &str| Matcher::Regex(pattern.into());
        assert!(covers_path(&prefix("/"), &regex("x")));
        assert!(covers_path(&prefix("/api"), &prefix("/api/")));
        assert!(!covers_path(&prefix("/api/"), &prefix("/api")));
        assert!(!covers_path(&prefix("/api"), &prefix("/apix")));
        assert!(covers_path(&prefix("/api"), &regex("^/api/x")));
        assert!(!covers_path(&prefix("/api"), &regex("^/api")), "it matches /apix too");
        assert_eq!(segments("/a/b").collect::<Vec<_>>(), ["/", "/a", "/a/", "/a/b"]);
    }
}
