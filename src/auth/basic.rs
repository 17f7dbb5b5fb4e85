//! Users with passwords (RFC 7617), known by hashes that take long to compute.
//!
//! What is here reads credentials and knows users. Passwords are compared elsewhere, on threads that may take their time:
//! a hash that is good against guessing takes a tenth of a second. Unknown users cost the same (B1): their password is
//! compared with the hash of somebody else, always the same one for one name.

use crate::base64::{Alphabet, decode};
use crate::identity::{Consumer, Identity, Scheme};
use crate::memory::{Fingerprint, Memory};
use crate::policy::Tally;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Longer credentials are refused before they are decoded.
const CREDENTIALS_BYTES_MAX: usize = 2 << 10;
/// How long a wrong password is remembered, in seconds.
const REFUSED_S: u64 = 5;

/// Users of one file.
#[derive(Debug)]
pub struct BasicPolicy {
    pub name: Arc<str>,
    /// Differs from every other policy that this process ever had.
    pub number: u64,
    /// Of its file and all that belongs to it: the same means the same policy.
    pub fingerprint: [u8; 32],
    /// What browsers show to their users.
    pub realm: Box<str>,
    pub users: Users,
    pub consumers: HashMap<Box<str>, Arc<Consumer>>,
    /// Seconds for which a good password is remembered.
    pub remember_s: u64,
    /// Credentials are taken on connections without TLS too.
    pub allows_plain: bool,
    pub tally: Arc<Tally>,
}

/// User and password as a client has sent them.
pub struct Credentials {
    pub user: Box<str>,
    pub password: Box<[u8]>,
}

/// Only what is no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads what stands behind `Basic`. The first colon ends the user (RFC 7617 §2); control characters are in neither.
    pub fn read(text: &[u8]) -> Option<Credentials> {
        if text.len() > CREDENTIALS_BYTES_MAX {
            return None;
        }
        let decoded = decode(Alphabet::Standard, text)?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
        let user = std::str::from_utf8(user).ok()?;
        if user.is_empty() || user.chars().any(char::is_control) || password.iter().any(u8::is_ascii_control)
        {
            return None;
        }
        Some(Credentials { user: user.into(), password: password.into() })
    }
}

impl BasicPolicy {
    /// The name under which a verdict about these credentials is remembered.
    pub fn fingerprint_of(&self, credentials: &[u8], memory: &mut Memory) -> Option<Fingerprint> {
        memory.name([self.number, 0], credentials)
    }

    /// What is remembered of credentials.
    pub fn recall(
        &self,
        name: &Fingerprint,
        now_s: u64,
        memory: &Memory,
    ) -> Option<Result<Arc<Identity>, &'static str>> {
        let known = memory.recall(name, now_s)?.clone();
        self.tally.recall();
        self.tally.count(known.is_ok());
        Some(known)
    }

    /// Remembers what the comparison of a password has shown.
    pub fn learn(
        &self,
        name: Option<Fingerprint>,
        now_s: u64,
        verdict: &Result<Arc<Identity>, &'static str>,
        memory: &mut Memory,
    ) {
        self.tally.count(verdict.is_ok());
        let seconds = if verdict.is_ok() { self.remember_s } else { REFUSED_S };
        if let Some(name) = name.filter(|_| seconds > 0) {
            memory.remember(name, now_s.saturating_add(seconds), verdict.clone());
        }
    }

    /// Who a user is whose password was right.
    pub fn identity(&self, user: &str) -> Arc<Identity> {
        let consumer = self.consumers.get(user).map(Arc::clone);
        Arc::new(Identity::new(Scheme::Basic, Arc::clone(&self.name), user.into(), consumer))
    }
}

/// A user and the hash of its password.
pub type UserHash = (Box<str>, Box<str>);

/// A table of users and the hashes of their passwords.
pub struct Users {
    hashes: Vec<UserHash>,
    /// Places by user.
    places: HashMap<Box<str>, usize>,
    key: hmac::Key,
}

/// Nobody's hash.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// `None` without random numbers.
    pub fn new(hashes: Vec<UserHash>) -> Option<Users> {
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).ok()?;
        let places = hashes.iter().enumerate().map(|(place, (user, _))| (user.clone(), place)).collect();
        Some(Users { hashes, places, key: hmac::Key::new(hmac::HMAC_SHA256, &random) })
    }

    /// The hash that the password of `user` has to be compared with, and whether a match counts.
    pub fn hash_of(&self, user: &str) -> Option<(&str, bool)> {
        if let Some(place) = self.places.get(user) {
            return Some((&self.hashes[*place].1, true));
        }
        let tag = hmac::sign(&self.key, user.as_bytes());
        let number =
            tag.as_ref().iter().take(4).fold(0usize, |number, byte| number << 8 | usize::from(*byte));
        let (_, hash) = self.hashes.get(number.checked_rem(self.hashes.len())?)?;
        Some((hash, false))
    }

    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// A line of a file of users that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HtpasswdError {
    pub line: usize,
    pub what: &'static str,
}

impl fmt::Display for HtpasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Reads a file as `htpasswd` writes it: lines `user:hash`, with hashes of bcrypt (`$2y$`) and argon2id only. What others
/// there are can be guessed too quickly.
pub fn parse_htpasswd(text: &str) -> Result<Vec<UserHash>, HtpasswdError> {
    let mut users: Vec<UserHash> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (number, line) in text.lines().enumerate() {
        let error = |what: &'static str| HtpasswdError { line: number + 1, what };
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').ok_or_else(|| error("not of the form user:hash"))?;
        if user.is_empty() || user.chars().any(char::is_control) {
            return Err(error("the name of the user is empty or has control characters"));
        }
        match cost(hash) {
            Cost::Good => {}
            Cost::Unknown => {
                return Err(error("not a hash of bcrypt or argon2id; make one with: htpasswd -B"));
            }
            Cost::TooCheap => return Err(error("the hash is computed too quickly to keep guesses out")),
            Cost::TooDear => return Err(error("the hash takes more time or memory than a password may")),
        }
        if !seen.insert(user) {
            return Err(error("the user stands twice"));
        }
        users.push((user.into(), hash.into()));
    }
    Ok(users)
}

enum Cost {
    Good,
    Unknown,
    TooCheap,
    TooDear,
}

/// Bounds of what a hash may cost: bcrypt by its logarithm, argon2 in KiB and passes.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 5..=14;
const ARGON2_KIB: std::ops::RangeInclusive<u32> = 7 << 10..=128 << 10;
const ARGON2_PASSES_MAX: u32 = 16;
const ARGON2_LANES_MAX: u32 = 16;

fn cost(hash: &str) -> Cost {
    let parts: Vec<&str> = hash.split('$').collect();
    match parts[..] {
        ["", "2a" | "2b" | "2y", cost, rest] if rest.len() == 53 => match cost.parse::<u32>() {
            Ok(cost) if cost < *BCRYPT_COST.start() => Cost::TooCheap,
            Ok(cost) if cost > *BCRYPT_COST.end() => Cost::TooDear,
            Ok(_) => Cost::Good,
            Err(_) => Cost::Unknown,
        },
        ["", "argon2id", "v=19", parameters, _, _] => {
            let of = |name: &str| {
                let parameter = parameters.split(',').find_map(|parameter| parameter.strip_prefix(name))?;
                parameter.parse::<u32>().ok()
            };
            match (of("m="), of("t="), of("p=")) {
                (Some(kib), Some(_), Some(_)) if kib < *ARGON2_KIB.start() => Cost::TooCheap,
                (Some(kib), Some(passes), Some(lanes)) => {
                    let is_dear =
                        kib > *ARGON2_KIB.end() || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX;
                    if is_dear { Cost::TooDear } else { Cost::Good }
                }
                _ => Cost::Unknown,
            }
        }
        _ => Cost::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64::encode;

    fn read(text: &str) -> Option<(String, Vec<u8>)> {
        let credentials = Credentials::read(encode_padded(text.as_bytes()).as_bytes())?;
        Some((credentials.user.into(), credentials.password.into()))
    }

    fn encode_padded(bytes: &[u8]) -> String {
        let mut text = encode(Alphabet::Standard, bytes);
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    }

    #[test]
    fn b1_the_first_colon_ends_the_user() {
        assert_eq!(read("a:b"), Some(("a".into(), b"b".to_vec())));
        assert_eq!(read("a:b:c"), Some(("a".into(), b"b:c".to_vec())));
        assert_eq!(read("é:pä"), Some(("é".into(), "pä".as_bytes().to_vec())));
        assert_eq!(read("a:"), Some(("a".into(), Vec::new())));
        for text in [":b", "ab", "", "a\u{7}:b", "a:\nb", "a:\0"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        for bytes in ["%%%", "YTpi YTpi", "YTpi=", "YQ"] {
            assert!(Credentials::read(bytes.as_bytes()).is_none(), "{bytes}");
        }
        assert!(Credentials::read(&[b'A'; CREDENTIALS_BYTES_MAX + 4]).is_none());
        assert!(!format!("{:?}", Credentials::read(b"YTpzZWNyZXQ=").unwrap()).contains("secret"));
    }

    const BCRYPT: &str = "$2y$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234";
    const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA";

    #[test]
    fn files_of_users_have_hashes_that_keep_guesses_out() {
        let text = format!("# staff\nalice:{BCRYPT}\n\nbob:{ARGON2}\r\n");
        let users = parse_htpasswd(&text).unwrap();
        assert_eq!(users.iter().map(|(user, _)| &**user).collect::<Vec<_>>(), ["alice", "bob"]);
        for (line, what) in [
            ("alice".to_owned(), "not of the form"),
            (format!(":{BCRYPT}"), "the name of the user"),
            ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".into(), "not a hash of"),
            ("alice:$apr1$x$y".into(), "not a hash of"),
            ("alice:secret".into(), "not a hash of"),
            (format!("alice:{}", BCRYPT.replace("$10$", "$04$")), "too quickly"),
            (format!("alice:{}", BCRYPT.replace("$10$", "$31$")), "more time or memory"),
            (format!("alice:{}", ARGON2.replace("19456", "4194304")), "more time or memory"),
            (format!("alice:{}", ARGON2.replace("19456", "8")), "too quickly"),
            (format!("alice:{}", ARGON2.replace("t=2", "t=999")), "more time or memory"),
            (format!("alice:{}", ARGON2.replace("argon2id", "argon2i")), "not a hash of"),
        ] {
            let error = parse_htpasswd(&format!("\n{line}\n")).unwrap_err();
            assert!(error.line == 2 && error.what.contains(what), "{line}: {error}");
        }
        assert_eq!(parse_htpasswd(&format!("a:{BCRYPT}\na:{ARGON2}")).unwrap_err().line, 2);
    }

    #[test]
    fn b1_an_unknown_user_has_the_hash_of_somebody_and_never_counts() {
        let users = Users::new(vec![("a".into(), "A".into()), ("b".into(), "B".into())]).unwrap();
        assert_eq!((users.hash_of("a"), users.hash_of("b")), (Some(("A", true)), Some(("B", true))));
        let of_nobody: Vec<&str> = (0..64)
            .map(|n| {
                let (hash, counts) = users.hash_of(&format!("nobody {n}")).unwrap();
                assert!(!counts);
                hash
            })
            .collect();
        assert!(of_nobody.contains(&"A") && of_nobody.contains(&"B"));
        assert_eq!(users.hash_of("nobody 1"), users.hash_of("nobody 1"));
        assert_eq!(Users::new(Vec::new()).unwrap().hash_of("a"), None);
        assert!(!format!("{users:?}").contains('A'));
    }
}
