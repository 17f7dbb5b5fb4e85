//! Credentials in query strings, which are not for logs (R167).

use std::borrow::Cow;

/// Names of parameters whose values are credentials, in lower case. Those of OAuth 2.0 and OpenID Connect, of signed URLs
/// (AWS, Google, Azure), and what APIs commonly call theirs.
const CREDENTIALS: [&str; 36] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "auth_token",
    "authorization",
    "bearer",
    "client_assertion",
    "client_secret",
    "code_verifier",
    "credential",
    "credentials",
    "id_token",
    "id_token_hint",
    "jwt",
    "key",
    "pass",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "samlresponse",
    "secret",
    "session",
    "session_id",
    "sessionid",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-signature",
];

/// No name above is longer.
const NAME_BYTES_MAX: usize = 20;

/// First letters of the names of each length, a bit per letter: nearly all parameters are told apart by these alone.
const FIRST_LETTERS: [u32; NAME_BYTES_MAX + 1] = {
    let (mut letters, mut at) = ([0; NAME_BYTES_MAX + 1], 0);
    while at < CREDENTIALS.len() {
        let name = CREDENTIALS[at].as_bytes();
        letters[name.len()] |= letter(name[0]);
        at += 1;
    }
    letters
};

/// The bit of a letter, none of anything else.
const fn letter(byte: u8) -> u32 {
    if byte.is_ascii_alphabetic() { 1 << (byte.to_ascii_lowercase() - b'a') } else { 0 }
}

/// The query with `*` in place of the values of credentials; never longer than it was.
///
/// Every line of the log with a query comes through here: it is read once, and most names are dismissed by their length.
pub(super) fn query(query: &[u8]) -> Cow<'_, [u8]> {
    let mut shown = Vec::new();
    // Where the part begins that is being read, its name while that is read, and what is not in `shown` yet.
    let (mut start, mut in_name, mut rest) = (0, true, 0);
    for (at, byte) in query.iter().enumerate() {
        match byte {
            b'&' | b';' => (start, in_name) = (at + 1, true),
            b'=' if in_name => {
                in_name = false;
                let has_value = query.get(at + 1).is_some_and(|next| !matches!(next, b'&' | b';'));
                if has_value && is_credential(&query[start..at]) {
                    let value = &query[at + 1..];
                    let length = value.iter().position(|byte| matches!(byte, b'&' | b';'));
                    shown.extend_from_slice(&query[rest..=at]);
                    shown.push(b'*');
                    rest = at + 1 + length.unwrap_or(value.len());
                }
            }
            _ => {}
        }
    }
    if rest == 0 {
        return Cow::Borrowed(query);
    }
    shown.extend_from_slice(&query[rest..]);
    Cow::Owned(shown)
}

/// The same for the query of an address, such as that of a `Referer`.
pub(super) fn address(address: &[u8]) -> Cow<'_, [u8]> {
    let Some(mark) = address.iter().position(|byte| *byte == b'?') else { return Cow::Borrowed(address) };
    match query(&address[mark + 1..]) {
        Cow::Borrowed(_) => Cow::Borrowed(address),
        Cow::Owned(shown) => Cow::Owned([&address[..=mark], &shown].concat()),
    }
}

/// Whether it is the name of a credential, however that is written.
fn is_credential(written: &[u8]) -> bool {
    if !written.contains(&b'%') {
        return is_known(written);
    }
    let mut name = [0; NAME_BYTES_MAX];
    let (mut length, mut bytes) = (0, written.iter().copied());
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return false,
            },
            byte => byte,
        };
        let Some(place) = name.get_mut(length) else { return false };
        *place = decoded;
        length += 1;
    }
    is_known(&name[..length])
}

/// Whether it is one of [`CREDENTIALS`] in any case.
fn is_known(name: &[u8]) -> bool {
    let (Some(letters), Some(first)) = (FIRST_LETTERS.get(name.len()), name.first()) else { return false };
    letters & letter(*first) != 0
        && CREDENTIALS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r167_values_of_credentials_are_not_shown() {
        assert!(CREDENTIALS.is_sorted());
        for (sent, shown) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("token=canary", "token=*"),
            ("a=1&Access_Token=canary&b=2", "a=1&Access_Token=*&b=2"),
            ("%74oken=canary;x=1", "%74oken=*;x=1"),
            ("X-Amz-Signature=canary&X-Amz-Date=1", "X-Amz-Signature=*&X-Amz-Date=1"),
            ("token=a=b=canary", "token=*"),
            ("token=&key", "token=&key"),
            ("tokens=1&keyboard=2&monkey=3", "tokens=1&keyboard=2&monkey=3"),
            ("&&token=canary&&", "&&token=*&&"),
            ("%7", "%7"),
        ] {
            assert_eq!(String::from_utf8_lossy(&query(sent.as_bytes())), shown, "{sent}");
        }
    }

    #[test]
    fn r167_an_address_keeps_all_but_the_values() {
        for (sent, shown) in [
            ("https://a.example/x", "https://a.example/x"),
            ("https://a.example/x?y=1", "https://a.example/x?y=1"),
            ("https://a.example/x?token=canary&y=1", "https://a.example/x?token=*&y=1"),
        ] {
            assert_eq!(String::from_utf8_lossy(&address(sent.as_bytes())), shown);
        }
    }

    proptest! {
        #[test]
        fn properties_r167_a_query_never_grows_and_no_secret_is_left(
            before in "[a-z=&;%0-9]{0,30}", after in "[a-z=%0-9]{0,30}",
            place in 0usize..CREDENTIALS.len(),
        ) {
            let sent = format!("{before}&{}=CANARY{after}", CREDENTIALS[place]);
            let shown = query(sent.as_bytes());
            prop_assert!(shown.len() <= sent.len());
            prop_assert!(!String::from_utf8_lossy(&shown).contains("CANARY"));
        }
    }
}
