//! Callers by the certificate that their connection has shown. It was verified in the handshake; what is left is who that
//! is here.

use crate::identity::{Consumer, Identity, Scheme};
use crate::memory::Memory;
use crate::policy::Tally;
use std::collections::HashMap;
use std::sync::Arc;

/// How long who it is stays remembered, in seconds.
const REMEMBERED_S: u64 = 300;

/// Which name of a certificate is the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The first URI, DNS name or e-mail address, or else the subject.
    Any,
    Uri,
    Dns,
    Email,
    /// The subject as RFC 4514 writes it.
    Subject,
    /// SHA-256 of the certificate in hexadecimal digits.
    Fingerprint,
}

/// Certificates as credentials.
#[derive(Debug)]
pub struct CertificatePolicy {
    pub name: Arc<str>,
    /// Differs from every other policy that this process ever had.
    pub number: u64,
    /// Of its description: the same means the same policy.
    pub fingerprint: [u8; 32],
    pub by: CertificateName,
    /// Only those whom the configuration names.
    pub consumers_only: bool,
    pub consumers: HashMap<Box<str>, Arc<Consumer>>,
    pub tally: Arc<Tally>,
}

impl CertificatePolicy {
    /// Who has the certificate with this fingerprint, whose names of the kind that counts are these.
    pub fn check(
        &self,
        fingerprint: &[u8; 32],
        names: &[&str],
        now_s: u64,
        memory: &mut Memory,
    ) -> Result<Arc<Identity>, &'static str> {
        let name = memory.name([self.number, 0], fingerprint);
        if let Some(known) = name.as_ref().and_then(|name| memory.recall(name, now_s)) {
            self.tally.recall();
            self.tally.count(known.is_ok());
            return known.clone();
        }
        let verdict = self.identity(names);
        self.tally.count(verdict.is_ok());
        if let Some(name) = name {
            memory.remember(name, now_s.saturating_add(REMEMBERED_S), verdict.clone());
        }
        verdict
    }

    fn identity(&self, names: &[&str]) -> Result<Arc<Identity>, &'static str> {
        // Of several names the one that somebody here has; otherwise the first.
        let known = names.iter().find_map(|name| Some((*name, self.consumers.get(*name)?)));
        let (subject, consumer) = match (known, names.first()) {
            (Some((subject, consumer)), _) => (subject, Some(Arc::clone(consumer))),
            (None, Some(_)) if self.consumers_only => return Err("unknown"),
            (None, Some(subject)) if !subject.is_empty() => (*subject, None),
            _ => return Err("no_name"),
        };
        let policy = Arc::clone(&self.name);
        Ok(Arc::new(Identity::new(Scheme::Mtls, policy, subject.into(), consumer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m1_certificates_are_whom_the_configuration_says() {
        let acme = Arc::new(Consumer { name: "acme".into(), ..Consumer::default() });
        let policy = |consumers_only| CertificatePolicy {
            name: "devices".into(),
            number: 1,
            fingerprint: [0; 32],
            by: CertificateName::Any,
            consumers_only,
            consumers: HashMap::from([("spiffe://x/acme".into(), Arc::clone(&acme))]),
            tally: Arc::default(),
        };
        let name = |policy: &CertificatePolicy, names: &[&str]| {
            policy.identity(names).map(|identity| identity.name())
        };
        assert_eq!(name(&policy(false), &["a", "spiffe://x/acme"]), Ok("acme".into()));
        assert_eq!(name(&policy(false), &["a", "b"]), Ok("devices/a".into()));
        assert_eq!(name(&policy(true), &["a", "b"]), Err("unknown"));
        assert_eq!(name(&policy(false), &[]), Err("no_name"));
        assert_eq!(name(&policy(false), &[""]), Err("no_name"));
        let (mut memory, policy) = (Memory::default(), policy(false));
        assert!(policy.check(&[1; 32], &["a"], 10, &mut memory).is_ok());
        assert!(policy.check(&[1; 32], &["a"], 11, &mut memory).is_ok());
        assert_eq!(policy.tally.read().map(|(_, count)| count), [2, 0, 1]);
    }
}
