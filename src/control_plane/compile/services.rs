//! Policies whose verdicts come from services, and the desks where all policies ask.

use super::Compiler;
use super::access::{NUMBERS, sorted};
use auth::{
    CertificateName, CertificatePolicy, Consumer, ForwardPolicy, IntrospectionPolicy, Issuer, JwtPolicy,
    KeyRing, Scheme,
};
use config::model::CertificateName as Written;
use config::model::{ForwardAuth, Introspect, Mtls, Origin, SameFor, ServiceSettings, Unjudged};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use traffic::admission::BreakerRules;
use traffic::ask::{Desk, DeskRules};

/// Requests that wait for new keys of one issuer, and for how long.
const KEYS_WAITING_MAX: u32 = 1024;
const KEYS_TIMEOUT: Duration = Duration::from_secs(1);
/// When a service is left alone for a while: half of at least 10 questions within 10 s failed.
const BREAKER: BreakerRules = BreakerRules {
    error_permille: 500,
    requests_min: 10,
    window: Duration::from_secs(10),
    open_for: Duration::from_secs(5),
    probes: 3,
};

impl Compiler<'_> {
    /// The desks of all policies that ask.
    pub(super) fn desks(&self) -> Vec<Arc<Desk>> {
        let config = self.config;
        let keys = config.jwt.iter().filter(|written| written.fetch.is_some()).map(|written| {
            let rules = DeskRules { waiting_max: KEYS_WAITING_MAX, timeout: KEYS_TIMEOUT, breaker: None };
            self.desk(Scheme::Jwt, &written.name, rules)
        });
        let basic = config.basic.iter().map(|written| {
            let rules = DeskRules { waiting_max: written.waiting, timeout: written.timeout, breaker: None };
            self.desk(Scheme::Basic, &written.name, rules)
        });
        let of_service = |scheme: Scheme, name: &str, service: &ServiceSettings| {
            let rules =
                DeskRules { waiting_max: service.waiting, timeout: service.timeout, breaker: Some(BREAKER) };
            self.desk(scheme, name, rules)
        };
        let forward = config.forward_auth.iter();
        let forward = forward.map(|written| of_service(Scheme::ForwardAuth, &written.name, &written.service));
        let introspect = config.introspect.iter();
        let introspect =
            introspect.map(|written| of_service(Scheme::Introspection, &written.name, &written.service));
        keys.chain(basic).chain(forward).chain(introspect).collect()
    }

    /// The desk of a policy, with those who wait there.
    fn desk(&self, scheme: Scheme, policy: &str, rules: DeskRules) -> Arc<Desk> {
        let carried = self.carried.desk(scheme.name(), policy).filter(|desk| desk.rules == rules);
        carried.map_or_else(|| Arc::new(Desk::new(format!("{scheme}:{policy}"), rules)), Arc::clone)
    }

    pub(super) fn forward(
        &self,
        written: &ForwardAuth,
        consumers: &HashMap<&str, Arc<Consumer>>,
    ) -> Arc<ForwardPolicy> {
        let subjects = self.subjects("forward-auth", &written.name, consumers);
        let described = ForwardAuth { origin: Origin::command_line(), ..written.clone() };
        let description = format!("{described:?} {:?}", sorted(&subjects));
        let fingerprint = auth::fingerprint([description.as_bytes()]);
        let previous = self.carried.forward(&written.name);
        if let Some(same) = previous.filter(|policy| policy.fingerprint == fingerprint) {
            return Arc::clone(same);
        }
        let bytes = |names: &[String]| names.iter().map(|name| name.as_bytes().into()).collect();
        let lower = |name: &String| name.to_lowercase().into_boxed_str();
        Arc::new(ForwardPolicy {
            name: written.name.as_str().into(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            fingerprint,
            request_fields: bytes(&written.request_headers),
            identity_fields: bytes(&written.identity),
            response_fields: written.response_headers.iter().map(lower).collect(),
            subject_field: written.subject_header.as_ref().map(lower),
            groups_field: written.groups_header.as_ref().map(lower),
            same_for_identity: written.same_for == SameFor::Identity,
            remember_s: written.service.remember.as_secs(),
            stale_s: written.service.stale.as_secs(),
            allows_unjudged: written.on_error == Unjudged::Allow,
            consumers: subjects,
            tally: previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tally)),
        })
    }

    pub(super) fn introspection(
        &self,
        written: &Introspect,
        consumers: &HashMap<&str, Arc<Consumer>>,
    ) -> Arc<IntrospectionPolicy> {
        let subjects = self.subjects("introspect", &written.name, consumers);
        let described = Introspect { origin: Origin::command_line(), client_secret: None, ..written.clone() };
        let description = format!("{described:?} {:?}", sorted(&subjects));
        let secret = written.client_secret.as_ref().map(|secret| secret.as_bytes()).unwrap_or_default();
        let fingerprint = auth::fingerprint([description.as_bytes(), secret]);
        let previous = self.carried.introspection(&written.name);
        if let Some(same) = previous.filter(|policy| policy.tokens.fingerprint == fingerprint) {
            return Arc::clone(same);
        }
        let tokens = JwtPolicy {
            name: written.name.as_str().into(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            fingerprint,
            issuer: Issuer {
                issuer: written.issuer.as_deref().map(Box::from),
                audiences: written.audience.iter().map(|audience| audience.as_str().into()).collect(),
                algorithms: Vec::new(),
                leeway_s: 0,
                lifetime_max_s: None,
                needs_expiry: false,
                typ: None,
                keys: KeyRing::empty(),
            },
            source: None,
            subject_claim: written.subject_claim.as_str().into(),
            groups_claim: written.groups_claim.as_deref().map(Box::from),
            fields: Vec::new(),
            consumers: subjects,
            tally: previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tokens.tally)),
        };
        Arc::new(IntrospectionPolicy {
            tokens,
            remember_s: written.service.remember.as_secs(),
            stale_s: written.service.stale.as_secs(),
        })
    }

    pub(super) fn mtls(
        &self,
        written: &Mtls,
        consumers: &HashMap<&str, Arc<Consumer>>,
    ) -> Arc<CertificatePolicy> {
        let subjects = self.subjects("mtls", &written.name, consumers);
        let described = Mtls { origin: Origin::command_line(), ..written.clone() };
        let description = format!("{described:?} {:?}", sorted(&subjects));
        let fingerprint = auth::fingerprint([description.as_bytes()]);
        let previous = self.carried.mtls(&written.name);
        if let Some(same) = previous.filter(|policy| policy.fingerprint == fingerprint) {
            return Arc::clone(same);
        }
        Arc::new(CertificatePolicy {
            name: written.name.as_str().into(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            fingerprint,
            by: match written.by {
                Written::Any => CertificateName::Any,
                Written::Uri => CertificateName::Uri,
                Written::Dns => CertificateName::Dns,
                Written::Email => CertificateName::Email,
                Written::Subject => CertificateName::Subject,
                Written::Fingerprint => CertificateName::Fingerprint,
            },
            consumers_only: written.consumers_only,
            consumers: subjects,
            tally: previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tally)),
        })
    }
}
