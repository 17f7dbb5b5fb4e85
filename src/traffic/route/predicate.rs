//! What a route asks of a request beyond host and path.
//!
//! A name that occurs more than once holds only if every occurrence does: a request cannot pass a predicate with one
//! value and show the endpoint another (R69).

use super::BuildError;
use crate::source::CidrSet;
use base::ids::RouteId;
use std::net::IpAddr;
use wire::http::{Known, Method, Request};

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything, as long as the name occurs.
    Present,
    /// Exactly these bytes.
    Exact(Box<[u8]>),
}

/// One further condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// A header field; its name is compared without regard to case.
    Header { name: Box<[u8]>, value: Expected },
    /// A query parameter; name and value are compared after percent-decoding, `+` is a space.
    Query { name: Box<[u8]>, value: Expected },
    /// A cookie (RFC 6265 §5.4).
    Cookie { name: Box<[u8]>, value: Expected },
    /// The address of the client.
    Source(CidrSet),
}

impl Predicate {
    /// Whether it holds for `request` of `client`.
    pub fn holds(&self, request: Request<'_>, client: IpAddr) -> bool {
        match self {
            Predicate::Header { name, value } => value.met_by(header_values(request, name), |a, b| a == b),
            Predicate::Query { name, value } => value.met_by(query_values(request, name), decodes_to),
            Predicate::Cookie { name, value } => value.met_by(cookie_values(request, name), |a, b| a == b),
            Predicate::Source(networks) => networks.contains(client),
        }
    }
}

impl Expected {
    fn met_by<'a>(
        &self,
        values: impl Iterator<Item = &'a [u8]>,
        equal: impl Fn(&[u8], &[u8]) -> bool,
    ) -> bool {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return false;
        }
        match self {
            Expected::Present => true,
            Expected::Exact(wanted) => values.all(|value| equal(value, wanted)),
        }
    }
}

/// Values of all fields called `name`, ignoring case.
pub(crate) fn header_values<'a>(request: Request<'a>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    request.values(name)
}

/// Raw values of the query parameter `name`; a parameter without `=` has an empty one.
pub(crate) fn query_values<'a>(request: Request<'a>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let query = request.query().unwrap_or_default();
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).filter_map(move |pair| {
        let border = pair.iter().position(|&byte| byte == b'=');
        let (key, value) = border.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        decodes_to(key, name).then_some(value)
    })
}

/// Values of the cookie `name` over all `Cookie` fields.
pub(crate) fn cookie_values<'a>(request: Request<'a>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let fields = request.head.fields.iter().filter(|field| field.known == Known::Cookie);
    fields.flat_map(move |field| field.value.of(request.bytes).split(|&byte| byte == b';')).filter_map(
        move |pair| {
            let at = pair.iter().position(|&byte| byte == b'=')?;
            (pair[..at].trim_ascii() == name).then(|| pair[at + 1..].trim_ascii())
        },
    )
}

/// Whether `raw`, percent-decoded, is `wanted`. A `%` that two hexadecimal digits do not follow stands for itself.
fn decodes_to(raw: &[u8], wanted: &[u8]) -> bool {
    let mut rest = raw;
    let mut wanted = wanted.iter();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (first, rest.get(1..).unwrap_or_default()),
            },
            _ => (first, after),
        };
        if wanted.next() != Some(&byte) {
            return false;
        }
        rest = after;
    }
    wanted.next().is_none()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The methods of a route.
#[derive(Clone, Debug, Default)]
pub(super) struct Methods {
    /// Bit per known method; no bit and no other name: every method.
    known: u16,
    other: Vec<Box<[u8]>>,
}

impl Methods {
    pub(super) fn compile(names: &[Box<str>], route: RouteId) -> Result<Methods, BuildError> {
        let mut methods = Methods::default();
        for name in names {
            let token = name.as_bytes();
            if token.is_empty()
                || !token.iter().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte))
            {
                return Err(BuildError::BadMethod { route, method: name.clone() });
            }
            match bit(Method::parse(token, wire::http::Span::EMPTY)) {
                Some(bit) => methods.known |= bit,
                None => methods.other.push(token.into()),
            }
        }
        Ok(methods)
    }

    pub(super) fn allow(&self, request: Request<'_>) -> bool {
        if self.known == 0 && self.other.is_empty() {
            return true;
        }
        match bit(request.head.method) {
            Some(bit) => self.known & bit != 0,
            None => self.other.iter().any(|name| name.as_ref() == request.method()),
        }
    }
}

fn bit(method: Method) -> Option<u16> {
    Some(match method {
        Method::Get => 1,
        Method::Head => 1 << 1,
        Method::Post => 1 << 2,
        Method::Put => 1 << 3,
        Method::Delete => 1 << 4,
        Method::Connect => 1 << 5,
        Method::Options => 1 << 6,
        Method::Trace => 1 << 7,
        Method::Patch => 1 << 8,
        Method::Other(_) => return None,
    })
}
