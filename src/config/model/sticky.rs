//! Sessions: which cookie keeps a client at its endpoint.

use crate::literal::{DurationText, optional_duration, words};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// The cookie that keeps a client at its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sticky {
    /// Name of the cookie. Default: `ringway_route`.
    pub cookie: String,
    /// How long a session lasts after its last renewal. Default: until the browser is closed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    #[schemars(with = "DurationText")]
    pub max_age: Option<Duration>,
    /// Below which path browsers send it. Default: `/`.
    pub path: String,
    /// To which host and its subdomains browsers send it. Default: to the one that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Browsers send it over TLS only. Default: no.
    pub secure: bool,
    /// Scripts of a page cannot read it. Default: yes.
    pub http_only: bool,
    /// Default: [`SameSite::Lax`].
    pub same_site: SameSite,
    /// What cookies are signed with, from `(file)` or `(env)`. Default: random bytes per process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub secret: Option<Secret>,
}

words! {
    /// When browsers send a cookie with requests that another site caused.
    pub enum SameSite {
        /// Never.
        Strict = "strict",
        /// When a user follows a link.
        Lax = "lax",
        /// Always; needs `secure`.
        None = "none",
    }
    default Lax;
}

/// A text that nothing prints: dumps have the reference that it came from in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// Its value, for whoever needs it as a key.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Only ever seen when no reference stands in its place.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}
