//! What is asked: a request, where it comes from, and which listener it would meet.

use super::Subject;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use traffic::snapshot::Listener;

/// A request that nobody has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// As in `Host`.
    host: String,
    port: Option<u16>,
    /// Path and query.
    target: String,
    /// Further fields, as they would be sent.
    pub fields: Vec<(String, String)>,
    /// The address that the connection would come from.
    pub from: IpAddr,
    /// Name of the listener; without one it is found by port and scheme.
    pub listener: Option<String>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The URL is none.
    Url(String),
    /// A field cannot be sent like this.
    Field(String),
    /// No listener of that name; there are these.
    NoListener(String, Vec<String>),
    /// The listener passes bytes through.
    NotHttp(String),
    /// There is no HTTP listener at all.
    NoHttp,
    /// The request has no end.
    NotWhole,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unclear::Url(url) => {
                write!(f, "\"{url}\" is no URL: write http://HOST[:PORT]/PATH, or only the path")
            }
            Unclear::Field(field) => write!(f, "\"{field}\" is no header field: write \"Name: value\""),
            Unclear::NoListener(name, there) => {
                write!(f, "no listener named \"{name}\"; there are: {}", there.join(", "))
            }
            Unclear::NotHttp(name) => {
                write!(f, "listener \"{name}\" passes connections through and looks at no request")
            }
            Unclear::NoHttp => f.write_str("there is no listener for HTTP"),
            Unclear::NotWhole => f.write_str("the request would not be complete"),
        }
    }
}

impl Question {
    /// A request of `method` for `url`, which may be a path only, from 127.0.0.1.
    pub fn new(method: &str, url: &str) -> Result<Question, Unclear> {
        let unclear = || Unclear::Url(url.to_owned());
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            Some(_) => return Err(unclear()),
            None if url.starts_with('/') || url == "*" => ("http", url),
            None => return Err(unclear()),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, target) = if url == "*" { ("", "*") } else { rest.split_at(at) };
        let target = target.split('#').next().unwrap_or("");
        let target = match target.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        if [method, host, &target].iter().any(|part| part.bytes().any(|byte| byte <= b' ' || byte == 0x7f)) {
            return Err(unclear());
        }
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Question {
            method: method.to_owned(),
            scheme,
            host: host.to_owned(),
            port,
            target,
            fields: Vec::new(),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: None,
        })
    }

    /// Adds a field that is written as `Name: value`.
    pub fn field(&mut self, line: &str) -> Result<(), Unclear> {
        let unclear = || Unclear::Field(line.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(unclear)?;
        if name.is_empty() || line.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(unclear());
        }
        self.fields.push((name.to_owned(), value.trim().to_owned()));
        Ok(())
    }

    /// The listener that the request would meet.
    pub(super) fn listener<'s>(&self, subject: Subject<'s>) -> Result<&'s Listener, Unclear> {
        let open = || subject.snapshot.open_listeners().map(|id| &subject.snapshot.listeners[id.index()]);
        if let Some(name) = &self.listener {
            let found = open().find(|listener| *listener.name == **name);
            let there = || open().map(|listener| listener.name.to_string()).collect();
            let found = found.ok_or_else(|| Unclear::NoListener(name.clone(), there()))?;
            return if found.passthrough().is_some() {
                Err(Unclear::NotHttp(name.clone()))
            } else {
                Ok(found)
            };
        }
        let default = if self.scheme == "https" { 443 } else { 80 };
        let port = self.port.unwrap_or(default);
        let at_port = |listener: &&Listener| {
            let real =
                subject.listening.iter().filter(|(name, _)| **name == *listener.name).map(|(_, addr)| addr);
            real.chain(&listener.binds).any(|addr| addr.ip().is_some_and(|ip| ip.port() == port))
        };
        if let Some(found) = open().find(at_port) {
            let name = || found.name.to_string();
            return if found.passthrough().is_some() { Err(Unclear::NotHttp(name())) } else { Ok(found) };
        }
        // Somebody else may stand between the client's port and ours.
        let http = || open().filter(|listener| listener.passthrough().is_none());
        let secured = |listener: &&Listener| listener.tls.is_some() == (self.scheme == "https");
        http().find(secured).or_else(|| http().next()).ok_or(Unclear::NoHttp)
    }

    /// The request as a client would send it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has_host = self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !has_host {
            text.push_str(&format!(
                "Host: {}\r\n",
                if self.host.is_empty() { "localhost" } else { &self.host }
            ));
        }
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let read = |url: &str| {
            let question = Question::new("GET", url).unwrap_or_else(|unclear| panic!("{unclear}"));
            (question.scheme, question.host, question.port, question.target)
        };
        let own = str::to_owned;
        assert_eq!(read("http://a.example/x?y=1#z"), ("http", own("a.example"), None, own("/x?y=1")));
        assert_eq!(read("https://a.example:8443"), ("https", own("a.example:8443"), Some(8443), own("/")));
        assert_eq!(read("http://[::1]:80?q"), ("http", own("[::1]:80"), Some(80), own("/?q")));
        assert_eq!(read("/only/a/path"), ("http", own(""), None, own("/only/a/path")));
        for bad in ["", "a.example/x", "ftp://a/", "http://a b/", "http://a/\r\nX: y"] {
            assert!(Question::new("GET", bad).is_err(), "{bad}");
        }
        assert!(Question::new("GET /x HTTP/1.1\r\nX: y", "/").is_err());
    }

    #[test]
    fn a_field_cannot_become_two() {
        let mut question = Question::new("GET", "/").unwrap();
        question.field("X-A:  b ").unwrap();
        assert_eq!(question.fields, [("X-A".to_owned(), "b".to_owned())]);
        for bad in ["X-A", ": b", "X-A: b\r\nX-B: c", "X\nY: z"] {
            assert!(question.field(bad).is_err(), "{bad}");
        }
        let text = String::from_utf8(question.bytes()).unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n\r\n");
    }
}
