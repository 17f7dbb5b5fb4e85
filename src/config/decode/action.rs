//! Rules: what is done with the requests that they select.

use super::{Decoder, Scope};
use crate::document::Scalar;
use crate::model::{Action, Redirect, Respond, Retry, RetryOn, Rewrite, Share, Split};
use crate::problem::{Code, nearest};

const BODY_BYTES_MAX: usize = 1 << 20;

impl Decoder<'_> {
    pub(super) fn action(&mut self, scope: &Scope<'_>) -> Option<Action> {
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
        if !self.template("to", scalar, &to, &["host", "path", "query", "scheme"])
            || !self.target(scalar, &to)
        {
            return None;
        }
        Some(Redirect { status: status?, to })
    }

    pub(super) fn retry(&mut self, scope: &Scope<'_>) -> Retry {
        let default = Retry::default();
        let on = scope.scalar("on").and_then(|scalar| self.retry_on(scalar));
        Retry {
            attempts: self.number(scope, "attempts", 0..=2, default.attempts),
            on: on.unwrap_or(default.on),
            idempotency_key: self.flag(scope, "idempotency-key"),
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

    pub(super) fn rewrite(&mut self, scope: &Scope<'_>) -> Rewrite {
        let mut checked = |key: &str| {
            let scalar = scope.scalar(key)?;
            let path = self.as_text(key, scalar)?;
            let plain = self.path(key, scalar, &path)
                && (key != "path" || self.template(key, scalar, &path, &["host", "path", "scheme"]));
            plain.then_some(path)
        };
        let (strip_prefix, prefix, path) = (checked("strip-prefix"), checked("prefix"), checked("path"));
        if let (Some(scalar), true) = (scope.scalar("path"), scope.has("prefix") || scope.has("strip-prefix"))
        {
            let what = "\"path\" replaces the whole path; prefix and strip-prefix would have no effect";
            self.error(Code::Contradiction, scalar.span, what, None);
        }
        Rewrite { strip_prefix, prefix, path, host: self.host(scope, "host") }
    }

    /// Whether a redirect leads where it says. A target whose first segment came from the request could be made into
    /// another host: `//evil.example`.
    fn target(&mut self, scalar: &Scalar, to: &str) -> bool {
        let why = if to.starts_with("//") || to.starts_with("/{path}") || to.starts_with("{path}") {
            "a path of the request at the front could name another host; write \"{scheme}://{host}{path}\""
        } else if ["http://", "https://", "{scheme}://", "/"].iter().any(|start| to.starts_with(start)) {
            return true;
        } else {
            "it must start with \"/\", \"http://\", \"https://\" or \"{scheme}://\""
        };
        let what = format!("\"to\" cannot be {}", super::shown(scalar));
        self.error(Code::Value, scalar.span, what, Some(why.to_owned()));
        false
    }

    /// Whether a template can be filled: these placeholders only, and nothing that could end a header field.
    fn template(&mut self, key: &str, scalar: &Scalar, text: &str, placeholders: &[&str]) -> bool {
        let Err(why) = fillable(text, placeholders) else { return true };
        let what = format!("\"{key}\" cannot be {}: {why}", super::shown(scalar));
        let names: Vec<String> = placeholders.iter().map(|name| format!("{{{name}}}")).collect();
        let hint = format!("placeholders are {}; a brace itself is written twice", names.join(", "));
        self.error(Code::Value, scalar.span, what, Some(hint));
        false
    }
}

fn fillable(text: &str, placeholders: &[&str]) -> Result<(), String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URI has no spaces, control characters or characters beyond ASCII".into());
    }
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            rest = behind;
            continue;
        }
        let Some(end) = rest.find('}').filter(|end| *end > 0) else {
            return Err("a brace without its partner".into());
        };
        let name = &rest[1..end];
        if !placeholders.contains(&name) {
            return Err(format!("unknown placeholder {{{name}}}"));
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}
