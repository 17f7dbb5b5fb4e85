//! Which route serves a request.
//!
//! The *site* is chosen by host alone: exact host, else the wildcard with the most labels, else the default site. Only
//! the routes of that site are looked at; there is no falling through to another one. Among them decide, in this order:
//!
//! 1. `priority`: higher first; a route without one has 0,
//! 2. the path: exact, then the longest prefix, then regular expressions,
//! 3. the number of further predicates (methods, header, query, cookie, source: one each),
//! 4. the order of declaration, which a checked configuration never needs.
//!
//! [`RouteTable`] compiles the rules; `naive.rs` spells them out for the tests that compare the two.

mod hash;
mod host;
#[cfg(test)]
mod naive;
mod path;
mod predicate;
mod table;

pub use host::HostPattern;
pub use path::PathPattern;
pub(crate) use path::is_under;
pub use predicate::{Expected, Predicate};
pub(crate) use predicate::{cookie_values, header_values, query_values};
pub use table::{Missed, RouteTable};

use base::ids::RouteId;
use std::fmt;

/// A rule as the table is built from it.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// What [`RouteTable::find`] returns.
    pub id: RouteId,
    /// Names of the site that the route belongs to; a route without any is never found.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Methods in their spelling; empty is every method. `GET` does not include `HEAD`.
    pub methods: Vec<Box<str>>,
    /// All of them must hold.
    pub predicates: Vec<Predicate>,
    /// Higher is asked first; `None` is 0.
    pub priority: Option<i32>,
}

impl RouteSpec {
    /// The number that decides between routes of the same path.
    pub fn predicate_count(&self) -> usize {
        self.predicates.len() + usize::from(!self.methods.is_empty())
    }
}

/// Why a table cannot be built. Each variant names the route that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// An exact path or a prefix that does not begin with `/` (or is not `*`).
    BadPath { route: RouteId },
    /// A host pattern that is empty or has a `*` elsewhere than in its first label.
    BadHost { route: RouteId, host: Box<str> },
    /// A regular expression that does not parse.
    BadRegex { route: RouteId, message: Box<str> },
    /// A regular expression that compiles to more than `limit_bytes` (R96).
    RegexTooLarge { route: RouteId, limit_bytes: usize },
    /// A method that is not a token (RFC 9110 §9.1).
    BadMethod { route: RouteId, method: Box<str> },
}

impl BuildError {
    /// The route that cannot be compiled.
    pub fn route(&self) -> RouteId {
        match self {
            BuildError::BadPath { route }
            | BuildError::BadHost { route, .. }
            | BuildError::BadRegex { route, .. }
            | BuildError::RegexTooLarge { route, .. }
            | BuildError::BadMethod { route, .. } => *route,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::BadPath { .. } => f.write_str("the path does not begin with a slash"),
            BuildError::BadHost { host, .. } => {
                write!(f, "\"{host}\" is not a host or a wildcard such as *.example.com")
            }
            BuildError::BadRegex { message, .. } => {
                write!(f, "the regular expression is not valid: {message}")
            }
            BuildError::RegexTooLarge { limit_bytes, .. } => {
                write!(f, "the regular expression needs more than {limit_bytes} bytes when compiled")
            }
            BuildError::BadMethod { method, .. } => write!(f, "\"{method}\" is not a method"),
        }
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests;
