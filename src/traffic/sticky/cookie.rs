//! The attributes of the cookie (RFC 6265bis §4.1.2).

use std::fmt::Write;
use std::time::Duration;

/// When browsers send a cookie with requests that another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

/// Name of the cookie and what stands behind its value. The texts were checked when they were loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub name: Box<str>,
    /// How long a session lasts after its last renewal; `None`: as long as the browser is open.
    pub max_age: Option<Duration>,
    pub path: Box<str>,
    pub domain: Option<Box<str>>,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
}

impl Attributes {
    pub(super) fn before(&self) -> Box<[u8]> {
        format!("Set-Cookie: {}=", self.name).into_bytes().into()
    }

    pub(super) fn after(&self) -> Box<[u8]> {
        let mut text = format!("; Path={}", self.path);
        if let Some(max_age) = self.max_age {
            // Writing to a String cannot fail.
            let _ = write!(text, "; Max-Age={}", max_age.as_secs());
        }
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        text += if self.secure { "; Secure" } else { "" };
        text += if self.http_only { "; HttpOnly" } else { "" };
        text += match self.same_site {
            SameSite::Strict => "; SameSite=Strict\r\n",
            SameSite::Lax => "; SameSite=Lax\r\n",
            SameSite::None => "; SameSite=None\r\n",
        };
        text.into_bytes().into()
    }
}
