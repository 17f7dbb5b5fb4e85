//! Sessions of an upstream: the attributes of its cookie and the secret behind it.

use super::{Compiler, Problem};
use config::model::{SameSite as Written, Upstream};
use traffic::snapshot::Endpoint;
use traffic::sticky::{Attributes, Key, SameSite, Sticky};

impl Compiler<'_> {
    pub(super) fn sticky(&mut self, written: &Upstream, endpoints: &[Endpoint]) -> Option<Sticky> {
        let sticky = written.sticky.as_ref()?;
        let key = match &sticky.secret {
            Some(secret) => Key::kept(secret.as_bytes()),
            None => self.key_of_process(written)?,
        };
        let attributes = Attributes {
            name: sticky.cookie.as_str().into(),
            max_age: sticky.max_age,
            path: sticky.path.as_str().into(),
            domain: sticky.domain.as_deref().map(Box::from),
            secure: sticky.secure,
            http_only: sticky.http_only,
            same_site: match sticky.same_site {
                Written::Strict => SameSite::Strict,
                Written::Lax => SameSite::Lax,
                Written::None => SameSite::None,
            },
        };
        Some(Sticky::build(key, attributes, &written.name, endpoints))
    }

    /// The random key that the upstream has had since its first generation in this process, or a new one.
    fn key_of_process(&mut self, written: &Upstream) -> Option<Key> {
        if let Some(key) = self.carried.key_of_process(&written.name) {
            return Some(key);
        }
        let mut random = [0; 32];
        match getrandom::fill(&mut random) {
            Ok(()) => Some(Key::of_process(random)),
            Err(error) => {
                let what = format!("no random numbers for the sessions of \"{}\": {error}", written.name);
                self.problems.push(Problem::new(&written.origin, what).hint("give sticky a secret"));
                None
            }
        }
    }
}
