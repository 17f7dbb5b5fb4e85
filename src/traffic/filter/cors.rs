//! Pages of other origins (CORS, as the Fetch standard has it): preflights are answered here, before anybody is asked who
//! calls, and what pages may read is said on every response, those that Ringway makes included.

use super::{FilterStage, Hooks, HttpFilter, ResponseEdits, Verdict, Visit};
use crate::Cause;
use wire::http::{Method, Request};

/// See the module.
#[derive(Debug, Default)]
pub struct Cors {
    /// `*`.
    pub any_origin: bool,
    /// Exactly these.
    pub origins: Vec<Box<[u8]>>,
    pub wildcards: Vec<Wildcard>,
    /// As `Access-Control-Allow-Methods` lists them; `None`: whatever is asked for.
    pub methods: Option<Box<[u8]>>,
    /// As `Access-Control-Allow-Headers` lists them; `None`: whatever is asked for.
    pub headers: Option<Box<[u8]>>,
    /// As `Access-Control-Expose-Headers` lists them; empty is nothing.
    pub expose: Box<[u8]>,
    /// Seconds.
    pub max_age: Box<[u8]>,
    pub credentials: bool,
    pub private_network: bool,
    pub refuse_others: bool,
}

/// What stands before and behind the star of `https://*.example.com`.
pub type Wildcard = (Box<[u8]>, Box<[u8]>);

/// What only we say: an upstream that says something else would be believed by browsers.
const OURS: [&[u8]; 3] =
    [b"Access-Control-Allow-Origin", b"Access-Control-Allow-Credentials", b"Access-Control-Expose-Headers"];

impl HttpFilter for Cors {
    const STAGE: FilterStage = FilterStage::Cors;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: true, response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        let allowed = self.permit(visit.request, visit.response);
        let request = visit.request;
        let Some(method) = field(request, b"Access-Control-Request-Method") else {
            let is_foreign = field(request, b"Origin").is_some() && !allowed;
            return match is_foreign && self.refuse_others {
                true => Verdict::Respond(Cause::OriginRefused),
                false => Verdict::Continue,
            };
        };
        if request.head.method != Method::Options || field(request, b"Origin").is_none() {
            return Verdict::Continue;
        }
        let response = &mut *visit.response;
        response.add(b"Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers");
        if allowed {
            response.add(b"Access-Control-Allow-Methods", self.methods.as_deref().unwrap_or(method));
            let asked = field(request, b"Access-Control-Request-Headers");
            if let Some(headers) = self.headers.as_deref().or(asked).filter(|names| !names.is_empty()) {
                response.add(b"Access-Control-Allow-Headers", headers);
            }
            if self.private_network
                && field(request, b"Access-Control-Request-Private-Network") == Some(b"true")
            {
                response.add(b"Access-Control-Allow-Private-Network", b"true");
            }
            response.add(b"Access-Control-Max-Age", &self.max_age);
        }
        Verdict::Respond(if !allowed && self.refuse_others { Cause::OriginRefused } else { Cause::Preflight })
    }
}

impl Cors {
    /// Says on the response which origin may read it; whether that of the request may.
    pub fn permit(&self, request: Request<'_>, response: &mut ResponseEdits) -> bool {
        OURS.iter().for_each(|name| response.remove(name));
        let echoes = !self.any_origin || self.credentials;
        if echoes {
            // Said even where there is no origin: a cache must not give this answer to a page.
            response.add(b"Vary", b"Origin");
        }
        let Some(origin) = field(request, b"Origin").filter(|origin| self.lets_in(origin)) else {
            return false;
        };
        response.add(b"Access-Control-Allow-Origin", if echoes { origin } else { b"*" });
        if self.credentials {
            response.add(b"Access-Control-Allow-Credentials", b"true");
        }
        if !self.expose.is_empty() {
            response.add(b"Access-Control-Expose-Headers", &self.expose);
        }
        true
    }

    fn lets_in(&self, origin: &[u8]) -> bool {
        let within = |(before, behind): &Wildcard| {
            let middle = origin.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**behind));
            // Labels only: no port, no user, nothing that moves the end of the host.
            let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            middle.is_some_and(|middle| !middle.is_empty() && middle.iter().all(is_label))
        };
        self.any_origin
            || self.origins.iter().any(|own| **own == *origin)
            || self.wildcards.iter().any(within)
    }
}

/// The value of a field that stands once; one that stands twice is none.
fn field<'r>(request: Request<'r>, name: &[u8]) -> Option<&'r [u8]> {
    let mut own =
        request.head.fields.iter().filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name));
    match (own.next(), own.next()) {
        (Some(field), None) => Some(field.value.of(request.bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Caller, Outgoing};
    use super::*;
    use crate::testing::parse;

    fn bytes(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    fn shop() -> Cors {
        Cors {
            origins: vec![bytes("https://app.example")],
            wildcards: vec![(bytes("https://"), bytes(".shop.example"))],
            methods: Some(bytes("GET, HEAD, POST, PUT")),
            headers: Some(bytes("X-Token")),
            expose: bytes("X-Total"),
            max_age: bytes("600"),
            credentials: true,
            ..Cors::default()
        }
    }

    fn visit(cors: &Cors, method: &str, fields: &[(&str, &str)]) -> (Verdict, Vec<String>) {
        let parsed = parse(method, "a.example", "/", fields);
        let mut edits = ResponseEdits::default();
        let verdict = cors.on_request_head(&mut Visit {
            request: parsed.request(),
            client: "192.0.2.1".parse().unwrap(),
            is_secure: true,
            certificate: None,
            unix_s: 1,
            now: base::Instant::ZERO,
            outgoing: &mut Outgoing::default(),
            response: &mut edits,
            caller: &mut Caller::default(),
            route: base::ids::RouteId(0),
            tally: &mut crate::limit::Tally::default(),
            memory: &mut auth::Memory::default(),
        });
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (verdict, edits.additions().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect())
    }

    #[test]
    fn v1_an_allowed_origin_is_echoed_and_others_are_not() {
        let (verdict, fields) = visit(&shop(), "GET", &[("Origin", "https://app.example")]);
        assert_eq!(verdict, Verdict::Continue);
        assert_eq!(
            fields,
            [
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://app.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: X-Total"
            ]
        );
        for origin in [
            "https://evil.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.example",
            "HTTPS://app.example",
            "null",
            "https://.shop.example",
            "https://shop.example",
            "https://evil.example/.shop.example",
            "https://evil.example:80#.shop.example",
            "https://a@b.shop.example",
            "",
        ] {
            let (verdict, fields) = visit(&shop(), "GET", &[("Origin", origin)]);
            assert_eq!((verdict, fields), (Verdict::Continue, vec!["Vary: Origin".to_owned()]), "{origin}");
        }
        let (_, fields) = visit(&shop(), "GET", &[("Origin", "https://a.b.shop.example")]);
        assert_eq!(fields[1], "Access-Control-Allow-Origin: https://a.b.shop.example");
        let twice = [("Origin", "https://app.example"), ("Origin", "https://app.example")];
        assert_eq!(visit(&shop(), "GET", &twice).1, ["Vary: Origin"]);
        let open = Cors { any_origin: true, max_age: bytes("1"), ..Cors::default() };
        assert_eq!(visit(&open, "GET", &[("Origin", "null")]).1, ["Access-Control-Allow-Origin: *"]);
        let strict = Cors { refuse_others: true, ..shop() };
        let refused = visit(&strict, "POST", &[("Origin", "https://evil.example")]).0;
        assert_eq!(refused, Verdict::Respond(Cause::OriginRefused));
        assert_eq!(visit(&strict, "POST", &[]).0, Verdict::Continue);
    }

    #[test]
    fn g10_v1_preflights_are_answered_and_nothing_else_is() {
        let ask = [
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "x-token, x-other"),
            ("Access-Control-Request-Private-Network", "true"),
        ];
        let (verdict, fields) = visit(&shop(), "OPTIONS", &ask);
        assert_eq!(verdict, Verdict::Respond(Cause::Preflight));
        let wanted = [
            "Access-Control-Allow-Methods: GET, HEAD, POST, PUT",
            "Access-Control-Allow-Headers: X-Token",
            "Access-Control-Max-Age: 600",
        ];
        assert!(wanted.iter().all(|line| fields.iter().any(|own| own == line)), "{fields:?}");
        assert!(!fields.iter().any(|line| line.contains("Private-Network")));
        let open = Cors { methods: None, headers: None, private_network: true, ..shop() };
        let (_, fields) = visit(&open, "OPTIONS", &ask);
        let wanted = [
            "Access-Control-Allow-Methods: PUT",
            "Access-Control-Allow-Headers: x-token, x-other",
            "Access-Control-Allow-Private-Network: true",
        ];
        assert!(wanted.iter().all(|line| fields.iter().any(|own| own == line)), "{fields:?}");
        let foreign = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "PUT")];
        let (verdict, fields) = visit(&shop(), "OPTIONS", &foreign);
        assert_eq!(verdict, Verdict::Respond(Cause::Preflight));
        assert!(!fields.iter().any(|line| line.starts_with("Access-Control")), "{fields:?}");
        for (method, fields) in [("OPTIONS", &ask[..1]), ("OPTIONS", &ask[1..2]), ("GET", &ask[..2])] {
            assert_eq!(visit(&shop(), method, fields).0, Verdict::Continue, "{method} {fields:?}");
        }
    }
}
