//! What can be asked, and what can be answered. Closed lists: each kind has one who asks and one who answers.

use crate::snapshot::FieldLine;
use auth::{Identity, Ruling};
use std::fmt;
use std::sync::Arc;

/// A question that takes I/O or much computing.
#[derive(Debug)]
pub enum Question {
    /// A token was signed with a key that is not known, or not as the key of that name does it: has the issuer new keys?
    /// The digest is that of the key's name.
    Keys { kid: Option<[u8; 32]> },
    /// Is this the password of this user?
    Password(Password),
    /// May this request pass?
    Forward(Vec<FieldLine>),
    /// Whose token is this?
    Introspect(Token),
}

/// A token that only its issuer can read.
pub struct Token(pub Box<[u8]>);

/// Shows no part of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a user shows.
pub struct Password {
    pub user: Box<str>,
    pub password: Box<[u8]>,
}

/// Shows no part of it.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What the filter looked at is as new as it can be: look again.
    LookAgain,
    /// Who it is or why it is nobody, and until when (seconds since 1970) that may be remembered.
    Who { verdict: Result<Arc<Identity>, &'static str>, until_s: u64 },
    /// What a service has said about a request.
    Ruled(Arc<Ruling>),
    /// Nobody can say now.
    Failed,
}
