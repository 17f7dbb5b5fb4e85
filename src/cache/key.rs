//! What a stored response is found by (X2): scheme, authority, canonical path and query. Each part stands behind its length,
//! so that no two requests that differ have the same key.

/// The key of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) Box<[u8]>);

impl Key {
    /// `authority` is brought into one form: lower case, no dot behind the name, no port that is the scheme's own.
    pub fn new(is_secure: bool, authority: &[u8], path: &[u8], query: Option<&[u8]>) -> Key {
        let mut authority = authority.to_ascii_lowercase();
        let own: &[u8] = if is_secure { b":443" } else { b":80" };
        for useless in [own, b":", b"."] {
            if authority.ends_with(useless) {
                authority.truncate(authority.len() - useless.len());
            }
        }
        let mut bytes = Vec::with_capacity(authority.len() + path.len() + query.map_or(0, <[u8]>::len) + 16);
        bytes.push(u8::from(is_secure));
        for part in [&authority, path] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.push(u8::from(query.is_some()));
        bytes.extend_from_slice(query.unwrap_or_default());
        Key(bytes.into())
    }

    /// Of an absolute `http` or `https` URI without a fragment, whose path is canonical.
    pub fn of_uri(uri: &[u8]) -> Option<Key> {
        let (is_secure, rest) = match uri.get(..8)?.to_ascii_lowercase() {
            start if start.starts_with(b"https://") => (true, &uri[8..]),
            start if start.starts_with(b"http://") => (false, &uri[7..]),
            _ => return None,
        };
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split(|&byte| byte == b'#').next().unwrap_or_default();
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        (!authority.is_empty())
            .then(|| Key::new(is_secure, authority, if path.is_empty() { b"/" } else { path }, query))
    }

    /// The key of a reference in a response to a request for this one, if it is of the same origin (RFC 9111 §4.4).
    pub fn same_origin(&self, reference: &[u8]) -> Option<Key> {
        let authority = self.authority();
        if reference.starts_with(b"/") && !reference.starts_with(b"//") {
            let scheme: &[u8] = if self.0[0] == 1 { b"https://" } else { b"http://" };
            return Key::of_uri(&[scheme, authority, reference].concat());
        }
        Key::of_uri(reference).filter(|key| key.0[0] == self.0[0] && key.authority() == authority)
    }

    fn authority(&self) -> &[u8] {
        let length = self.0.get(1..5).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
        self.0.get(5..5 + length as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn r79_x2_requests_that_differ_have_keys_that_differ() {
        let mut keys = HashSet::new();
        for secure in [false, true] {
            for authority in ["a", "a.b", "ab", "a:81", "a:8"] {
                for path in ["/", "/a", "/a/", "/b", "/A", "/1a"] {
                    for query in [None, Some(""), Some("a"), Some("a=b"), Some("/a")] {
                        keys.insert(Key::new(
                            secure,
                            authority.as_bytes(),
                            path.as_bytes(),
                            query.map(str::as_bytes),
                        ));
                    }
                }
            }
        }
        assert_eq!(keys.len(), 2 * 5 * 6 * 5);
    }

    #[test]
    fn x2_authorities_that_mean_the_same_have_the_same_key() {
        let key = |secure, authority: &str| Key::new(secure, authority.as_bytes(), b"/", None);
        for same in ["EXAMPLE.com", "example.com:80", "example.com.", "example.com:"] {
            assert_eq!(key(false, same), key(false, "example.com"), "{same}");
        }
        assert_eq!(key(true, "a:443"), key(true, "a"));
        assert_ne!(key(true, "a:80"), key(true, "a"));
    }

    #[test]
    fn x9_references_to_other_origins_are_none() {
        let key = Key::new(false, b"a.example", b"/x", None);
        let other = Key::new(false, b"a.example", b"/y", Some(b"q"));
        assert_eq!(key.same_origin(b"/y?q"), Some(other.clone()));
        assert_eq!(key.same_origin(b"http://A.example:80/y?q#f"), Some(other));
        for foreign in ["https://a.example/y", "http://b.example/y", "//b.example/y", "y", "", "mailto:x"] {
            assert_eq!(key.same_origin(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
