//! Sessions: which endpoint a client was given before, by a cookie of ours.
//!
//! The cookie names the endpoint by a keyed tag of its upstream's name and its address, and carries when it was issued
//! and a signature (`token`). So a client learns nothing about the endpoints, can neither choose one nor keep a session
//! beyond its age, and a session survives whatever keeps name and address: another order, a reload, a restart with the
//! same secret.
//!
//! Whether the endpoint can take the session is decided in `balance`; here is only what the cookie says. Nothing here
//! allocates but `build`.

mod cookie;
mod token;

pub use cookie::{Attributes, SameSite};
pub use token::Key;

use crate::route::cookie_values;
use crate::snapshot::Endpoint;
use base::ids::EndpointId;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use token::{Signer, Tag, Token};
use wire::http::Request;

/// Cookies of our name that are looked at in one request: browsers send those of several paths, attackers any number.
pub const COOKIES_TRIED_MAX: usize = 4;

/// The sessions of one upstream in one generation.
pub struct Sticky {
    key: Key,
    signer: Signer,
    attributes: Attributes,
    /// What precedes and follows the value in a `Set-Cookie` field.
    before: Box<[u8]>,
    after: Box<[u8]>,
    /// By [`EndpointId`].
    tags: Vec<Tag>,
    endpoints: HashMap<Tag, EndpointId>,
}

/// What a request says about its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// No cookie of ours.
    None,
    /// It belongs to this endpoint; `renew` when half of the cookie's age has passed.
    Held { endpoint: EndpointId, renew: bool },
    /// Signed by us, but the upstream has no such endpoint (any more).
    Unknown,
    /// Signed by us too long ago.
    Stale,
    /// Not signed by us, or by another secret.
    Forged,
}

impl Session {
    /// The endpoint that the request should go to.
    pub fn endpoint(self) -> Option<EndpointId> {
        match self {
            Session::Held { endpoint, .. } => Some(endpoint),
            Session::None | Session::Unknown | Session::Stale | Session::Forged => None,
        }
    }

    /// Whether the response of `endpoint` has to carry a new cookie.
    pub fn needs_cookie(self, endpoint: EndpointId) -> bool {
        self != Session::Held { endpoint, renew: false }
    }
}

impl Sticky {
    /// Sessions of the upstream named `upstream`, whose endpoints are `endpoints` in this order.
    pub fn build(key: Key, attributes: Attributes, upstream: &str, endpoints: &[Endpoint]) -> Sticky {
        let signer = Signer::new(&key);
        let tags: Vec<Tag> = endpoints.iter().map(|endpoint| signer.tag(upstream, &endpoint.text)).collect();
        let endpoints = tags.iter().copied().zip(endpoints.iter().map(|endpoint| endpoint.id)).collect();
        let (before, after) = (attributes.before(), attributes.after());
        Sticky { key, signer, attributes, before, after, tags, endpoints }
    }

    /// The secret behind the cookies, for the next generation.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What the request says about its session. `unix` is the time since 1970.
    pub fn session(&self, request: Request<'_>, unix: Duration) -> Session {
        let mut first = Session::None;
        for value in cookie_values(request, self.name()).take(COOKIES_TRIED_MAX) {
            let session = self.read(value, unix);
            if session.endpoint().is_some() {
                return session;
            }
            if first == Session::None {
                first = session;
            }
        }
        first
    }

    fn read(&self, value: &[u8], unix: Duration) -> Session {
        let Some(token) = Token::parse(value).filter(|token| self.signer.signed(token)) else {
            return Session::Forged;
        };
        // A node whose clock is ahead of ours may have issued it.
        let age = unix.saturating_sub(token.issued());
        if self.attributes.max_age.is_some_and(|max| age >= max) {
            return Session::Stale;
        }
        let renew = self.attributes.max_age.is_some_and(|max| age >= max / 2);
        match self.endpoints.get(&token.tag) {
            Some(&endpoint) => Session::Held { endpoint, renew },
            None => Session::Unknown,
        }
    }

    /// Appends a `Set-Cookie` field line that keeps the client at `endpoint`.
    pub fn write_set_cookie(&self, out: &mut Vec<u8>, endpoint: EndpointId, unix: Duration) {
        let Some(&tag) = self.tags.get(endpoint.index()) else { return };
        out.extend_from_slice(&self.before);
        out.extend_from_slice(&self.signer.sign(tag, unix).to_text());
        out.extend_from_slice(&self.after);
    }

    /// Whether a `Cookie` field has one that is ours and must not be forwarded as it is.
    pub fn is_in(&self, value: &[u8]) -> bool {
        value.split(|&byte| byte == b';').any(|pair| self.is_ours(pair))
    }

    /// The cookies of a `Cookie` field that are not ours, as they were written.
    pub fn others<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let pairs = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        pairs.filter(|pair| !pair.is_empty() && !self.is_ours(pair))
    }

    fn is_ours(&self, pair: &[u8]) -> bool {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == self.name()
    }

    fn name(&self) -> &[u8] {
        self.attributes.name.as_bytes()
    }
}

/// Without the secret and what was made of it.
impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
