//! Credentials in query strings, which are not for logs (R167).

use std::borrow::Cow;

/// Names of parameters whose values are credentials, in lower case. Those of OAuth 2.0 and OpenID Connect, of signed URLs
/// (AWS, Google, Azure), and what APIs commonly call theirs. Sorted.
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

/// No name above is longer, even if all of it is percent-encoded.
const NAME_BYTES_MAX: usize = 3 * 20;

/// The query with `*` in place of the values of credentials; never longer than it was.
pub(super) fn query(query: &[u8]) -> Cow<'_, [u8]> {
    let mut parts = query.split(|byte| matches!(byte, b'&' | b';'));
    if !parts.any(is_credential) {
        return Cow::Borrowed(query);
    }
    let mut out = Vec::with_capacity(query.len());
    let mut rest = query;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'&' | b';')).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        if is_credential(part) {
            let name = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            out.extend_from_slice(&part[..name]);
            out.extend_from_slice(b"=*");
        } else {
            out.extend_from_slice(part);
        }
        let (separator, behind) = behind.split_at(behind.len().min(1));
        out.extend_from_slice(separator);
        rest = behind;
    }
    Cow::Owned(out)
}

/// The same for the query of an address, such as that of a `Referer`.
pub(super) fn address(address: &[u8]) -> Cow<'_, [u8]> {
    let Some(mark) = address.iter().position(|byte| *byte == b'?') else { return Cow::Borrowed(address) };
    match query(&address[mark + 1..]) {
        Cow::Borrowed(_) => Cow::Borrowed(address),
        Cow::Owned(shown) => Cow::Owned([&address[..=mark], &shown].concat()),
    }
}

/// Whether it is `NAME=VALUE` with the name of a credential, however that is written, and a value.
fn is_credential(part: &[u8]) -> bool {
    let Some(equals) = part.iter().position(|byte| *byte == b'=') else { return false };
    if equals == 0 || equals > NAME_BYTES_MAX || equals + 1 == part.len() {
        return false;
    }
    let mut name = Vec::with_capacity(equals);
    let mut bytes = part[..equals].iter().copied();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return false,
            },
            byte => byte,
        };
        name.push(decoded.to_ascii_lowercase());
    }
    CREDENTIALS.binary_search_by(|known| known.as_bytes().cmp(&name)).is_ok()
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
