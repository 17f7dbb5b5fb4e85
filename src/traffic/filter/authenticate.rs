//! Who calls: credentials are found, checked and taken out, and what is known of the caller goes to the upstream.
//!
//! A route has one of these at most. `any-of`: the first method (in the order of [`Authenticate::methods`]) for which the
//! request has a credential decides; a bad one is refused even if another would have been good. `all-of`: every
//! method needs one, and the first names the caller.

use super::credentials::{Credential, Source};
use super::{Caller, FilterStage, Hooks, HttpFilter, Refused, Verdict, Visit, services};
use crate::Cause;
use crate::ask::{Answer, Answered, Ask, Desk, Password, Question};
use auth::{
    BasicPolicy, CertificateName, CertificatePolicy, Credentials, ForwardPolicy, Identity,
    IntrospectionPolicy, JwtPolicy, KeysPolicy, Scheme, TokenError,
};
use std::sync::Arc;
use wire::secure::Client as Certificate;

/// How methods combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AnyOf,
    AllOf,
}

/// What checks a credential.
#[derive(Clone, Debug)]
pub enum Check {
    /// Tokens, and where to ask for new keys of their issuer.
    Jwt(Arc<JwtPolicy>, Option<Arc<Desk>>),
    Keys(Arc<KeysPolicy>),
    /// Users, and where their passwords are compared.
    Basic(Arc<BasicPolicy>, Arc<Desk>),
    /// A service that decides about requests.
    Forward(Arc<ForwardPolicy>, Arc<Desk>),
    /// A service that knows tokens.
    Introspection(Arc<IntrospectionPolicy>, Arc<Desk>),
    /// The certificate of the connection.
    Certificate(Arc<CertificatePolicy>),
}

/// One way to show who one is.
#[derive(Debug)]
pub struct Method {
    check: Check,
    /// Where the credential may stand; in one of them only.
    sources: Vec<Source>,
    /// `SCHEME:POLICY`, for logs.
    label: Arc<str>,
    /// The value of `WWW-Authenticate` for those who have shown nothing (RFC 9110 §11.6.1).
    challenge: Box<str>,
}

impl Method {
    /// A method whose credential stands at `sources`, or where the scheme has it usually when that is empty.
    pub fn new(check: Check, mut sources: Vec<Source>) -> Method {
        let (scheme, name) = match &check {
            Check::Jwt(policy, _) => (Scheme::Jwt, &policy.name),
            Check::Keys(policy) => (Scheme::Keys, &policy.name),
            Check::Basic(policy, _) => (Scheme::Basic, &policy.name),
            Check::Forward(policy, _) => (Scheme::ForwardAuth, &policy.name),
            Check::Introspection(policy, _) => (Scheme::Introspection, &policy.tokens.name),
            Check::Certificate(policy) => (Scheme::Mtls, &policy.name),
        };
        if sources.is_empty() && !matches!(scheme, Scheme::ForwardAuth | Scheme::Mtls) {
            sources.push(match scheme {
                Scheme::Keys => Source::Field(b"X-Api-Key".as_slice().into()),
                Scheme::Basic => Source::Scheme("Basic"),
                _ => Source::Scheme("Bearer"),
            });
        }
        let challenge = match &check {
            Check::Keys(_) => format!("ApiKey realm=\"{}\"", quoted(name)),
            // RFC 7617 §2.1: names and passwords are UTF-8.
            Check::Basic(policy, _) => {
                format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(&policy.realm))
            }
            Check::Jwt(..) | Check::Introspection(..) => format!("Bearer realm=\"{}\"", quoted(name)),
            Check::Certificate(_) => format!("Mutual realm=\"{}\"", quoted(name)),
            // The scheme is whatever the service understands.
            Check::Forward(..) => format!("Service realm=\"{}\"", quoted(name)),
        };
        let label = format!("{scheme}:{name}").into();
        let challenge = challenge.into();
        Method { check, sources, label, challenge }
    }

    fn find<'r>(&self, visit: &Visit<'r, '_>) -> Credential<'r> {
        if let Check::Forward(policy, _) = &self.check {
            return super::services::identity_of(policy, visit.request);
        }
        if let Check::Certificate(_) = &self.check {
            return visit.certificate.map_or(Credential::Absent, |_| Credential::One(b""));
        }
        let mut found = Credential::Absent;
        for source in &self.sources {
            match (found, source.find(visit.request)) {
                (_, Credential::Absent) => {}
                (Credential::Absent, here) => found = here,
                _ => return Credential::Several,
            }
        }
        found
    }

    /// Whether the credential is one for this method and not for another that looks at the same place.
    fn is_for(&self, issuer: Option<&str>) -> bool {
        match &self.check {
            Check::Jwt(policy, _) => policy.issuer.issuer.as_deref().is_none_or(|own| Some(own) == issuer),
            Check::Keys(_)
            | Check::Basic(..)
            | Check::Forward(..)
            | Check::Introspection(..)
            | Check::Certificate(_) => true,
        }
    }

    /// Whether a client may be told to show this kind of credential on its connection.
    fn is_offered(&self, is_secure: bool) -> bool {
        match &self.check {
            Check::Basic(policy, _) => is_secure || policy.allows_plain,
            Check::Jwt(..)
            | Check::Keys(_)
            | Check::Forward(..)
            | Check::Introspection(..)
            | Check::Certificate(_) => true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Authenticate {
    pub mode: Mode,
    /// A request without any credential goes on as nobody's.
    pub optional: bool,
    /// Credentials go on to the upstream.
    pub forwards: bool,
    pub methods: Vec<Method>,
}

impl HttpFilter for Authenticate {
    const STAGE: FilterStage = FilterStage::Authenticate;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: true, response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        if !self.forwards {
            let sources = self.methods.iter().flat_map(|method| &method.sources);
            sources.for_each(|source| source.take_out(visit.request, visit.outgoing));
        }
        // After an answer all of it is looked at once more; what was found before is in the memory of the worker.
        visit.caller.look_again();
        let verdict = match self.mode {
            Mode::AnyOf => self.any(visit),
            Mode::AllOf => self.all(visit),
        };
        if verdict == Verdict::Continue {
            introduce(visit);
        }
        verdict
    }
}

impl Authenticate {
    fn any(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        for (place, method) in self.methods.iter().enumerate() {
            match method.find(visit) {
                Credential::Absent => {}
                Credential::Several => {
                    return self.refuse(place, "several", Cause::CredentialsAmbiguous, visit);
                }
                Credential::One(credential) => {
                    let place = self.meant(place, credential, visit);
                    return self.ask(place, credential, visit);
                }
            }
        }
        self.nobody(visit)
    }

    fn all(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        let mut shown = 0;
        for (place, method) in self.methods.iter().enumerate() {
            match method.find(visit) {
                Credential::Absent => {}
                Credential::Several => {
                    return self.refuse(place, "several", Cause::CredentialsAmbiguous, visit);
                }
                Credential::One(credential) => {
                    shown += 1;
                    match self.ask(place, credential, visit) {
                        Verdict::Continue => {}
                        stop => return stop,
                    }
                }
            }
        }
        match shown {
            0 => self.nobody(visit),
            _ if shown == self.methods.len() => Verdict::Continue,
            _ => {
                visit.caller.clear();
                Verdict::Respond(Cause::CredentialsMissing)
            }
        }
    }

    /// Tokens of several issuers stand in one place: what the token says of its issuer chooses the one that must have
    /// signed it. Where nobody claims it, the first refuses it.
    fn meant(&self, place: usize, credential: &[u8], visit: &Visit<'_, '_>) -> usize {
        let Check::Jwt(first, _) = &self.methods[place].check else { return place };
        let is_rival = |method: &Method| matches!(method.check, Check::Jwt(..));
        if first.issuer.issuer.is_none() || self.methods.iter().filter(|method| is_rival(method)).count() == 1
        {
            return place;
        }
        let issuer = auth::issuer_of(credential);
        let mut methods = self.methods.iter().enumerate().skip(place);
        let meant = methods.find(|(_, method)| {
            is_rival(method)
                && method.is_for(issuer.as_deref())
                && method.find(visit) == Credential::One(credential)
        });
        meant.map_or(place, |(place, _)| place)
    }

    fn ask(&self, place: usize, credential: &[u8], visit: &mut Visit<'_, '_>) -> Verdict {
        let verdict = match &self.methods[place].check {
            Check::Jwt(policy, desk) => {
                let verdict = policy.check(credential, visit.unix_s, visit.memory);
                let why = verdict.as_ref().err().copied();
                if let Some((why, desk)) = why.zip(desk.as_ref())
                    && let Some(verdict) = self.second_look(place, (policy, desk), why, credential, visit)
                {
                    return verdict;
                }
                verdict
            }
            Check::Keys(policy) => policy.check(credential, visit.unix_s),
            Check::Basic(policy, desk) => match self.password(place, (policy, desk), credential, visit) {
                Ok(verdict) => verdict,
                Err(stop) => return stop,
            },
            Check::Forward(policy, desk) => {
                match services::forward(place, (policy, desk), &self.methods[place].label, visit) {
                    Ok(verdict) => verdict,
                    Err(stop) => return stop,
                }
            }
            Check::Certificate(policy) => match visit.certificate {
                Some(certificate) => certified(policy, certificate, visit),
                None => Err("no_certificate"),
            },
            Check::Introspection(policy, desk) => {
                let label = &self.methods[place].label;
                match services::introspect(place, (policy, desk), label, credential, visit) {
                    Ok(verdict) => verdict,
                    Err(stop) => return stop,
                }
            }
        };
        match verdict {
            Ok(identity) => {
                visit.caller.add(identity);
                Verdict::Continue
            }
            Err(why) => self.refuse(place, why, Cause::CredentialsInvalid, visit),
        }
    }

    /// What is known of a user and a password, or what has to happen first.
    fn password(
        &self,
        place: usize,
        (policy, desk): (&BasicPolicy, &Arc<Desk>),
        credential: &[u8],
        visit: &mut Visit<'_, '_>,
    ) -> Result<Result<Arc<Identity>, &'static str>, Verdict> {
        if !self.methods[place].is_offered(visit.is_secure) {
            return Err(self.refuse(place, "not_encrypted", Cause::CredentialsInsecure, visit));
        }
        let name = policy.fingerprint_of(credential, visit.memory);
        let known = name.as_ref().and_then(|name| policy.recall(name, visit.unix_s, visit.memory));
        if let Some(known) = known {
            return Ok(known);
        }
        match visit.caller.answered(place) {
            Some(Answered::Answer(Answer::Who { verdict, .. })) => {
                let verdict = verdict.clone();
                policy.learn(name, visit.unix_s, &verdict, visit.memory);
                Ok(verdict)
            }
            Some(Answered::Answer(_)) => Err(self.give_up(place, "failed", visit)),
            Some(Answered::Not(why)) => {
                let why = why.name();
                Err(self.give_up(place, why, visit))
            }
            None => {
                let Some(Credentials { user, password }) = Credentials::read(credential) else {
                    return Ok(Err("malformed"));
                };
                let question = Question::Password(Password { user, password });
                Err(Verdict::Suspend(Ask { desk: Arc::clone(desk), question, place }))
            }
        }
    }

    /// What new keys of its issuer might change about a token that was refused; `None` when it is refused for good.
    fn second_look(
        &self,
        place: usize,
        (policy, desk): (&JwtPolicy, &Arc<Desk>),
        why: &'static str,
        token: &[u8],
        visit: &mut Visit<'_, '_>,
    ) -> Option<Verdict> {
        let has_no_keys = why == TokenError::NoKeys.name();
        if !(has_no_keys || why == TokenError::UnknownKey.name() || why == TokenError::Signature.name()) {
            return None;
        }
        let nobody_knows = match visit.caller.answered(place) {
            Some(Answered::Answer(Answer::LookAgain)) => has_no_keys,
            Some(_) => true,
            None if desk.is_open(visit.now) => {
                let kid = auth::kid_of(token);
                let question = Question::Keys { kid: kid.map(|kid| auth::fingerprint([kid.as_bytes()])) };
                return Some(Verdict::Suspend(Ask { desk: Arc::clone(desk), question, place }));
            }
            // The issuer was asked a moment ago. What it said counts, if it said anything.
            None => has_no_keys || policy.issuer.keys.is_doubtful(),
        };
        // A forged signature under a key that we have is one, whatever the issuer would say now.
        let nobody_knows = nobody_knows && why != TokenError::Signature.name();
        nobody_knows.then(|| self.give_up(place, "keys_unavailable", visit))
    }

    /// Nobody can judge the credential, and the request ends for that.
    fn give_up(&self, place: usize, why: &'static str, visit: &mut Visit<'_, '_>) -> Verdict {
        services::give_up(&self.methods[place].label, why, visit)
    }

    fn refuse(&self, method: usize, why: &'static str, cause: Cause, visit: &mut Visit<'_, '_>) -> Verdict {
        visit.caller.refuse(Refused { method, by: Arc::clone(&self.methods[method].label), why });
        Verdict::Respond(cause)
    }

    fn nobody(&self, visit: &Visit<'_, '_>) -> Verdict {
        let is_asked = |method: &Method| method.is_offered(visit.is_secure);
        match self.methods.is_empty() || self.methods.iter().any(is_asked) {
            _ if self.optional => Verdict::Continue,
            true => Verdict::Respond(Cause::CredentialsMissing),
            // To ask would be to invite the client to send its password in the clear.
            false => Verdict::Respond(Cause::CredentialsInsecure),
        }
    }

    /// The values of `WWW-Authenticate` for an answer of this cause: one per scheme that is accepted, with what was wrong
    /// at the one that was tried (RFC 6750 §3, RFC 9110 §15.5.2).
    pub fn challenges(&self, cause: Cause, caller: &Caller, scopes: &str, is_secure: bool) -> Vec<String> {
        let mut challenges: Vec<String> = Vec::new();
        let methods = self.methods.iter().enumerate();
        for (place, method) in methods.filter(|(_, method)| method.is_offered(is_secure)) {
            let tried = caller.refused().is_some_and(|refused| refused.method == place);
            let mut challenge = method.challenge.to_string();
            match (&method.check, cause) {
                (Check::Jwt(..) | Check::Introspection(..), Cause::CredentialsInvalid) if tried => {
                    challenge += ", error=\"invalid_token\", error_description=\"the token is not good\"";
                }
                (Check::Jwt(..) | Check::Introspection(..), Cause::CredentialsAmbiguous) if tried => {
                    challenge += ", error=\"invalid_request\""
                }
                (Check::Jwt(policy, _), Cause::InsufficientScope)
                    if caller.identities().any(|one| Arc::ptr_eq(&one.policy, &policy.name)) =>
                {
                    challenge += &format!(", error=\"insufficient_scope\", scope=\"{}\"", quoted(scopes));
                }
                _ => {}
            }
            // Two issuers may have the same name for a client: it is told once.
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        challenges
    }
}

/// Whose certificate it is.
fn certified(
    policy: &CertificatePolicy,
    certificate: &Certificate,
    visit: &mut Visit<'_, '_>,
) -> Result<Arc<Identity>, &'static str> {
    let texts = |names: &'_ [Box<str>]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let names = match policy.by {
        CertificateName::Any => vec![certificate.name().to_owned()],
        CertificateName::Uri => texts(&certificate.uris),
        CertificateName::Dns => texts(&certificate.dns_names),
        CertificateName::Email => texts(&certificate.emails),
        CertificateName::Subject => vec![certificate.subject.to_string()],
        CertificateName::Fingerprint => {
            vec![certificate.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()]
        }
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    policy.check(&certificate.fingerprint, &names, visit.unix_s, visit.memory)
}

/// Tells the upstream who calls. What the client sent under these names was dropped before ([`super::Anonymize`]).
fn introduce(visit: &mut Visit<'_, '_>) {
    let Some(primary) = visit.caller.primary() else { return };
    let edits = &mut visit.outgoing.edits;
    let mut set = |name: &str, value: &str| {
        if let Some(value) = auth::field_text(value).filter(|value| !value.is_empty()) {
            edits.set(name.as_bytes(), value.as_bytes());
        }
    };
    set("X-Consumer", &primary.name());
    set("X-Consumer-Subject", &primary.subject);
    if let Some(tier) = primary.consumer.as_ref().and_then(|consumer| consumer.tier.as_deref()) {
        set("X-Consumer-Tier", tier);
    }
    let mut groups: Vec<String> = Vec::new();
    for identity in visit.caller.identities() {
        groups.extend(identity.all_groups().filter_map(auth::field_text));
        for (name, value) in &identity.fields {
            edits.set(name.as_bytes(), value.as_bytes());
        }
    }
    if !groups.is_empty() {
        edits.set(b"X-Consumer-Groups", groups.join(",").as_bytes());
    }
}

/// As it can stand between quotes (RFC 9110 §5.6.4); what cannot is left out.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
