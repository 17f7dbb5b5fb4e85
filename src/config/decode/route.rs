//! Rules: which requests they select.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::document::Scalar;
use crate::model::{Matcher, NameMatch, Predicates, Route, RouteLimits, RouteTimeouts};
use crate::problem::{Code, nearest};
use regex::RegexBuilder;

/// A compiled regular expression; the data plane compiles with the same bound.
const REGEX_BYTES_MAX: usize = 1 << 20;
const METHOD_BYTES_MAX: usize = 32;
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Decoder<'_> {
    pub(super) fn route(&mut self, scope: &Scope<'_>) -> Option<Route> {
        let matcher = self.matcher(scope);
        let action = self.action(scope);
        let timeouts = scope.member("timeouts").map(|timeouts| RouteTimeouts {
            total: self.positive_bound(&timeouts, "total"),
            per_try: self.positive_bound(&timeouts, "per-try"),
            response_header: self.positive_bound(&timeouts, "response-header"),
        });
        let limits = scope.member("limits").map(|limits| RouteLimits { body: self.literal(&limits, "body") });
        let predicates = scope.member("match").map(|predicates| self.predicates(&predicates));
        let (priority, methods) =
            (self.number(scope, "priority", i32::MIN..=i32::MAX, 0), self.methods(scope));
        let retry = scope.member("retry").map(|retry| self.retry(&retry));
        let hedge = scope.member("hedge").map(|hedge| self.hedge(&hedge));
        let abort_on_close = scope.has("abort-on-close").then(|| self.flag(scope, "abort-on-close"));
        let grpc_web = self.flag(scope, "grpc-web");
        let rewrite = scope.member("rewrite").map(|rewrite| self.rewrite(&rewrite));
        let headers = self.headers(scope);
        let (cors, compress) = (self.cors(scope), self.compress(scope));
        let (authenticate, authorize) = (self.authenticate(scope), self.authorize(scope));
        let cache = self.text(scope, "cache");
        Some(Route {
            matcher: matcher?,
            priority,
            methods,
            predicates: predicates.unwrap_or_default(),
            action: action?,
            timeouts: timeouts.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            retry,
            hedge,
            abort_on_close,
            grpc_web,
            rewrite,
            headers,
            cors,
            compress,
            authenticate,
            authorize,
            limit: self.limit_uses(scope),
            cache,
            origin: self.origin(scope),
        })
    }

    fn matcher(&mut self, scope: &Scope<'_>) -> Option<Matcher> {
        let written: Vec<&str> =
            ["prefix", "exact", "regex"].into_iter().filter(|key| scope.has(key)).collect();
        let key = match written[..] {
            [key] => key,
            [] => {
                let hint = "write route \"/\", route exact=\"/\" or route regex=\"^/\"";
                self.missing(scope, "the route has no path", hint);
                return None;
            }
            _ => {
                let hint = Some("keep one of them".to_owned());
                let what = format!("the route has more than one path: {}", written.join(" and "));
                self.error(Code::Contradiction, scope.object.span, what, hint);
                return None;
            }
        };
        let scalar = scope.scalar(key)?;
        let text = self.as_text(key, scalar)?;
        match key {
            "regex" => self.regex(scalar, &text).then_some(Matcher::Regex(text)),
            "exact" => self.path(key, scalar, &text).then_some(Matcher::Exact(text)),
            _ => self.path(key, scalar, &text).then_some(Matcher::Prefix(text)),
        }
    }

    fn regex(&mut self, scalar: &Scalar, pattern: &str) -> bool {
        let Err(error) = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build() else { return true };
        let why = match &error {
            regex::Error::CompiledTooBig(_) => {
                format!("it compiles to more than {} KiB", REGEX_BYTES_MAX >> 10)
            }
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        let what = format!("\"regex\" cannot be {}: {why}", super::shown(scalar));
        self.error(Code::Value, scalar.span, what, None);
        false
    }

    /// Whether a path can be that of a request, in the normal form in which paths are compared.
    pub(super) fn path(&mut self, key: &str, scalar: &Scalar, path: &str) -> bool {
        let why = if !path.starts_with('/') {
            "a path starts with \"/\""
        } else if path.contains('?') {
            "a path ends before the \"?\"; use match { query \"name\" \"value\" }"
        } else if path.contains('#') {
            "a fragment is never sent"
        } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            "spaces, control characters and characters beyond ASCII are sent percent-encoded"
        } else if path.split('/').any(|segment| segment == "." || segment == "..") {
            "the segments \".\" and \"..\" never arrive"
        } else {
            return true;
        };
        let what = format!("\"{key}\" cannot be {}", super::shown(scalar));
        self.error(Code::Value, scalar.span, what, Some(why.to_owned()));
        false
    }

    fn methods(&mut self, scope: &Scope<'_>) -> Vec<String> {
        let mut methods = Vec::new();
        for scalar in scope.scalars("methods") {
            let Some(method) = self.as_text("methods", scalar) else { continue };
            if !is_token(&method) || method.len() > METHOD_BYTES_MAX {
                self.wrong("methods", scalar, "a method such as \"GET\"");
            } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
                let upper = method.to_uppercase();
                let hint = format!("methods compare with case: did you mean \"{upper}\"?");
                let what = format!("\"methods\" cannot be {}", super::shown(scalar));
                self.error(Code::Value, scalar.span, what, Some(hint));
            } else if let Some(near) = nearest(&method, METHODS).filter(|near| *near != method) {
                let hint = format!("did you mean \"{near}\"?");
                let what = format!("\"methods\" cannot be {}", super::shown(scalar));
                self.error(Code::Value, scalar.span, what, Some(hint));
            } else if methods.contains(&method) {
                self.error(Code::Duplicate, scalar.span, format!("\"{method}\" stands here twice"), None);
            } else {
                methods.push(method);
            }
        }
        methods
    }

    fn predicates(&mut self, scope: &Scope<'_>) -> Predicates {
        Predicates {
            headers: self.name_matches(scope, "headers", true),
            query: self.name_matches(scope, "query", false),
            cookies: self.name_matches(scope, "cookies", true),
            source: self.literals(scope, "source"),
        }
    }

    fn name_matches(&mut self, scope: &Scope<'_>, key: &str, tokens: bool) -> Vec<NameMatch> {
        let mut matches = Vec::new();
        for scope in scope.members(key) {
            let Some(scalar) = scope.scalar("name") else {
                self.missing(
                    &scope,
                    "the condition has no name",
                    "write a name and, if it must be exact, a value",
                );
                continue;
            };
            let value = self.text(&scope, "value");
            let Some(name) = self.as_text("name", scalar) else { continue };
            if name.is_empty() || (tokens && !is_token(&name)) {
                self.wrong("name", scalar, "a name without spaces and separators (RFC 9110 §5.6.2)");
                continue;
            }
            matches.push(NameMatch { name, value });
        }
        matches
    }
}
