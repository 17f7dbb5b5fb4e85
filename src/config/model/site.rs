//! Virtual hosts.

use super::{Authenticate, Authorize, Compress, Cors, Headers, Limit, LimitUse, Origin, Route};
use crate::literal::{Bound, Bytes};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A virtual host: names and the routes behind them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Site {
    /// At least one.
    pub names: Vec<SiteName>,
    /// Names of the listeners that serve it; empty means all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// For its routes, unless they say otherwise.
    pub timeouts: SiteTimeouts,
    /// For its routes, unless they say otherwise.
    pub limits: SiteLimits,
    /// Applied before those of the route.
    pub headers: Headers,
    /// Pages of other origins, unless the route says otherwise. Default: none are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How responses are compressed, unless the route says otherwise. Default: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Who must show a credential, unless the route says otherwise. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate: Option<Authenticate>,
    /// No route of the site may be open to requests without a credential. Default: it may.
    pub require_authentication: bool,
    /// What callers must be; holds beside what the route says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize: Option<Authorize>,
    /// How often callers may come; all of them hold, beside those of the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Limit>")]
    pub limit: Vec<LimitUse>,
    /// The cache of its routes, unless they say otherwise. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Sorted by specificity when compiled; the order of the text does not matter.
    pub routes: Vec<Route>,
    #[serde(skip)]
    pub origin: Origin,
}

impl Site {
    /// Whether the listener of that name serves this site.
    pub fn serves(&self, listener: &str) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| name == listener)
    }
}

/// A host name that a site answers to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SiteName {
    /// `shop.example.com`, or an address without port.
    Exact(String),
    /// `*.b.example`: every name that ends in `.b.example`; holds `b.example`.
    Wildcard(String),
    /// `*`: what no other site answers.
    Any,
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteName::Exact(name) => f.write_str(name),
            SiteName::Wildcard(suffix) => write!(f, "*.{suffix}"),
            SiteName::Any => f.write_str("*"),
        }
    }
}

impl Serialize for SiteName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Time limits that hold for all routes of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SiteTimeouts {
    /// From the complete request head to the end of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Bound<Duration>>,
    /// One attempt, up to the response head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Bound<Duration>>,
}

/// Size limits that hold for all routes of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SiteLimits {
    /// Request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Bound<Bytes>>,
}
