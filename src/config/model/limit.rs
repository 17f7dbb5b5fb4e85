//! How often callers may come, and how many requests of them may be under way.

use super::Origin;
use crate::literal::{printed, words};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// A limit: `rate` or `concurrent`, per key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Limit {
    /// May be left out where the limit stands in a site or a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Excludes `concurrent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<LimitRate>,
    /// Requests under way at once; excludes `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Requests at once after a pause, for `bucket`. Default: the number of `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Default: `bucket`. `None` where there is no rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<LimitWindow>,
    /// Parts, with commas between. Default: `client.ip`.
    pub key: LimitKeys,
    /// Bits of IPv4 addresses that count. Default 32.
    pub ipv4_prefix: u8,
    /// Bits of IPv6 addresses that count. Default 64.
    pub ipv6_prefix: u8,
    /// Requests that lack a part of the key. Default: `shared`.
    pub absent: LimitAbsent,
    /// Default: `late` when the key asks for the caller, else `early`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<LimitStage>,
    /// What one request takes. Default 1.
    pub cost: u32,
    /// Keys that there is room for. Default 65,536.
    pub keys: u32,
    /// Default: `enforce`.
    pub mode: LimitMode,
    /// What clients are told. Default: `standard`.
    pub fields: LimitFields,
    #[serde(skip)]
    pub origin: Origin,
}

/// What a site or a route says: a limit by name, or one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LimitUse {
    /// One that stands at the top. All sites and routes that name it count together.
    Named {
        name: String,
        #[serde(skip)]
        origin: Origin,
    },
    /// One that counts here only.
    Own(Box<Limit>),
}

impl LimitUse {
    pub(crate) fn origin_mut(&mut self) -> &mut Origin {
        match self {
            LimitUse::Named { origin, .. } => origin,
            LimitUse::Own(limit) => &mut limit.origin,
        }
    }
}

/// So many per unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRate {
    pub count: u32,
    pub per: LimitUnit,
}

/// Units of time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitUnit {
    Second,
    Minute,
    Hour,
    Day,
}

impl LimitUnit {
    pub(crate) const ALL: [(LimitUnit, &str); 4] =
        [(LimitUnit::Second, "s"), (LimitUnit::Minute, "m"), (LimitUnit::Hour, "h"), (LimitUnit::Day, "d")];

    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            LimitUnit::Second => 1,
            LimitUnit::Minute => 60,
            LimitUnit::Hour => 3600,
            LimitUnit::Day => 86_400,
        })
    }
}

impl fmt::Display for LimitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = LimitUnit::ALL.iter().find(|(unit, _)| *unit == self.per).map_or("", |(_, text)| text);
        write!(f, "{}/{unit}", self.count)
    }
}

words! {
    /// How a rate is counted.
    pub enum LimitWindow {
        /// A bucket that fills at the rate; `burst` is its size.
        Bucket = "bucket",
        /// At most so many in any window, estimated from two.
        Sliding = "sliding",
        /// At most so many in each second, minute, hour or day of UTC.
        Fixed = "fixed",
    }
    default Bucket;
}

words! {
    /// Requests that lack a part of the key.
    pub enum LimitAbsent {
        /// Count together.
        Shared = "shared",
        /// Are not limited.
        Skip = "skip",
        /// Are refused: 400.
        Deny = "deny",
    }
    default Shared;
}

words! {
    /// Before anybody is asked who calls, or after.
    pub enum LimitStage {
        Early = "early",
        Late = "late",
    }
    default Early;
}

words! {
    /// Whether a limit refuses.
    pub enum LimitMode {
        Enforce = "enforce",
        /// Counts and logs what it would refuse.
        Shadow = "shadow",
    }
    default Enforce;
}

words! {
    /// Which fields of responses tell of a limit.
    pub enum LimitFields {
        /// `RateLimit-Policy` and `RateLimit`.
        Standard = "standard",
        /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
        XRateLimit = "x-ratelimit",
        /// `RateLimit-Limit`, `-Remaining`, `-Reset`.
        Legacy = "legacy",
        Off = "off",
    }
    default Standard;
}

/// The parts of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitKeys(pub Vec<LimitKey>);

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    ClientIp,
    Header(String),
    Consumer,
    Credential,
    Claim(String),
    Host,
    Method,
    Path,
    Route,
    Everyone,
}

impl LimitKey {
    /// Whether only authentication can tell.
    pub fn needs_caller(&self) -> bool {
        matches!(self, LimitKey::Consumer | LimitKey::Credential | LimitKey::Claim(_))
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitKey::ClientIp => f.write_str("client.ip"),
            LimitKey::Header(name) => write!(f, "header:{name}"),
            LimitKey::Consumer => f.write_str("consumer"),
            LimitKey::Credential => f.write_str("credential"),
            LimitKey::Claim(name) => write!(f, "claim:{name}"),
            LimitKey::Host => f.write_str("host"),
            LimitKey::Method => f.write_str("method"),
            LimitKey::Path => f.write_str("path"),
            LimitKey::Route => f.write_str("route"),
            LimitKey::Everyone => f.write_str("everyone"),
        }
    }
}

impl fmt::Display for LimitKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, key) in self.0.iter().enumerate() {
            write!(f, "{}{key}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

printed! {
    LimitRate = "LimitRate", { "pattern": "^[0-9]+/(s|m|h|d)$" };
    LimitKeys = "LimitKey", { "pattern": "^[^,]+(,[^,]+)*$" };
}
