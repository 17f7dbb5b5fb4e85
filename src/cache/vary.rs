//! For which requests a stored response stands (RFC 9111 §4.1).

use crate::{FieldRef, values};

/// Names in `Vary` of one response; one with more is not kept.
const NAMES_MAX: usize = 16;

/// The names that `Vary` lists, in lower case; `None` for `*` and for more than [`NAMES_MAX`].
pub(crate) fn names(fields: &[FieldRef<'_>]) -> Option<Vec<Box<str>>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for value in values(fields, "Vary") {
        for name in value.split(|&byte| byte == b',') {
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            if name == "*" {
                return None;
            }
            if !name.is_empty() && !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
    }
    (names.len() <= NAMES_MAX).then_some(names)
}

/// What the request says under `name`, in a form that is the same for requests that mean the same; `None` when it says
/// nothing, which is something else than saying the empty value.
pub(crate) fn selecting(request: &[FieldRef<'_>], name: &str) -> Option<Vec<u8>> {
    let mut all = values(request, name).peekable();
    all.peek()?;
    // Languages and codings compare without case, and the order of codings without weights says nothing.
    let folds = matches!(name, "accept-encoding" | "accept-language" | "accept");
    let mut members: Vec<Vec<u8>> = Vec::new();
    for value in all {
        for member in
            value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
        {
            let mut member = member.to_vec();
            if folds {
                member.retain(|byte| !b" \t".contains(byte));
                member.make_ascii_lowercase();
            }
            members.push(member);
        }
    }
    if name == "accept-encoding" {
        members.sort();
    }
    Some(members.join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x3_requests_that_mean_the_same_select_the_same() {
        let same = |a: &[FieldRef<'_>], b: &[FieldRef<'_>], name| selecting(a, name) == selecting(b, name);
        assert!(same(&[(b"Foo", b"1, 2")], &[(b"foo", b"1"), (b"Foo", b" 2 ")], "foo"));
        assert!(!same(&[(b"Foo", b"1, 2")], &[(b"foo", b"2, 1")], "foo"));
        assert!(!same(&[(b"Foo", b"")], &[], "foo"), "nothing said is not the empty value");
        assert!(same(
            &[(b"Accept-Encoding", b"GZIP, br")],
            &[(b"accept-encoding", b"br,gzip")],
            "accept-encoding"
        ));
        assert!(!same(
            &[(b"Accept-Encoding", b"gzip;q=0")],
            &[(b"accept-encoding", b"gzip")],
            "accept-encoding"
        ));
    }

    #[test]
    fn x3_a_star_and_too_many_names_never_match() {
        assert_eq!(names(&[(b"Vary", b"a, *")]), None);
        assert_eq!(
            names(&[(b"Vary", b"A, b,a"), (b"vary", b"c")]).unwrap(),
            ["a".into(), "b".into(), "c".into()]
        );
        let many = (0..20).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(names(&[(b"Vary", many.as_bytes())]), None);
    }
}
