//! Rules and what they do.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::document::Scalar;
use crate::literal::Bytes;
use crate::model::{
    Action, Matcher, NameMatch, Predicates, Redirect, Respond, Retry, RetryOn, Rewrite, Route, RouteLimits,
    RouteTimeouts, Share, Split,
};
use crate::problem::{Code, nearest};
use regex::RegexBuilder;

/// A compiled regular expression; the data plane compiles with the same bound.
const REGEX_BYTES_MAX: usize = 1 << 20;
const METHOD_BYTES_MAX: usize = 32;
const BODY_BYTES_MAX: usize = 1 << 20;
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
        let rewrite = scope.member("rewrite").map(|rewrite| self.rewrite(&rewrite));
        let headers = self.headers(scope);
        Some(Route {
            matcher: matcher?,
            priority,
            methods,
            predicates: predicates.unwrap_or_default(),
            action: action?,
            timeouts: timeouts.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            retry,
            rewrite,
            headers,
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

    fn action(&mut self, scope: &Scope<'_>) -> Option<Action> {
        let words = ["upstream", "split", "respond", "redirect"];
        let written: Vec<&str> = words.into_iter().filter(|key| scope.has(key)).collect();
        match written[..] {
            ["upstream"] => self.text(scope, "upstream").map(Action::Upstream),
            ["split"] => Some(Action::Split(self.split(&scope.member("split")?))),
            ["respond"] => self.respond(&scope.member("respond")?).map(Action::Respond),
            ["redirect"] => self.redirect(&scope.member("redirect")?).map(Action::Redirect),
            [] => {
                let hint = "add upstream=\"name\", or a child split, respond or redirect";
                self.missing(scope, "the route does nothing", hint);
                None
            }
            _ => {
                let what = format!("the route does more than one thing: {}", written.join(" and "));
                let hint = Some("keep one of them".to_owned());
                self.error(Code::Contradiction, scope.object.span, what, hint);
                None
            }
        }
    }

    fn split(&mut self, scope: &Scope<'_>) -> Split {
        if !scope.has("upstreams") {
            self.missing(scope, "\"split\" has no upstream", "add upstream \"name\" 95");
        }
        let mut shares = Vec::new();
        for share in scope.members("upstreams") {
            let weight =
                share.scalar("weight").and_then(|scalar| self.as_number("weight", scalar, 0u16..=10_000));
            let upstream = self.text(&share, "name");
            if !share.has("name") || !share.has("weight") {
                self.missing(&share, "a share needs an upstream and a weight", "write upstream \"name\" 95");
            }
            if let (Some(upstream), Some(weight)) = (upstream, weight) {
                shares.push(Share { upstream, weight, origin: self.origin(&share) });
            }
        }
        Split { shares }
    }

    fn respond(&mut self, scope: &Scope<'_>) -> Option<Respond> {
        let body = self.text(scope, "body").unwrap_or_default();
        let headers = self.pairs(scope, "headers");
        let Some(scalar) = scope.scalar("status") else {
            self.missing(scope, "\"respond\" has no status", "write respond 200");
            return None;
        };
        let status: u16 = self.as_number("status", scalar, 200..=599)?;
        if let Some(text) = scope.scalar("body") {
            if !body.is_empty() && matches!(status, 204 | 205 | 304) {
                self.error(Code::Contradiction, text.span, format!("a response {status} has no body"), None);
            } else if body.len() > BODY_BYTES_MAX {
                self.error(Code::Limit, text.span, "a body is at most 1 MiB", None);
            }
        }
        Some(Respond { status, body, headers })
    }

    fn redirect(&mut self, scope: &Scope<'_>) -> Option<Redirect> {
        let status = match scope.scalar("status") {
            Some(scalar) => match self.as_number("status", scalar, 300u16..=399) {
                Some(status) if ![301, 302, 303, 307, 308].contains(&status) => {
                    let hint = Some("expected 301, 302, 303, 307 or 308".to_owned());
                    self.error(Code::Value, scalar.span, format!("\"status\" cannot be {status}"), hint);
                    None
                }
                other => other,
            },
            None => {
                self.missing(scope, "\"redirect\" has no status", "write redirect 308 to=\"/new/\"");
                None
            }
        };
        let Some(scalar) = scope.scalar("to") else {
            self.missing(scope, "\"redirect\" does not say where to", "add to=\"/new/\"");
            return None;
        };
        let to = self.as_text("to", scalar)?;
        if let Err(why) = template(&to) {
            let what = format!("\"to\" cannot be {}: {why}", super::shown(scalar));
            self.error(
                Code::Value,
                scalar.span,
                what,
                Some("placeholders are {host}, {path} and {query}".to_owned()),
            );
            return None;
        }
        Some(Redirect { status: status?, to })
    }

    fn retry(&mut self, scope: &Scope<'_>) -> Retry {
        let default = Retry::default();
        let on = scope.scalar("on").and_then(|scalar| self.retry_on(scalar));
        Retry {
            attempts: self.number(scope, "attempts", 0..=2, default.attempts),
            on: on.unwrap_or(default.on),
            budget: self.literal_or(scope, "budget", default.budget),
            budget_floor: self.literal_or(scope, "budget-floor", default.budget_floor),
            replay: self.size(scope, "replay", Bytes(0), Bytes(1 << 20), default.replay),
        }
    }

    fn retry_on(&mut self, scalar: &Scalar) -> Option<Vec<RetryOn>> {
        let text = self.as_text("on", scalar)?;
        let mut on = Vec::new();
        for word in text.split(',').map(str::trim) {
            let one = match word {
                "connect" => RetryOn::Connect,
                "reset" => RetryOn::Reset,
                "timeout" => RetryOn::Timeout,
                _ => match word.parse() {
                    Ok(status @ 500..=599) => RetryOn::Status(status),
                    _ => {
                        let near = nearest(word, ["connect", "reset", "timeout"]);
                        let hint = match near.filter(|_| scalar.reference.is_none()) {
                            Some(near) => format!("did you mean \"{near}\"?"),
                            None => "expected connect, reset, timeout or statuses from 500 to 599, by commas"
                                .to_owned(),
                        };
                        let what = format!("\"on\" cannot be {}", super::shown(scalar));
                        self.error(Code::Value, scalar.span, what, Some(hint));
                        return None;
                    }
                },
            };
            if !on.contains(&one) {
                on.push(one);
            }
        }
        Some(on)
    }

    fn rewrite(&mut self, scope: &Scope<'_>) -> Rewrite {
        let mut checked = |key: &str| {
            let scalar = scope.scalar(key)?;
            let path = self.as_text(key, scalar)?;
            self.path(key, scalar, &path).then_some(path)
        };
        let (strip_prefix, prefix, path) = (checked("strip-prefix"), checked("prefix"), checked("path"));
        if let (Some(scalar), true) = (scope.scalar("path"), scope.has("prefix") || scope.has("strip-prefix"))
        {
            let what = "\"path\" replaces the whole path; prefix and strip-prefix would have no effect";
            self.error(Code::Contradiction, scalar.span, what, None);
        }
        Rewrite { strip_prefix, prefix, path, host: self.host(scope, "host") }
    }
}

/// Whether a redirect's target can be filled: known placeholders only, nothing that could end the field.
fn template(to: &str) -> Result<(), String> {
    if to.is_empty() || !to.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URI has no spaces, control characters or characters beyond ASCII".into());
    }
    let mut rest = to;
    while let Some(at) = rest.find(['{', '}']) {
        let Some(end) = rest[at..].find('}').filter(|_| rest[at..].starts_with('{')) else {
            return Err("a brace without its partner".into());
        };
        let name = &rest[at + 1..at + end];
        if !["host", "path", "query"].contains(&name) {
            return Err(format!("unknown placeholder {{{name}}}"));
        }
        rest = &rest[at + end + 1..];
    }
    let absolute = ["http://", "https://", "/", "{path}"].iter().any(|start| to.starts_with(start));
    if absolute { Ok(()) } else { Err("it starts neither with \"/\" nor with a scheme".into()) }
}
