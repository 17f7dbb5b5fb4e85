//! Pages of other origins.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::document::Scalar;
use crate::literal::Literal;
use crate::model::{Applies, Cors, SiteName};
use crate::problem::Code;
use std::time::Duration;

const MAX_AGE: Duration = Duration::from_secs(600);
/// What browsers believe at most.
const MAX_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Decoder<'_> {
    pub(super) fn cors(&mut self, scope: &Scope<'_>) -> Option<Cors> {
        let scope = scope.member("cors")?;
        let mode = self.literal_or(&scope, "mode", Applies::On);
        let (has_origins, credentials) = (scope.has("origins"), self.flag(&scope, "credentials"));
        match mode {
            Applies::On if !has_origins => {
                self.missing(&scope, "no origin is named", "add origins \"https://app.example.com\"");
            }
            Applies::Off if has_origins => {
                let hint = Some("remove \"off\" or the origins".to_owned());
                self.error(Code::Contradiction, scope.object.span, "origins of something that is off", hint);
            }
            _ => {}
        }
        let mut origins = Vec::new();
        for scalar in scope.scalars("origins") {
            origins.extend(self.web_origin(scalar, credentials));
        }
        let max_age = self.literal_or(&scope, "max-age", MAX_AGE);
        if let Some(scalar) = scope.scalar("max-age").filter(|_| max_age > MAX_AGE_MAX) {
            self.wrong("max-age", scalar, "at most \"24h\", which is what browsers believe");
        }
        Some(Cors {
            mode,
            origins,
            methods: self.tokens(&scope, "methods", "a method such as \"PUT\", or \"*\""),
            headers: self.tokens(&scope, "headers", "the name of a header field, or \"*\""),
            expose: self.tokens(&scope, "expose", "the name of a header field"),
            max_age,
            credentials,
            private_network: self.flag(&scope, "private-network"),
            refuse_others: self.flag(&scope, "refuse-others"),
            origin: self.origin(&scope),
        })
    }

    /// An origin as browsers send it (RFC 6454 §6.2), perhaps with `*.` in front of its host.
    fn web_origin(&mut self, scalar: &Scalar, credentials: bool) -> Option<String> {
        let text = self.as_text("origins", scalar)?;
        if text == "*" {
            if credentials {
                let hint =
                    "name the origins: with credentials, every page of the world could act for your users";
                let what = "all origins cannot be let in with credentials";
                self.error(Code::Contradiction, scalar.span, what, Some(hint.to_owned()));
            }
            return Some(text);
        }
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).map(|rest| {
            match rest.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
                _ => rest,
            }
        });
        let is_good = host.is_some_and(|host| {
            let plain = host.bytes().all(|byte| !byte.is_ascii_uppercase());
            plain && matches!(SiteName::read(host), Ok(SiteName::Exact(_) | SiteName::Wildcard(_)))
        });
        if !is_good {
            let expected = "an origin such as \"https://app.example.com\" or \"https://*.example.com\", in lower case, without a path";
            self.wrong("origins", scalar, expected);
        }
        is_good.then_some(text)
    }

    fn tokens(&mut self, scope: &Scope<'_>, key: &str, expected: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        for scalar in scope.scalars(key) {
            let Some(text) = self.as_text(key, scalar) else { continue };
            if is_token(&text) {
                tokens.push(text);
            } else {
                self.wrong(key, scalar, expected);
            }
        }
        tokens
    }
}
