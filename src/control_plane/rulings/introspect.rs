//! Introspection (RFC 7662): a token goes to whoever issued it, who says whether it is active and what it is good for.

use crate::service::Reply;
use auth::IntrospectionPolicy;
use auth::base64::{Alphabet, encode};
use bytes::Bytes;
use config::Url;
use config::model::Introspect;
use traffic::ask::Answer;

/// How we say who we are: `client_secret_basic` (RFC 6749 §2.3.1).
pub(super) fn authorization(written: &Introspect) -> Option<Box<str>> {
    let secret = written.client_secret.as_ref()?;
    let pair = format!("{}:{}", form(written.client_id.as_bytes()), form(secret.as_bytes()));
    let mut text = encode(Alphabet::Standard, pair.as_bytes());
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    Some(format!("Basic {text}").into())
}

pub(super) fn request(url: &Url, own: Option<&str>, token: &[u8]) -> Option<http::Request<Bytes>> {
    let body = format!("token={}&token_type_hint=access_token", form(token));
    let mut request = http::Request::post(&url.path)
        .header("Host", &url.authority)
        .header("User-Agent", "ringway")
        .header("Accept", "application/json")
        .header("Content-Type", "application/x-www-form-urlencoded");
    if let Some(own) = own {
        request = request.header("Authorization", own);
    }
    request.body(Bytes::from(body)).ok()
}

pub(super) fn answer(policy: &IntrospectionPolicy, reply: &Reply, now_s: u64) -> Result<Answer, String> {
    match reply.status {
        200 => {}
        // It is us whom the service does not know: not a word about the token (I1).
        401 | 403 => {
            return Err(format!("the answer is {}: look at client-id and client-secret", reply.status));
        }
        status => return Err(format!("the answer is {status}, where 200 is expected")),
    }
    match policy.read(&reply.body, now_s) {
        Some((verdict, until_s)) => Ok(Answer::Who { verdict, until_s }),
        None => Err("the answer is no introspection response (RFC 7662 §2.2)".to_owned()),
    }
}

/// As a form has it.
fn form(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_tokens_are_sent_as_a_form_that_they_cannot_break() {
        assert_eq!(form(b"a b&c=d+%\xff-._~"), "a%20b%26c%3Dd%2B%25%FF-._~");
    }
}
