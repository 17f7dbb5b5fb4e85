//! Rules: which requests they select and what is done with those.

use super::{
    Applies, Authenticate, Authorize, Compress, Cors, Hedge, Limit, LimitUse, Origin, Site, UpstreamTimeouts,
};
use crate::literal::{Bound, Bytes, Cidr};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A rule of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    #[serde(flatten)]
    pub matcher: Matcher,
    /// Higher comes first, before any specificity. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Upper-case method tokens; empty means all methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(rename = "match")]
    pub predicates: Predicates,
    #[serde(flatten)]
    pub action: Action,
    pub timeouts: RouteTimeouts,
    pub limits: RouteLimits,
    /// `None`: the default of [`Retry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// `None`: no second request before the first one has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// As of the listener, which counts when this is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_on_close: Option<bool>,
    /// Calls of browsers (gRPC-Web) become calls of gRPC. Default: they are passed on as they are.
    #[serde(skip_serializing_if = "is_off")]
    pub grpc_web: bool,
    /// What the upstream sees instead of the client's path and host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Applied after those of the site.
    pub headers: Headers,
    /// Pages of other origins. Default: as the site says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How responses are compressed. Default: as the site says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Who must show a credential. Default: as the site says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate: Option<Authenticate>,
    /// What callers must be; holds beside what the site says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize: Option<Authorize>,
    /// How often callers may come; all of them hold, beside those of the site.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Limit>")]
    pub limit: Vec<LimitUse>,
    /// The cache that keeps responses, or `off`. Default: as the site says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

impl Route {
    /// Pages of other origins: as the route says, else the site.
    pub fn cors<'s>(&'s self, site: &'s Site) -> Option<&'s Cors> {
        self.cors.as_ref().or(site.cors.as_ref()).filter(|cors| cors.mode == Applies::On)
    }

    /// How responses are compressed: as the route says, else the site.
    pub fn compress<'s>(&'s self, site: &'s Site) -> Option<&'s Compress> {
        self.compress.as_ref().or(site.compress.as_ref()).filter(|compress| compress.is_on())
    }

    /// Who must show a credential: as the route says, else the site.
    pub fn authenticate<'s>(&'s self, site: &'s Site) -> Option<&'s Authenticate> {
        self.authenticate.as_ref().or(site.authenticate.as_ref())
    }

    /// The cache that keeps responses: as the route says, else the site.
    pub fn cache<'s>(&'s self, site: &'s Site) -> Option<&'s str> {
        let named = self.cache.as_ref().or(site.cache.as_ref())?;
        (named != super::Cache::OFF).then_some(named)
    }

    /// How failed attempts are repeated.
    pub fn retry(&self) -> Retry {
        self.retry.clone().unwrap_or_default()
    }

    /// Limit of the whole exchange: the route's, else the site's, else none.
    pub fn total(&self, site: &Site) -> Option<Duration> {
        self.timeouts.total.or(site.timeouts.total).unwrap_or(Bound::Off).at()
    }

    /// Limit of one attempt: the route's, else the site's, else none.
    pub fn per_try(&self, site: &Site) -> Option<Duration> {
        self.timeouts.per_try.or(site.timeouts.per_try).unwrap_or(Bound::Off).at()
    }

    /// Wait for the response head: the route's, else the upstream's.
    pub fn response_header(&self, upstream: &UpstreamTimeouts) -> Option<Duration> {
        self.timeouts.response_header.unwrap_or(upstream.response_header).at()
    }

    /// Largest request body: the route's, else the site's, else `None` to say that the listener decides.
    pub fn body(&self, site: &Site) -> Option<Bound<Bytes>> {
        self.limits.body.or(site.limits.body)
    }

    /// Names of the upstreams that it forwards to.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.action {
            Action::Upstream(name) => (Some(name.as_str()), &[][..]),
            Action::Split(split) => (None, &split.shares[..]),
            Action::Respond(_) | Action::Redirect(_) => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|share| share.upstream.as_str()))
    }
}

fn is_off(switch: &bool) -> bool {
    !switch
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Which paths a route selects. The query is not part of the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Matcher {
    /// Whole segments: `/api` selects `/api` and `/api/x`, not `/apix`; `/api/` selects what stands below it.
    Prefix(String),
    /// This path only.
    Exact(String),
    /// Searched in the path: anchor it with `^` and `$`. Syntax of the crate `regex`.
    Regex(String),
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Prefix(path) => f.write_str(path),
            Matcher::Exact(path) => write!(f, "exact={path}"),
            Matcher::Regex(pattern) => write!(f, "regex={pattern}"),
        }
    }
}

/// Further conditions; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Predicates {
    /// Request fields; names compare without case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NameMatch>,
    /// Query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<NameMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<NameMatch>,
    /// Client addresses, after trusted proxies; one of them must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Cidr>,
}

/// A named thing of the request that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NameMatch {
    pub name: String,
    /// Its exact value; `None` is satisfied by any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Forwards to the upstream of that name.
    Upstream(String),
    /// Forwards to one of several upstreams, by share.
    Split(Split),
    /// Answers by itself.
    Respond(Respond),
    /// Sends the client elsewhere.
    Redirect(Redirect),
}

/// Several upstreams and their shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Split {
    /// At least one, at least one of them above 0.
    #[serde(rename = "upstreams")]
    pub shares: Vec<Share>,
}

/// One upstream's part of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Share {
    #[serde(rename = "name")]
    pub upstream: String,
    /// Relative to the sum of all, 0 to 10,000.
    pub weight: u16,
    #[serde(skip)]
    pub origin: Origin,
}

/// A response that stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Default: empty.
    pub body: String,
    /// Sent as they are; without a `Content-Type` a body goes as `text/plain; charset=utf-8`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderPair>,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Value of `Location`, with the placeholders `{host}`, `{path}`, `{query}` and `{scheme}`. A `?` right before
    /// `{query}` goes away with an empty query; `{{` and `}}` are braces.
    pub to: String,
}

/// Time limits of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RouteTimeouts {
    /// From the complete request head to the end of the response. Default: the site's, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Bound<Duration>>,
    /// One attempt, up to the response head. Default: the site's, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Bound<Duration>>,
    /// From the sent request to the response head. Default: the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header: Option<Bound<Duration>>,
}

/// Size limits of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RouteLimits {
    /// Request body. Default: the site's, else the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Bound<Bytes>>,
}

/// When and how often a failed attempt is repeated, always within the safe-retry rules and within 20 % of the upstream's
/// requests plus 3 per second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Retry {
    /// After the first attempt, 0 to 2. Default 1.
    pub attempts: u8,
    /// Default: connect, reset.
    #[serde(serialize_with = "joined")]
    #[schemars(with = "String")]
    pub on: Vec<RetryOn>,
    /// Repeat a request that is not idempotent but carries `Idempotency-Key`. Default: do not.
    pub idempotency_key: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 1, on: vec![RetryOn::Connect, RetryOn::Reset], idempotency_key: false }
    }
}

/// What may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection came about.
    Connect,
    /// The connection broke before the response head.
    Reset,
    /// The response head did not come in time.
    Timeout,
    /// A response with this status, 500 to 599.
    Status(u16),
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryOn::Connect => f.write_str("connect"),
            RetryOn::Reset => f.write_str("reset"),
            RetryOn::Timeout => f.write_str("timeout"),
            RetryOn::Status(status) => write!(f, "{status}"),
        }
    }
}

fn joined<S: Serializer>(on: &[RetryOn], serializer: S) -> Result<S::Ok, S::Error> {
    let words: Vec<String> = on.iter().map(RetryOn::to_string).collect();
    serializer.serialize_str(&words.join(","))
}

/// What the upstream sees instead of the client's path and host. The query always stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Rewrite {
    /// Taken off the front of the path, by whole segments; what remains starts with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Put in front of the path, after `strip-prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Instead of the whole path, with the placeholders `{host}`, `{path}` and `{scheme}`; excludes the other two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Host` towards the upstream. Default: the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Edits of header fields, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Headers {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
}

/// Edits of header fields one way: removed first, then set, then added, whatever the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeaderEdits {
    /// Replace all fields of that name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderPair>,
    /// Stand beside fields of that name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderPair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A header field: a token of RFC 9110 §5.6.2 and a value of §5.5 without CR, LF and NUL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeaderPair {
    pub name: String,
    pub value: String,
}
