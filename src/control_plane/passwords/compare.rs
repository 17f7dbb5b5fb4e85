//! One password and one hash: bcrypt or argon2id, as the hash says.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;

/// Whether `password` is what `hash` was made of.
pub(super) fn is_of(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$2") {
        // A longer one than bcrypt can take is nobody's: cut off it would be many passwords at once.
        return bcrypt::non_truncating_verify(password, hash).unwrap_or(false);
    }
    let parsed = PasswordHash::new(hash).ok();
    parsed.is_some_and(|parsed| Argon2::default().verify_password(password, &parsed).is_ok())
}

/// Whether a hash can be compared with anything at all.
pub(crate) fn check_hash(hash: &str) -> bool {
    match hash.starts_with("$2") {
        true => hash.parse::<bcrypt::HashParts>().is_ok(),
        false => PasswordHash::new(hash).is_ok_and(|parsed| parsed.salt.is_some() && parsed.hash.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_hashes_of_others_are_understood() {
        // `htpasswd -nbB -C 5 x 'correct horse'`, and `echo -n 'correct horse' | argon2 somesaltsalt -id -m 13 -t 1 -e`.
        let bcrypt = include_str!("bcrypt.txt").trim();
        let argon2 = include_str!("argon2id.txt").trim();
        for hash in [bcrypt, argon2] {
            assert!(check_hash(hash) && is_of(b"correct horse", hash), "{hash}");
            assert!(
                !is_of(b"correct hors", hash) && !is_of(b"", hash) && !is_of(&[b'x'; 100], hash),
                "{hash}"
            );
        }
        for hash in ["", "$2y$05$short", "$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHQ", "plain"] {
            assert!(!check_hash(hash) && !is_of(b"", hash) && !is_of(b"plain", hash), "{hash}");
        }
    }
}
