//! Which requests the admin API looks at: none that a web page made a browser send.
//!
//! A browser puts `Origin` on what scripts send across sites, and a page that rebinds its own name to 127.0.0.1 arrives
//! with that name as `Host`. Both are refused (R147). What changes something must be sent as JSON, which a form of a web
//! page cannot do, and only from this machine: the API has no password.

use super::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base::addr::Addr;
use std::net::IpAddr;

/// From where the admin API can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// From this machine only: a host name in `Host` can only come from a rebound page.
    Local,
    /// From elsewhere, because the configuration says so: names are what other machines know us by.
    Remote,
}

impl Reach {
    /// How widely a listener on `addr` can be reached.
    pub(crate) fn of(addr: &Addr) -> Reach {
        match addr {
            Addr::Ip(addr) if !addr.ip().is_loopback() => Reach::Remote,
            Addr::Ip(_) | Addr::Unix(_) | Addr::Passed(_) => Reach::Local,
        }
    }
}

pub(super) async fn admit(State(reach): State<Reach>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return Problem::new(StatusCode::FORBIDDEN, "requests from web pages are not answered")
            .into_response();
    }
    let host = request.headers().get(header::HOST).map_or("", |host| host.to_str().unwrap_or("?"));
    if reach == Reach::Local && !names_this_machine(host) {
        let detail = "the Host field names another machine; use an address or localhost";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let mut response = next.run(request).await;
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// In front of everything that changes something (R149).
pub(super) async fn admit_change(State(reach): State<Reach>, request: Request, next: Next) -> Response {
    match refuses_change(&request, reach) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refuses_change(request: &Request, reach: Reach) -> Option<Problem> {
    if reach == Reach::Remote {
        let detail = "this address can be reached from other machines, and there is no password: only reading is \
            allowed here; add a loopback address or a unix socket to `admin { bind … }` for changes";
        return Some(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    // No form can send a PUT; the type says in which of its encodings a configuration is.
    let may_be_kdl = request.method() == Method::PUT;
    if media_type(request.headers()).eq_ignore_ascii_case("application/json")
        || (may_be_kdl && is_kdl(request.headers()))
    {
        return None;
    }
    let detail = if may_be_kdl {
        "say what is sent: Content-Type: application/json, or application/kdl"
    } else {
        "send JSON, and say so: Content-Type: application/json"
    };
    Some(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// Whether the body is said to be KDL.
pub(super) fn is_kdl(headers: &HeaderMap) -> bool {
    ["application/kdl", "text/kdl"].iter().any(|kdl| media_type(headers).eq_ignore_ascii_case(kdl))
}

/// The type of the body without its parameters (RFC 9110 §8.3.1).
fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim()
}

/// Whether `host` (with or without port) is an address, `localhost`, or absent as from HTTP/1.0 clients.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_name_this_machine() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:9901",
            "127.0.0.1",
            "127.0.0.1:9901",
            "[::1]",
            "[::1]:9901",
            "10.1.2.3",
        ] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example", "?"]
        {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
