//! Policies by name: what `jwt "corp"` and `keys "partners"` of the configuration are for a worker.

use crate::api_key::ApiKeys;
use crate::identity::{Consumer, Identity, Scheme, claim_text};
use crate::json::{Json, Object};
use crate::jwk::sha256;
use crate::jwt::{Issuer, TokenError};
use crate::memory::Memory;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a good token is remembered at most, in seconds.
const REMEMBERED_S: u64 = 300;
/// How long a bad one is.
const REFUSED_S: u64 = 5;

/// What a policy has decided, over all workers and generations.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Answered from the memory of a worker; also in one of the two others.
    remembered: AtomicU64,
}

impl Tally {
    /// One more that was judged.
    pub fn count(&self, accepted: bool) {
        let counter = if accepted { &self.accepted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One more that was remembered.
    pub fn recall(&self) {
        self.remembered.fetch_add(1, Ordering::Relaxed);
    }

    /// Accepted, refused, and how many of both without looking again.
    pub fn read(&self) -> [(&'static str, u64); 3] {
        [("accepted", &self.accepted), ("refused", &self.refused), ("remembered", &self.remembered)]
            .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}

/// Tokens of one issuer, and who their subjects are.
#[derive(Debug)]
pub struct JwtPolicy {
    pub name: Arc<str>,
    /// Differs from every other policy that this process ever had, so that a changed one forgets what it remembered.
    pub number: u64,
    /// Of its description and its keys: the same means the same policy.
    pub fingerprint: [u8; 32],
    pub issuer: Issuer,
    /// Where its keys are fetched and for which algorithms: the same means that they stay. `None`: from files.
    pub source: Option<Box<str>>,
    /// The claim that names the subject, `sub` unless configured.
    pub subject_claim: Box<str>,
    /// The claim that lists groups, if there is one.
    pub groups_claim: Option<Box<str>>,
    /// Fields for the upstream and the claims that they come from.
    pub fields: Vec<(Box<str>, Box<str>)>,
    pub consumers: HashMap<Box<str>, Arc<Consumer>>,
    pub tally: Arc<Tally>,
}

impl JwtPolicy {
    /// Whose token it is, or why it is none.
    pub fn check(
        &self,
        token: &[u8],
        now_s: u64,
        memory: &mut Memory,
    ) -> Result<Arc<Identity>, &'static str> {
        let name = memory.name([self.number, self.issuer.keys.number()], token);
        if let Some(known) = name.as_ref().and_then(|name| memory.recall(name, now_s)) {
            self.tally.recall();
            self.tally.count(known.is_ok());
            return known.clone();
        }
        let (verdict, until_s) = match self.issuer.verify(token, now_s) {
            Ok(token) => {
                let until_s = token.expires_s.min(now_s.saturating_add(REMEMBERED_S));
                (Ok(Arc::new(self.identity(token.claims))), until_s)
            }
            // Not a word about the token: it is looked at again as soon as there are keys.
            Err(error @ TokenError::NoKeys) => return Err(error.name()),
            Err(error) => {
                // What time alone makes good must not be refused for longer than that.
                let waits = matches!(error, TokenError::NotYet | TokenError::FromFuture);
                (Err(error.name()), now_s.saturating_add(if waits { 1 } else { REFUSED_S }))
            }
        };
        self.tally.count(verdict.is_ok());
        if let Some(name) = name {
            memory.remember(name, until_s, verdict.clone());
        }
        verdict
    }

    pub(crate) fn identity(&self, claims: Object) -> Identity {
        let texts = |claim: &str| -> Vec<Box<str>> {
            claims.at(claim).map(Json::texts).unwrap_or_default().into_iter().map(Box::from).collect()
        };
        // `scope` is one text (RFC 8693 §4.2, RFC 9068 §2.2.3); `scp` is what some issuers make of it.
        let mut scopes: Vec<Box<str>> = claims
            .text("scope")
            .unwrap_or_default()
            .split(' ')
            .filter(|s| !s.is_empty())
            .map(Box::from)
            .collect();
        for listed in texts("scp") {
            scopes.extend(listed.split(' ').filter(|scope| !scope.is_empty()).map(Box::from));
        }
        let groups = self.groups_claim.as_deref().map(texts).unwrap_or_default();
        let field = |(name, claim): &(Box<str>, Box<str>)| {
            Some((name.clone(), claims.at(claim).and_then(claim_text)?.into_boxed_str()))
        };
        let fields = self.fields.iter().filter_map(field).collect();
        let subject: Box<str> =
            claims.at(&self.subject_claim).and_then(Json::as_text).unwrap_or_default().into();
        let consumer = self.consumers.get(&subject).map(Arc::clone);
        let policy = Arc::clone(&self.name);
        Identity { scheme: Scheme::Jwt, policy, subject, consumer, groups, scopes, claims, fields }
    }
}

/// One number for all of `parts`, in their order.
pub fn fingerprint<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut all = Vec::new();
    for part in parts {
        // Lengths in between: nothing can move from one part to the next.
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(&sha256(part));
    }
    sha256(&all)
}

/// A file of keys.
#[derive(Debug)]
pub struct KeysPolicy {
    pub name: Arc<str>,
    /// Of its file and all that belongs to it: the same means the same policy.
    pub fingerprint: [u8; 32],
    pub keys: ApiKeys,
    pub tally: Arc<Tally>,
}

impl KeysPolicy {
    /// Whose key it is, or why it is none.
    pub fn check(&self, key: &[u8], now_s: u64) -> Result<Arc<Identity>, &'static str> {
        let verdict = self.keys.verify(key, now_s);
        self.tally.count(verdict.is_ok());
        verdict.map(|key| Arc::clone(&key.identity)).map_err(|error| error.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64::{Alphabet, encode};
    use crate::jwk::{Algorithm, KeySet};
    use crate::ring::KeyRing;
    use aws_lc_rs::hmac;

    const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

    fn policy(number: u64) -> JwtPolicy {
        let algorithms = vec![Algorithm::Hs256];
        JwtPolicy {
            name: "corp".into(),
            number,
            fingerprint: fingerprint([]),
            issuer: Issuer {
                issuer: None,
                audiences: Vec::new(),
                keys: KeyRing::fixed(KeySet::of_secrets(&[SECRET], &algorithms).unwrap()),
                algorithms,
                leeway_s: 0,
                lifetime_max_s: None,
                needs_expiry: true,
                typ: None,
            },
            source: None,
            subject_claim: "sub".into(),
            groups_claim: Some("realm.roles".into()),
            fields: Vec::new(),
            consumers: HashMap::new(),
            tally: Arc::default(),
        }
    }

    fn token(claims: &str) -> String {
        let part = |text: &str| encode(Alphabet::Url, text.as_bytes());
        let message = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
        format!("{message}.{}", encode(Alphabet::Url, tag.as_ref()))
    }

    #[test]
    fn j9_what_is_remembered_ends_with_the_token_and_with_the_keys() {
        let (policy, mut memory) = (policy(1), Memory::default());
        let token = token(r#"{"exp":1000,"sub":"u"}"#);
        let mut ask =
            |policy: &JwtPolicy, now_s| policy.check(token.as_bytes(), now_s, &mut memory).map(|_| ());
        assert_eq!((ask(&policy, 100), ask(&policy, 399), ask(&policy, 400)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(
            policy.tally.read().map(|(_, count)| count),
            [3, 0, 1],
            "looked at again after five minutes"
        );
        assert_eq!((ask(&policy, 999), ask(&policy, 1000)), (Ok(()), Err("expired")));
        // The same name with other keys is another policy: what the first one remembers does not count.
        let other = b"another secret of thirty-two bytes!!";
        let keys = KeySet::of_secrets(&[other], &policy.issuer.algorithms).unwrap();
        let changed = JwtPolicy {
            issuer: Issuer { keys: KeyRing::fixed(keys), ..self::policy(2).issuer },
            ..self::policy(2)
        };
        assert_eq!(ask(&changed, 100), Err("signature"));
    }

    #[test]
    fn z1_scopes_and_groups_are_read_from_claims_of_either_form() {
        let (policy, mut memory) = (policy(1), Memory::default());
        let mut of = |claims: &str| {
            let token = token(&format!(r#"{{"exp":1000,{claims}}}"#));
            policy.check(token.as_bytes(), 1, &mut memory).unwrap()
        };
        let one = of(r#""scope":"a  b","scp":["c","d e"],"realm":{"roles":["x","y"]},"sub":"u""#);
        assert!(["a", "b", "c", "d", "e"].iter().all(|scope| one.has_scope(scope)) && !one.has_scope(""));
        assert!(one.is_in("x") && one.is_in("y") && !one.is_in("xy"));
        assert_eq!(one.name(), "corp/u");
        let none = of(r#""scope":["a"],"scp":{"a":1},"realm":{"roles":[1]}"#);
        assert!(none.scopes.is_empty() && none.groups.is_empty() && none.subject.is_empty());
    }

    #[test]
    fn fingerprints_tell_where_one_part_ends() {
        assert_ne!(fingerprint([&b"ab"[..], b"c"]), fingerprint([&b"a"[..], b"bc"]));
        assert_ne!(fingerprint([&b"ab"[..]]), fingerprint([&b"ab"[..], b""]));
    }
}
