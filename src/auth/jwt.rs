//! Tokens of one issuer: JWS in compact form (RFC 7515 §7.1) with claims (RFC 7519), held to RFC 8725.
//!
//! What the header says chooses among the keys of the issuer and nothing else: `jku`, `jwk`, `x5u` and `x5c` are not
//! looked at, `kid` is compared and never followed, extensions that somebody calls critical are refused.

use crate::base64::{Alphabet, decode};
use crate::json::{Json, Object};
use crate::jwk::{Algorithm, Candidates};
use crate::ring::KeyRing;
use std::sync::Arc;

/// Longer tokens are refused before they are looked at.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What is accepted of one issuer.
#[derive(Debug)]
pub struct Issuer {
    /// `iss` must be exactly this; `None` accepts any, for keys that only one issuer has.
    pub issuer: Option<Box<str>>,
    /// `aud` must have one of them; empty asks for none.
    pub audiences: Vec<Box<str>>,
    pub algorithms: Vec<Algorithm>,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
    /// Longest time from `iat` to `exp` in seconds; `None` is any.
    pub lifetime_max_s: Option<u64>,
    /// A token without `exp` is refused.
    pub needs_expiry: bool,
    /// `typ` must be this (`at+jwt`); `None` accepts what no other use of tokens claims: none, `JWT` and `at+jwt`.
    pub typ: Option<Box<str>>,
    /// May be exchanged while it is in use.
    pub keys: Arc<KeyRing>,
}

/// A token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub claims: Object,
    /// Seconds since 1970 from which on it is not; `u64::MAX` when it has no end.
    pub expires_s: u64,
}

macro_rules! token_errors {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)*) => {
        /// Why a token is refused: for logs and metrics, never for the caller.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TokenError { $($(#[doc = $doc])+ $name,)* }

        impl TokenError {
            pub const ALL: &'static [TokenError] = &[$(TokenError::$name,)*];

            pub const fn name(self) -> &'static str {
                match self { $(TokenError::$name => $text,)* }
            }
        }
    };
}

token_errors! {
    /// More than [`TOKEN_BYTES_MAX`].
    TooLong = "too_long";
    /// Not three parts in canonical base64url around strict JSON.
    Malformed = "malformed";
    /// `alg` is not one of the issuer's.
    Algorithm = "algorithm";
    /// The header asks for an extension (`crit`, `b64`).
    Critical = "critical";
    /// `typ` is another than asked for.
    Type = "type";
    /// The keys of the issuer are not known, or have not been confirmed for too long.
    NoKeys = "no_keys";
    /// No key of that name.
    UnknownKey = "unknown_key";
    /// No name, and too many keys to try.
    AmbiguousKey = "ambiguous_key";
    /// No key verifies it.
    Signature = "signature";
    /// A registered claim has a value that it cannot have.
    Claims = "claims";
    /// `iss` is somebody else.
    Issuer = "issuer";
    /// `aud` is missing or names others.
    Audience = "audience";
    /// `exp` is missing.
    NoExpiry = "no_expiry";
    /// `exp` has passed.
    Expired = "expired";
    /// `nbf` has not come.
    NotYet = "not_yet";
    /// `iat` lies ahead.
    FromFuture = "from_future";
    /// It is good for longer than one may be.
    Lifetime = "lifetime";
}

/// The parts of a token.
struct Parts<'t> {
    header: Object,
    signed: &'t [u8],
    payload: &'t [u8],
    signature: Vec<u8>,
}

fn split(token: &[u8]) -> Option<Parts<'_>> {
    let dots: Vec<usize> =
        token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at).take(3).collect();
    let &[first, second] = &dots[..] else { return None };
    let header = Object::parse(&decode(Alphabet::Url, &token[..first])?).ok()?;
    let signature = decode(Alphabet::Url, &token[second + 1..])?;
    Some(Parts { header, signed: &token[..second], payload: &token[first + 1..second], signature })
}

/// What an unverified token says of its issuer: good for choosing by whom it is to be verified, and for nothing else.
pub fn issuer_of(token: &[u8]) -> Option<Box<str>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let claims = Object::parse(&decode(Alphabet::Url, parts.nth(1)?)?).ok()?;
    claims.text("iss").map(Box::from)
}

/// What an unverified token says of the key that signed it: good for asking whether there is one, and for nothing else.
pub fn kid_of(token: &[u8]) -> Option<Box<str>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let header = token.split(|byte| *byte == b'.').next()?;
    Object::parse(&decode(Alphabet::Url, header)?).ok()?.text("kid").map(Box::from)
}

impl Issuer {
    /// Whether `token` is one of this issuer and good at `now_s`, in seconds since 1970.
    pub fn verify(&self, token: &[u8], now_s: u64) -> Result<Token, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let parts = split(token).ok_or(TokenError::Malformed)?;
        let algorithm = self.accepts(&parts.header)?;
        let kid = match parts.header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_text().ok_or(TokenError::Malformed)?),
        };
        let set = self.keys.current(now_s).ok_or(TokenError::NoKeys)?;
        let keys = match set.candidates(kid, algorithm) {
            Candidates::Keys(keys) => keys,
            Candidates::Unknown => return Err(TokenError::UnknownKey),
            Candidates::TooMany => return Err(TokenError::AmbiguousKey),
        };
        if !keys.iter().any(|key| key.verifies(parts.signed, &parts.signature)) {
            return Err(TokenError::Signature);
        }
        // Only what has been signed is read any further.
        let payload = decode(Alphabet::Url, parts.payload).ok_or(TokenError::Malformed)?;
        let claims = Object::parse(&payload).map_err(|_| TokenError::Malformed)?;
        let expires_s = self.check(&claims, now_s)?;
        Ok(Token { claims, expires_s })
    }

    fn accepts(&self, header: &Object) -> Result<Algorithm, TokenError> {
        let named = header.text("alg").and_then(Algorithm::named);
        let algorithm = named.filter(|named| self.algorithms.contains(named)).ok_or(TokenError::Algorithm)?;
        // We understand no extension, so every list of critical ones has one that we do not (RFC 7515 §4.1.11), and a
        // payload that is not encoded (RFC 7797) is no claims.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(TokenError::Critical);
        }
        let typ = match header.get("typ") {
            None => None,
            Some(Json::Text(typ)) => {
                let typ = typ.to_ascii_lowercase();
                Some(typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned))
            }
            Some(_) => return Err(TokenError::Malformed),
        };
        let fits = match (&self.typ, typ.as_deref()) {
            (Some(wanted), Some(typ)) => typ.eq_ignore_ascii_case(wanted),
            (Some(_), None) => false,
            (None, typ) => matches!(typ, None | Some("jwt" | "at+jwt")),
        };
        if fits { Ok(algorithm) } else { Err(TokenError::Type) }
    }

    /// Checks the registered claims (RFC 7519 §4.1) and tells when the token ends.
    pub(crate) fn check(&self, claims: &Object, now_s: u64) -> Result<u64, TokenError> {
        let iss = text_or_none(claims, "iss")?;
        if self.issuer.as_deref().is_some_and(|issuer| iss != Some(issuer)) {
            return Err(TokenError::Issuer);
        }
        if !self.audiences.is_empty() {
            let aud = claims.get("aud").map(Json::texts).unwrap_or_default();
            if !aud.iter().any(|aud| self.audiences.iter().any(|own| &**own == *aud)) {
                return Err(TokenError::Audience);
            }
        }
        let (exp, nbf, iat) = (date(claims, "exp")?, date(claims, "nbf")?, date(claims, "iat")?);
        if exp.is_none() && self.needs_expiry {
            return Err(TokenError::NoExpiry);
        }
        let expires_s = exp.map_or(u64::MAX, |exp| exp.saturating_add(self.leeway_s));
        if now_s >= expires_s {
            return Err(TokenError::Expired);
        }
        let latest = now_s.saturating_add(self.leeway_s);
        if nbf.is_some_and(|nbf| nbf > latest) {
            return Err(TokenError::NotYet);
        }
        if iat.is_some_and(|iat| iat > latest) {
            return Err(TokenError::FromFuture);
        }
        if let Some(lifetime_max_s) = self.lifetime_max_s {
            // Without both ends nobody can tell.
            let lifetime = exp.zip(iat).map(|(exp, iat)| exp.saturating_sub(iat));
            if lifetime.is_none_or(|lifetime| lifetime > lifetime_max_s) {
                return Err(TokenError::Lifetime);
            }
        }
        Ok(expires_s)
    }
}

fn text_or_none<'c>(claims: &'c Object, name: &str) -> Result<Option<&'c str>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Claims),
    }
}

/// A `NumericDate` (RFC 7519 §2) in whole seconds. Fractions are cut off; exponents, signs and what is beyond the year
/// 10,000 are refused.
fn date(claims: &Object, name: &str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Json::Number(number) = value else { return Err(TokenError::Claims) };
    let whole = number.split_once('.').map_or(&**number, |(whole, _)| whole);
    let digits_only = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match whole.parse::<u64>() {
        Ok(seconds) if digits_only && seconds <= DATE_MAX => Ok(Some(seconds)),
        _ => Err(TokenError::Claims),
    }
}

/// The end of the year 9999.
const DATE_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
