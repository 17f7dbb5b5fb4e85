//! Who a caller is: pure functions from the bytes of a credential to a verdict.
//!
//! Nothing here does I/O, reads a clock or knows what a request is. The control plane builds the policies (an
//! [`Issuer`], [`ApiKeys`]), filters of `traffic` ask them, workers keep what was found in a [`Memory`]. Everything that
//! is parsed here came from a stranger: each parser is strict, bounded, and refuses what could be read in two ways.
//!
//! ```text
//!   base64.rs   canonical base64 and base64url        json.rs     strict JSON (RFC 8259, I-JSON)
//!   jwk.rs      keys: PEM, JWK, secrets               jwt.rs      tokens of one issuer (RFC 7519, RFC 8725)
//!   basic.rs    users with passwords                   certificate.rs  certificates of connections
//!   api_key.rs  keys hashed at rest                   identity.rs what is known of a caller
//!   memory.rs   verdicts that a worker remembers       policy.rs   what the configuration calls by a name
//!   ring.rs     keys that are exchanged while in use     service.rs  verdicts of services
//! ```
#![forbid(unsafe_code)]

mod api_key;
pub mod base64;
mod basic;
mod certificate;
mod identity;
pub mod json;
mod jwk;
mod jwt;
mod memory;
mod policy;
mod ring;
mod service;

pub use api_key::{ApiKey, ApiKeys, KeyError, KeyHash, NewKey, Pepper, generate_key, key_hint};
pub use basic::{BasicPolicy, Credentials, HtpasswdError, UserHash, Users, parse_htpasswd};
pub use certificate::{CertificateName, CertificatePolicy};
pub use identity::{Consumer, Identity, Scheme, field_text};
pub use jwk::{Algorithm, Key, KeySet, KeyTrouble, SECRET_HINT};
pub use jwt::{Issuer, TOKEN_BYTES_MAX, Token, TokenError, issuer_of, kid_of};
pub use memory::{Fingerprint, Memory};
pub use policy::{JwtPolicy, KeysPolicy, Tally, fingerprint};
pub use ring::KeyRing;
pub use service::{ForwardPolicy, IntrospectionPolicy, Recalled, Ruling, recall};
