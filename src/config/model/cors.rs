//! Which other origins' pages may read what a site answers (CORS, as the Fetch standard has it).

use super::{Applies, Origin};
use crate::literal::{DurationText, print_duration};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// Pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Cors {
    /// `off` takes a route of a site out. Default: on.
    pub mode: Applies,
    /// `https://app.example.com`, `https://*.example.com`, or `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Methods beyond GET, HEAD and POST that pages may use, or `*`. Default: GET, HEAD and POST.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Fields that pages may send, or `*`. Default: those that need no permission.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Fields of responses that pages may read. Default: those that need no permission.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// How long a browser may remember a permission. Default 10 min.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub max_age: Duration,
    /// Pages may send cookies and other credentials. Default: no.
    pub credentials: bool,
    /// Pages of public sites may ask although this is a private network. Default: no.
    pub private_network: bool,
    /// Requests of other origins are refused with 403, instead of answered without permission to read. Default: no.
    pub refuse_others: bool,
    #[serde(skip)]
    pub origin: Origin,
}

fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&print_duration(value))
}
