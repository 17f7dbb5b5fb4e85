//! Who may call: policies that check credentials, and what sites and routes ask of callers.

use super::{Origin, Secret};
use crate::literal::{Cidr, DurationText, Url, print_duration, words};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// Tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Jwt {
    pub name: String,
    /// `iss` must be exactly this. Default: any, for keys that only one issuer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `aud` must have one of them. Default: it is not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// At least one; all symmetric, or none.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Secrets of the symmetric algorithms, from `(file)` or `(env)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub secret: Vec<Secret>,
    /// Files with public keys in PEM form, relative to the file that names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_key: Vec<String>,
    /// A file with a JWK set (RFC 7517), relative to the file that names it, or the address where the issuer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// How the set is fetched, where `jwks` is an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<JwksFetch>,
    /// By how much clocks may differ, at most five minutes. Default 30 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub leeway: Duration,
    /// Longest time from `iat` to `exp`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    #[schemars(with = "DurationText")]
    pub max_lifetime: Option<Duration>,
    /// Tokens without `exp` are good. Default: no.
    pub allow_without_expiry: bool,
    /// `typ` must be this, as `at+jwt` (RFC 9068). Default: none, `JWT` or `at+jwt`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The claim that names the subject. Default: `sub`.
    pub subject_claim: String,
    /// The claim that lists groups. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Claims that the upstream is told, and in which fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
    #[serde(skip)]
    pub origin: Origin,
}

/// Where a JWK set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Jwks {
    Url(Url),
    File(String),
}

/// How a JWK set is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct JwksFetch {
    /// A file of the authorities that certify the server, relative to the file that names it. Default: those of the
    /// system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How long one attempt may take. Default 5 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// From one attempt that a token caused to the next, at least. Default 30 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub cooldown: Duration,
    /// How long a set counts that is asked for regularly, instead of what the issuer says. Default: `max-age` of the
    /// response, from 1 min to 24 h, or 10 min.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    #[schemars(with = "DurationText")]
    pub refresh: Option<Duration>,
    /// How long keys count that could not be confirmed. Default 24 h.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub max_stale: Duration,
    /// The server may be at a private address or this machine, and speak without TLS there. Default: no.
    pub allow_private: bool,
    /// The node is not ready before it has had keys once. Default: no.
    pub require_at_start: bool,
}

impl Default for JwksFetch {
    fn default() -> Self {
        JwksFetch {
            ca: None,
            timeout: Duration::from_secs(5),
            cooldown: Duration::from_secs(30),
            refresh: None,
            max_stale: Duration::from_secs(24 * 3600),
            allow_private: false,
            require_at_start: false,
        }
    }
}

/// A claim and the field for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClaimHeader {
    pub claim: String,
    pub header: String,
}

words! {
    /// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1).
    pub enum JwtAlgorithm {
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        Es512 = "ES512",
        EdDsa = "EdDSA",
    }
    default Rs256;
}

impl JwtAlgorithm {
    /// Whether one secret both signs and verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self, JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512)
    }
}

/// API keys in a file, known there by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Keys {
    pub name: String,
    /// Relative to the file that names it.
    pub file: String,
    /// A secret that is hashed with each key, from `(file)` or `(env)`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub pepper: Option<Secret>,
    #[serde(skip)]
    pub origin: Origin,
}

/// Somebody with one or more credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Consumer {
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Subjects of policies that are this consumer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    #[serde(skip)]
    pub origin: Origin,
}

/// A subject of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Credential {
    /// Name of a `jwt` policy; the subject is the value of its `subject-claim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// Name of a `basic` policy; the subject is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<String>,
    /// Name of a `forward-auth` policy; the subject is what its `subject-header` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<String>,
    /// Name of an `introspect` policy; the subject is the value of its `subject-claim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspect: Option<String>,
    /// Name of an `mtls` policy; the subject is a name of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<String>,
    pub subject: String,
    #[serde(skip)]
    pub origin: Origin,
}

impl Credential {
    /// The kind and the name of the policy.
    pub fn policy(&self) -> (&'static str, &str) {
        let kinds = [
            ("jwt", &self.jwt),
            ("basic", &self.basic),
            ("forward-auth", &self.forward_auth),
            ("introspect", &self.introspect),
            ("mtls", &self.mtls),
        ];
        kinds.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?))).unwrap_or_default()
    }
}

/// Users with passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Basic {
    pub name: String,
    /// As `htpasswd -B` writes it, or with hashes of argon2id; relative to the file that names it.
    pub file: String,
    /// What browsers show to their users. Default: the name of the policy.
    pub realm: String,
    /// How long a password that was right is not compared again, by each worker. Default 60 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub remember: Duration,
    /// Passwords are taken on connections without TLS too. Default: no.
    pub allow_plain: bool,
    /// Requests that may wait for a comparison. Default 64.
    pub waiting: u32,
    /// How long one may wait. Default 5 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    #[serde(skip)]
    pub origin: Origin,
}

words! {
    /// Which name of a certificate is the subject.
    pub enum CertificateName {
        /// The first URI, DNS name or e-mail address, or else the subject.
        Any = "any",
        Uri = "uri",
        Dns = "dns",
        Email = "email",
        /// As RFC 4514 writes it.
        Subject = "subject",
        /// SHA-256 of the certificate, in hexadecimal digits.
        Fingerprint = "fingerprint",
    }
    default Any;
}

/// Certificates of clients as credentials; which ones are believed says `client-auth` of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Mtls {
    pub name: String,
    /// Default: any.
    pub by: CertificateName,
    /// Certificates that are no consumer's are refused. Default: no.
    pub consumers_only: bool,
    #[serde(skip)]
    pub origin: Origin,
}

/// A service that Ringway itself asks while requests wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceSettings {
    pub url: Url,
    /// A file of the authorities that certify it, relative to the file that names it. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How long a request waits for its answer. Default 2 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Requests that may wait. Default 256.
    pub waiting: u32,
    /// How long a verdict is not asked for again, where the service does not say.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub remember: Duration,
    /// How much longer it counts while the service cannot be asked. Default: not at all.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub stale: Duration,
}

words! {
    /// What becomes of a request that nobody can judge.
    pub enum Unjudged {
        /// 503.
        Deny = "deny",
        /// It goes on as nobody's.
        Allow = "allow",
    }
    default Deny;
}

words! {
    /// For what a verdict about a request counts.
    pub enum SameFor {
        /// The same request of the same client.
        Request = "request",
        /// Any request with the same values in the fields that the service is told.
        Identity = "identity",
    }
    default Request;
}

/// A service that decides about requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ForwardAuth {
    pub name: String,
    #[serde(flatten)]
    pub service: ServiceSettings,
    /// Fields of the request that the service is told. Default: `Authorization` and `Cookie`.
    pub request_headers: Vec<String>,
    /// Without any of these nobody is asked and the request is 401. Default: everybody is asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<String>,
    /// Fields of the answer that the upstream is told. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
    /// The field of the answer that names the caller. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_header: Option<String>,
    /// The field of the answer that lists groups, by commas. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_header: Option<String>,
    /// Default: the same request.
    pub same_for: SameFor,
    /// Default: it is refused.
    pub on_error: Unjudged,
    #[serde(skip)]
    pub origin: Origin,
}

/// A service that knows tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Introspect {
    pub name: String,
    #[serde(flatten)]
    pub service: ServiceSettings,
    /// How Ringway is known to the service.
    pub client_id: String,
    /// From `(file)` or `(env)`. Default: the service asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub client_secret: Option<Secret>,
    /// `iss` must be exactly this. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `aud` must have one of them. Default: it is not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// The member that names the subject. Default: `sub`.
    pub subject_claim: String,
    /// The member that lists groups. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

words! {
    /// Whether a site's rule holds for a route.
    pub enum Applies {
        /// As written.
        On = "on",
        /// Not at all.
        Off = "off",
    }
    default On;
}

/// Who must show a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Authenticate {
    /// `off` opens a route of a site that asks. Default: on.
    pub mode: Applies,
    /// One of these decides; excludes `all-of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Methods>,
    /// All of these are needed; excludes `any-of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_of: Option<Methods>,
    /// Requests without any credential pass as nobody's. Default: no.
    pub optional: bool,
    /// The upstream gets the credentials. Default: no.
    pub forward_credentials: bool,
    #[serde(skip)]
    pub origin: Origin,
}

impl Authenticate {
    /// Every place that it knows.
    pub(crate) fn origins(&mut self) -> Vec<&mut Origin> {
        let methods = self.any_of.iter_mut().chain(&mut self.all_of);
        let methods = methods.flat_map(|methods| {
            let Methods { mtls, jwt, introspect, keys, basic, forward_auth } = methods;
            let first = mtls.iter_mut().chain(jwt);
            first.chain(introspect).chain(keys).chain(basic).chain(forward_auth)
        });
        std::iter::once(&mut self.origin).chain(methods.map(|method| &mut method.origin)).collect()
    }

    /// The methods, however they combine.
    pub fn methods(&self) -> Option<&Methods> {
        self.any_of.as_ref().or(self.all_of.as_ref())
    }
}

/// Ways to show who one is, looked at in the order of these members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Methods {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mtls: Vec<Method>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<Method>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub introspect: Vec<Method>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Method>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub basic: Vec<Method>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward_auth: Vec<Method>,
}

impl Methods {
    /// All of them with their kinds, in the order in which they are looked at.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Method)> {
        let Methods { mtls, jwt, introspect, keys, basic, forward_auth } = self;
        let kinds: [(&'static str, &Vec<Method>); 6] = [
            ("mtls", mtls),
            ("jwt", jwt),
            ("introspect", introspect),
            ("keys", keys),
            ("basic", basic),
            ("forward-auth", forward_auth),
        ];
        kinds.into_iter().flat_map(|(kind, methods)| methods.iter().map(move |method| (kind, method)))
    }
}

/// One policy, and where its credential stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Method {
    /// Of the policy.
    pub name: String,
    /// A field whose value is the credential. Default: `Authorization: Bearer` for jwt, `X-Api-Key` for keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A query parameter whose value is the credential. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

/// What a caller must be and have. `deny` wins; one `allow` must apply if there is any; all else must hold too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Authorize {
    /// All of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// One of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
    /// All names, each with one of its values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AccessRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AccessRule>,
    #[serde(skip)]
    pub origin: Origin,
}

impl Authorize {
    /// Whether only an authenticated caller can pass.
    pub fn needs_caller(&self) -> bool {
        let by_caller = |rule: &AccessRule| rule.group.is_some() || rule.consumer.is_some();
        !(self.scope.is_empty() && self.group.is_empty() && self.claims.is_empty())
            || self.allow.iter().chain(&self.deny).any(by_caller)
    }
}

/// A claim and a value that it may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClaimMatch {
    /// Parts of nested claims are separated by dots.
    pub name: String,
    /// Texts, numbers and booleans as they are written; in a list, one of its items.
    pub value: String,
}

/// A condition: every part that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AccessRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Cidr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&print_duration(value))
}

fn optional_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(&print_duration(value)),
        None => serializer.serialize_none(),
    }
}
