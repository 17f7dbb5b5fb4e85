//! Keys that verify tokens, each bound to one algorithm: the token's header chooses among them, never beyond them
//! (RFC 8725 §3.1).

use crate::base64::{Alphabet, decode};
use crate::json::{Json, JsonError, Object};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use aws_lc_rs::{digest, hmac};
use std::fmt;

/// Keys of one set; of a longer one the first are taken.
const KEYS_MAX: usize = 100;
/// Keys that are tried for a token without `kid`.
const TRIED_MAX: usize = 4;
const RSA_BITS_MIN: usize = 2048;

/// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1). `none` does not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Algorithm; 13] = [
        Algorithm::Hs256,
        Algorithm::Hs384,
        Algorithm::Hs512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];

    /// As in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Hs384 => "HS384",
            Algorithm::Hs512 => "HS512",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name, which compares with case. `Ed25519` is the name of RFC 9864 for what is `EdDSA` here.
    pub fn named(name: &str) -> Option<Algorithm> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether one secret both signs and verifies.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }

    fn is_rsa(self) -> bool {
        self.name().starts_with(['R', 'P'])
    }

    fn verification(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
            Algorithm::EdDsa => &ED25519,
        })
    }

    fn mac(self) -> Option<hmac::Algorithm> {
        match self {
            Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
            Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
            Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key cannot be used. Never shows any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTrouble {
    /// Shorter than the hash of the algorithm (RFC 7518 §3.2).
    SecretTooShort { bytes_min: usize },
    /// A public key would be known to everybody who signs with it.
    SecretIsKey,
    /// The file has no `-----BEGIN PUBLIC KEY-----` block.
    NotPem,
    /// A private key where a public one belongs.
    Private,
    /// The key fits none of the configured algorithms.
    FitsNone,
    /// The set is no JSON, or has no list `keys`.
    NotASet,
    /// No key of the set can be used.
    Empty,
}

/// What to do about a secret that is refused.
pub const SECRET_HINT: &str = "make one with: openssl rand -hex 32";

impl fmt::Display for KeyTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyTrouble::SecretTooShort { bytes_min } => {
                write!(f, "the secret is shorter than the {bytes_min} bytes that its algorithm asks for")
            }
            KeyTrouble::SecretIsKey => {
                f.write_str("the secret is a key in PEM or JWK form; whoever has the public key could sign")
            }
            KeyTrouble::NotPem => f.write_str("no block \"-----BEGIN PUBLIC KEY-----\" in the file"),
            KeyTrouble::Private => f.write_str("a private key where a public one belongs"),
            KeyTrouble::FitsNone => {
                f.write_str("the key fits none of the algorithms (type, curve, or RSA below 2048 bits)")
            }
            KeyTrouble::NotASet => f.write_str("not a JWK set (RFC 7517 §5)"),
            KeyTrouble::Empty => f.write_str("no key of the set can be used"),
        }
    }
}

impl std::error::Error for KeyTrouble {}

/// One key, for one algorithm.
pub struct Key {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// Only what is public.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Key {
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// What a token finds in a set.
#[derive(Debug)]
pub(crate) enum Candidates<'s> {
    /// At least one.
    Keys(Vec<&'s Key>),
    /// None of that name: perhaps it is new.
    Unknown,
    /// The token names no key, and too many would have to be tried.
    TooMany,
}

impl KeySet {
    /// Secrets, each for every symmetric algorithm among `algorithms`.
    pub fn of_secrets(secrets: &[&[u8]], algorithms: &[Algorithm]) -> Result<KeySet, KeyTrouble> {
        let mut keys = Vec::new();
        for secret in secrets {
            let trimmed = secret.trim_ascii_start();
            let has = |part: &[u8]| trimmed.windows(part.len()).any(|window| window == part);
            if trimmed.starts_with(b"-----BEGIN") || (trimmed.starts_with(b"{") && has(b"\"kty\"")) {
                return Err(KeyTrouble::SecretIsKey);
            }
            for &algorithm in algorithms {
                let Some(mac) = algorithm.mac() else { continue };
                let bytes_min = mac.digest_algorithm().output_len();
                if secret.len() < bytes_min {
                    return Err(KeyTrouble::SecretTooShort { bytes_min });
                }
                let material = Material::Secret(Box::new(hmac::Key::new(mac, secret)));
                keys.push(Key { kid: None, algorithm, material });
            }
        }
        Ok(KeySet { keys })
    }

    /// The public keys of a PEM text, each for those of `algorithms` that it fits. They answer to every `kid`.
    pub fn of_pem(text: &str, algorithms: &[Algorithm]) -> Result<KeySet, KeyTrouble> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyTrouble::Private);
        }
        let mut keys = Vec::new();
        for der in pem_blocks(text)? {
            let before = keys.len();
            for &algorithm in algorithms {
                keys.extend(public(&der, algorithm).map(|material| Key { kid: None, algorithm, material }));
            }
            if keys.len() == before {
                return Err(KeyTrouble::FitsNone);
            }
        }
        Ok(KeySet { keys })
    }

    /// The public keys of a JWK set (RFC 7517). Keys that cannot be used are left out one by one; how many is the
    /// second part of the result.
    pub fn of_jwks(text: &[u8], algorithms: &[Algorithm]) -> Result<(KeySet, usize), KeyTrouble> {
        let set = Object::parse(text).map_err(|_: JsonError| KeyTrouble::NotASet)?;
        let Some(Json::List(members)) = set.get("keys") else { return Err(KeyTrouble::NotASet) };
        let mut keys = Vec::new();
        let mut unusable = members.len().saturating_sub(KEYS_MAX);
        for member in members.iter().take(KEYS_MAX) {
            let before = keys.len();
            if let Json::Object(jwk) = member {
                for &algorithm in algorithms {
                    keys.extend(of_jwk(jwk, algorithm));
                }
            }
            unusable += usize::from(keys.len() == before);
        }
        if keys.is_empty() { Err(KeyTrouble::Empty) } else { Ok((KeySet { keys }, unusable)) }
    }

    /// Adds the keys of another set.
    pub fn extend(&mut self, other: KeySet) {
        self.keys.extend(other.keys);
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Names of the keys that have one, each once, for status and logs.
    pub fn kids(&self) -> Vec<&str> {
        let mut kids: Vec<&str> = self.keys.iter().filter_map(|key| key.kid.as_deref()).collect();
        kids.sort_unstable();
        kids.dedup();
        kids
    }

    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Candidates<'_> {
        let fits = |key: &&Key| {
            key.algorithm == algorithm
                && match (kid, &key.kid) {
                    (Some(wanted), Some(own)) => wanted == &**own,
                    (None, _) | (_, None) => true,
                }
        };
        let keys: Vec<&Key> = self.keys.iter().filter(fits).collect();
        match keys.len() {
            0 => Candidates::Unknown,
            1..=TRIED_MAX => Candidates::Keys(keys),
            // The same name for several keys is no better than no name.
            _ => Candidates::TooMany,
        }
    }
}

fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>, KeyTrouble> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("-----BEGIN ") {
        rest = &rest[at + "-----BEGIN ".len()..];
        let (label, body) = rest.split_once("-----").ok_or(KeyTrouble::NotPem)?;
        let end = format!("-----END {label}-----");
        let (body, behind) = body.split_once(&end).ok_or(KeyTrouble::NotPem)?;
        rest = behind;
        if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            continue;
        }
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        blocks.push(decode(Alphabet::Standard, &body).ok_or(KeyTrouble::NotPem)?);
    }
    if blocks.is_empty() { Err(KeyTrouble::NotPem) } else { Ok(blocks) }
}

/// The key in DER (SPKI, PKCS #1) or as a point, if it fits the algorithm.
fn public(der: &[u8], algorithm: Algorithm) -> Option<Material> {
    if algorithm.is_rsa() {
        let key = PublicEncryptingKey::from_der(der).ok();
        // PKCS #1 is not read there, and is checked when a signature is.
        if key.is_some_and(|key| key.key_size_bits() < RSA_BITS_MIN) {
            return None;
        }
    }
    ParsedPublicKey::new(algorithm.verification()?, der).ok().map(Material::Public)
}

/// The key of a JWK, if it is one for verifying with this algorithm (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
fn of_jwk(jwk: &Object, algorithm: Algorithm) -> Option<Key> {
    let says = |name: &str, wanted: &str| jwk.get(name).is_none_or(|value| value.says(wanted));
    // `alg` may be the newer name.
    let alg = jwk.get("alg").is_none_or(|alg| alg.as_text().and_then(Algorithm::named) == Some(algorithm));
    // Whoever publishes the private part has no key any more.
    if !says("use", "sig") || !says("key_ops", "verify") || !alg || jwk.get("d").is_some() {
        return None;
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_text()?.into()),
    };
    let member = |name: &str| decode(Alphabet::Url, jwk.text(name)?.as_bytes());
    let curve = |name: &str, bytes: usize| {
        let fits = jwk.text("kty") == Some("EC") && jwk.text("crv") == Some(name);
        let (x, y) = (member("x")?, member("y")?);
        (fits && x.len() == bytes && y.len() == bytes).then(|| [&[4], &x[..], &y[..]].concat())
    };
    let encoded = match algorithm {
        Algorithm::Es256 => curve("P-256", 32)?,
        Algorithm::Es384 => curve("P-384", 48)?,
        Algorithm::Es512 => curve("P-521", 66)?,
        Algorithm::EdDsa => {
            let fits = jwk.text("kty") == Some("OKP") && jwk.text("crv") == Some("Ed25519");
            member("x").filter(|x| fits && x.len() == 32)?
        }
        _ if algorithm.is_rsa() && jwk.text("kty") == Some("RSA") => {
            let (n, e) = (member("n")?, member("e")?);
            let der: PublicKeyX509Der<'_> = RsaPublicKeyComponents { n, e }.as_der().ok()?;
            der.as_ref().to_vec()
        }
        _ => return None,
    };
    Some(Key { kid, algorithm, material: public(&encoded, algorithm)? })
}

/// SHA-256, for comparing contents.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
