//! Where credentials stand in a request, and how they are taken out before it goes on (G9).

use super::Outgoing;
use wire::http::{Known, Request};

/// Where a method looks for its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `Authorization` with this scheme, which compares without case (RFC 9110 §11.1).
    Scheme(&'static str),
    /// A field whose whole value it is.
    Field(Box<[u8]>),
    /// A parameter of the query, as it stands there.
    Query(Box<[u8]>),
}

/// What a request has at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'r> {
    Absent,
    /// One; may be empty.
    One(&'r [u8]),
    /// More than one: nobody can say which of them counts.
    Several,
}

impl Source {
    /// What `request` has here.
    pub fn find<'r>(&self, request: Request<'r>) -> Credential<'r> {
        match self {
            Source::Scheme(scheme) => {
                let fields = request.head.fields.iter().filter(|field| field.known == Known::Authorization);
                match one(fields.map(|field| field.value.of(request.bytes))) {
                    Credential::One(value) => match of_scheme(value, scheme) {
                        Some(credential) => Credential::One(credential),
                        None => Credential::Absent,
                    },
                    other => other,
                }
            }
            Source::Field(name) => {
                let fields = request.head.fields.iter();
                let own = fields.filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name));
                one(own.map(|field| field.value.of(request.bytes)))
            }
            Source::Query(name) => one(parameters(request).filter_map(|parameter| value_of(parameter, name))),
        }
    }

    /// Keeps the credential from going on to the upstream, and from the log where it stands in the query.
    pub fn take_out(&self, request: Request<'_>, outgoing: &mut Outgoing) {
        match self {
            Source::Scheme(_) => outgoing.edits.remove(b"Authorization"),
            Source::Field(name) => outgoing.edits.remove(name),
            Source::Query(name) => {
                if parameters(request).any(|parameter| value_of(parameter, name).is_some()) {
                    outgoing.write_query(|out| {
                        let kept =
                            parameters(request).filter(|parameter| value_of(parameter, name).is_none());
                        for parameter in kept {
                            if !out.is_empty() {
                                out.push(b'&');
                            }
                            out.extend_from_slice(parameter);
                        }
                    });
                }
            }
        }
    }
}

fn one<'r>(mut values: impl Iterator<Item = &'r [u8]>) -> Credential<'r> {
    match (values.next(), values.next()) {
        (None, _) => Credential::Absent,
        (Some(value), None) => Credential::One(value),
        (Some(_), Some(_)) => Credential::Several,
    }
}

/// What stands behind the scheme and its spaces, if the scheme is this one.
fn of_scheme<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (own, rest) = match value.iter().position(|byte| *byte == b' ') {
        Some(at) => value.split_at(at),
        None => (value, &[][..]),
    };
    own.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii_start())
}

fn parameters<'r>(request: Request<'r>) -> impl Iterator<Item = &'r [u8]> {
    request.query().unwrap_or_default().split(|byte| *byte == b'&').filter(|parameter| !parameter.is_empty())
}

/// The value of a parameter, if its name is this one however it is spelt: `%6bey` is `key` for the upstream too.
fn value_of<'p>(parameter: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let at = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
    let (own, value) = parameter.split_at(at);
    let is_own = own == name || decoded(own).is_some_and(|own| own == name);
    is_own.then(|| value.get(1..).unwrap_or_default())
}

/// `None` when nothing is percent-encoded.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse;

    fn found(source: &Source, target: &str, fields: &[(&str, &str)]) -> Result<String, &'static str> {
        let parsed = parse("GET", "a", target, fields);
        match source.find(parsed.request()) {
            Credential::Absent => Err("absent"),
            Credential::Several => Err("several"),
            Credential::One(value) => Ok(String::from_utf8(value.to_vec()).unwrap()),
        }
    }

    #[test]
    fn j1_the_scheme_compares_without_case_and_stands_once() {
        let bearer = Source::Scheme("Bearer");
        let with = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("Authorization", *value)).collect();
            found(&bearer, "/", &fields)
        };
        assert_eq!(with(&["Bearer a.b.c"]), Ok("a.b.c".into()));
        assert_eq!(with(&["bEARER   a.b.c"]), Ok("a.b.c".into()));
        assert_eq!(with(&["Bearer"]), Ok(String::new()));
        assert_eq!(with(&["Bearer a b"]), Ok("a b".into()));
        assert_eq!(with(&["Basic eDp5"]), Err("absent"));
        assert_eq!(with(&["Bearera"]), Err("absent"));
        assert_eq!(with(&[]), Err("absent"));
        assert_eq!(with(&["Bearer a", "Bearer a"]), Err("several"));
        assert_eq!(with(&["Basic x", "Bearer a"]), Err("several"));
    }

    #[test]
    fn r69_fields_and_parameters_stand_once() {
        let field = Source::Field(b"X-Api-Key".as_slice().into());
        assert_eq!(found(&field, "/", &[("x-api-key", "k")]), Ok("k".into()));
        assert_eq!(found(&field, "/", &[("x-api-key", "k"), ("X-API-KEY", "l")]), Err("several"));
        let query = Source::Query(b"key".as_slice().into());
        assert_eq!(found(&query, "/?a=1&key=k=v&b", &[]), Ok("k=v".into()));
        assert_eq!(found(&query, "/?a=1&%6Bey=k", &[]), Ok("k".into()));
        assert_eq!(found(&query, "/?key", &[]), Ok(String::new()));
        assert_eq!(found(&query, "/?Key=1&keys=2", &[]), Err("absent"));
        assert_eq!(found(&query, "/?key=1&key=2", &[]), Err("several"));
        assert_eq!(found(&query, "/", &[]), Err("absent"));
    }

    #[test]
    fn g9_credentials_are_taken_out_of_what_goes_on() {
        let taken = |target: &str| {
            let parsed = parse("GET", "a", target, &[]);
            let mut outgoing = Outgoing::default();
            Source::Query(b"key".as_slice().into()).take_out(parsed.request(), &mut outgoing);
            outgoing.query(parsed.request().query()).map(|query| String::from_utf8(query.to_vec()).unwrap())
        };
        assert_eq!(taken("/?a=1&key=k&b=2").as_deref(), Some("a=1&b=2"));
        assert_eq!(taken("/?key=k&%6bey=l").as_deref(), None);
        assert_eq!(taken("/?a=1&&b").as_deref(), Some("a=1&&b"), "nothing to take out, nothing changes");
        assert_eq!(taken("/").as_deref(), None);
        let mut outgoing = Outgoing::default();
        let parsed = parse("GET", "a", "/", &[("Authorization", "Bearer x")]);
        Source::Scheme("Bearer").take_out(parsed.request(), &mut outgoing);
        assert!(!outgoing.edits.keeps(b"authorization"));
    }
}
