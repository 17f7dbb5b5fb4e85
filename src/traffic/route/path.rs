//! From the path of a request to the routes that may serve it.

use super::BuildError;
use super::hash::ByteMap;
use base::ids::RouteId;
use regex::bytes::{Regex, RegexBuilder};

/// Memory that one compiled regular expression may take (R96).
pub(super) const REGEX_BYTES_MAX: usize = 1 << 20;

/// The path rule of a route, matched against the canonical path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(Box<str>),
    /// Paths that begin with it, up to a segment border: `/api` matches `/api` and `/api/x` but not `/apix`; `/api/`
    /// matches `/api/` and `/api/x` but not `/api`.
    Prefix(Box<str>),
    /// A regular expression, searched for anywhere in the path unless it is anchored. Linear in the length of the path.
    Regex(Box<str>),
}

/// Whether `path` lies under `prefix`.
pub(crate) fn is_under(path: &[u8], prefix: &[u8]) -> bool {
    path.starts_with(prefix)
        && (path.len() == prefix.len() || prefix.ends_with(b"/") || path[prefix.len()] == b'/')
}

/// The patterns of one site and priority, each with what it leads to.
#[derive(Clone, Debug)]
pub(super) struct Paths<T> {
    exact: ByteMap<T>,
    /// Sorted by prefix.
    prefixes: Vec<Prefix<T>>,
    regexes: Vec<(Regex, T)>,
}

#[derive(Clone, Debug)]
struct Prefix<T> {
    prefix: Box<[u8]>,
    /// The longest other prefix that this one begins with. Following these links from the last prefix that does not sort
    /// behind a path visits every prefix of the path, longest first.
    parent: Option<usize>,
    value: T,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Paths { exact: ByteMap::default(), prefixes: Vec::new(), regexes: Vec::new() }
    }
}

impl<T: Default> Paths<T> {
    /// What `pattern` leads to, inserted if it is new. Regular expressions are asked in the order in which they come in.
    /// [`Paths::link`] must follow the last call.
    pub(super) fn entry(&mut self, pattern: &PathPattern, route: RouteId) -> Result<&mut T, BuildError> {
        match pattern {
            PathPattern::Exact(path) => {
                check(path, route)?;
                Ok(self.exact.entry(path.as_bytes().into()).or_default())
            }
            PathPattern::Prefix(path) => {
                check(path, route)?;
                let prefix = path.as_bytes();
                let at = match self.prefixes.binary_search_by(|known| known.prefix.as_ref().cmp(prefix)) {
                    Ok(at) => at,
                    Err(at) => {
                        let new = Prefix { prefix: prefix.into(), parent: None, value: T::default() };
                        self.prefixes.insert(at, new);
                        at
                    }
                };
                Ok(&mut self.prefixes[at].value)
            }
            PathPattern::Regex(text) => {
                // Not shared between routes: which of two expressions is asked first is decided by their routes.
                let known = self.regexes.iter().find(|(known, _)| known.as_str() == text.as_ref());
                let regex = match known {
                    Some((regex, _)) => regex.clone(),
                    None => compile(text, route)?,
                };
                self.regexes.push((regex, T::default()));
                let at = self.regexes.len() - 1;
                Ok(&mut self.regexes[at].1)
            }
        }
    }

    /// Finds the parents of all prefixes, in one pass with a stack of the prefixes that enclose the current one.
    pub(super) fn link(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.prefixes.len() {
            while let Some(&last) = open.last() {
                if self.prefixes[at].prefix.starts_with(&self.prefixes[last].prefix) {
                    break;
                }
                open.pop();
            }
            self.prefixes[at].parent = open.last().copied();
            open.push(at);
        }
    }
}

impl<T> Paths<T> {
    /// Calls `accept` with what the patterns that match `path` lead to, most specific first, until it returns a value.
    pub(super) fn find<R>(&self, path: &[u8], mut accept: impl FnMut(&T) -> Option<R>) -> Option<R> {
        if let Some(found) = self.exact.get(path).and_then(&mut accept) {
            return Some(found);
        }
        let mut next = self.prefixes.partition_point(|known| known.prefix.as_ref() <= path).checked_sub(1);
        while let Some(at) = next {
            let known = &self.prefixes[at];
            if is_under(path, &known.prefix)
                && let Some(found) = accept(&known.value)
            {
                return Some(found);
            }
            next = known.parent;
        }
        self.regexes.iter().find_map(|(regex, value)| if regex.is_match(path) { accept(value) } else { None })
    }
}

fn check(path: &str, route: RouteId) -> Result<(), BuildError> {
    if path.starts_with('/') || path == "*" { Ok(()) } else { Err(BuildError::BadPath { route }) }
}

fn compile(text: &str, route: RouteId) -> Result<Regex, BuildError> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(limit_bytes) => BuildError::RegexTooLarge { route, limit_bytes },
            other => BuildError::BadRegex { route, message: other.to_string().into() },
        },
    )
}
