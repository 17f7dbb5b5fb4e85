//! A stored response. It never changes; what freshens it makes another one that shares its body.

use crate::freshness::Freshness;
use crate::{FieldRef, date, single, vary};
use std::sync::Arc;

/// Fields as they are written, and where each stands.
#[derive(Clone, Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    /// Start of the name, start of the value, end of the value.
    places: Vec<[u32; 3]>,
}

impl Head {
    /// Without `Age`, which grows, and what belongs to the framing.
    pub fn new<'f>(fields: impl IntoIterator<Item = FieldRef<'f>>) -> Head {
        let mut head = Head::default();
        for (name, value) in fields {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if !(is("Age") || is("Content-Length") || is("Transfer-Encoding")) {
                head.push(name, value);
            }
        }
        head
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let start = at(&self.bytes);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let from = at(&self.bytes);
        self.bytes.extend_from_slice(value);
        self.places.push([start, from, at(&self.bytes)]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// All fields, each with its line end: what a response without edits needs.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn fields(&self) -> impl Iterator<Item = FieldRef<'_>> {
        let part = |from: u32, to: u32| self.bytes.get(from as usize..to as usize).unwrap_or_default();
        self.places
            .iter()
            .map(move |&[name, value, end]| (part(name, value.saturating_sub(2)), part(value, end)))
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Object {
    pub status: u16,
    pub head: Head,
    pub body: Arc<[Box<[u8]>]>,
    /// Of the body, in bytes.
    pub length: u64,
    pub freshness: Freshness,
    pub etag: Option<Box<[u8]>>,
    pub last_modified: Option<Box<[u8]>>,
    /// Its `Date`, in seconds since 1970.
    pub made_s: Option<u64>,
    /// What requests must say to get it.
    pub(crate) selects: Vec<(Box<str>, Option<Vec<u8>>)>,
    /// Who else shares it: a route, and what the key does not say of a request although endpoints see it.
    pub(crate) scope: Box<[u8]>,
}

impl Object {
    /// Of a response to `request`; `None` when it can stand for no other request.
    pub fn new(
        status: u16,
        fields: &[FieldRef<'_>],
        body: Vec<Box<[u8]>>,
        freshness: Freshness,
        (request, scope): (&[FieldRef<'_>], &[u8]),
    ) -> Option<Object> {
        let names = vary::names(fields)?;
        let own = |name| single(fields, name).map(Box::from);
        Some(Object {
            status,
            head: Head::new(fields.iter().copied()),
            length: body.iter().map(|segment| segment.len() as u64).sum(),
            body: body.into(),
            freshness,
            etag: own("ETag"),
            last_modified: own("Last-Modified"),
            made_s: single(fields, "Date").and_then(date),
            selects: names.into_iter().map(|name| (name.clone(), vary::selecting(request, &name))).collect(),
            scope: scope.into(),
        })
    }

    /// The same representation with what a 304 says of it (RFC 9111 §3.2, §4.3.4).
    pub fn freshened(&self, fields: &[FieldRef<'_>], now_s: u64, arrived_ns: u64, delay_s: u64) -> Object {
        // What describes the body that is stored stays as it was stored.
        let stays = ["Content-Encoding", "Content-Range", "Content-Type", "ETag", "Content-Length", "Age"];
        let news: Vec<FieldRef<'_>> = fields
            .iter()
            .copied()
            .filter(|(name, _)| !stays.iter().any(|stays| name.eq_ignore_ascii_case(stays.as_bytes())))
            .collect();
        let is_new = |name: &[u8]| news.iter().any(|(new, _)| new.eq_ignore_ascii_case(name));
        let mut all: Vec<FieldRef<'_>> = self.head.fields().filter(|(name, _)| !is_new(name)).collect();
        all.extend(news.iter().copied());
        let mut timed = all.clone();
        timed.extend(fields.iter().copied().filter(|(name, _)| name.eq_ignore_ascii_case(b"Age")));
        let own = |name| single(&all, name).map(Box::from);
        Object {
            head: Head::new(all.iter().copied()),
            freshness: Freshness::new(self.status, &timed, now_s, arrived_ns, delay_s),
            last_modified: own("Last-Modified"),
            made_s: single(&all, "Date").and_then(date),
            etag: self.etag.clone(),
            ..self.clone()
        }
    }

    /// Whether it stands for `request`.
    pub(crate) fn answers(&self, scope: &[u8], request: &[FieldRef<'_>]) -> bool {
        *self.scope == *scope
            && self.selects.iter().all(|(name, value)| vary::selecting(request, name) == *value)
    }

    /// Whether a response is another one for the same requests.
    pub(crate) fn replaces(&self, other: &Object) -> bool {
        self.scope == other.scope && self.selects == other.selects
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        let selects: usize = self
            .selects
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 48)
            .sum();
        let head = self.head.bytes.capacity() + self.head.places.capacity() * 12;
        let segments = self.body.len() * 32;
        self.length + (head + selects + segments + self.scope.len() + size_of::<Object>() + 128) as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn object(fields: &[(&str, &str)]) -> Object {
        let fields: Vec<FieldRef<'_>> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let freshness = Freshness::new(200, &fields, 1_000, 0, 0);
        Object::new(200, &fields, vec![Box::from(&b"body"[..])], freshness, (&[], b"")).unwrap()
    }

    #[test]
    fn x6_a_304_freshens_what_it_names_and_nothing_else() {
        let stored = object(&[
            ("Cache-Control", "max-age=1"),
            ("ETag", "\"a\""),
            ("Content-Type", "text/plain"),
            ("X-A", "1"),
            ("X-B", "1"),
            ("Age", "5"),
        ]);
        let news: [FieldRef<'_>; 4] = [
            (b"cache-control", b"max-age=9"),
            (b"X-A", b"2"),
            (b"Content-Type", b"x/y"),
            (b"Content-Length", b"0"),
        ];
        let fresh = stored.freshened(&news, 1_000, 7, 0);
        let fields: Vec<FieldRef<'_>> = fresh.head.fields().collect();
        let expected: [FieldRef<'_>; 5] = [
            (b"ETag", b"\"a\""),
            (b"Content-Type", b"text/plain"),
            (b"X-B", b"1"),
            (b"cache-control", b"max-age=9"),
            (b"X-A", b"2"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(
            (fresh.freshness.lifetime, fresh.freshness.age_then, fresh.freshness.arrived_ns),
            (9, 0, 7)
        );
        assert!(Arc::ptr_eq(&fresh.body, &stored.body));
        assert_eq!(fresh.head.as_bytes().split(|&byte| byte == b'\n').count(), 6);
    }
}
