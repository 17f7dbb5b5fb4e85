//! Services that Ringway itself asks while requests wait.

use super::access::FETCH_TIMEOUT;
use super::{Decoder, Scope};
use crate::literal::Url;
use crate::model::{ForwardAuth, Introspect, SameFor, Secret, ServiceSettings, Unjudged};
use crate::problem::Code;
use std::time::Duration;

const HOUR: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
/// Fields of requests that a service is told unless the policy says otherwise.
const TOLD: [&str; 2] = ["Authorization", "Cookie"];
/// Prefix of the fields that describe the request, and of those in which the upstream is told who calls.
const OURS: [&str; 2] = ["x-forwarded-", "x-consumer"];

impl Decoder<'_> {
    fn service(&mut self, scope: &Scope<'_>, remember: Duration) -> ServiceSettings {
        if !scope.has("url") {
            self.missing(scope, "the policy has no service", "add url \"https://auth.internal/verify\"");
        }
        let url = self.literal(scope, "url").unwrap_or_else(|| Url {
            is_https: true,
            authority: String::new(),
            target: crate::literal::Target::Host { name: String::new(), port: 443 },
            path: "/".to_owned(),
        });
        ServiceSettings {
            url,
            ca: self.text(scope, "ca"),
            timeout: self.between(scope, "timeout", Duration::from_secs(2), FETCH_TIMEOUT),
            waiting: self.number(scope, "waiting", 1..=10_000, 256),
            remember: self.between(scope, "remember", remember, HOUR),
            stale: self.between(scope, "stale", Duration::ZERO, HOUR),
        }
    }

    pub(super) fn forward_auth(&mut self, scope: &Scope<'_>) -> ForwardAuth {
        let request_headers = match scope.has("request-headers") {
            true => self.field_names(scope, "request-headers"),
            false => TOLD.map(str::to_owned).to_vec(),
        };
        let name_of = |decoder: &mut Self, key: &str| {
            scope.scalar(key).and_then(|scalar| decoder.field_name(key, scalar))
        };
        ForwardAuth {
            name: self.name(scope, "forward-auth"),
            service: self.service(scope, Duration::ZERO),
            request_headers,
            identity: self.field_names(scope, "identity"),
            response_headers: self.field_names(scope, "response-headers"),
            subject_header: name_of(self, "subject-header"),
            groups_header: name_of(self, "groups-header"),
            same_for: self.literal_or(scope, "same-for", SameFor::Request),
            on_error: self.literal_or(scope, "on-error", Unjudged::Deny),
            origin: self.origin(scope),
        }
    }

    pub(super) fn introspect(&mut self, scope: &Scope<'_>) -> Introspect {
        if !scope.has("client-id") {
            let hint = "add client-id \"gateway\", and client-secret (file)\"secrets/gateway\"";
            self.missing(scope, "the service does not learn who asks", hint);
        }
        Introspect {
            name: self.name(scope, "introspect"),
            service: self.service(scope, Duration::from_secs(60)),
            client_id: self.text(scope, "client-id").unwrap_or_default(),
            client_secret: self.secret_of_others(scope, "client-secret"),
            issuer: self.text(scope, "issuer"),
            audience: self.texts(scope, "audience"),
            subject_claim: self.text(scope, "subject-claim").unwrap_or_else(|| "sub".to_owned()),
            groups_claim: self.text(scope, "groups-claim"),
            origin: self.origin(scope),
        }
    }

    /// A secret whose length somebody else has chosen.
    fn secret_of_others(&mut self, scope: &Scope<'_>, key: &str) -> Option<Secret> {
        let scalar = scope.scalar(key)?;
        let secret = self.as_text(key, scalar)?;
        if scalar.reference.is_none() {
            let hint = Some("write (file)\"secrets/name\" or (env)\"NAME\"".to_owned());
            self.error(Code::Value, scalar.span, "a secret cannot stand in the text", hint);
            return None;
        }
        Some(Secret(secret))
    }

    /// Names of fields, none of which is one that Ringway writes itself.
    fn field_names(&mut self, scope: &Scope<'_>, key: &str) -> Vec<String> {
        let mut names = Vec::new();
        for scalar in scope.scalars(key) {
            let Some(name) = self.field_name(key, scalar) else { continue };
            let lower = name.to_lowercase();
            if OURS.iter().any(|ours| lower.starts_with(ours)) {
                let what = format!("the field \"{name}\" is one that Ringway writes itself");
                self.error(Code::Value, scalar.span, what, None);
            } else {
                names.push(name);
            }
        }
        names
    }
}
