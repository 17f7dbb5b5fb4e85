//! Who may call: policies with their keys from files, and the filters that ask them.
//!
//! A policy of the previous generation whose description and files are the same stays as it is, with all that workers
//! remember of it.

use super::route::Place;
use super::{Compiler, Problem};
use auth::{
    Algorithm, ApiKey, ApiKeys, BasicPolicy, Consumer, Identity, Issuer, JwtPolicy, KeyHash, KeyRing, KeySet,
    KeysPolicy, Pepper, Scheme, Users,
};
use config::Environment as _;
use config::model::{
    Applies, Authenticate as Written, Basic, Jwks, Jwt, Keys, Method as WrittenMethod, Origin,
};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use traffic::filter::{Anonymize, Authenticate, Authorize, Check, Filter, Method, Mode, Rule, Source};
use traffic::snapshot::Access;
use traffic::source::CidrSet;

/// A file with public keys.
const PUBLIC_KEYS_BYTES_MAX: u64 = 512 << 10;
/// A file of users.
const USERS_BYTES_MAX: u64 = 4 << 20;

impl Compiler<'_> {
    /// All policies of the configuration.
    pub(super) fn access(&mut self) -> Access {
        let consumers: HashMap<&str, Arc<Consumer>> = self
            .config
            .consumers
            .iter()
            .map(|written| {
                let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
                let consumer = Consumer {
                    name: written.name.as_str().into(),
                    groups: boxed(&written.groups),
                    tier: written.tier.as_deref().map(Box::from),
                };
                (written.name.as_str(), Arc::new(consumer))
            })
            .collect();
        let config = self.config;
        Access {
            jwt: config.jwt.iter().filter_map(|written| self.jwt(written, &consumers)).collect(),
            keys: config.keys.iter().filter_map(|written| self.keys(written, &consumers)).collect(),
            basic: config.basic.iter().filter_map(|written| self.basic(written, &consumers)).collect(),
            forward: config.forward_auth.iter().map(|written| self.forward(written, &consumers)).collect(),
            introspection: config.introspect.iter().map(|one| self.introspection(one, &consumers)).collect(),
            mtls: config.mtls.iter().map(|written| self.mtls(written, &consumers)).collect(),
            desks: self.desks(),
        }
    }

    fn jwt(&mut self, written: &Jwt, consumers: &HashMap<&str, Arc<Consumer>>) -> Option<Arc<JwtPolicy>> {
        let algorithms: Vec<Algorithm> = written
            .algorithms
            .iter()
            .filter_map(|algorithm| Algorithm::named(&algorithm.to_string()))
            .collect();
        let mut texts = Vec::new();
        let set_file = written.jwks.as_ref().and_then(|jwks| match jwks {
            Jwks::File(file) => Some(file),
            Jwks::Url(_) => None,
        });
        for file in written.public_key.iter().chain(set_file) {
            texts.push((file, self.read(&written.origin, file, PUBLIC_KEYS_BYTES_MAX)?));
        }
        let subjects = self.subjects("jwt", &written.name, consumers);
        let described = Jwt { origin: Origin::command_line(), secret: Vec::new(), ..written.clone() };
        let description = format!("{described:?} {:?}", sorted(&subjects));
        let secrets: Vec<&[u8]> = written.secret.iter().map(|secret| secret.as_bytes()).collect();
        let contents = texts.iter().map(|(_, text)| text.as_bytes()).chain(secrets.iter().copied());
        let fingerprint = auth::fingerprint(std::iter::once(description.as_bytes()).chain(contents));
        let previous = self.carried.jwt(&written.name);
        if let Some(same) = previous.filter(|policy| policy.fingerprint == fingerprint) {
            return Some(Arc::clone(same));
        }
        let tally = previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tally));
        let source: Option<Box<str>> = match &written.jwks {
            Some(Jwks::Url(url)) => Some(format!("{url} {algorithms:?}").into()),
            _ => None,
        };
        let keys = match &written.jwks {
            // Whoever fetches them puts them in. The keys that this node has of the same place stay with it.
            Some(Jwks::Url(_)) => previous
                .filter(|policy| policy.source == source)
                .map_or_else(KeyRing::empty, |policy| Arc::clone(&policy.issuer.keys)),
            _ => KeyRing::fixed(self.key_set(written, &secrets, &texts, &algorithms)?),
        };
        Some(Arc::new(JwtPolicy {
            name: written.name.as_str().into(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            fingerprint,
            issuer: Issuer {
                issuer: written.issuer.as_deref().map(Box::from),
                audiences: written.audience.iter().map(|audience| audience.as_str().into()).collect(),
                algorithms,
                leeway_s: written.leeway.as_secs(),
                lifetime_max_s: written.max_lifetime.map(|lifetime| lifetime.as_secs()),
                needs_expiry: !written.allow_without_expiry,
                typ: written.typ.as_deref().map(Box::from),
                keys,
            },
            source,
            subject_claim: written.subject_claim.as_str().into(),
            groups_claim: written.groups_claim.as_deref().map(Box::from),
            fields: written
                .claim_headers
                .iter()
                .map(|pair| (pair.header.as_str().into(), pair.claim.as_str().into()))
                .collect(),
            consumers: subjects,
            tally,
        }))
    }

    /// Subjects of a policy that are consumers.
    pub(super) fn subjects(
        &self,
        kind: &str,
        policy: &str,
        consumers: &HashMap<&str, Arc<Consumer>>,
    ) -> HashMap<Box<str>, Arc<Consumer>> {
        let own = self.config.consumers.iter().flat_map(|consumer| {
            let own = consumer.credentials.iter().filter(|credential| credential.policy() == (kind, policy));
            own.map(move |credential| (credential.subject.as_str(), consumer.name.as_str()))
        });
        own.filter_map(|(subject, name)| Some((subject.into(), Arc::clone(consumers.get(name)?)))).collect()
    }

    fn basic(
        &mut self,
        written: &Basic,
        consumers: &HashMap<&str, Arc<Consumer>>,
    ) -> Option<Arc<BasicPolicy>> {
        let text = self.read(&written.origin, &written.file, USERS_BYTES_MAX)?;
        let subjects = self.subjects("basic", &written.name, consumers);
        let described = Basic { origin: Origin::command_line(), ..written.clone() };
        let description = format!("{described:?} {:?}", sorted(&subjects));
        let fingerprint = auth::fingerprint([description.as_bytes(), text.as_bytes()]);
        let previous = self.carried.basic(&written.name);
        if let Some(same) = previous.filter(|policy| policy.fingerprint == fingerprint) {
            return Some(Arc::clone(same));
        }
        let hashes = match auth::parse_htpasswd(&text) {
            Ok(hashes) => hashes,
            Err(error) => {
                self.problems.push(Problem::new(&written.origin, format!("{}, {error}", written.file)));
                return None;
            }
        };
        if let Some((user, _)) = hashes.iter().find(|(_, hash)| !crate::passwords::check_hash(hash)) {
            let what = format!("{}: the hash of user \"{user}\" cannot be used", written.file);
            self.problems
                .push(Problem::new(&written.origin, what).hint("make another one with: htpasswd -B"));
            return None;
        }
        if hashes.is_empty() {
            let what = format!("{}: there is no user in it", written.file);
            self.warnings.push(Problem::new(&written.origin, what));
        }
        let Some(users) = Users::new(hashes) else {
            self.problems.push(Problem::new(&written.origin, "this machine has no random numbers"));
            return None;
        };
        Some(Arc::new(BasicPolicy {
            name: written.name.as_str().into(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            fingerprint,
            realm: written.realm.as_str().into(),
            users,
            consumers: subjects,
            remember_s: written.remember.as_secs(),
            allows_plain: written.allow_plain,
            tally: previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tally)),
        }))
    }

    fn key_set(
        &mut self,
        written: &Jwt,
        secrets: &[&[u8]],
        texts: &[(&String, String)],
        algorithms: &[Algorithm],
    ) -> Option<KeySet> {
        let mut keys = KeySet::default();
        if !secrets.is_empty() {
            match KeySet::of_secrets(secrets, algorithms) {
                Ok(set) => keys.extend(set),
                Err(trouble) => {
                    let what = format!("a secret of jwt \"{}\" cannot be used: {trouble}", written.name);
                    self.problems.push(Problem::new(&written.origin, what).hint(auth::SECRET_HINT));
                }
            }
        }
        for (file, text) in texts {
            let set = if matches!(&written.jwks, Some(Jwks::File(set)) if set == *file) {
                KeySet::of_jwks(text.as_bytes(), algorithms).map(|(set, unusable)| {
                    if unusable > 0 {
                        let what =
                            format!("{file}: {unusable} keys of the set cannot be used and are left out");
                        self.warnings.push(Problem::new(&written.origin, what));
                    }
                    set
                })
            } else {
                KeySet::of_pem(text, algorithms)
            };
            match set {
                Ok(set) => keys.extend(set),
                Err(trouble) => {
                    self.problems.push(Problem::new(&written.origin, format!("{file}: {trouble}")))
                }
            }
        }
        (!keys.is_empty()).then_some(keys)
    }

    fn keys(&mut self, written: &Keys, consumers: &HashMap<&str, Arc<Consumer>>) -> Option<Arc<KeysPolicy>> {
        let text = self.read(&written.origin, &written.file, config::KEYS_FILE_BYTES_MAX)?;
        let pepper = written.pepper.as_ref().map(|pepper| pepper.as_bytes());
        let mut known: Vec<String> = consumers.values().map(|consumer| format!("{consumer:?}")).collect();
        known.sort();
        let known = known.concat();
        let parts = [written.name.as_bytes(), text.as_bytes(), pepper.unwrap_or_default(), known.as_bytes()];
        let fingerprint = auth::fingerprint(parts);
        let previous = self.carried.keys(&written.name);
        if let Some(same) = previous.filter(|policy| policy.fingerprint == fingerprint) {
            return Some(Arc::clone(same));
        }
        let stored = match config::parse_keys(&text) {
            Ok(stored) => stored,
            Err(error) => {
                self.problems.push(Problem::new(&written.origin, format!("{}, {error}", written.file)));
                return None;
            }
        };
        let used: HashMap<&str, Arc<AtomicU64>> = previous.map_or_else(HashMap::new, |policy| {
            policy.keys.iter().map(|key| (&*key.id, Arc::clone(&key.used_s))).collect()
        });
        let name: Arc<str> = written.name.as_str().into();
        let mut keys = Vec::with_capacity(stored.len());
        for stored in &stored {
            let hash = KeyHash::parse(&stored.hash).filter(|(_, peppered)| *peppered == pepper.is_some());
            let Some((hash, _)) = hash else {
                let what = format!("{}: the hash of key \"{}\" cannot be used", written.file, stored.id);
                let hint = match pepper {
                    Some(_) => {
                        "with a pepper, hashes begin with \"hmac-sha256:\"; was the key made without --pepper?"
                    }
                    None => "without a pepper, hashes begin with \"sha256:\" and have 64 hexadecimal digits",
                };
                self.problems.push(Problem::new(&written.origin, what).hint(hint));
                continue;
            };
            keys.push(ApiKey {
                id: stored.id.as_str().into(),
                hash,
                identity: Arc::new(identity(stored, &name, consumers)),
                not_after_s: stored.not_after_s,
                disabled: stored.disabled,
                used_s: used.get(stored.id.as_str()).map_or_else(Arc::default, Arc::clone),
            });
        }
        let tally = previous.map_or_else(Arc::default, |policy| Arc::clone(&policy.tally));
        let keys = ApiKeys::new(pepper.map(Pepper::new), keys);
        Some(Arc::new(KeysPolicy { name, fingerprint, keys, tally }))
    }

    /// A file that the configuration names, relative to the file that names it.
    fn read(&mut self, origin: &Origin, file: &str, bytes_max: u64) -> Option<String> {
        match config::System.read(&beside(origin, file), bytes_max) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problems.push(Problem::new(origin, format!("{file}: {error}")));
                None
            }
        }
    }

    /// The filters that find out who calls and whether they may, for one route.
    pub(super) fn access_filters(&mut self, place: Place<'_>, access: &Access) -> Vec<Filter> {
        let mut filters = Vec::new();
        if self.tells_of_callers(place) {
            let config = self.config;
            let claims = config.jwt.iter().flat_map(|jwt| &jwt.claim_headers).map(|field| &field.header);
            let said = config.forward_auth.iter().flat_map(|forward| &forward.response_headers);
            let names = claims
                .chain(said)
                .map(|name| name.to_ascii_lowercase().replace('_', "-").into_bytes().into());
            filters.push(Filter::Anonymize(Anonymize { names: names.collect() }));
        }
        filters.extend(place.route.cors(place.site).map(|written| Filter::Cors(super::cors::cors(written))));
        if let Some(written) = place.route.authenticate(place.site).filter(|asked| asked.mode == Applies::On)
        {
            filters.extend(authenticate(written, access).map(Filter::Authenticate));
        }
        for written in place.site.authorize.iter().chain(&place.route.authorize) {
            filters.push(Filter::Authorize(authorize(written)));
        }
        filters
    }

    /// Whether the upstream of the route is told by this or another route who calls.
    fn tells_of_callers(&self, place: Place<'_>) -> bool {
        let mut told = HashSet::new();
        for site in &self.config.sites {
            let asking = |route: &&config::model::Route| {
                route.authenticate(site).is_some_and(|asked| asked.mode == Applies::On)
            };
            told.extend(site.routes.iter().filter(asking).flat_map(config::model::Route::upstreams));
        }
        place.route.upstreams().any(|upstream| told.contains(upstream))
    }
}

/// Numbers of policies, of all generations of the process.
pub(super) static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// The path of a file that stands in the text of another.
pub(crate) fn beside(origin: &Origin, file: &str) -> PathBuf {
    Path::new(&*origin.file).parent().map_or_else(|| PathBuf::from(file), |folder| folder.join(file))
}

/// As it always looks, whatever order the table has.
pub(super) fn sorted(subjects: &HashMap<Box<str>, Arc<Consumer>>) -> Vec<String> {
    let mut sorted: Vec<String> = subjects.iter().map(|pair| format!("{pair:?}")).collect();
    sorted.sort();
    sorted
}

fn identity(
    stored: &config::StoredKey,
    policy: &Arc<str>,
    consumers: &HashMap<&str, Arc<Consumer>>,
) -> Identity {
    let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    // A consumer whom only the file knows has no more than its name.
    let consumer = stored.consumer.as_deref().map(|name| match consumers.get(name) {
        Some(consumer) => Arc::clone(consumer),
        None => Arc::new(Consumer { name: name.into(), ..Consumer::default() }),
    });
    Identity {
        groups: boxed(&stored.groups),
        scopes: boxed(&stored.scopes),
        ..Identity::new(Scheme::Keys, Arc::clone(policy), stored.id.as_str().into(), consumer)
    }
}

fn authenticate(written: &Written, access: &Access) -> Option<Authenticate> {
    let written_methods = written.methods()?;
    let mut methods = Vec::new();
    for method in &written_methods.mtls {
        let policy = access.mtls.iter().find(|policy| *policy.name == *method.name)?;
        methods.push(Method::new(Check::Certificate(Arc::clone(policy)), Vec::new()));
    }
    for method in &written_methods.jwt {
        let policy = access.jwt.iter().find(|policy| *policy.name == *method.name)?;
        methods.push(Method::new(
            Check::Jwt(Arc::clone(policy), access.desk("jwt", &policy.name).map(Arc::clone)),
            sources(method),
        ));
    }
    for method in &written_methods.introspect {
        let policy = access.introspection.iter().find(|policy| *policy.tokens.name == *method.name)?;
        let desk = access.desk("introspect", &method.name)?;
        let check = Check::Introspection(Arc::clone(policy), Arc::clone(desk));
        methods.push(Method::new(check, sources(method)));
    }
    for method in &written_methods.keys {
        let policy = access.keys.iter().find(|policy| *policy.name == *method.name)?;
        methods.push(Method::new(Check::Keys(Arc::clone(policy)), sources(method)));
    }
    for method in &written_methods.basic {
        let policy = access.basic.iter().find(|policy| *policy.name == *method.name)?;
        let desk = access.desk("basic", &policy.name)?;
        methods.push(Method::new(Check::Basic(Arc::clone(policy), Arc::clone(desk)), Vec::new()));
    }
    for method in &written_methods.forward_auth {
        let policy = access.forward.iter().find(|policy| *policy.name == *method.name)?;
        let desk = access.desk("forward-auth", &method.name)?;
        methods.push(Method::new(Check::Forward(Arc::clone(policy), Arc::clone(desk)), Vec::new()));
    }
    Some(Authenticate {
        mode: if written.all_of.is_some() { Mode::AllOf } else { Mode::AnyOf },
        optional: written.optional,
        forwards: written.forward_credentials,
        methods,
    })
}

fn sources(written: &WrittenMethod) -> Vec<Source> {
    let mut sources = Vec::new();
    sources.extend(written.header.as_ref().map(|name| match name.eq_ignore_ascii_case("authorization") {
        true => Source::Scheme("Bearer"),
        false => Source::Field(name.as_bytes().into()),
    }));
    sources.extend(written.query.as_ref().map(|name| Source::Query(name.as_bytes().into())));
    sources
}

fn authorize(written: &config::model::Authorize) -> Authorize {
    let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let rules = |rules: &[config::model::AccessRule]| {
        let rule = |rule: &config::model::AccessRule| Rule {
            sources: rule.source.map(|cidr| CidrSet::from_cidrs([(cidr.address, cidr.prefix)])),
            methods: rule.method.iter().map(|method| method.as_bytes().into()).collect(),
            groups: rule.group.iter().map(|group| group.as_str().into()).collect(),
            consumers: rule.consumer.iter().map(|consumer| consumer.as_str().into()).collect(),
        };
        rules.iter().map(rule).collect()
    };
    let mut claims: Vec<(Box<str>, Vec<Box<str>>)> = Vec::new();
    for claim in &written.claims {
        let value = claim.value.as_str().into();
        match claims.iter_mut().find(|(name, _)| **name == *claim.name) {
            Some((_, values)) => values.push(value),
            None => claims.push((claim.name.as_str().into(), vec![value])),
        }
    }
    Authorize {
        deny: rules(&written.deny),
        allow: rules(&written.allow),
        scopes: boxed(&written.scope),
        groups: boxed(&written.group),
        claims,
    }
}
