//! Where a passed-through connection goes, by what its client says first: server name, protocols, or no TLS at all.
//!
//! The bytes are `wire::client_hello`'s and `wire::opening`'s affair, waiting for them the data plane's.

use base::ids::UpstreamId;
use std::collections::HashMap;
use std::time::Duration;
use wire::client_hello::{ClientHello, Protocols};

/// The routes of one TCP listener.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// By server name in lower case.
    exact: HashMap<Box<str>, Choices>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Choices>,
    /// TLS whose name no other route has, and TLS without a usable name.
    any: Choices,
    /// What begins like a request of HTTP.
    pub http: Option<UpstreamId>,
    /// What is neither, and clients that wait for the server to speak.
    pub tcp: Option<UpstreamId>,
    /// Whatever no route takes.
    pub default: Option<UpstreamId>,
    /// For the bytes that decide. Default 5 s.
    pub hello: Duration,
    /// Where there is a route for plain TCP: for the first byte of a client. Default 500 ms.
    pub silence: Duration,
}

/// Upstreams of one name.
#[derive(Clone, Debug, Default)]
struct Choices {
    by_alpn: Vec<(Box<[u8]>, UpstreamId)>,
    other: Option<UpstreamId>,
}

/// Which server names a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names<'a> {
    /// One, in lower case.
    Exact(&'a str),
    /// All below this domain, at any depth.
    Below(&'a str),
    /// All, and none.
    Any,
}

impl Selector {
    pub fn new(hello: Duration, silence: Duration) -> Selector {
        Selector { hello, silence, ..Selector::default() }
    }

    /// Sends TLS connections for `names` to `upstream`; with `alpn` only those whose client speaks that protocol. A
    /// second route for the same ones is not reached.
    pub fn add(&mut self, names: Names<'_>, alpn: Option<&str>, upstream: UpstreamId) {
        let choices = match names {
            Names::Exact(name) => self.exact.entry(name.into()).or_default(),
            Names::Below(domain) => self.wildcard.entry(domain.into()).or_default(),
            Names::Any => &mut self.any,
        };
        match alpn {
            Some(protocol) => choices.by_alpn.push((protocol.as_bytes().into(), upstream)),
            None => choices.other = choices.other.or(Some(upstream)),
        }
    }

    /// The upstream of a TLS client: exact name, else the longest wildcard, else any; among those of one name, the
    /// protocol that the client likes best.
    pub fn of_tls(&self, hello: &ClientHello) -> Option<UpstreamId> {
        let name = hello.server_name.name();
        let exact = name.and_then(|name| self.exact.get(name));
        let mut rest = name.unwrap_or_default();
        let wildcards = std::iter::from_fn(|| {
            (_, rest) = rest.split_once('.')?;
            Some(rest)
        });
        let wildcards = wildcards.filter_map(|domain| self.wildcard.get(domain));
        let mut choices = exact.into_iter().chain(wildcards).chain([&self.any]);
        choices.find_map(|choices| choices.pick(&hello.protocols)).or(self.default)
    }

    /// The upstream of a client that begins like one of HTTP.
    pub fn of_http(&self) -> Option<UpstreamId> {
        self.http.or_else(|| self.of_tcp())
    }

    /// The upstream of a client that speaks neither, or waits.
    pub fn of_tcp(&self) -> Option<UpstreamId> {
        self.tcp.or(self.default)
    }
}

impl Choices {
    fn pick(&self, spoken: &Protocols) -> Option<UpstreamId> {
        let of = |protocol: &[u8]| self.by_alpn.iter().find(|(own, _)| **own == *protocol);
        let liked = if self.by_alpn.is_empty() { None } else { spoken.iter().find_map(of) };
        liked.map(|&(_, upstream)| upstream).or(self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::client_hello::{HelloReader, Progress};

    /// A hello for `name` (none when empty) that offers `protocols`.
    fn hello(name: &str, protocols: &[&str]) -> ClientHello {
        let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let extension = |kind: u16, content: &[u8]| [kind.to_be_bytes().as_slice(), &long(content)].concat();
        let mut extensions = Vec::new();
        if !name.is_empty() {
            extensions.extend(extension(0, &long(&[&[0], long(name.as_bytes()).as_slice()].concat())));
        }
        if !protocols.is_empty() {
            let list: Vec<u8> = protocols
                .iter()
                .flat_map(|name| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat())
                .collect();
            extensions.extend(extension(16, &long(&list)));
        }
        let body = [&[3, 3], [7; 32].as_slice(), &[0, 0, 2, 0x13, 1, 1, 0], &long(&extensions)].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1], long(&[&[1], &length[1..], &body].concat()).as_slice()].concat();
        match HelloReader::default().read(&record) {
            Ok(Progress::Complete(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    fn routes() -> Selector {
        let mut selector = Selector::new(Duration::from_secs(5), Duration::from_millis(500));
        selector.add(Names::Exact("db.example.com"), None, UpstreamId(1));
        selector.add(Names::Exact("db.example.com"), Some("postgresql"), UpstreamId(2));
        selector.add(Names::Below("example.com"), None, UpstreamId(3));
        selector.add(Names::Below("eu.example.com"), None, UpstreamId(4));
        selector.add(Names::Any, Some("h2"), UpstreamId(5));
        selector
    }

    #[test]
    fn r159_the_most_specific_name_wins_and_then_the_protocol() {
        let selector = routes();
        let cases: [(&str, &[&str], Option<u32>); 10] = [
            ("db.example.com", &[], Some(1)),
            ("DB.Example.Com.", &["h2"], Some(1)),
            ("db.example.com", &["http/1.1", "postgresql"], Some(2)),
            ("www.example.com", &[], Some(3)),
            ("a.b.example.com", &[], Some(3)),
            ("a.eu.example.com", &[], Some(4)),
            ("example.com", &[], None),
            ("example.com", &["h2"], Some(5)),
            ("", &["h2"], Some(5)),
            ("notexample.com", &[], None),
        ];
        for (name, protocols, upstream) in cases {
            assert_eq!(
                selector.of_tls(&hello(name, protocols)),
                upstream.map(UpstreamId),
                "{name} {protocols:?}"
            );
        }
    }

    #[test]
    fn r159_what_no_route_takes_goes_to_the_default_one() {
        let mut selector = routes();
        assert_eq!((selector.of_http(), selector.of_tcp()), (None, None));
        selector.default = Some(UpstreamId(9));
        assert_eq!(selector.of_tls(&hello("", &[])), Some(UpstreamId(9)));
        assert_eq!((selector.of_http(), selector.of_tcp()), (Some(UpstreamId(9)), Some(UpstreamId(9))));
        selector.tcp = Some(UpstreamId(8));
        assert_eq!((selector.of_http(), selector.of_tcp()), (Some(UpstreamId(8)), Some(UpstreamId(8))));
        selector.http = Some(UpstreamId(7));
        assert_eq!((selector.of_http(), selector.of_tcp()), (Some(UpstreamId(7)), Some(UpstreamId(8))));
    }
}
