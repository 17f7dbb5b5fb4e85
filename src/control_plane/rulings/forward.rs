//! Forward authentication: a GET that describes a request, and a status that says whether it may pass.

use crate::service::Reply;
use auth::{ForwardPolicy, Ruling};
use bytes::Bytes;
use config::Url;
use std::sync::Arc;
use traffic::ask::Answer;
use traffic::snapshot::FieldLine;

/// Fields of a refusal that the client is told, beside its body.
const TOLD: [&str; 6] =
    ["www-authenticate", "location", "set-cookie", "content-type", "retry-after", "cache-control"];
/// Values of one field that are passed on.
const VALUES_MAX: usize = 16;

pub(super) fn request(url: &Url, told: &[FieldLine]) -> Option<http::Request<Bytes>> {
    let mut request = http::Request::get(&url.path)
        .header("Host", &url.authority)
        .header("User-Agent", "ringway")
        .header("Accept", "*/*");
    for (name, value) in told {
        request = request.header(&**name, &**value);
    }
    request.body(Bytes::new()).ok()
}

pub(super) fn answer(policy: &ForwardPolicy, reply: Reply) -> Result<Answer, String> {
    let is_yes = (200..300).contains(&reply.status);
    // 401, 403 and redirects are verdicts; whatever else there is says that the service does not work (E1).
    if !is_yes && !matches!(reply.status, 401 | 403 | 301..=303 | 307 | 308) {
        return Err(format!("the answer is {}", reply.status));
    }
    let own = [&policy.subject_field, &policy.groups_field];
    let own = own.into_iter().flatten().chain(&policy.response_fields).map(|name| &**name);
    let wanted: Vec<&str> = if is_yes { own.collect() } else { TOLD.to_vec() };
    let mut fields = Vec::new();
    for name in wanted {
        let values = reply.fields.get_all(name).into_iter().take(VALUES_MAX);
        let known = fields.iter().any(|(own, _): &(Box<str>, Box<[u8]>)| **own == *name);
        if !known {
            fields.extend(values.map(|value| (Box::from(name), value.as_bytes().into())));
        }
    }
    let body = if is_yes { Box::default() } else { reply.body.to_vec().into() };
    let max_age_s = super::max_age(&reply.fields);
    Ok(Answer::Ruled(Arc::new(Ruling { status: reply.status, fields, body, max_age_s })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_r74_only_verdicts_are_answers_and_only_listed_fields_are_taken() {
        let policy = ForwardPolicy {
            name: "sso".into(),
            number: 1,
            fingerprint: auth::fingerprint([]),
            request_fields: Vec::new(),
            identity_fields: Vec::new(),
            response_fields: vec!["x-user".into()],
            subject_field: Some("x-user".into()),
            groups_field: None,
            same_for_identity: false,
            remember_s: 0,
            stale_s: 0,
            allows_unjudged: false,
            consumers: std::collections::HashMap::new(),
            tally: Arc::default(),
        };
        let reply = |status: u16| {
            let response = http::Response::builder()
                .header("X-User", "alice")
                .header("X-Admin", "1")
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .header("Cache-Control", "private, max-age=30")
                .body(())
                .unwrap();
            Reply { status, fields: response.into_parts().0.headers, body: Bytes::from_static(b"text") }
        };
        let ruled = |status: u16| match answer(&policy, reply(status)) {
            Ok(Answer::Ruled(ruling)) => Some(ruling),
            _ => None,
        };
        let yes = ruled(204).unwrap();
        assert_eq!(yes.fields, [(Box::from("x-user"), Box::from(&b"alice"[..]))]);
        assert_eq!((yes.max_age_s, &*yes.body), (Some(30), &b""[..]));
        let no = ruled(302).unwrap();
        let names: Vec<&str> = no.fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["set-cookie", "set-cookie", "cache-control"]);
        assert_eq!(&*no.body, b"text");
        for status in [100, 204, 401, 403, 307] {
            assert_eq!(ruled(status).is_some(), status != 100, "{status}");
        }
        for status in [304, 400, 404, 405, 429, 500, 502, 503] {
            assert!(ruled(status).is_none(), "{status}");
        }
    }
}
