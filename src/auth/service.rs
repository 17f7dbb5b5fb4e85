//! Services that judge: one that is asked about requests (forward authentication), and one that is asked about tokens
//! (introspection, RFC 7662). What is here reads their answers and remembers verdicts; who asks them is elsewhere.

use crate::identity::{Consumer, Identity, Scheme, field_text};
use crate::json::{Json, Object};
use crate::memory::{Fingerprint, Memory};
use crate::policy::{JwtPolicy, Tally};
use std::collections::HashMap;
use std::sync::Arc;

/// How long a token that is not active is remembered at most, in seconds.
const INACTIVE_S: u64 = 5;

/// A service that is asked about requests.
#[derive(Debug)]
pub struct ForwardPolicy {
    pub name: Arc<str>,
    /// Differs from every other policy that this process ever had.
    pub number: u64,
    /// Of its description: the same means the same policy.
    pub fingerprint: [u8; 32],
    /// Fields of requests that the service is told.
    pub request_fields: Vec<Box<[u8]>>,
    /// Without any of these nobody is asked; empty asks always.
    pub identity_fields: Vec<Box<[u8]>>,
    /// Fields of answers that the upstream is told, in lower case.
    pub response_fields: Vec<Box<str>>,
    /// The one that names the caller.
    pub subject_field: Option<Box<str>>,
    /// The one that lists groups, by commas.
    pub groups_field: Option<Box<str>>,
    /// A verdict holds for all requests with the same identity, and not only for the same request.
    pub same_for_identity: bool,
    /// Seconds for which a yes is remembered where the answer does not say.
    pub remember_s: u64,
    /// Seconds beyond that for which it counts while the service cannot be asked.
    pub stale_s: u64,
    /// Requests go on when the service cannot be asked.
    pub allows_unjudged: bool,
    pub consumers: HashMap<Box<str>, Arc<Consumer>>,
    pub tally: Arc<Tally>,
}

/// What a service has said about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub status: u16,
    /// Names in lower case. Of a yes those that the upstream is told, of a no those that the client is.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
    pub body: Box<[u8]>,
    /// Seconds for which it counts, if the service says so.
    pub max_age_s: Option<u64>,
}

impl Ruling {
    pub fn is_yes(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl ForwardPolicy {
    /// Whom the service has let in.
    pub fn identity(&self, ruling: &Ruling) -> Arc<Identity> {
        let field = |name: &str| {
            let own = ruling.fields.iter().find(|(own, _)| &**own == name)?;
            std::str::from_utf8(&own.1).ok()
        };
        let subject: Box<str> = self.subject_field.as_deref().and_then(field).unwrap_or_default().into();
        let groups = self.groups_field.as_deref().and_then(field).unwrap_or_default();
        let consumer = self.consumers.get(&subject).map(Arc::clone);
        let mut identity = Identity::new(Scheme::ForwardAuth, Arc::clone(&self.name), subject, consumer);
        identity.groups =
            groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(Box::from).collect();
        let told = self.response_fields.iter().filter_map(|name| {
            let value = field(name).filter(|value| field_text(value).is_some())?;
            Some((name.clone(), value.into()))
        });
        identity.fields = told.collect();
        Arc::new(identity)
    }

    /// Seconds for which a yes is remembered.
    pub fn lifetime_s(&self, ruling: &Ruling) -> u64 {
        ruling.max_age_s.unwrap_or(self.remember_s).min(3600)
    }
}

/// A service that is asked about tokens.
#[derive(Debug)]
pub struct IntrospectionPolicy {
    /// What is asked of a token that is active, and whose it is.
    pub tokens: JwtPolicy,
    /// Seconds for which an active token is remembered at most.
    pub remember_s: u64,
    /// Seconds beyond that for which it counts while the service cannot be asked.
    pub stale_s: u64,
}

impl IntrospectionPolicy {
    /// Reads an answer (RFC 7662 §2.2): whose token it is, or why it is none, and until when that counts. `None` when it
    /// is no answer.
    pub fn read(&self, body: &[u8], now_s: u64) -> Option<(Result<Arc<Identity>, &'static str>, u64)> {
        let claims = Object::parse(body).ok()?;
        let Json::Bool(is_active) = claims.get("active")? else { return None };
        let until_s = now_s.saturating_add(self.remember_s);
        if !is_active {
            return Some((Err("inactive"), now_s.saturating_add(self.remember_s.min(INACTIVE_S))));
        }
        Some(match self.tokens.issuer.check(&claims, now_s) {
            Ok(expires_s) => {
                let identity = Identity { scheme: Scheme::Introspection, ..self.tokens.identity(claims) };
                (Ok(Arc::new(identity)), until_s.min(expires_s))
            }
            Err(error) => (Err(error.name()), now_s.saturating_add(1)),
        })
    }
}

/// A verdict of a service as a worker remembers it.
#[derive(Debug)]
pub enum Recalled {
    /// It counts.
    Fresh(Result<Arc<Identity>, &'static str>),
    /// It counts only if nobody can be asked.
    Stale(Arc<Identity>),
}

/// What is remembered under `name`, up to `stale_s` seconds beyond its end.
pub fn recall(memory: &Memory, name: &Fingerprint, now_s: u64, stale_s: u64) -> Option<Recalled> {
    if let Some(known) = memory.recall(name, now_s) {
        return Some(Recalled::Fresh(known.clone()));
    }
    let older = memory.recall(name, now_s.saturating_sub(stale_s))?;
    older.as_ref().ok().map(|identity| Recalled::Stale(Arc::clone(identity)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Issuer, KeyRing, fingerprint};

    fn introspection() -> IntrospectionPolicy {
        IntrospectionPolicy {
            tokens: JwtPolicy {
                name: "as".into(),
                number: 1,
                fingerprint: fingerprint([]),
                issuer: Issuer {
                    issuer: Some("https://id.example".into()),
                    audiences: vec!["shop".into()],
                    algorithms: vec![Algorithm::Es256],
                    leeway_s: 0,
                    lifetime_max_s: None,
                    needs_expiry: false,
                    typ: None,
                    keys: KeyRing::empty(),
                },
                source: None,
                subject_claim: "sub".into(),
                groups_claim: None,
                fields: Vec::new(),
                consumers: HashMap::new(),
                tally: Arc::default(),
            },
            remember_s: 60,
            stale_s: 0,
        }
    }

    #[test]
    fn i1_only_active_tokens_that_are_for_us_are_good() {
        let policy = introspection();
        let good =
            r#"{"active":true,"iss":"https://id.example","aud":"shop","sub":"u","scope":"a b","exp":1000}"#;
        let (verdict, until_s) = policy.read(good.as_bytes(), 100).unwrap();
        let identity = verdict.unwrap();
        assert_eq!((identity.name().as_str(), identity.has_scope("b"), until_s), ("as/u", true, 160));
        assert_eq!(policy.read(good.as_bytes(), 990).unwrap().1, 1000, "never beyond its end");
        let why = |text: &str, now_s| policy.read(text.as_bytes(), now_s).map(|(verdict, _)| verdict.err());
        assert_eq!(why(r#"{"active":false,"sub":"u"}"#, 1), Some(Some("inactive")));
        assert_eq!(why(good, 1000), Some(Some("expired")));
        assert_eq!(why(&good.replace("shop", "else"), 1), Some(Some("audience")));
        assert_eq!(why(&good.replace("id.example", "evil.example"), 1), Some(Some("issuer")));
        for no_answer in [
            "",
            "{}",
            "[]",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":true"#,
            r#"{"active":true,"active":false}"#,
        ] {
            assert_eq!(why(no_answer, 1), None, "{no_answer}");
        }
    }

    #[test]
    fn e1_a_yes_names_the_caller_and_what_the_upstream_is_told() {
        let policy = ForwardPolicy {
            name: "sso".into(),
            number: 1,
            fingerprint: fingerprint([]),
            request_fields: Vec::new(),
            identity_fields: Vec::new(),
            response_fields: vec!["x-user".into(), "x-bad".into(), "x-missing".into()],
            subject_field: Some("x-user".into()),
            groups_field: Some("x-groups".into()),
            same_for_identity: false,
            remember_s: 0,
            stale_s: 0,
            allows_unjudged: false,
            consumers: HashMap::new(),
            tally: Arc::default(),
        };
        let fields = [("x-user", "alice"), ("x-groups", "a, b,"), ("x-bad", "a\u{1}b"), ("set-cookie", "c")];
        let fields = fields.map(|(name, value)| (name.into(), value.as_bytes().into())).to_vec();
        let ruling = Ruling { status: 204, fields, body: Box::default(), max_age_s: Some(7200) };
        let identity = policy.identity(&ruling);
        assert_eq!(
            (identity.name().as_str(), identity.is_in("a"), identity.is_in("b")),
            ("sso/alice", true, true)
        );
        assert_eq!(identity.fields, [(Box::from("x-user"), Box::from("alice"))]);
        assert_eq!(policy.lifetime_s(&ruling), 3600);
        assert!(ruling.is_yes() && !Ruling { status: 302, ..ruling }.is_yes());
    }

    #[test]
    fn g8_older_verdicts_count_for_as_long_as_was_said() {
        let mut memory = Memory::default();
        let name = memory.name([1, 0], b"token").unwrap();
        let identity = Arc::new(Identity::new(Scheme::Introspection, "as".into(), "u".into(), None));
        memory.remember(name, 100, Ok(identity));
        assert!(matches!(recall(&memory, &name, 99, 30), Some(Recalled::Fresh(Ok(_)))));
        assert!(matches!(recall(&memory, &name, 129, 30), Some(Recalled::Stale(_))));
        assert!(recall(&memory, &name, 130, 30).is_none() && recall(&memory, &name, 100, 0).is_none());
        memory.remember(name, 100, Err("inactive"));
        assert!(recall(&memory, &name, 110, 30).is_none(), "a no is not older than it is");
    }
}
