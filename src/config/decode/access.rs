//! Who may call: policies, consumers, and what sites and routes ask.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::literal::print_duration;
use crate::model::{
    AccessRule, Applies, Authenticate, Authorize, Basic, CertificateName, ClaimHeader, ClaimMatch, Consumer,
    Credential, Jwks, JwksFetch, Jwt, Keys, Method, Methods, Mtls, Secret,
};
use crate::problem::Code;
use std::time::Duration;

const LEEWAY_MAX: Duration = Duration::from_secs(300);
/// Bounds of what may be written, least and most.
pub(super) const FETCH_TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
const FETCH_COOLDOWN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
const FETCH_REFRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
const PASSWORD_REMEMBER: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
/// Prefix of the fields in which the upstream is told who calls.
const OURS: &str = "x-consumer";

impl Decoder<'_> {
    pub(super) fn jwt(&mut self, scope: &Scope<'_>) -> Jwt {
        let algorithms: Vec<_> = self.literals(scope, "algorithms");
        if !scope.has("algorithms") {
            let hint = "add algorithms \"RS256\", as the issuer signs; a token cannot choose by itself";
            self.missing(scope, "the policy does not say which algorithms are good", hint);
        }
        let leeway = self.literal_or(scope, "leeway", Duration::from_secs(30));
        if let Some(scalar) = scope.scalar("leeway").filter(|_| leeway > LEEWAY_MAX) {
            let what = format!("\"leeway\" cannot be {}", super::shown(scalar));
            self.error(Code::Value, scalar.span, what, Some("expected at most \"5m\"".to_owned()));
        }
        let jwks = self.jwks(scope);
        let fetch = self.jwks_fetch(scope, jwks.as_ref());
        Jwt {
            name: self.name(scope, "jwt"),
            issuer: self.text(scope, "issuer"),
            audience: self.texts(scope, "audience"),
            algorithms,
            secret: self.secrets(scope, "secret"),
            public_key: self.texts(scope, "public-key"),
            fetch,
            jwks,
            leeway,
            max_lifetime: self.literal(scope, "max-lifetime"),
            allow_without_expiry: self.flag(scope, "allow-without-expiry"),
            typ: self.text(scope, "type"),
            subject_claim: self.text(scope, "subject-claim").unwrap_or_else(|| "sub".to_owned()),
            groups_claim: self.text(scope, "groups-claim"),
            claim_headers: self.claim_headers(scope),
            origin: self.origin(scope),
        }
    }

    /// The file or the address of a JWK set.
    fn jwks(&mut self, scope: &Scope<'_>) -> Option<Jwks> {
        let scalar = scope.scalar("jwks")?;
        let place = self.as_text("jwks", scalar)?;
        if place.contains("://") {
            return self.read("jwks", scalar).map(Jwks::Url);
        }
        Some(Jwks::File(place))
    }

    fn jwks_fetch(&mut self, scope: &Scope<'_>, jwks: Option<&Jwks>) -> Option<JwksFetch> {
        let written = scope.member("fetch");
        let Some(Jwks::Url(url)) = jwks else {
            // An address that could not be read has been reported.
            let is_misread = jwks.is_none() && scope.has("jwks");
            if let Some(written) = written.filter(|_| !is_misread) {
                let hint = Some("remove \"fetch\", or write jwks \"https://…\"".to_owned());
                self.error(Code::Contradiction, written.object.span, "there is nothing to fetch", hint);
            }
            return None;
        };
        let defaults = JwksFetch::default();
        let fetch = match &written {
            None => defaults,
            Some(scope) => JwksFetch {
                ca: self.text(scope, "ca"),
                timeout: self.between(scope, "timeout", defaults.timeout, FETCH_TIMEOUT),
                cooldown: self.between(scope, "cooldown", defaults.cooldown, FETCH_COOLDOWN),
                refresh: scope
                    .has("refresh")
                    .then(|| self.between(scope, "refresh", Duration::from_secs(600), FETCH_REFRESH)),
                max_stale: self.literal_or(scope, "max-stale", defaults.max_stale),
                allow_private: self.flag(scope, "allow-private"),
                require_at_start: self.flag(scope, "require-at-start"),
            },
        };
        if !url.is_https
            && !fetch.allow_private
            && let Some(scalar) = scope.scalar("jwks")
        {
            let hint = "write https://; without TLS only servers at private addresses are asked, with fetch { allow-private; }";
            let what = "whoever is on the way could exchange the keys";
            self.error(Code::Value, scalar.span, what, Some(hint.to_owned()));
        }
        Some(fetch)
    }

    /// A duration within bounds.
    pub(super) fn between(
        &mut self,
        scope: &Scope<'_>,
        key: &str,
        default: Duration,
        (min, max): (Duration, Duration),
    ) -> Duration {
        let value = self.literal_or(scope, key, default);
        if let Some(scalar) = scope.scalar(key).filter(|_| value < min || value > max) {
            let (min, max) = (print_duration(&min), print_duration(&max));
            self.wrong(key, scalar, &format!("a duration from \"{min}\" to \"{max}\""));
        }
        value
    }

    fn claim_headers(&mut self, scope: &Scope<'_>) -> Vec<ClaimHeader> {
        let mut headers = Vec::new();
        for scope in scope.members("claim-headers") {
            let (Some(claim), Some(scalar)) = (self.text(&scope, "claim"), scope.scalar("header")) else {
                let hint = "write claim-header \"tenant\" \"X-Tenant\"";
                self.missing(&scope, "a claim header needs a claim and a field", hint);
                continue;
            };
            let Some(header) = self.field_name("header", scalar) else { continue };
            if header.to_lowercase().starts_with(OURS) {
                let what = format!("the field \"{header}\" is one that Ringway writes itself");
                self.error(Code::Value, scalar.span, what, None);
                continue;
            }
            headers.push(ClaimHeader { claim, header });
        }
        headers
    }

    /// Secrets of a list; none of them may stand in the text, where every dump of it would have them.
    fn secrets(&mut self, scope: &Scope<'_>, key: &str) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for scalar in scope.scalars(key) {
            let Some(secret) = self.as_text(key, scalar) else { continue };
            if scalar.reference.is_none() {
                let hint = Some("write (file)\"secrets/name\" or (env)\"NAME\"".to_owned());
                self.error(Code::Value, scalar.span, "a secret cannot stand in the text", hint);
                continue;
            }
            secrets.push(Secret(secret));
        }
        secrets
    }

    pub(super) fn keys(&mut self, scope: &Scope<'_>) -> Keys {
        if !scope.has("file") {
            let hint = "add file \"secrets/keys.kdl\"; `ringway keys create` makes it";
            self.missing(scope, "the policy has no file", hint);
        }
        Keys {
            name: self.name(scope, "keys"),
            file: self.text(scope, "file").unwrap_or_default(),
            pepper: self.secret_of(scope, "pepper"),
            origin: self.origin(scope),
        }
    }

    pub(super) fn basic(&mut self, scope: &Scope<'_>) -> Basic {
        if !scope.has("file") {
            let hint = "add file \"secrets/htpasswd\"; htpasswd -B makes it";
            self.missing(scope, "the policy has no file", hint);
        }
        let name = self.name(scope, "basic");
        Basic {
            file: self.text(scope, "file").unwrap_or_default(),
            realm: self.text(scope, "realm").unwrap_or_else(|| name.clone()),
            remember: self.between(scope, "remember", Duration::from_secs(60), PASSWORD_REMEMBER),
            allow_plain: self.flag(scope, "allow-plain"),
            waiting: self.number(scope, "waiting", 1..=10_000, 64),
            timeout: self.between(scope, "timeout", Duration::from_secs(5), FETCH_TIMEOUT),
            name,
            origin: self.origin(scope),
        }
    }

    pub(super) fn mtls(&mut self, scope: &Scope<'_>) -> Mtls {
        Mtls {
            name: self.name(scope, "mtls"),
            by: self.literal_or(scope, "by", CertificateName::Any),
            consumers_only: self.flag(scope, "consumers-only"),
            origin: self.origin(scope),
        }
    }

    pub(super) fn consumer(&mut self, scope: &Scope<'_>) -> Consumer {
        let mut credentials = Vec::new();
        for scope in scope.members("credentials") {
            let credential = Credential {
                jwt: self.text(&scope, "jwt"),
                basic: self.text(&scope, "basic"),
                forward_auth: self.text(&scope, "forward-auth"),
                introspect: self.text(&scope, "introspect"),
                mtls: self.text(&scope, "mtls"),
                subject: self.text(&scope, "subject").unwrap_or_default(),
                origin: self.origin(&scope),
            };
            let policies = ["jwt", "basic", "forward-auth", "introspect", "mtls"]
                .iter()
                .filter(|kind| scope.has(kind))
                .count();
            if policies == 1 && scope.has("subject") {
                credentials.push(credential);
            } else {
                let hint = "write credential jwt=\"corp\" subject=\"client-7\", or basic; keys name their consumer in their file";
                self.missing(&scope, "a credential needs one policy and a subject", hint);
            }
        }
        Consumer {
            name: self.name(scope, "consumer"),
            groups: self.texts(scope, "groups"),
            tier: self.text(scope, "tier"),
            credentials,
            origin: self.origin(scope),
        }
    }

    pub(super) fn authenticate(&mut self, scope: &Scope<'_>) -> Option<Authenticate> {
        let scope = scope.member("authenticate")?;
        let mode = self.literal_or(&scope, "mode", Applies::On);
        let mut methods = |key: &str| scope.member(key).map(|scope| self.methods_of(&scope));
        let (any_of, all_of) = (methods("any-of"), methods("all-of"));
        match (mode, any_of.is_some(), all_of.is_some()) {
            (Applies::On, false, false) => {
                self.missing(&scope, "nothing is asked of callers", "add any-of { jwt \"name\" }");
            }
            (Applies::On, true, true) => {
                let hint = Some("keep one of them".to_owned());
                self.error(Code::Contradiction, scope.object.span, "both any-of and all-of", hint);
            }
            (Applies::Off, true, _) | (Applies::Off, _, true) => {
                let hint = Some("remove \"off\" or the methods".to_owned());
                self.error(Code::Contradiction, scope.object.span, "methods of something that is off", hint);
            }
            _ => {}
        }
        Some(Authenticate {
            mode,
            any_of,
            all_of,
            optional: self.flag(&scope, "optional"),
            forward_credentials: self.flag(&scope, "forward-credentials"),
            origin: self.origin(&scope),
        })
    }

    fn methods_of(&mut self, scope: &Scope<'_>) -> Methods {
        let methods = Methods {
            mtls: self.methods_named(scope, "mtls"),
            jwt: self.methods_named(scope, "jwt"),
            keys: self.methods_named(scope, "keys"),
            basic: self.methods_named(scope, "basic"),
            introspect: self.methods_named(scope, "introspect"),
            forward_auth: self.methods_named(scope, "forward-auth"),
        };
        if methods.all().next().is_none() {
            self.missing(scope, "no method is named", "add jwt \"name\" or keys \"name\"");
        }
        methods
    }

    fn methods_named(&mut self, scope: &Scope<'_>, key: &str) -> Vec<Method> {
        let mut methods = Vec::new();
        for scope in scope.members(key) {
            let Some(name) = self.text(&scope, "name") else {
                self.missing(&scope, "the method does not name its policy", &format!("write {key} \"name\""));
                continue;
            };
            let header = scope.scalar("header").and_then(|scalar| self.field_name("header", scalar));
            let query = scope.scalar("query").and_then(|scalar| {
                let name = self.as_text("query", scalar)?;
                let plain = is_token(&name) && !name.contains(['%', '&', '+']);
                if !plain {
                    self.wrong("query", scalar, "the name of a query parameter, without %, & and +");
                }
                plain.then_some(name)
            });
            methods.push(Method { name, header, query, origin: self.origin(&scope) });
        }
        methods
    }

    pub(super) fn authorize(&mut self, scope: &Scope<'_>) -> Option<Authorize> {
        let scope = scope.member("authorize")?;
        let mut claims = Vec::new();
        for scope in scope.members("claims") {
            match (self.text(&scope, "name"), self.text(&scope, "value")) {
                (Some(name), Some(value)) => claims.push(ClaimMatch { name, value }),
                _ => self.missing(
                    &scope,
                    "a claim needs a name and a value",
                    "write claim \"tenant\" \"acme\"",
                ),
            }
        }
        let written = Authorize {
            scope: self.texts(&scope, "scope"),
            group: self.texts(&scope, "group"),
            claims,
            allow: self.access_rules(&scope, "allow"),
            deny: self.access_rules(&scope, "deny"),
            origin: self.origin(&scope),
        };
        for scalar in scope.scalars("scope") {
            let plain = |text: &str| {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
            };
            if !self.as_text("scope", scalar).is_none_or(|text| plain(&text)) {
                self.wrong("scope", scalar, "one scope (RFC 6749 §3.3); write several as several values");
            }
        }
        let is_empty = Authorize { origin: written.origin.clone(), ..Authorize::default() } == written;
        if is_empty {
            self.missing(&scope, "nothing is asked for", "add scope, group, claim, allow or deny");
        }
        Some(written)
    }

    fn access_rules(&mut self, scope: &Scope<'_>, key: &str) -> Vec<AccessRule> {
        let mut rules = Vec::new();
        for scope in scope.members(key) {
            let rule = AccessRule {
                source: self.literal(&scope, "source"),
                method: self.text(&scope, "method"),
                group: self.text(&scope, "group"),
                consumer: self.text(&scope, "consumer"),
            };
            if !["source", "method", "group", "consumer"].iter().any(|part| scope.has(part)) {
                let hint = format!("write {key} source=\"10.0.0.0/8\", or method, group or consumer");
                self.missing(&scope, "the rule has no condition", &hint);
            }
            if let Some(scalar) = scope.scalar("method")
                && !rule
                    .method
                    .as_deref()
                    .is_some_and(|method| is_token(method) && method.to_uppercase() == method)
            {
                self.wrong("method", scalar, "a method such as \"GET\"");
            }
            rules.push(rule);
        }
        rules
    }
}
